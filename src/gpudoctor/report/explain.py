"""The answer of `explain` as text and Markdown; whatever the log holds is escaped."""

from __future__ import annotations

from gpudoctor.model.explanation import Explanation, RankedCause
from gpudoctor.model.finding import Fix
from gpudoctor.report.canvas import Canvas
from gpudoctor.report.markdown import code, escaped

_COLUMNS = 10
_BRIEF_FIXES = 1


def render_explanation(
    explanation: Explanation, name: str, *, verbose: bool, colored: bool, width: int, ascii_only: bool
) -> str:
    """Return the explanation as text.

    Args:
        explanation: The answer.
        name: What was read: a file, standard input or a command.
        verbose: Also show signatures, named parts and all fixes of the lesser causes.
        colored: Whether to colour.
        width: Columns.
        ascii_only: Whether the terminal shows only ASCII.
    """
    canvas = Canvas(colored=colored, width=width, ascii_only=ascii_only)
    lines = "1 line" if explanation.lines == 1 else f"{explanation.lines} lines"
    canvas.line(("gpudoctor explain", "bold"), f"  {name}, {lines}")
    canvas.blank()
    if not explanation.causes:
        canvas.line(("not recognised", "magenta"))
    for place, cause in enumerate(explanation.causes):
        if place == 1:
            canvas.line(("also possible", "bold"), ("  each judged for itself", "dim"))
            canvas.blank()
        _cause(canvas, cause, full=verbose or place == 0, verbose=verbose)
        canvas.blank()
    _tail(canvas, explanation)
    return canvas.text()


def _cause(canvas: Canvas, cause: RankedCause, *, full: bool, verbose: bool) -> None:
    where = f"  line {cause.line}" if cause.line else ""
    style = "bold red" if full else "yellow"
    canvas.line((cause.cause, style), f"  {round(cause.confidence * 100)} %", (where, "dim"))
    canvas.verbatim(cause.excerpt, indent=4)
    _row(canvas, "means", cause.explanation)
    if cause.not_this and full:
        _row(canvas, "not", cause.not_this)
    if cause.decided:
        _row(canvas, "decided", cause.decided)
    for fix in cause.fixes if full else cause.fixes[:_BRIEF_FIXES]:
        _fix(canvas, fix)
    for rule in cause.rules if full else ():
        _row(canvas, "rule", f"gpudoctor rule {rule}")
    if verbose:
        _row(canvas, "matched", ", ".join(cause.signatures))
        for name, value in cause.parts.items():
            _row(canvas, name[: _COLUMNS - 1], value)


def _fix(canvas: Canvas, fix: Fix) -> None:
    canvas.row(("do", "dim", _COLUMNS), value=(fix.title, "bold"), indent=4)
    for command in fix.commands:
        canvas.verbatim(command, indent=4 + _COLUMNS + 2)


def _row(canvas: Canvas, label: str, value: str) -> None:
    canvas.row((label, "dim", _COLUMNS), value=value, indent=4)


def _tail(canvas: Canvas, explanation: Explanation) -> None:
    if explanation.ending is not None:
        canvas.line(("ended by ", "dim"), _ended(explanation), indent=0)
    if explanation.harmless:
        canvas.line(("not the cause", "green"))
        for item in explanation.harmless:
            canvas.verbatim(f"line {item.line}: {item.excerpt}", indent=2, style="dim")
            canvas.line(item.explanation, indent=4)
        canvas.blank()
    if explanation.advice:
        canvas.line(explanation.advice)


def _ended(explanation: Explanation) -> str:
    ending = explanation.ending
    if ending is None:
        return ""
    return f"{ending.signal or f'status {ending.status}'}: {ending.explanation}"


def render_explanation_markdown(explanation: Explanation, name: str) -> str:
    """Return the explanation as Markdown, for an issue or a chat."""
    parts = [f"# What {code(name)} says"]
    if not explanation.causes:
        parts.append("**Not recognised.**")
    for cause in explanation.causes:
        parts += _markdown_cause(cause)
    if explanation.ending is not None:
        parts.append(f"Ended by {escaped(_ended(explanation))}.")
    if explanation.harmless:
        parts.append("## Not the cause")
        parts += [f"- line {h.line}: {code(h.excerpt)}: {escaped(h.explanation)}" for h in explanation.harmless]
    if explanation.advice:
        parts.append(escaped(explanation.advice))
    return "\n\n".join(parts) + "\n"


def _markdown_cause(cause: RankedCause) -> list[str]:
    where = f", line {cause.line}" if cause.line else ""
    parts = [f"## {code(cause.cause)}, {round(cause.confidence * 100)} %{where}", code(cause.excerpt)]
    parts.append(escaped(cause.explanation))
    if cause.not_this:
        parts.append(f"**Not:** {escaped(cause.not_this)}")
    if cause.decided:
        parts.append(f"**Decided:** {escaped(cause.decided)}")
    for fix in cause.fixes:
        commands = "".join(f"\n  - {code(command)}" for command in fix.commands)
        parts.append(f"- {escaped(fix.title)}{commands}")
    if cause.rules:
        parts.append("Rules: " + ", ".join(code(rule) for rule in cause.rules))
    return parts
