"""`gpudoctor diff`: two states side by side."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from gpudoctor.cli.common import (
    OUTPUT,
    TARGET,
    Color,
    ColorOption,
    EnvFileOption,
    EnvOption,
    ForOption,
    MatrixOption,
    OutputOption,
    emit,
    rendering,
    request_for,
)
from gpudoctor.cli.configured import ConfigOption, NoConfigOption, Wishes, find_project, wishes_of

if TYPE_CHECKING:
    from gpudoctor.drift.diff import State
    from gpudoctor.drift.lock import Lock
    from gpudoctor.matrix.index import Matrix
    from gpudoctor.model.diff import DiffDocument
    from gpudoctor.model.snapshot import Snapshot

STDIN = "-"
_LIMIT_BYTES = 64 << 20
_ELF, _SCRIPT = b"\x7fELF", b"#!"


class DiffFormat(str, Enum):
    """Formats of a comparison."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def diff(
    left: Annotated[
        str,
        typer.Argument(metavar="A", help="Interpreter, environment folder, snapshot file, lock file, or '-'."),
    ],
    right: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    consumers: ForOption = None,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
    matrix_file: MatrixOption = None,
    config: ConfigOption = None,
    no_config: NoConfigOption = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Name what is the same, too.", rich_help_panel=TARGET)
    ] = False,
    report_format: Annotated[
        DiffFormat, typer.Option("--format", help="Output format.", rich_help_panel=OUTPUT)
    ] = DiffFormat.TEXT,
    output: OutputOption = None,
    color: ColorOption = Color.AUTO,
) -> int:
    """Compare two environments, snapshots or lock files: what differs, and which consumer it changes something for.

    What changes the outcome of a consumer comes first; what follows from another difference stands under it; what is
    the same is one line. Files are compared by content, and paths by place: two copies of one environment do not
    differ. Nothing of either side is executed.

    --env and --env-file count for interpreters and environments, not for files.

    Exit status: 0 the same, 1 differences.

    Examples:
      gpudoctor diff .venv /srv/app/.venv

      gpudoctor diff gpudoctor.lock .venv

      ssh gpu1 gpudoctor snapshot | gpudoctor diff .venv - --format markdown
    """
    from gpudoctor.drift.diff import compare_states
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.model.errors import UsageError
    from gpudoctor.probes.selection import check_consumers

    if left == right == STDIN:
        raise UsageError("only one side can be standard input")
    project = find_project(config, no_config)
    wishes = wishes_of(project, Wishes(consumers, env, env_file, None, None, matrix_file))
    matrix = load_matrix(wishes.matrix_file)
    check_consumers(matrix, tuple(wishes.consumers or ()))
    sides = [_Side(name) for name in (left, right)]
    one, other = _states(sides, matrix, wishes)
    document = compare_states(one, other, matrix, consumers=tuple(wishes.consumers or ()), everything=everything)
    _print(document, report_format, output, color)
    return document.exit_status


def _print(document: DiffDocument, report_format: DiffFormat, output: str | None, color: Color) -> None:
    if report_format is DiffFormat.JSON:
        from gpudoctor.report.json import render_document

        emit(render_document(document), output, encoding="utf-8")
        return
    from gpudoctor.report.diff import render_diff, render_diff_markdown

    if report_format is DiffFormat.MARKDOWN:
        emit(render_diff_markdown(document), output, encoding="utf-8")
        return
    from gpudoctor.report.canvas import Canvas

    colored, width, ascii_only = rendering(color, output)
    emit(render_diff(document, Canvas(colored=colored, width=width, ascii_only=ascii_only)), output)


class _Side:
    """What one argument names, read once where it is a file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data = _data(name)

    @property
    def is_snapshot(self) -> bool:
        """Tell whether it is a JSON document."""
        return self.data is not None and self.data.lstrip()[:1] == b"{"

    def lock(self) -> Lock:
        """Read it as a lock file."""
        from gpudoctor.drift.lock import parse_lock

        return parse_lock((self.data or b"").decode("utf-8", "surrogateescape"), self.shown)

    @property
    def shown(self) -> str:
        """Return how messages name it."""
        return "standard input" if self.name == STDIN else self.name


def _data(name: str) -> bytes | None:
    """Return the content of a snapshot or lock file; None for an interpreter or environment.

    Raises:
        InputFileError: It cannot be read.
    """
    from gpudoctor.model.errors import InputFileError
    from gpudoctor.system.protocol import CannotLook, NotThere
    from gpudoctor.system.real import RealSystem

    if name == STDIN:
        return sys.stdin.buffer.read(_LIMIT_BYTES + 1)
    system = RealSystem()
    try:
        if system.stat(name).kind == "directory":
            return None
        data = system.read_bytes(name, _LIMIT_BYTES + 1)
    except NotThere as error:
        raise InputFileError(f"{name}: no such interpreter, environment, snapshot or lock file") from error
    except CannotLook as error:
        raise InputFileError(f"cannot read {error.reason}") from error
    return None if data.startswith((_ELF, _SCRIPT)) else data


def _states(sides: list[_Side], matrix: Matrix, wishes: Wishes) -> list[State]:
    """Return both states; a lock is read first, for what it digested has to be digested on the other side."""
    from gpudoctor.drift.diff import State
    from gpudoctor.model.diff import DiffSide
    from gpudoctor.system.protocol import encodable

    locks = [s.lock() if s.data is not None and not s.is_snapshot else None for s in sides]
    states: list[State] = []
    for side, own, other in zip(sides, locks, reversed(locks), strict=True):
        if own is not None:
            states.append(State(DiffSide(name=encodable(side.shown), kind="lock"), own))
        else:
            states.append(_looked_at(side, matrix, wishes, other))
    return states


def _looked_at(side: _Side, matrix: Matrix, wishes: Wishes, other: Lock | None) -> State:
    from gpudoctor.drift.diff import state_of
    from gpudoctor.drift.identity import digest_libraries
    from gpudoctor.model.diff import DiffSide
    from gpudoctor.system.protocol import encodable
    from gpudoctor.system.real import RealSystem

    if side.data is not None:
        from gpudoctor.probes.replay import parse_snapshot

        taken = parse_snapshot(side.data, side.shown)
        return state_of(DiffSide(name=encodable(side.shown), kind="snapshot"), taken, matrix)
    live = _taken(side.name, matrix, wishes)
    digests = digest_libraries(RealSystem(), live, other)
    return state_of(DiffSide(name=encodable(side.name), kind="interpreter"), live, matrix, digests)


def _taken(python: str, matrix: Matrix, wishes: Wishes) -> Snapshot:
    from gpudoctor.probes.take import take_snapshot
    from gpudoctor.system.real import RealSystem

    request = request_for(python=python, env=wishes.env, env_file=wishes.env_file)
    return take_snapshot(RealSystem(), matrix, request)
