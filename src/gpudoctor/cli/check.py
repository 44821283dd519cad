"""`gpudoctor check`: probe, judge, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpudoctor.cli.common import (
    OUTPUT,
    AssumeDriverOption,
    AssumeGpuOption,
    BinaryOption,
    Color,
    ColorOption,
    EnvFileOption,
    EnvOption,
    FailOn,
    Format,
    FormatOption,
    ForOption,
    MatrixOption,
    OutputOption,
    PythonOption,
    SnapshotOption,
    VerboseOption,
    emit,
    rendering,
    request_for,
    take_or_read,
)

if TYPE_CHECKING:
    from gpudoctor.model.snapshot import Snapshot
    from gpudoctor.rules.base import Rule

VERDICT = "Verdict"


def check(
    python: PythonOption = None,
    consumers: ForOption = None,
    binary: BinaryOption = None,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
    snapshot: SnapshotOption = None,
    assume_driver: AssumeDriverOption = None,
    assume_gpu: AssumeGpuOption = None,
    matrix_file: MatrixOption = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="LOCK", help="Fail on drift from this lock file.", rich_help_panel=VERDICT),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Also run the judged environment: harmless calls, each in a child process, that show whether the "
            "libraries really load. Needs no GPU; takes as long as its imports.",
            rich_help_panel=VERDICT,
        ),
    ] = False,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="Least level that gives exit status 1.", rich_help_panel=VERDICT)
    ] = FailOn.ERROR,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit status 3 when something could not be judged.", rich_help_panel=VERDICT),
    ] = False,
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select", metavar="ID", help="Only these rules; GPD2 selects a family.", rich_help_panel=VERDICT
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="ID", help="Leave out these rules.", rich_help_panel=VERDICT),
    ] = None,
    report_format: FormatOption = Format.TEXT,
    output: OutputOption = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print findings only; nothing when clean.", rich_help_panel=OUTPUT)
    ] = False,
    verbose: VerboseOption = False,
    color: ColorOption = Color.AUTO,
) -> int:
    """Judge an environment: will each consumer find its GPU libraries, and does the driver serve them?

    Static without --deep: nothing of the judged environment is executed. Nothing is written, no network is used.

    Examples:
      gpudoctor check

      gpudoctor check --python /srv/app/.venv --env LD_LIBRARY_PATH=/opt/cudnn/lib

      gpudoctor check --assume-driver 550.54.15 --assume-gpu "RTX 3090" --strict

      gpudoctor check --deep --env-file /etc/default/asr

      gpudoctor check --against gpudoctor.lock
    """
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.model.errors import UsageError
    from gpudoctor.report.build import build_report
    from gpudoctor.rules.engine import judge
    from gpudoctor.rules.registry import RULES

    matrix = load_matrix(matrix_file)
    request = request_for(
        python=python,
        consumers=consumers,
        binary=binary,
        env=env,
        env_file=env_file,
        assume_driver=assume_driver,
        assume_gpu=assume_gpu,
    )
    if deep and (snapshot is not None or binary is not None):
        raise UsageError("--deep runs a Python environment of this machine; leave out --snapshot and --binary")
    taken = take_or_read(matrix, snapshot, request)
    rules = RULES
    if against is not None:
        from gpudoctor.cli.lock import locked_rules

        rules = (*RULES, *locked_rules(against, taken, consumers=tuple(consumers or ()), live=snapshot is None))
    if snapshot is None:
        rules = (*rules, *_repair_rules(taken))
    selected, ignored = tuple(select or ()), tuple(ignore or ())
    verdict = judge(taken, matrix, selected, ignored, rules)
    if deep:
        from gpudoctor.canary.deep import deepen
        from gpudoctor.probes.take import find_process
        from gpudoctor.system.real import RealSystem

        system = RealSystem()
        target = find_process(system, request)
        verdict = deepen(system, matrix, target, taken, verdict, select=selected, ignore=ignored)
    report = build_report(verdict, taken, matrix, fail_on=fail_on.value, strict=strict, binary=binary)
    if report_format is Format.JSON:
        from gpudoctor.report.json import render_json

        emit(render_json(report), output, encoding="utf-8")
    else:
        from gpudoctor.report.text import render_check

        colored, width, ascii_only = rendering(color, output)
        emit(
            render_check(
                report, taken, verbose=verbose, quiet=quiet, colored=colored, width=width, ascii_only=ascii_only
            ),
            output,
        )
    return report.summary.exit_status


def _repair_rules(taken: Snapshot) -> tuple[Rule, ...]:
    """Return the rule on repairs that were killed, where this user ever made one."""
    from gpudoctor.fix.places import has_journals
    from gpudoctor.model.fact import value_of
    from gpudoctor.system.real import RealSystem

    system = RealSystem()
    interpreter = value_of(taken.interpreter)
    if interpreter is None or not has_journals(system, system.environ()):
        return ()
    from gpudoctor.fix.rules import bound_rules

    return bound_rules(system, system.environ(), interpreter.prefix, interpreter.executable)
