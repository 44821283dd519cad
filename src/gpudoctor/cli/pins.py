"""`gpudoctor pins`: the newest versions that work together here, or why there are none."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from gpudoctor.cli.common import (
    ASSUME,
    OUTPUT,
    AssumeDriverOption,
    AssumeGpuOption,
    Color,
    ColorOption,
    MatrixOption,
    OutputOption,
    PlainFormat,
    PlainFormatOption,
    PythonOption,
    SnapshotOption,
    VerboseOption,
    emit,
    rendering,
    request_for,
    say,
    take_or_read,
)

if TYPE_CHECKING:
    from gpudoctor.model.pins import PinsDocument
    from gpudoctor.model.snapshot import Snapshot
    from gpudoctor.report.pins import Installer, Target

SET = "The set"
_START_BYTES = 1024


class As(str, Enum):
    """What to print of a set."""

    TEXT = "text"
    COMMANDS = "commands"
    UV = "uv"
    PIP = "pip"
    REQUIREMENTS = "requirements"
    CONSTRAINTS = "constraints"
    DOCKERFILE = "dockerfile"


def pins(
    packages: Annotated[
        list[str],
        typer.Argument(
            metavar="PACKAGE...",
            help="Packages that are wanted, the most important first: faster-whisper, whisperx, 'torch>=2.6'.",
            show_default=False,
        ),
    ],
    python: PythonOption = None,
    snapshot: SnapshotOption = None,
    python_version: Annotated[
        str | None,
        typer.Option(
            "--python-version",
            metavar="VERSION",
            help="Choose for this Python, such as 3.11, instead of the judged environment's.",
            rich_help_panel=ASSUME,
        ),
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option(
            "--platform",
            metavar="NAME",
            help="Choose for this platform (linux-x86_64, linux-aarch64, windows-x86_64) instead of this machine's.",
            rich_help_panel=ASSUME,
        ),
    ] = None,
    assume_driver: AssumeDriverOption = None,
    assume_gpu: AssumeGpuOption = None,
    matrix_file: MatrixOption = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Keep the versions that are installed where the set allows it.", rich_help_panel=SET
        ),
    ] = False,
    package_index: Annotated[
        bool,
        typer.Option(
            "--package-index",
            help="Leave out builds of torch that only PyTorch's own index has.",
            rich_help_panel=SET,
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Ask `uv pip compile`, or pip's dry run, whether the set can be installed. Uses the network.",
            rich_help_panel=SET,
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit status 3 when the driver or the GPU is not known.", rich_help_panel=SET),
    ] = False,
    printed_as: Annotated[
        As,
        typer.Option(
            "--as",
            help="Print the set as this instead of for people; `commands` are uv's where there is uv, else pip's.",
            rich_help_panel=OUTPUT,
        ),
    ] = As.TEXT,
    report_format: PlainFormatOption = PlainFormat.TEXT,
    output: OutputOption = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace a file of -o that `pins` did not write.", rich_help_panel=OUTPUT),
    ] = False,
    verbose: VerboseOption = False,
    color: ColorOption = Color.AUTO,
) -> int:
    """Choose the newest versions that work together here, or on an assumed machine; or say why there are none.

    Chosen by the compatibility matrix, without network: what each release requires, pairs with and opens while
    running, which GPUs its build has code for, and which driver that needs. The newest set is the one with the newest
    of what was asked for, the first before the others; of all else it is what fits, from the package index where that
    can be. Exit status 1 when there is no set.

    Examples:
      gpudoctor pins faster-whisper

      gpudoctor pins faster-whisper whisperx 'torch>=2.6' --assume-driver 580.65.06 --assume-gpu "RTX 5090"

      gpudoctor pins whisperx --keep --verify

      gpudoctor pins faster-whisper --python-version 3.12 --as dockerfile -o Dockerfile
    """
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.model.errors import UsageError
    from gpudoctor.pins.beyond import way_round
    from gpudoctor.pins.document import make_document
    from gpudoctor.pins.judged import judge_pins
    from gpudoctor.pins.resolve import choose
    from gpudoctor.pins.types import Conflict
    from gpudoctor.pins.wishes import machine_of, parse_wishes, releases_installed

    if printed_as is not As.TEXT and report_format is not PlainFormat.TEXT:
        raise UsageError("--as and --format cannot be given together")
    if output is not None and not force:
        _refuse_to_replace(output)
    matrix = load_matrix(matrix_file)
    wishes = parse_wishes(packages)
    taken = take_or_read(
        matrix, snapshot, request_for(python=python, assume_driver=assume_driver, assume_gpu=assume_gpu)
    )
    machine = machine_of(matrix, taken, python_version=python_version, platform=platform)
    here = snapshot is None and python_version is None and platform is None
    installed = releases_installed(taken, machine)
    kept = installed if keep else None
    outcome = choose(matrix, machine, wishes, installed=kept, from_package_index=package_index)
    way = None
    if isinstance(outcome, Conflict):
        way = way_round(matrix, machine, wishes, installed=kept, from_package_index=package_index)
    document = make_document(matrix, machine, wishes, outcome, installed=installed, way=way, strict=strict)
    if document.pins:
        document = judge_pins(matrix, machine, document)
    if document.pins and verify:
        document = _verified(document)
    if report_format is PlainFormat.JSON:
        from gpudoctor.report.json import render_document

        emit(render_document(document), output, encoding="utf-8")
        _say_written(output)
        return document.exit_status
    target = _target(taken) if python or here else None
    if printed_as is As.TEXT:
        emit(_text(document, target, output, verbose=verbose, color=color), output)
        _say_written(output)
    else:
        _print_as(document, printed_as, target, output)
    if target and python is None and document.pins:
        _warn_of_own(taken)
    return document.exit_status


def _refuse_to_replace(output: str) -> None:
    """Refuse to write over a file with content that `pins` did not write."""
    from gpudoctor.model.errors import UsageError
    from gpudoctor.report.pins import OURS
    from gpudoctor.system.protocol import CannotLook, NotThere
    from gpudoctor.system.real import RealSystem

    system = RealSystem()
    try:
        file = system.realpath(output)
        if output == "-" or system.stat(file).kind != "file":
            return
        with system.open(file) as reader:
            start = reader.pread(_START_BYTES, 0)
    except (NotThere, CannotLook):
        return  # writing says what is wrong
    if start and not OURS.match(start):
        raise UsageError(f"{output}: is there already, and not written by `gpudoctor pins`; --force replaces it")


def _target(snapshot: Snapshot) -> Target | None:
    """Return what the commands install into: by its own pip, else by the one beside gpudoctor, else by a new one."""
    import importlib.util
    import shlex

    from gpudoctor.model.fact import value_of
    from gpudoctor.report.pins import Target
    from gpudoctor.rules.reading import is_installed

    interpreter = value_of(snapshot.interpreter)
    if interpreter is None:
        return None
    python = shlex.quote(interpreter.executable)
    pip = f"{python} -m pip"
    if not is_installed(snapshot, "pip"):
        beside = importlib.util.find_spec("pip") is not None
        pip = f"{shlex.quote(sys.executable)} -m pip --python {python}" if beside else f"{python} -m ensurepip && {pip}"
    return Target(python=interpreter.executable, pip=pip)


def _warn_of_own(snapshot: Snapshot) -> None:
    """Say so where the commands would install into the environment of gpudoctor itself, which nobody has chosen."""
    from gpudoctor.model.fact import value_of
    from gpudoctor.system.real import RealSystem

    interpreter = value_of(snapshot.interpreter)
    own = RealSystem().realpath(sys.prefix)
    if interpreter is None or snapshot.builds or RealSystem().realpath(interpreter.prefix) != own:
        return
    say(
        f"warning: the set is for the environment that gpudoctor itself runs in ({interpreter.prefix}), and nothing in "
        "it uses a GPU; was another one meant? --python names it"
    )


def _say_written(output: str | None) -> None:
    if output not in (None, "-"):
        say(f"wrote {output}")


def _installer() -> Installer:
    from gpudoctor.system.installer import find_uv
    from gpudoctor.system.real import RealSystem

    return "uv" if find_uv(RealSystem().environ()) else "pip"


def _verified(document: PinsDocument) -> PinsDocument:
    from gpudoctor.pins.document import with_verification
    from gpudoctor.pins.verify import verify
    from gpudoctor.system.real import RealSystem

    say("asking the package index; this takes seconds to minutes")
    return with_verification(document, verify(document, RealSystem().environ()))


def _text(document: PinsDocument, target: Target | None, output: str | None, *, verbose: bool, color: Color) -> str:
    from gpudoctor.report.pins import render_pins

    colored, width, ascii_only = rendering(color, output)
    return render_pins(
        document,
        target=target,
        installer=_installer(),
        verbose=verbose,
        colored=colored,
        width=width,
        ascii_only=ascii_only,
    )


def _print_as(document: PinsDocument, printed_as: As, target: Target | None, output: str | None) -> None:
    """Print what another program reads; where there is no set, say why on standard error and write nothing."""
    from gpudoctor.report.pins import render_as

    if document.conflict is not None:
        way = document.conflict.way
        last = f"; {way.last.package} can be installed last, over it: without --as, `pins` prints how" if way else ""
        say(f"no set: {'; '.join(document.conflict.reasons)}{last}")
        return
    for question in document.open:
        say(question.reason)
    emit(render_as(document, printed_as.value, target, _installer()), output, encoding="utf-8")
    _say_written(output)
