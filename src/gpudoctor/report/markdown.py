"""Reports as Markdown: to paste into an issue, and as a job summary.

Source: GitHub Flavored Markdown Spec 0.29 (https://github.github.com/gfm/, read 2026-11-21).
"""

from __future__ import annotations

import re

from gpudoctor.model.finding import Finding, Report
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.areas import summarize
from gpudoctor.report.details import counted, details, headline, place_of, shown, target_name, why_ignored

_WORDS = {"error": "❌ error", "warning": "⚠️ warning", "note": "ℹ️ note"}  # noqa: RUF001 - the sign for information
_AREA_WORDS = {"error": "❌", "warning": "⚠️", "note": "ℹ️", "ok": "✅", "open": "❔", "skip": "➖"}  # noqa: RUF001
_PUNCTUATION = re.compile(r"[\\`*\[\]#|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_BLOCK_START = re.compile(r"^(\s*)(\d*)([-+=>.):])")
_TICKS = re.compile(r"`+")


def render_markdown(report: Report, snapshot: Snapshot | None, *, command: str) -> str:
    """Return a report as Markdown; nothing from outside becomes markup, a mention or a link."""
    target = report.target
    head = f"## gpudoctor {command}: {counted(report)}"
    facts = [f"Judged: {code(target_name(report))}"]
    if target.python_version:
        facts.append(f"Python {escaped(target.python_version)}")
    facts.append(f"gpudoctor {escaped(report.tool.version)}, matrix {escaped(report.matrix_version)}")
    facts.append(f"exit status {report.summary.exit_status}")
    blocks = [head, " · ".join(facts)]
    if snapshot is not None:
        blocks.append(_areas(report, snapshot))
    blocks += [_finding(finding) for finding in report.findings]
    if report.open:
        questions = "\n".join(f"- {question.rule}: {escaped(question.reason)}" for question in report.open)
        blocks.append(f"### ❔ Not judged\n\n{questions}")
    if report.ignored:
        ignored = "\n".join(
            f"- {escaped(headline(item.finding))}, because: {escaped(why_ignored(item))}" for item in report.ignored
        )
        blocks.append(f"### Ignored\n\n{ignored}")
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Return text from outside as Markdown that shows it and nothing else.

    An empty comment of HTML's would do against mentions too, but not in a table; a zero-width space does everywhere.
    """
    out = shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    out = _PUNCTUATION.sub(r"\\\g<0>", out)
    out = re.sub(r"(?i)www\.", "www&#46;", out.replace("://", "&#58;//"))
    out = re.sub(r"(?i)\b(GH-)(?=\d)", r"\1&#8203;", out)  # GitHub's other way to name an issue
    return out.replace("@", "@&#8203;").replace("\\#", "\\#&#8203;")


def paragraph(text: str) -> str:
    """Return text from outside that begins a line, and yet no list, heading or quotation."""
    return _BLOCK_START.sub(r"\1\2\\\3", escaped(text))


def code(text: str) -> str:
    """Return text from outside as a code span, whatever backticks it holds; in one, nothing is a mention or a link."""
    safe = shown(text)
    if not safe.strip():
        return "(empty)"
    fence = "`" * (max((len(run) for run in _TICKS.findall(safe)), default=0) + 1)
    pad = " " if safe[0] in "` " or safe[-1] in "` " else ""
    return f"{fence}{pad}{safe}{pad}{fence}"


def _areas(report: Report, snapshot: Snapshot) -> str:
    rows = [
        f"| {_AREA_WORDS[area.verdict]} | {escaped(area.name)} | {escaped(area.text)} |"
        for area in summarize(report, snapshot)
    ]
    return "\n".join(("| | area | |", "|---|---|---|", *rows))


def _finding(finding: Finding) -> str:
    lines = [f"### {_WORDS[finding.level]}: {escaped(headline(finding))}", "", paragraph(finding.message), ""]
    place = place_of(finding)
    if place:
        lines.append(f"- at {code(place)}")
    if finding.cause:
        lines.append(f"- cause: {code(finding.cause)}")
    lines += [f"- {escaped(detail.label)}: {code(detail.value)}" for detail in details(finding)]
    for fix in finding.fixes:
        lines += ["", f"**Do:** {escaped(fix.title)}", *_block(fix.commands)]
    if finding.help:
        lines += ["", f"More: {code(finding.help)}"]
    return "\n".join(lines)


def _block(commands: tuple[str, ...]) -> list[str]:
    if not commands:
        return []
    shown_commands = [shown(command) for command in commands]
    longest = max((len(run) for command in shown_commands for run in _TICKS.findall(command)), default=0)
    fence = "`" * max(longest + 1, 3)
    return ["", f"{fence}sh", *shown_commands, fence]
