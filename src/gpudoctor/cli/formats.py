"""One report in each format: the only place that knows them all. `check`, `check --against` and `lint` end here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gpudoctor.cli.common import Format, emit, say

if TYPE_CHECKING:
    from gpudoctor.model.bench import BenchDocument
    from gpudoctor.model.finding import Report
    from gpudoctor.model.snapshot import Snapshot
    from gpudoctor.report.places import Places
    from gpudoctor.system.protocol import ReadSystem

# Tried in this order, in the current folder: the file that says what ought to be installed.
_ANCHORS = ("gpudoctor.lock", "uv.lock", "pylock.toml", "poetry.lock", "pyproject.toml", "requirements.txt")
_LARGEST_BENCH_BYTES = 16 << 20


def print_report(
    report: Report,
    report_format: Format,
    output: str | None,
    *,
    text: Callable[[], str],
    command: str = "check",
    snapshot: Snapshot | None = None,
    fail_on: str = "error",
    anchor: str | None = None,
    lock: str | None = None,
    bench: str | None = None,
) -> None:
    """Write a report to standard output or a file, in the format asked for.

    Args:
        report: The report.
        report_format: The format.
        output: The file; None and `-` are standard output.
        text: Renders the text format; called for no other.
        command: Whose report it is: `check` or `lint`.
        snapshot: What was judged, for the formats that show it.
        fail_on: Least level that failed: `error`, `warning` or `never`.
        anchor: The file that findings which stand in no file are shown at.
        lock: The lock file that was compared, the anchor when none is named.
        bench: A benchmark's document, for html.

    Raises:
        GpuDoctorError: It cannot be written.
        UsageError: The benchmark was asked for in a format that shows none.
        InputFileError: The benchmark's document cannot be read.
    """
    if bench is not None and report_format is not Format.HTML:
        from gpudoctor.model.errors import UsageError

        raise UsageError("--bench is shown by --format html only")
    match report_format:
        case Format.TEXT:
            emit(text(), output)
        case Format.JSON:
            from gpudoctor.report.json import render_json

            emit(render_json(report), output, encoding="utf-8")
        case Format.SARIF:
            emit(_sarif(report, command, anchor or lock), output, encoding="utf-8")
        case Format.JUNIT:
            from gpudoctor.report.junit import render_junit

            emit(render_junit(report, snapshot, command=command, fail_on=fail_on), output, encoding="utf-8")
        case Format.GITHUB:
            _github(report, snapshot, output, command, anchor or lock)
        case Format.MARKDOWN:
            from gpudoctor.report.markdown import render_markdown

            emit(render_markdown(report, snapshot, command=command), output, encoding="utf-8")
        case Format.HTML:
            from gpudoctor.report.html import render_html

            measured = None if bench is None else _read_bench(bench)
            emit(render_html(report, snapshot, command=command, bench=measured), output, encoding="utf-8")


def _sarif(report: Report, command: str, anchor: str | None) -> str:
    from gpudoctor.cli.rule import every_rule
    from gpudoctor.report.sarif import render_sarif
    from gpudoctor.system.real import RealSystem

    places = _places(RealSystem(), anchor)
    homeless = any(f.location is None for f in report.findings) or bool(report.open)
    if homeless and places.anchor is None:
        say("some results stand in no file, and GitHub shows none of those; name one with --anchor FILE")
    return render_sarif(report, every_rule(), places, command=command)


def _github(report: Report, snapshot: Snapshot | None, output: str | None, command: str, anchor: str | None) -> None:
    from gpudoctor.report.github import SUMMARY_LIMIT_BYTES, render_annotations, render_summary
    from gpudoctor.system.appending import append_whole
    from gpudoctor.system.real import RealSystem

    system = RealSystem()
    emit(render_annotations(report, _places(system, anchor), command=command), output, encoding="utf-8")
    summary = system.environ().get("GITHUB_STEP_SUMMARY")
    if summary and not append_whole(summary, render_summary(report, snapshot, command=command), SUMMARY_LIMIT_BYTES):
        say("the job summary of this step is full, so the report was left out of it")


def _places(system: ReadSystem, anchor: str | None) -> Places:
    """Return how paths relate to the repository: in a GitHub job its checkout, elsewhere the current folder."""
    from gpudoctor.report.places import Places

    cwd = system.cwd()
    workspace = (system.environ().get("GITHUB_WORKSPACE") or "").rstrip("/\\")
    inside = workspace and (cwd == workspace or cwd.startswith((f"{workspace}/", f"{workspace}\\")))
    if anchor is None or _kind(system, anchor) == "directory":
        anchor = _usual_anchor(system, anchor)
    return Places(cwd=cwd, root=workspace if inside else cwd, anchor=anchor)


def _usual_anchor(system: ReadSystem, folder: str | None) -> str | None:
    names = (name if folder is None else f"{folder.rstrip('/')}/{name}" for name in _ANCHORS)
    return next((name for name in names if _kind(system, name) == "file"), None)


def _kind(system: ReadSystem, path: str) -> str | None:
    from gpudoctor.system.protocol import CannotLook, NotThere

    try:
        return system.stat(path).kind
    except (NotThere, CannotLook):
        return None


def _read_bench(path: str) -> BenchDocument:
    """Return a benchmark's document.

    Raises:
        InputFileError: It cannot be read, or is no such document.
    """
    import msgspec

    from gpudoctor.model.bench import BenchDocument
    from gpudoctor.model.errors import InputFileError
    from gpudoctor.system.protocol import CannotLook, NotThere
    from gpudoctor.system.real import RealSystem

    try:
        data = RealSystem().read_bytes(path, _LARGEST_BENCH_BYTES)
        return msgspec.json.decode(data, type=BenchDocument)
    except NotThere as error:
        raise InputFileError(f"{path}: no such file; `gpudoctor bench --format json -o {path}` writes one") from error
    except CannotLook as error:
        raise InputFileError(f"cannot read the benchmark: {error.reason}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputFileError(f"{path} is no document of `gpudoctor bench --format json`: {error}") from error
