"""Reports as text for people: a summary, then each finding with what, why, evidence and what to do."""

from __future__ import annotations

from gpudoctor.model.finding import Finding, Fix, Report
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.areas import summarize
from gpudoctor.report.canvas import STYLES, Canvas
from gpudoctor.report.escape import visible
from gpudoctor.rules.base import Rule

_WORDS = {"error": "FAIL", "warning": "warn", "note": "note", "ok": "ok", "open": "?", "skip": "-"}
_LEAST_LABEL_COLUMNS = 10


def render_check(
    report: Report,
    snapshot: Snapshot,
    *,
    verbose: bool,
    quiet: bool,
    colored: bool,
    width: int,
    ascii_only: bool,
) -> str:
    """Return the report of `check` as text; empty when quiet and there is nothing to say."""
    canvas = Canvas(colored=colored, width=width, ascii_only=ascii_only)
    if not quiet:
        _head(canvas, report, snapshot)
    told: set[Fix] = set()
    for finding in report.findings:
        _finding(canvas, finding, told)
        if verbose:
            _searches(canvas, finding, snapshot)
        canvas.blank()
    if report.open and not quiet:
        _open_questions(canvas, report)
    if verbose and not quiet:
        _ignored(canvas, report)
    if not quiet:
        _tail(canvas, report)
    return canvas.text()


def render_findings(canvas: Canvas, findings: tuple[Finding, ...]) -> None:
    """Add findings to a canvas, in the order given."""
    told: set[Fix] = set()
    for finding in findings:
        _finding(canvas, finding, told)
        canvas.blank()


def render_tail(canvas: Canvas, report: Report, *, verbose: bool, quiet: bool) -> None:
    """Add what was not judged, what was ignored, and the counts; nothing when quiet."""
    if quiet:
        return
    if report.open:
        _open_questions(canvas, report)
    if verbose:
        _ignored(canvas, report)
    _tail(canvas, report)


def _head(canvas: Canvas, report: Report, snapshot: Snapshot) -> None:
    target = report.target
    judged = target.binary or target.python or "no target"
    version = f" (Python {target.python_version})" if target.python_version else ""
    settings = f", settings of {report.config}" if report.config else ""
    canvas.line((f"gpudoctor {report.tool.version}", "bold"), f"  {judged}{version}{settings}")
    canvas.blank()
    areas = summarize(report, snapshot)
    columns = max(len(visible(a.name)) for a in areas) + 2
    for area in areas:
        word = _WORDS[area.verdict]
        canvas.row((area.name, "", columns), (word, STYLES[area.verdict], 6), value=area.text, indent=2)
    canvas.blank()


def _finding(canvas: Canvas, finding: Finding, told: set[Fix]) -> None:
    """Add a finding; the commands of a fix that was `told` with an earlier one are not said again."""
    cause = f"  cause: {finding.cause}" if finding.cause else ""
    where = f"  {finding.location.file}" if finding.location else ""
    where += f":{finding.location.line}" if finding.location and finding.location.line else ""
    name = (f" {finding.rule} {finding.name}", "bold")
    canvas.line((finding.level, STYLES[finding.level]), name, where, (cause, "dim"))
    canvas.line(finding.message, indent=2)
    columns = max(_LEAST_LABEL_COLUMNS, *(len(visible(item.label)) for item in finding.evidence), 0) + 2
    for item in finding.evidence:
        canvas.row((item.label, "dim", columns), value=item.value, indent=4)
    for text in finding.consequences:
        canvas.row(("then", "dim", columns), value=text, indent=4)
    for fix in finding.fixes:
        again = bool(fix.commands) and fix in told
        title = f"As above: {fix.title}" if again else fix.title
        canvas.row(("do", "dim", columns), value=(title, "bold"), indent=4)
        for command in () if again else fix.commands:
            canvas.verbatim(command, indent=4 + columns + 2)
    told.update(finding.fixes)
    canvas.row(("more", "dim", columns), value=finding.help, indent=4)


def _searches(canvas: Canvas, finding: Finding, snapshot: Snapshot) -> None:
    if finding.subject.kind != "consumer":
        return
    for resolution in snapshot.resolutions:
        if resolution.consumer == finding.subject.name and resolution.outcome != "present":
            _resolution(canvas, resolution, indent=4, verbose=True)


