"""Reports as one self-contained HTML file: no scripts, no requests, light and dark, for paper and phones too."""

from __future__ import annotations

from html import escape

from gpudoctor.model.bench import BenchDocument
from gpudoctor.model.finding import Finding, Fix, Report
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.areas import Area, summarize
from gpudoctor.report.details import counted, details, judged, place_of, why_ignored
from gpudoctor.report.html_bench import bench_section
from gpudoctor.report.html_picture import picture_section
from gpudoctor.report.html_style import STYLE
from gpudoctor.report.html_text import outside

# Nothing is fetched and nothing runs, whatever a report holds: the browser refuses what escaping would let through.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_AREA_WORDS = {
    "error": "fails",
    "warning": "warning",
    "note": "note",
    "ok": "ok",
    "open": "not judged",
    "skip": "nothing to judge",
}


def render_html(report: Report, snapshot: Snapshot | None, *, command: str, bench: BenchDocument | None = None) -> str:
    """Return a report as an HTML document.

    Args:
        report: The report.
        snapshot: What was judged: the areas and the picture of who loads what; None for files.
        command: Whose report it is: `check` or `lint`.
        bench: What a benchmark measured.
    """
    title = f"gpudoctor {command}: {counted(report)}"
    sections = [
        _areas(summarize(report, snapshot)) if snapshot is not None else "",
        _findings(report),
        _open(report),
        _ignored(report),
        picture_section(snapshot) if snapshot is not None else "",
        bench_section(bench) if bench is not None else "",
    ]
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{outside(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        f"{_header(report, command)}<main>\n{''.join(sections)}</main>\n{_footer(report)}</body>\n</html>\n"
    )


def section(name: str, title: str, body: str) -> str:
    """Return a section with its heading, as a landmark that screen readers list."""
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{body}</section>\n'


def _header(report: Report, command: str) -> str:
    status = report.summary.exit_status
    verdict = _verdict(report)
    facts = {
        "judged": judged(report),
        "settings": report.config,
        "tool": f"gpudoctor {report.tool.version}, matrix {report.matrix_version}",
        "exit status": str(status),
    }
    rows = "".join(
        f"<div><dt>{name}</dt><dd>{outside(value)}</dd></div>\n" for name, value in facts.items() if value is not None
    )
    return (
        f'<header>\n<p class="brand">gpudoctor {escape(command)}</p>\n'
        f'<h1 class="{verdict}"><span class="mark" aria-hidden="true"></span>{outside(_headline(report))}</h1>\n'
        f'<p class="counts">{outside(counted(report))}</p>\n<dl class="facts">\n{rows}</dl>\n</header>\n'
    )


def _verdict(report: Report) -> str:
    counts = report.summary
    if counts.errors or counts.warnings:
        return "error" if counts.errors else "warning"
    return "open" if counts.open else "ok"


def _headline(report: Report) -> str:
    return {
        "error": "Something is wrong",
        "warning": "It works, with warnings",
        "open": "Nothing wrong was found, but not everything could be judged",
        "ok": "Nothing wrong was found",
    }[_verdict(report)]


def _areas(areas: tuple[Area, ...]) -> str:
    rows = "".join(
        f'<tr class="{area.verdict}"><th scope="row">{outside(area.name)}</th>'
        f'<td><span class="badge {area.verdict}">{_AREA_WORDS[area.verdict]}</span></td>'
        f"<td>{outside(area.text)}</td></tr>\n"
        for area in areas
    )
    columns = "".join(f'<th scope="col">{name}</th>' for name in ("area", "verdict", "what is there"))
    head = f'<thead class="hidden"><tr>{columns}</tr></thead>'
    return section("verdicts", "Verdicts", f'<table class="areas">\n{head}\n<tbody>\n{rows}</tbody>\n</table>\n')


def _findings(report: Report) -> str:
    body = "".join(_finding(finding) for finding in report.findings) or "<p>None.</p>\n"
    return section("findings", "Findings", body)


def _finding(finding: Finding) -> str:
    place = place_of(finding)
    at = f'<p class="place"><code>{escape(place)}</code></p>\n' if place else ""
    cause = f' <span class="cause">cause: {outside(finding.cause)}</span>' if finding.cause else ""
    rows = "".join(
        f"<div><dt>{outside(item.label)}</dt><dd>{outside(item.value)}</dd></div>\n" for item in details(finding)
    )
    return (
        f'<article class="finding {finding.level}">\n<h3><span class="badge {finding.level}">{finding.level}</span> '
        f"{outside(finding.rule)} {outside(finding.name)}"
        f' <span class="subject">{outside(finding.subject.name)}</span></h3>\n{at}'
        f'<p class="message">{outside(finding.message)}</p>\n{_ways_out(finding.fixes)}'
        f'<details>\n<summary>Evidence{cause}</summary>\n<dl class="evidence">\n{rows}'
        f"<div><dt>known</dt><dd>{_CONFIDENCE[finding.confidence]}</dd></div>\n"
        f"<div><dt>more</dt><dd><code>{outside(finding.help)}</code></dd></div>\n</dl>\n</details>\n</article>\n"
    )


_CONFIDENCE = {
    "proved": "proved: a probe showed it",
    "read": "read from files",
    "table": "from the compatibility matrix",
}


def _ways_out(fixes: tuple[Fix, ...]) -> str:
    if not fixes:
        return ""
    items = "".join(
        f"<li><p>{outside(fix.title)}</p>"
        + (
            f"<pre><code>{chr(10).join(outside(command) for command in fix.commands)}</code></pre>"
            if fix.commands
            else ""
        )
        + "</li>\n"
        for fix in fixes
    )
    return f'<h4>What to do</h4>\n<ol class="fixes">\n{items}</ol>\n'


def _open(report: Report) -> str:
    if not report.open:
        return ""
    items = "".join(
        f'<li><span class="badge open">{outside(question.rule)}</span> {outside(question.reason)}</li>\n'
        for question in report.open
    )
    return section("open", "Not judged", f'<ul class="plain">\n{items}</ul>\n')


def _ignored(report: Report) -> str:
    if not report.ignored:
        return ""
    items = "".join(
        f"<li>{outside(item.finding.rule)} {outside(item.finding.name)}: {outside(item.finding.message)}"
        f"<br>because: {outside(why_ignored(item))}</li>\n"
        for item in report.ignored
    )
    return section("ignored", "Ignored", f'<ul class="plain">\n{items}</ul>\n')


def _footer(report: Report) -> str:
    return (
        f"<footer>\n<p>Written by gpudoctor {outside(report.tool.version)} with the compatibility matrix "
        f"{outside(report.matrix_version)}. <code>gpudoctor rule ID</code> explains a rule.</p>\n</footer>\n"
    )
