"""Two states side by side, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from gpudoctor.model.diff import DiffDocument, DiffEntry
from gpudoctor.report.canvas import STYLES, Canvas
from gpudoctor.report.markdown import escaped

_WORDS = {"error": "error", "warning": "warn", "note": "note"}
_LABEL_COLUMNS = 8
_NOUNS = {
    "distribution": ("distribution", "distributions"),
    "library": ("library file", "library files"),
    "resolution": ("answer of the loader", "answers of the loader"),
    "variable": ("LD_LIBRARY_PATH", "variables"),
    "interpreter": ("the Python version", "Python versions"),
    "driver": ("the driver", "drivers"),
    "gpu": ("the GPUs", "GPUs"),
}
_SIDES = {"interpreter": "environment", "snapshot": "snapshot", "lock": "lock"}
_SITE = "{site}"
_NOT_INSTALLED = "not installed"
# So many packages that only one side has, and that have nothing to do with the GPU, are one line.
_TOGETHER = 3
_NAMED = ("variable", "interpreter", "driver", "gpu")


def render_diff(document: DiffDocument, canvas: Canvas) -> str:
    """Return two states side by side as text.

    Args:
        document: What to say.
        canvas: An empty sheet.
    """
    for label, side in (("A", document.left), ("B", document.right)):
        canvas.line((label, "bold"), f"  {side.name}", (f"  ({_SIDES[side.kind]})", "dim"))
    canvas.blank()
    _outcomes(document, canvas)
    entries, on_one_side = _on_one_side(document.differences)
    for entry in entries:
        _entry(entry, canvas)
    for only, packages in on_one_side.items():
        canvas.row(("warn", STYLES["warning"], _LABEL_COLUMNS), value=(f"{len(packages)} distributions", "bold"))
        canvas.row((only, "dim", 3), value=", ".join(packages), indent=_LABEL_COLUMNS)
    if document.differences:
        canvas.blank()
    for question in document.open:
        canvas.row(("open", STYLES["open"], _LABEL_COLUMNS), value=question)
    for equal in document.equal:
        for item in equal.items:
            canvas.row(("same", "dim", _LABEL_COLUMNS), value=item)
    if same := _same(document):
        canvas.row(("same", "dim", _LABEL_COLUMNS), value=same)
    canvas.line((_verdict(document), "bold"))
    if any(_SITE in text for e in document.differences for text in (e.left, e.right, e.message, *e.follows)):
        canvas.line((f"{_SITE} is the site-packages folder of each side", "dim"))
    return canvas.text()


def _outcomes(document: DiffDocument, canvas: Canvas) -> None:
    for outcome in document.outcomes:
        if not outcome.changed:
            continue
        name = outcome.consumer if outcome.scenario == "alone" else f"{outcome.consumer}, after torch"
        canvas.line(("changed", "bold red"), (f" {name}", "bold"))
        canvas.row(("A", "dim", 3), value=outcome.left, indent=_LABEL_COLUMNS)
        canvas.row(("B", "dim", 3), value=outcome.right, indent=_LABEL_COLUMNS)
    if any(o.changed for o in document.outcomes):
        canvas.blank()


def _entry(entry: DiffEntry, canvas: Canvas) -> None:
    canvas.row((_WORDS[entry.level], STYLES[entry.level], _LABEL_COLUMNS), value=(entry.subject, "bold"))
    canvas.row(("A", "dim", 3), value=entry.left, indent=_LABEL_COLUMNS)
    canvas.row(("B", "dim", 3), value=entry.right, indent=_LABEL_COLUMNS)
    if entry.area == "finding":
        canvas.line(entry.message, indent=_LABEL_COLUMNS)
    for text in entry.follows:
        canvas.row(("then", "dim", 6), value=text, indent=_LABEL_COLUMNS)


def _on_one_side(entries: Sequence[DiffEntry]) -> tuple[tuple[DiffEntry, ...], dict[str, list[str]]]:
    """Part the packages that one side has and that have nothing to do with the GPU from all else.

    Returns:
        All else, and names and versions of such packages, by the side that has them; a few are told one by one.
    """
    found: dict[str, list[DiffEntry]] = {"A": [], "B": []}
    for entry in entries:
        beside = entry.area == "distribution" and entry.level == "warning" and not entry.follows
        if beside and _NOT_INSTALLED in (entry.left, entry.right):
            found["B" if entry.left == _NOT_INSTALLED else "A"].append(entry)
    many = {side: own for side, own in found.items() if len(own) >= _TOGETHER}
    told = {id(e) for own in many.values() for e in own}
    rest = tuple(e for e in entries if id(e) not in told)
    return rest, {s: [f"{e.subject} {e.left if s == 'A' else e.right}" for e in own] for s, own in many.items()}


def _same(document: DiffDocument) -> str:
    parts = []
    for equal in document.equal:
        one, many = _NOUNS[equal.area]
        parts.append(one if equal.area in _NAMED else f"{equal.count} {one if equal.count == 1 else many}")
    outcomes = sum(not o.changed for o in document.outcomes)
    if outcomes:
        parts.append(f"the outcome of {outcomes} consumer{'' if outcomes == 1 else 's'}")
    return ", ".join(parts)


def _verdict(document: DiffDocument) -> str:
    count, changed = len(document.differences), sum(o.changed for o in document.outcomes)
    told = f"{count} difference{'' if count == 1 else 's'}" if count else "no difference"
    if changed:
        told += f", {changed} consumer{'' if changed == 1 else 's'} with another outcome"
    if document.open:
        told += f", {len(document.open)} not compared"
    return told


# --- Markdown --------------------------------------------------------------------------------------------------------


def render_diff_markdown(document: DiffDocument) -> str:
    """Return two states side by side as Markdown."""
    lines = [
        f"**{_verdict(document)}**",
        "",
        f"| | A: {escaped(document.left.name)} | B: {escaped(document.right.name)} |",
        "|---|---|---|",
    ]
    for outcome in document.outcomes:
        if outcome.changed:
            lines.append(f"| **{escaped(outcome.consumer)}** | {escaped(outcome.left)} | {escaped(outcome.right)} |")
    lines += [
        f"| {escaped(e.subject)} ({e.level}) | {escaped(e.left)} | {escaped(e.right)} |" for e in document.differences
    ]
    lines += ["", *(f"- {escaped(e.subject)}: {escaped(text)}" for e in document.differences for text in e.follows)]
    lines += [f"- not compared: {escaped(question)}" for question in document.open]
    lines += [f"- same: {escaped(item)}" for equal in document.equal for item in equal.items]
    if same := _same(document):
        lines += ["", f"The same: {same}."]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip("\n") + "\n"
