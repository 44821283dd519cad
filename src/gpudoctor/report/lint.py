"""The report of `lint` as text: the files, each finding with its place, what is open."""

from __future__ import annotations

from gpudoctor.model.finding import Finding, Report
from gpudoctor.report.canvas import Canvas
from gpudoctor.report.text import render_findings, render_tail

_MOST_FILES = 12


def render_lint(
    report: Report,
    files: tuple[str, ...],
    judged_for: tuple[str, ...],
    *,
    verbose: bool,
    quiet: bool,
    colored: bool,
    width: int,
    ascii_only: bool,
) -> str:
    """Return the report as text; empty when quiet and there is nothing to say.

    Args:
        report: The report.
        files: Every file that was read.
        judged_for: The machine, in words: platform, Python, driver, GPUs.
        verbose: Show every file.
        quiet: Findings only.
        colored: Whether to colour.
        width: Columns.
        ascii_only: Whether the terminal shows only ASCII.
    """
    canvas = Canvas(colored=colored, width=width, ascii_only=ascii_only)
    if not quiet:
        settings = f", settings of {report.config}" if report.config else ""
        canvas.line((f"gpudoctor {report.tool.version}", "bold"), f"  lint{settings}")
        canvas.blank()
        shown = files if verbose else files[:_MOST_FILES]
        more = len(files) - len(shown)
        canvas.row(("files", "", 8), value=", ".join(shown) + (f" and {more} more" if more else ""), indent=2)
        canvas.row(("for", "", 8), value=", ".join(judged_for), indent=2)
        canvas.blank()
    render_findings(canvas, tuple(sorted(report.findings, key=_by_level_and_place)))
    render_tail(canvas, report, verbose=verbose, quiet=quiet)
    return canvas.text()


def _by_level_and_place(finding: Finding) -> tuple[int, str, int, str]:
    rank = {"error": 0, "warning": 1, "note": 2}[finding.level]
    place = finding.location
    return (rank, place.file if place else "", (place.line or 0) if place else 0, finding.rule)
