"""Options that several commands share, and how output leaves the process."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from gpudoctor.cli.complete import complete_consumer, complete_rule

if TYPE_CHECKING:
    from gpudoctor.matrix.index import Matrix
    from gpudoctor.model.snapshot import Snapshot
    from gpudoctor.probes.take import SnapshotRequest

TARGET = "What is judged"
ASSUME = "Judging for another machine"
VERDICT = "Verdict"
OUTPUT = "Output"


class Color(str, Enum):
    """When to colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Format(str, Enum):
    """Formats of a report: of `check` and `lint`."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"
    GITHUB = "github"
    MARKDOWN = "markdown"
    HTML = "html"


class PlainFormat(str, Enum):
    """Formats of what is no report: of `libs`, `fix`."""

    TEXT = "text"
    JSON = "json"


class FailOn(str, Enum):
    """Least level that makes the exit status 1."""

    ERROR = "error"
    WARNING = "warning"
    NEVER = "never"


PythonOption = Annotated[
    str | None,
    typer.Option(
        "--python",
        metavar="PATH",
        help="Interpreter or environment folder to judge. Default: the active environment, then the interpreter "
        "that runs gpudoctor. It is read from disk, never started.",
        rich_help_panel=TARGET,
    ),
]
ForOption = Annotated[
    list[str] | None,
    typer.Option(
        "--for",
        metavar="CONSUMER",
        help="Judge only this consumer (ctranslate2, torch, onnxruntime, torchcodec). Repeatable. "
        "Default: all that are installed.",
        autocompletion=complete_consumer,
        rich_help_panel=TARGET,
    ),
]
BinaryOption = Annotated[
    str | None,
    typer.Option(
        "--binary",
        metavar="PATH",
        help="Judge a native program, or a folder of libraries, as the consumer.",
        rich_help_panel=TARGET,
    ),
]
EnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME=VALUE",
        help="Judge with this environment variable, as the service will start. Repeatable.",
        rich_help_panel=TARGET,
    ),
]
EnvFileOption = Annotated[
    str | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        help="Judge with the variables of this file (NAME=VALUE lines: dotenv, systemd or Docker style).",
        rich_help_panel=TARGET,
    ),
]
SnapshotOption = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        metavar="FILE",
        help="Judge a snapshot file instead of this machine; '-' reads standard input.",
        rich_help_panel=TARGET,
    ),
]
AssumeDriverOption = Annotated[
    str | None,
    typer.Option(
        "--assume-driver",
        metavar="RELEASE",
        help="Judge as if this driver release were installed, such as 550.54.15.",
        rich_help_panel=ASSUME,
    ),
]
AssumeGpuOption = Annotated[
    list[str] | None,
    typer.Option(
        "--assume-gpu",
        metavar="NAME|CC",
        help="Judge as if this GPU were there: a name ('RTX 3090') or a compute capability (8.6). Repeatable.",
        rich_help_panel=ASSUME,
    ),
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME[:TYPE[:BATCH]]",
        help="Judge whether this model fits into GPU memory: large-v3:float16. Repeatable: several share a GPU.",
        rich_help_panel=TARGET,
    ),
]
MatrixOption = Annotated[
    str | None,
    typer.Option(
        "--matrix",
        metavar="FILE",
        help="Add the facts of this YAML file to the compatibility matrix.",
        rich_help_panel=ASSUME,
    ),
]
FailOnOption = Annotated[
    FailOn | None,
    typer.Option("--fail-on", help="Least level that gives exit status 1. Default: error.", rich_help_panel=VERDICT),
]
StrictOption = Annotated[
    bool | None,
    typer.Option(
        "--strict/--no-strict",
        help="Exit status 3 when something could not be judged. Default: no.",
        rich_help_panel=VERDICT,
    ),
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="ID",
        help="Only these rules; GPD2 selects a family. Repeatable.",
        rich_help_panel=VERDICT,
        autocompletion=complete_rule,
    ),
]
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="ID",
        help="Leave out these rules. Repeatable.",
        rich_help_panel=VERDICT,
        autocompletion=complete_rule,
    ),
]
FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="text, json, sarif, junit, github (workflow annotations, and a Markdown summary in $GITHUB_STEP_SUMMARY), "
        "markdown or html.",
        rich_help_panel=OUTPUT,
    ),
]
PlainFormatOption = Annotated[PlainFormat, typer.Option("--format", help="Output format.", rich_help_panel=OUTPUT)]
AnchorOption = Annotated[
    str | None,
    typer.Option(
        "--anchor",
        metavar="FILE",
        help="sarif, github: the file that findings which stand in no file are shown at. Default: the lock, "
        "pyproject.toml or requirements.txt of the current folder.",
        rich_help_panel=OUTPUT,
    ),
]
BenchOption = Annotated[
    str | None,
    typer.Option(
        "--bench",
        metavar="FILE",
        help="html: also show the chart of this benchmark (`gpudoctor bench --format json -o FILE`).",
        rich_help_panel=OUTPUT,
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write to this file instead of standard output.", rich_help_panel=OUTPUT
    ),
]
VerboseOption = Annotated[
    bool, typer.Option("-v", "--verbose", help="Also show every place that was searched.", rich_help_panel=OUTPUT)
]
ColorOption = Annotated[
    Color, typer.Option("--color", help="When to colour; NO_COLOR is obeyed.", rich_help_panel=OUTPUT)
]


def request_for(
    *,
    python: str | None = None,
    consumers: list[str] | None = None,
    binary: str | None = None,
    env: list[str] | None = None,
    env_file: str | None = None,
    assume_driver: str | None = None,
    assume_gpu: list[str] | None = None,
) -> SnapshotRequest:
    """Return what the shared options ask for."""
    from gpudoctor.probes.take import SnapshotRequest

    return SnapshotRequest(
        python=python,
        own_python=sys.executable,
        consumers=tuple(consumers or ()),
        binary=binary,
        assignments=tuple(env or ()),
        env_file=env_file,
        assume_driver=assume_driver,
        assume_gpus=tuple(assume_gpu or ()),
    )


def take_or_read(matrix: Matrix, snapshot: str | None, request: SnapshotRequest) -> Snapshot:
    """Return the snapshot that the shared options ask for: one from a file, or one of this machine.

    Raises:
        GpuDoctorError: An option is wrong, or the file is no snapshot.
    """
    from gpudoctor.model.errors import UsageError
    from gpudoctor.system.real import RealSystem

    system = RealSystem()
    if snapshot is None:
        from gpudoctor.probes.take import take_snapshot

        return take_snapshot(system, matrix, request)
    if request.python or request.binary or request.assignments or request.env_file:
        raise UsageError("--snapshot holds an environment already; leave out --python, --binary, --env and --env-file")
    from gpudoctor.probes.replay import read_snapshot

    return read_snapshot(system, snapshot, matrix, request.assume_driver, request.assume_gpus, request.consumers)


def emit(text: str, output: str | None, *, encoding: str | None = None) -> None:
    """Write a text to standard output, or atomically to a file, which is always UTF-8.

    Args:
        text: The text.
        output: The file; None and `-` are standard output.
        encoding: What the format demands (JSON and TOML are UTF-8, whatever the terminal is); None is the terminal's,
            in which a character that it lacks is written out as an escape.

    Raises:
        GpuDoctorError: It cannot be written.
    """
    to_stdout = output is None or output == "-"
    chosen = encoding or (getattr(sys.stdout, "encoding", None) if to_stdout else None) or "utf-8"
    emit_bytes(text.encode(chosen, "backslashreplace"), output)


def emit_bytes(data: bytes, output: str | None) -> None:
    """Write bytes to standard output, or atomically to a file.

    Raises:
        GpuDoctorError: They cannot be written.
    """
    if output is None or output == "-":
        from gpudoctor.system.terminal import write_stdout

        write_stdout(data)
        return
    from gpudoctor.system.writing import write_atomically

    write_atomically(output, data)


def say(text: str) -> None:
    """Write one line to standard error, where there is one."""
    from gpudoctor.report.escape import visible

    stderr: TextIO | None = sys.stderr
    if stderr is not None:
        stderr.write(f"gpudoctor: {visible(text)}\n")


def rendering(color: Color, output: str | None) -> tuple[bool, int, bool]:
    """Return whether to colour, the width in columns, and whether the terminal shows only ASCII."""
    from gpudoctor.system.terminal import probe_terminal

    terminal = probe_terminal()
    to_file = output is not None and output != "-"
    colored = {Color.ALWAYS: True, Color.NEVER: False}.get(color, terminal.color and not to_file)
    return colored, terminal.width, terminal.ascii_only and not to_file
