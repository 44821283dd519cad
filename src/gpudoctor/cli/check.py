"""`gpudoctor check`: probe, judge, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gpudoctor.cli.common import (
    OUTPUT,
    VERDICT,
    AnchorOption,
    AssumeDriverOption,
    AssumeGpuOption,
    BenchOption,
    BinaryOption,
    Color,
    ColorOption,
    EnvFileOption,
    EnvOption,
    FailOnOption,
    Format,
    FormatOption,
    ForOption,
    IgnoreOption,
    MatrixOption,
    ModelOption,
    OutputOption,
    PythonOption,
    SelectOption,
    SnapshotOption,
    StrictOption,
    VerboseOption,
    rendering,
    request_for,
    take_or_read,
)
from gpudoctor.cli.configured import (
    ConfigOption,
    NoConfigOption,
    Wishes,
    apply_project,
    find_project,
    wishes_of,
)
from gpudoctor.cli.formats import print_report

if TYPE_CHECKING:
    from gpudoctor.model.finding import Finding, Report
    from gpudoctor.model.snapshot import Snapshot
    from gpudoctor.rules.base import Rule


def check(
    python: PythonOption = None,
    consumers: ForOption = None,
    binary: BinaryOption = None,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
    snapshot: SnapshotOption = None,
    assume_driver: AssumeDriverOption = None,
    assume_gpu: AssumeGpuOption = None,
    model: ModelOption = None,
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
    fail_on: FailOnOption = None,
    strict: StrictOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    config: ConfigOption = None,
    no_config: NoConfigOption = False,
    report_format: FormatOption = Format.TEXT,
    output: OutputOption = None,
    anchor: AnchorOption = None,
    bench: BenchOption = None,
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

      gpudoctor check --model large-v3:float16 --model large-v3-turbo

      gpudoctor check --deep --env-file /etc/default/asr

      gpudoctor check --against gpudoctor.lock
    """
    import msgspec

    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.model.errors import UsageError
    from gpudoctor.probes.planned import parse_models
    from gpudoctor.report.build import build_report
    from gpudoctor.rules.engine import judge
    from gpudoctor.rules.registry import RULES

    project = find_project(config, no_config)
    said = Wishes(consumers, env, env_file, assume_driver, assume_gpu, matrix_file)
    consumers, env, env_file, assume_driver, assume_gpu, matrix_file = wishes_of(project, said, snapshot=snapshot)
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
    planned = parse_models(matrix, tuple(model or ()))
    taken = take_or_read(matrix, snapshot, request)
    if planned:
        taken = msgspec.structs.replace(taken, models=planned)
    rules = RULES
    if against is not None:
        from gpudoctor.cli.lock import locked_rules

        rules = (*RULES, *locked_rules(against, taken, consumers=tuple(consumers or ()), live=snapshot is None))
    repaired = _repaired(taken, binary) if snapshot is None else None
    if repaired is not None:
        rules = (*rules, *repaired.rules())
    settled = project.settled if project else None
    selected, ignored = tuple(select or (settled.select if settled else ())), tuple(ignore or ())
    verdict = judge(taken, matrix, selected, ignored, rules)
    if deep:
        from gpudoctor.canary.deep import deepen
        from gpudoctor.probes.take import find_process
        from gpudoctor.system.real import RealSystem

        system = RealSystem()
        target = find_process(system, request)
        verdict = deepen(system, matrix, target, taken, verdict, select=selected, ignore=ignored)
    if repaired is not None:
        verdict = msgspec.structs.replace(verdict, findings=repaired.told_in(verdict.findings, taken))
    partial = bool(said.consumers) or binary is not None
    verdict = apply_project(project, verdict, select=tuple(select or ()), ignore=ignored, partial=partial)
    least = fail_on.value if fail_on else (settled.fail_on if settled else None) or "error"
    strict = strict if strict is not None else bool(settled and settled.strict)
    report = build_report(verdict, taken, matrix, fail_on=least, strict=strict, binary=binary)
    print_report(
        report,
        report_format,
        output,
        text=lambda: _as_text(report, taken, verbose, quiet, color, output),
        snapshot=taken,
        fail_on=least,
        anchor=anchor,
        lock=against,
        bench=bench,
    )
    return report.summary.exit_status


def _as_text(report: Report, taken: Snapshot, verbose: bool, quiet: bool, color: Color, output: str | None) -> str:
    from gpudoctor.report.text import render_check

    colored, width, ascii_only = rendering(color, output)
    return render_check(
        report, taken, verbose=verbose, quiet=quiet, colored=colored, width=width, ascii_only=ascii_only
    )


class _Repaired(NamedTuple):
    """An environment, or a native program, and what this user's journals may tell of it.

    Attributes:
        prefix: Root of the environment, or the program.
        named: How it is named on a command line.
        option: The option that names it.
    """

    prefix: str
    named: str
    option: str

    def rules(self) -> tuple[Rule, ...]:
        """Return the rule on repairs that were killed."""
        from gpudoctor.fix.rules import bound_rules
        from gpudoctor.system.real import RealSystem

        system = RealSystem()
        return bound_rules(system, system.environ(), self.prefix, self.named, self.option)

    def told_in(self, findings: tuple[Finding, ...], taken: Snapshot) -> tuple[Finding, ...]:
        """Return findings with the repair that waits for the process to be started through it."""
        import shlex

        from gpudoctor.fix.started import with_repairs
        from gpudoctor.system.real import RealSystem

        system = RealSystem()
        check = f"gpudoctor check {self.option} {shlex.quote(self.named)}"
        return with_repairs(findings, system, system.environ(), self.prefix, check, taken)


def _repaired(taken: Snapshot, binary: str | None) -> _Repaired | None:
    """Return what may have been repaired; None where this user never made a repair."""
    from gpudoctor.fix.places import has_journals
    from gpudoctor.model.fact import value_of
    from gpudoctor.system.real import RealSystem

    system = RealSystem()
    interpreter = value_of(taken.interpreter)
    if (interpreter is None and binary is None) or not has_journals(system, system.environ()):
        return None
    if interpreter is None or binary is not None:
        from gpudoctor.fix.native import native_path

        path = native_path(system, binary or "")
        return _Repaired(path, path, "--binary")
    return _Repaired(interpreter.prefix, interpreter.executable, "--python")
