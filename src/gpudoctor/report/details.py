"""What every format tells of a finding, as text that is safe to show and of bounded length."""

from __future__ import annotations

import msgspec

from gpudoctor.model.finding import Finding, Ignored, Report
from gpudoctor.report.escape import visible

# Longer values come from hostile or broken input: nobody misses the rest, and CI systems refuse reports of megabytes.
MOST_CHARACTERS = 4000
MOST_LINES = 200
_MOST_FILES = 5


class Detail(msgspec.Struct, frozen=True):
    """One labelled line under a finding's message.

    Attributes:
        label: What it is.
        value: The observation, from outside and not yet escaped.
    """

    label: str
    value: str


def shown(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return text from outside with control characters written out, cut with a note when it is very long."""
    if len(text) <= most:
        return visible(text)
    return f"{visible(text[:most])}… ({len(text) - most} more characters)"


def details(finding: Finding) -> tuple[Detail, ...]:
    """Return what a finding rests on and what follows from it."""
    lines = [Detail(item.label, item.value) for item in finding.evidence]
    lines += [Detail("then", text) for text in finding.consequences]
    if finding.facts:
        lines.append(Detail("facts", ", ".join(finding.facts)))
    return tuple(lines[:MOST_LINES])


def plain_lines(finding: Finding) -> tuple[str, ...]:
    """Return the details, the ways out and the page of a finding as plain lines, safe to show."""
    lines = [f"{shown(item.label)}: {shown(item.value)}" for item in details(finding)]
    for fix in finding.fixes:
        lines.append(f"do: {shown(fix.title)}")
        lines += [f"    {shown(command)}" for command in fix.commands]
    return (*lines, f"more: {finding.help}") if finding.help else tuple(lines)


def why_ignored(item: Ignored) -> str:
    """Return the reason why a finding is set aside, where that is settled, and until when."""
    line = f", line {item.by.line}" if item.by.line else ""
    until = f", until {item.until}" if item.until else ""
    return shown(f"{item.reason} ({item.by.file}{line}{until})")


def place_of(finding: Finding) -> str | None:
    """Return `file:line`, as editors understand it, or None."""
    place = finding.location
    if place is None:
        return None
    return shown(f"{place.file}:{place.line}" if place.line else place.file)


def headline(finding: Finding) -> str:
    """Return the rule and whom it concerns."""
    return f"{finding.rule} {finding.name} ({shown(finding.subject.name, 200)})"


def counted(report: Report) -> str:
    """Return the counts of a report in words."""
    summary = report.summary
    parts = [_count(summary.errors, "error"), _count(summary.warnings, "warning"), _count(summary.notes, "note")]
    if summary.open:
        parts.append(f"{summary.open} not judged")
    if report.ignored:
        parts.append(f"{len(report.ignored)} ignored")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def judged(report: Report) -> str:
    """Return what a report is about."""
    version = f" (Python {report.target.python_version})" if report.target.python_version else ""
    return shown(f"{target_name(report)}{version}", 500)


def target_name(report: Report) -> str:
    """Return the program, interpreter or files that were judged, as named from outside."""
    target = report.target
    left_out = len(target.files) - _MOST_FILES
    more = f" and {left_out} more" if left_out > 0 else ""
    return target.binary or target.python or f"{', '.join(target.files[:_MOST_FILES])}{more}" or "no target"


def properties(report: Report, command: str) -> dict[str, str]:
    """Return what identifies a report: target, versions, counts, exit status."""
    target, counts = report.target, report.summary
    pairs = {
        "command": command,
        "tool": f"{report.tool.name} {report.tool.version}",
        "matrix_version": report.matrix_version,
        "python": target.python,
        "python_version": target.python_version,
        "binary": target.binary,
        "files": ", ".join(target.files) or None,
        "config": report.config,
        "errors": str(counts.errors),
        "warnings": str(counts.warnings),
        "notes": str(counts.notes),
        "open": str(counts.open),
        "ignored": str(len(report.ignored)),
        "exit_status": str(counts.exit_status),
    }
    return {name: shown(value) for name, value in pairs.items() if value is not None}