def _resolution(canvas: Canvas, resolution: Resolution, *, indent: int, verbose: bool) -> None:
    word, style = {"present": ("ok", "green"), "absent": ("FAIL", "bold red"), "unknown": ("?", "magenta")}[
        resolution.outcome
    ]
    if resolution.assumed and resolution.outcome == "absent":
        word, style = "none", "yellow"  # whether anybody misses it is not known
    where = resolution.path or resolution.reason or ""
    via = f"  [{resolution.found_via}]" if resolution.found_via else ""
    canvas.line((f"{word:<6}", style), (resolution.soname, "bold"), indent=indent)
    canvas.verbatim(f"{where}{via}", indent=indent + 6)
    canvas.line(
        f"{'opened' if resolution.link == 'dlopen' else 'linked'} by {resolution.requester}, {resolution.when}",
        indent=indent + 6,
    )
    if resolution.shadowed:
        canvas.line("without LD_LIBRARY_PATH it would be:", indent=indent + 6)
        canvas.verbatim(resolution.shadowed, indent=indent + 8)
    if verbose:
        for step in resolution.searched:
            canvas.verbatim(f"{step.result:<14} {step.rule:<28} {step.path}", indent=indent + 6, style="dim")


def _open_questions(canvas: Canvas, report: Report) -> None:
    canvas.line(("not judged", STYLES["open"]))
    for question in report.open:
        canvas.row((question.rule, "", 8), value=question.reason, indent=2)
    canvas.blank()


def _ignored(canvas: Canvas, report: Report) -> None:
    for item in report.ignored:
        where = f"{item.by.file}, line {item.by.line}" if item.by.line else item.by.file
        until = f", until {item.until}" if item.until else ""
        canvas.line(("ignored", "dim"), f" {item.finding.rule} {item.finding.name}: {item.finding.message}")
        canvas.row(("because", "dim", _LEAST_LABEL_COLUMNS), value=f"{item.reason} ({where}{until})", indent=4)
    if report.ignored:
        canvas.blank()


def _tail(canvas: Canvas, report: Report) -> None:
    counts = report.summary
    parts = [_count(counts.errors, "error"), _count(counts.warnings, "warning"), _count(counts.notes, "note")]
    if counts.open:
        parts.append(f"{counts.open} not judged")
    if report.ignored:
        parts.append(f"{len(report.ignored)} ignored by {report.config}")
    canvas.line((", ".join(parts), "bold"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def render_libs(snapshot: Snapshot, *, verbose: bool, colored: bool, width: int, ascii_only: bool) -> str:
    """Return the loader's answers as text, grouped by consumer and scenario."""
    canvas = Canvas(colored=colored, width=width, ascii_only=ascii_only)
    group = None
    for resolution in snapshot.resolutions:
        key = (resolution.consumer, resolution.scenario)
        if key != group:
            if group is not None:
                canvas.blank()
            group = key
            words = "in a process of its own" if resolution.scenario == "alone" else "after torch was imported"
            canvas.line((resolution.consumer, "bold"), f", {words}")
        _resolution(canvas, resolution, indent=2, verbose=verbose)
    if group is None:
        canvas.line("No installed consumer opens a GPU library here, or none could be emulated:")
        for report in snapshot.probes:
            if report.status != "ok":
                canvas.line(f"{report.probe}: {report.status}, {report.detail or ''}", indent=2)
    return canvas.text()


def render_rule_list(rules: tuple[Rule, ...], *, colored: bool, width: int, ascii_only: bool) -> str:
    """Return one line per rule."""
    canvas = Canvas(colored=colored, width=width, ascii_only=ascii_only)
    columns = max(len(r.name) for r in rules) + 2
    for rule in rules:
        canvas.line(
            (f"{rule.id}  ", "bold"), (f"{rule.level:<9}", STYLES[rule.level]), f"{rule.name:<{columns}}", rule.title
        )
    return canvas.text()


def render_rule_page(rule: Rule, *, colored: bool, width: int, ascii_only: bool) -> str:
    """Return a rule's page: rendered Markdown on a terminal, the source itself when piped."""
    head = f"# {rule.id} {rule.name}\n\n{rule.title}.\n\n"
    source = head + rule.page.strip() + "\n"
    if not colored:
        return source.encode("ascii", "backslashreplace").decode() if ascii_only else source
    import io

    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(file=io.StringIO(), force_terminal=True, width=min(width, 100))
    console.print(Markdown(source))
    file = console.file
    assert isinstance(file, io.StringIO)  # noqa: S101 - set three lines above
    return file.getvalue()
