"""Reports as GitHub workflow commands, which become annotations, and as a job summary.

Source: "Workflow commands for GitHub Actions" (https://docs.github.com/en/actions/reference/workflow-commands, read
2026-11-21); the escapes are those of actions/toolkit and of the runner's own parser, which looks for commands in every
line of output: hence nothing from outside stands in a line that is not a command's own.
"""

from __future__ import annotations

from gpudoctor.model.finding import Finding, Report
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.details import counted, judged, plain_lines, shown
from gpudoctor.report.markdown import render_markdown
from gpudoctor.report.places import Places

# One step's summary; GitHub drops a longer one whole.
SUMMARY_LIMIT_BYTES = 1 << 20
_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
# What GitHub keeps of an annotation's message.
_MOST_MESSAGE_CHARACTERS = 4000
_FINDINGS_IN_SUMMARY = 50


def render_annotations(report: Report, places: Places, *, command: str) -> str:
    """Return one workflow command a finding and open question, in two groups of the log."""
    title = f"gpudoctor {command}: {counted(report)}, exit status {report.summary.exit_status}"
    lines = [f"::group::{_data(f'{title} ({judged(report)}; {_versions(report)})')}"]
    lines += [_annotation(finding, places) for finding in report.findings]
    lines.append("::endgroup::")
    if report.open:
        lines.append("::group::gpudoctor: not judged")
        lines += [
            f"::notice title={_property(f'{question.rule} not judged')}::{_data(shown(question.reason))}"
            for question in report.open
        ]
        lines.append("::endgroup::")
    return "\n".join(lines) + "\n"


def _versions(report: Report) -> str:
    return shown(f"gpudoctor {report.tool.version}, matrix {report.matrix_version}")


def _annotation(finding: Finding, places: Places) -> str:
    parts = []
    place = places.of(finding)
    if place is not None:
        parts += [f"file={_property(shown(place.file))}", f"line={place.line or 1}"]
    parts.append(f"title={_property(f'{finding.rule} {finding.name}')}")
    message = "\n".join((shown(finding.message), *plain_lines(finding)))
    return f"::{_COMMANDS[finding.level]} {','.join(parts)}::{_data(message[:_MOST_MESSAGE_CHARACTERS])}"


def _data(text: str) -> str:
    """Escape a command's message; the percent sign first."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a property's value, which a colon or a comma would end."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def render_summary(report: Report, snapshot: Snapshot | None, *, command: str) -> str:
    """Return the job summary: the report as Markdown, shortened where GitHub would drop it for its size."""
    whole = render_markdown(report, snapshot, command=command)
    if len(whole.encode()) * 2 <= SUMMARY_LIMIT_BYTES:
        return whole + "\n"
    return _shortened(report, snapshot, command) + "\n"


def _shortened(report: Report, snapshot: Snapshot | None, command: str) -> str:
    """Return the summary with fewer findings, half as many until it fits; says how many are left out."""
    from msgspec.structs import replace

    kept = min(len(report.findings), _FINDINGS_IN_SUMMARY)
    while True:
        part = replace(report, findings=report.findings[:kept], open=report.open[:kept])
        left_out = len(report.findings) + len(report.open) - len(part.findings) - len(part.open)
        text = render_markdown(part, snapshot, command=command)
        if kept == 0 or len(text.encode()) * 2 <= SUMMARY_LIMIT_BYTES:
            return f"{text}\n{left_out} more results are in the log: a job summary holds no more.\n"
        kept //= 2
