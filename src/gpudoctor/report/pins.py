"""A set of pins as text, and as what installers and image builders read."""

from __future__ import annotations

import re
import shlex
from typing import Literal

from gpudoctor.model.base import Frozen
from gpudoctor.model.pins import Pin, PinsDocument, PinsWay, Verification
from gpudoctor.report.canvas import STYLES, Canvas
from gpudoctor.report.escape import visible

Style = Literal["text", "commands", "uv", "pip", "requirements", "constraints", "dockerfile"]
Installer = Literal["uv", "pip"]

_HEAD = "# Chosen by gpudoctor pins, matrix {version}, for {machine}."
OURS = re.compile(
    rb"# Chosen by gpudoctor pins|gpudoctor \S+  pins for "
    rb'|\{\n "schema_version": \d+,\n "tool": \{[^{}]*\},\n "matrix_version": "[^"]*",\n "machine": \{\n  "python": '
)
"""How what `pins` writes starts: another run may replace it, but no report or snapshot, say."""
_MOST_FACTS = 6
_BASE_IMAGE = "python:{python}-slim"


class Target(Frozen, frozen=True, kw_only=True):
    """The environment that the commands install into.

    Attributes:
        python: Its interpreter.
        pip: The words that start a pip which installs into it, as a shell reads them.
    """

    python: str
    pip: str


def render_pins(
    document: PinsDocument,
    *,
    target: Target | None,
    installer: Installer,
    verbose: bool,
    colored: bool,
    width: int,
    ascii_only: bool,
) -> str:
    """Return a set, or why there is none, for people.

    Args:
        document: The set.
        target: What the commands install into; None for whichever is active.
        installer: Whose commands.
        verbose: Say of each package why it is there.
        colored: Whether to colour.
        width: Columns.
        ascii_only: Whether the terminal shows only ASCII.
    """
    canvas = Canvas(colored=colored, width=width, ascii_only=ascii_only)
    canvas.line(f"gpudoctor {document.tool.version}  pins for {_machine(document)}")
    canvas.blank()
    if document.conflict is not None:
        _show_conflict(canvas, document, verbose=verbose)
        if document.conflict.way is not None:
            _show_way(canvas, document.conflict.way, target, installer)
        return canvas.text()
    _show_pins(canvas, document, verbose=verbose)
    canvas.line("Install it:", indent=2)
    for command in commands(document.pins, target, installer):
        canvas.verbatim(command, indent=4)
    _show_settings(canvas, document.library_directories, target)
    _show_judgement(canvas, document)
    return canvas.text()


def _machine(document: PinsDocument) -> str:
    machine = document.machine
    known = [f"Python {machine.python}", machine.platform]
    known += [f"driver {machine.driver}" if machine.driver else "no driver known"]
    known += [", ".join(machine.gpus) if machine.gpus else "no GPU known"]
    return ", ".join(known)


def _show_conflict(canvas: Canvas, document: PinsDocument, *, verbose: bool) -> None:
    conflict = document.conflict
    if conflict is None:
        return
    between = _joined(conflict.between)
    verb = "cannot be had together" if len(conflict.between) > 1 else "cannot be had"
    canvas.line(("no set", STYLES["error"]), f"  {between} {verb}:")
    for reason in conflict.reasons:
        canvas.line(f"- {reason}", indent=4)
    if conflict.facts:
        shown = conflict.facts if verbose else conflict.facts[:_MOST_FACTS]
        left = len(conflict.facts) - len(shown)
        rest = f" and {left} more (-v names them)" if left else ""
        canvas.line(f"facts: {', '.join(shown)}{rest}  (gpudoctor matrix show ID)", indent=4)


def _show_way(canvas: Canvas, way: PinsWay, target: Target | None, installer: Installer) -> None:
    last = way.last.package
    canvas.blank()
    canvas.line(
        f"What works all the same: {last} installed last, over the files of {way.over}, and once more after "
        f"every install that touches {way.over}:",
        indent=2,
    )
    for command in commands(way.pins, target, installer):
        canvas.verbatim(command, indent=4)
    over = shlex.quote(way.last.requirement)
    index = f"--index-url {shlex.quote(way.last.index)} " if way.last.index else ""
    canvas.verbatim(f"{_install(target, installer)} --no-deps --force-reinstall {index}{over}", indent=4)
    _show_settings(canvas, way.library_directories, target)


def _joined(names: tuple[str, ...]) -> str:
    return " and ".join(", ".join(names).rsplit(", ", 1))


def _show_pins(canvas: Canvas, document: PinsDocument, *, verbose: bool) -> None:
    columns = max(len(pin.requirement) for pin in document.pins) + 2
    for pin in document.pins:
        notes = [*(["installed already"] if pin.kept else []), *([pin.index] if pin.index else [])]
        why = pin.because if verbose else pin.because[:1]
        canvas.row((pin.requirement, "bold", columns), value="; ".join((*notes, *why)), indent=2)
    if document.left_to_installer:
        canvas.line(f"and what they require besides: {', '.join(document.left_to_installer)}", indent=2)
    if not all(pin.exact for pin in document.pins):
        canvas.line("<= names the newest release that fits; an installer may have to take an older one", indent=2)
    canvas.blank()


