"""`gpudoctor explain`: from an error log to the true cause."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from gpudoctor.cli.common import (
    OUTPUT,
    Color,
    ColorOption,
    EnvFileOption,
    EnvOption,
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
    import click

    from gpudoctor.explain.catalogue import Platform
    from gpudoctor.model.explanation import Explanation
    from gpudoctor.system.passthrough import Ended

EXIT_RECOGNISED = 1
_COMMAND = "gpudoctor.explain.command"


class ExplainFormat(str, Enum):
    """Formats of the answer."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class ExplainCommand(TyperCommand):
    """Keeps what follows `--` apart: it is a command to run, not a log to read."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before `--`."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(ctx, args)


COMMAND_CLASS = ExplainCommand


def explain(
    ctx: typer.Context,
    log: Annotated[
        str | None, typer.Argument(metavar="[LOG | -- CMD [ARG]…]", help="Log file; '-' or a pipe is standard input.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Let the rules decide between the causes on this machine, or a --snapshot.")
    ] = False,
    python: PythonOption = None,
    consumers: ForOption = None,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
    snapshot: SnapshotOption = None,
    matrix_file: MatrixOption = None,
    report_format: Annotated[
        ExplainFormat, typer.Option("--format", help="Format of the answer.", rich_help_panel=OUTPUT)
    ] = ExplainFormat.TEXT,
    output: OutputOption = None,
    verbose: VerboseOption = False,
    color: ColorOption = Color.AUTO,
) -> int:
    """Rank the true causes behind an error log: what the messages mean, what they do not, and what to do.

    LOG may be of any size and encoding. Secrets and home folders are masked in what is shown. With -- CMD the command
    is run, its output passes through as it comes (into pipes, not a terminal), and it is explained on standard error
    when it fails.

    Exit status: 1 a cause is recognised, 0 none is, 2 the log cannot be read. With -- CMD the command's own status
    (128 and the signal's number after a death by signal), 127 not found, 126 not executable.

    Examples:
      gpudoctor explain run.log

      docker logs asr 2>&1 | gpudoctor explain

      gpudoctor explain --check -- python transcribe.py
    """
    from gpudoctor.model.errors import UsageError

    command: tuple[str, ...] | None = ctx.meta.get(_COMMAND)
    decided = check or snapshot is not None
    if not decided and (python or consumers or env or env_file or matrix_file):
        raise UsageError("--python, --for, --env, --env-file and --matrix say what --check judges; add --check")
    if command is not None and log is not None:
        raise UsageError("give a log or a command, not both")
    ended = None
    if command is None:
        found, name = _read(log)
    else:
        found, name, ended = _run(command)
        if ended.status == 0 or (ended.interrupted and not found.causes):
            return ended.shell_status
    if decided:
        request = {"python": python, "consumers": consumers, "env": env, "env_file": env_file}
        found = _decide(found, snapshot, matrix_file, request)
    _show(found, name, report_format, output, verbose, color, to_stderr=command is not None)
    if ended is not None:
        return ended.shell_status
    return EXIT_RECOGNISED if found.causes else 0


def _read(log: str | None) -> tuple[Explanation, str]:
    from gpudoctor.explain.rank import explain_stream
    from gpudoctor.model.errors import InputFileError, UsageError
    from gpudoctor.system.streaming import read_pieces, stdin_is_terminal

    if log is None and stdin_is_terminal():
        raise UsageError("name a log file, pipe one in, or give a command to run: gpudoctor explain -- COMMAND")
    path = log or "-"
    try:
        found = explain_stream(read_pieces(path), platform=_platform())
    except InputFileError as error:
        if " " in path:
            raise InputFileError(
                f"{error}; to explain a message itself, pipe it: echo '…' | gpudoctor explain"
            ) from error
        raise
    return found, "standard input" if path == "-" else path


def _run(command: tuple[str, ...]) -> tuple[Explanation, str, Ended]:
    import msgspec

    from gpudoctor.explain.ending import SILENT, explain_ending
    from gpudoctor.explain.rank import Reading
    from gpudoctor.model.errors import UsageError
    from gpudoctor.system.execution import find_program
    from gpudoctor.system.passthrough import flush_own_output, run_through
    from gpudoctor.system.real import RealSystem

    if not command:
        raise UsageError("no command after --")
    path = find_program(command[0], RealSystem().environ())
    reading = Reading()
    flush_own_output()
    ended = run_through(path, command, reading.feed)
    found = reading.explain(_platform())
    advice = found.advice if found.lines else SILENT
    found = msgspec.structs.replace(found, advice=advice, ending=explain_ending(ended.status, ended.signal))
    return found, f"the output of {command[0]}", ended


def _platform() -> Platform:
    from gpudoctor.system.real import RealSystem

    return RealSystem().os_name


def _decide(found: Explanation, snapshot: str | None, matrix_file: str | None, request: dict[str, Any]) -> Explanation:
    from gpudoctor.explain.decide import decide
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.model.fact import Present
    from gpudoctor.rules.engine import judge

    matrix = load_matrix(matrix_file)
    taken = take_or_read(matrix, snapshot, request_for(**request))
    if snapshot is not None:
        return decide(found, judge(taken, matrix), snapshot)
    executable = taken.interpreter.value.executable if isinstance(taken.interpreter, Present) else None
    place = f"this machine ({executable})" if executable else "this machine"
    return decide(found, judge(taken, matrix), place, executable)


def _show(
    found: Explanation,
    name: str,
    report_format: ExplainFormat,
    output: str | None,
    verbose: bool,
    color: Color,
    *,
    to_stderr: bool,
) -> None:
    if report_format is ExplainFormat.JSON:
        from gpudoctor.report.json import render_document

        text = render_document(found)
    elif report_format is ExplainFormat.MARKDOWN:
        from gpudoctor.report.explain import render_explanation_markdown

        text = render_explanation_markdown(found, name)
    else:
        from gpudoctor.report.explain import render_explanation

        colored, width, ascii_only = rendering(color, output)
        text = render_explanation(found, name, verbose=verbose, colored=colored, width=width, ascii_only=ascii_only)
    if to_stderr and output in (None, "-"):
        # The command's own output has standard output.
        typer.echo(text, err=True, nl=False)
    else:
        emit(text, output, encoding="utf-8" if report_format is not ExplainFormat.TEXT else None)