def _show_settings(canvas: Canvas, folders: tuple[str, ...], target: Target | None) -> None:
    if not folders:
        return
    named = f" --python {shlex.quote(target.python)}" if target else ""
    canvas.blank()
    canvas.line("Then make the environment find its libraries, which these packages do not search for:", indent=2)
    canvas.verbatim(f"gpudoctor fix{named} --apply", indent=4)
    canvas.line(
        f"or put {_joined(folders)} (below site-packages) on LD_LIBRARY_PATH before the "
        "process starts; `gpudoctor env` prints it.",
        indent=2,
    )


def _show_judgement(canvas: Canvas, document: PinsDocument) -> None:
    if document.notes or document.findings or document.open or document.verification:
        canvas.blank()
    for note in document.notes:
        canvas.line(("note", STYLES["note"]), f"  {note}", indent=2)
    if document.verification is not None:
        _show_verification(canvas, document.verification)
    for finding in document.findings:
        canvas.line((finding.level, STYLES[finding.level]), f" {finding.rule}  {finding.message}", indent=2)
    for question in document.open:
        canvas.line(("not judged", STYLES["open"]), f"  {question.reason}", indent=2)


def _show_verification(canvas: Canvas, verification: Verification) -> None:
    answer, style = {
        True: ("accepts the set", "ok"),
        False: ("refuses the set", "error"),
        None: ("could not tell", "open"),
    }[verification.accepted]
    canvas.line((f"{verification.installer} {answer}", STYLES[style]), indent=2)
    for line in verification.message.splitlines():
        canvas.line(line, indent=4)


# --- what others read ------------------------------------------------------------------------------------------------


def commands(pins: tuple[Pin, ...], target: Target | None, installer: Installer) -> tuple[str, ...]:
    """Return the commands that install a set: one for each index."""
    install = _install(target, installer)
    lines = []
    for index in _indexes(pins):
        chosen = " ".join(shlex.quote(pin.requirement) for pin in pins if pin.index == index)
        lines.append(f"{install} --index-url {shlex.quote(index)} {chosen}")
    rest = " ".join(shlex.quote(pin.requirement) for pin in pins if pin.index is None)
    return (*lines, f"{install} {rest}") if rest else tuple(lines)


def _install(target: Target | None, installer: Installer) -> str:
    if installer == "pip":
        return f"{target.pip if target else 'python -m pip'} install"
    return f"uv pip install --python {shlex.quote(target.python)}" if target else "uv pip install"


def render_as(document: PinsDocument, style: Style, target: Target | None, installer: Installer) -> str:
    """Return a set for installers or image builders; see Style. `commands` are those of the installer that is given."""
    if style in ("commands", "uv", "pip"):
        installer = style if style in ("uv", "pip") else installer
        return "".join(f"{command}\n" for command in commands(document.pins, target, installer))
    if style == "dockerfile":
        return _dockerfile(document)
    lines = [_head(document)]
    lines += [f"--extra-index-url {index}" for index in _indexes(document.pins) if style == "requirements"]
    lines += [pin.requirement if style == "requirements" else f"{pin.package}{pin.condition}" for pin in document.pins]
    return "".join(f"{line}\n" for line in lines)


def _head(document: PinsDocument) -> str:
    """Return the first line, a comment: a GPU's name out of a snapshot must not begin a second one."""
    return visible(_HEAD.format(version=document.matrix_version, machine=_machine(document)))


def _indexes(pins: tuple[Pin, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pin.index for pin in pins if pin.index))


def _dockerfile(document: PinsDocument) -> str:
    """The wheels bring all of CUDA that is needed, and the container runtime brings the driver: no CUDA image."""
    short = ".".join(document.machine.python.split(".")[:2])
    site = f"/opt/venv/lib/python{short}/site-packages"
    lines = [_head(document), f"FROM {_BASE_IMAGE.format(python=short)}", "RUN python -m venv /opt/venv"]
    for index in _indexes(document.pins):
        lines.append(_run_pip([p for p in document.pins if p.index == index], f" --index-url {shlex.quote(index)}"))
    lines.append(_run_pip([p for p in document.pins if p.index is None], ""))
    settings = ["PATH=/opt/venv/bin:$PATH", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"]
    if document.library_directories:
        settings.append(f"LD_LIBRARY_PATH={':'.join(f'{site}/{folder}' for folder in document.library_directories)}")
    lines.append("ENV " + " \\\n    ".join(settings))
    return "\n".join(lines) + "\n"


def _run_pip(pins: list[Pin], option: str) -> str:
    wanted = " \\\n    ".join(shlex.quote(pin.requirement) for pin in pins)
    return f"RUN /opt/venv/bin/pip install --no-cache-dir{option} \\\n    {wanted}"
