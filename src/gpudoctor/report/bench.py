"""A benchmark as text for a terminal, and as Markdown for an issue."""

from __future__ import annotations

from collections.abc import Iterable

from gpudoctor.model.bench import Against, Agreement, BenchDocument, BenchFailure, BenchRun, Fallback, MemoryJudgement
from gpudoctor.report.canvas import Canvas
from gpudoctor.report.escape import visible
from gpudoctor.report.markdown import escaped

_BAR_COLUMNS = 40
_HEAD = ("model", "device", "compute type", "load", "first", "inference", "x real time", "memory")


def render_bench(document: BenchDocument, *, colored: bool, width: int, ascii_only: bool) -> str:
    """Return a benchmark as text."""
    canvas = Canvas(colored=colored, width=width, ascii_only=ascii_only)
    _head(canvas, document)
    if document.runs:
        _table(canvas, document.runs)
        _bars(canvas, document.runs, ascii_only=ascii_only)
    _failures(canvas, document)
    for rows in (_memory_rows(document.memory), _agreement_rows(document.agreement), _against_rows(document.against)):
        for text, style in rows:
            canvas.line((text, style))
        if rows:
            canvas.blank()
    for note in document.notes:
        canvas.row(("note", "cyan", 6), value=note)
    return canvas.text()


def _head(canvas: Canvas, document: BenchDocument) -> None:
    canvas.line((f"gpudoctor {document.tool.version} bench", "bold"), f"  {document.target.python}")
    for label, value in _facts(document):
        canvas.row((label, "dim", 10), value=value, indent=2)
    canvas.blank()


def _facts(document: BenchDocument) -> list[tuple[str, str]]:
    target, machine, settings = document.target, document.machine, document.settings
    processors = f"{machine.cpu_threads} of {machine.cpus_usable or '?'} threads"
    gpu = [machine.gpu or "none that could be asked", machine.driver and f"driver {machine.driver}"]
    if machine.gpu_memory_total_bytes:
        gpu.insert(1, _size(machine.gpu_memory_total_bytes))
    length = f"{settings.audio_s:.1f} s" if settings.audio_s is not None else "not read"
    batch = f", batches of {settings.batch_size}" if settings.batch_size else ""
    facts = [
        ("software", f"faster-whisper {target.faster_whisper or '?'}, CTranslate2 {target.ctranslate2 or '?'}"),
        ("CPU", f"{machine.cpu or 'unknown'}, {processors}"),
        ("GPU", ", ".join(part for part in gpu if part)),
        ("audio", f"{settings.audio} ({length}), beam {settings.beam_size}{batch}"),
        ("runs", f"{settings.warmup} to warm up, then {_runs(document)}: the median, and from the least to the most"),
    ]
    if target.library_path is not None:
        facts.append(("repaired", f"LD_LIBRARY_PATH={target.library_path}"))
    return facts


def _runs(document: BenchDocument) -> str:
    counts = {run.inference_s.runs for run in document.runs} or {document.settings.runs}
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def _cells(run: BenchRun) -> tuple[str, ...]:
    spread = run.inference_s
    first = f"{_seconds(run.first_s)} s" if run.first_s is not None else "-"
    memory = f"GPU {_size(run.peak_gpu_memory_bytes)}, " if run.peak_gpu_memory_bytes is not None else ""
    return (
        run.model,
        run.device,
        run.compute_type,
        f"{_seconds(run.load_s)} s",
        first,
        f"{_seconds(spread.median)} s ({_seconds(spread.min)}-{_seconds(spread.max)})",
        f"{run.speed_x_realtime:.1f}",
        f"{memory}RAM {_size(run.peak_rss_bytes)}",
    )


def _table(canvas: Canvas, runs: tuple[BenchRun, ...]) -> None:
    rows = [tuple(visible(cell) for cell in _cells(run)) for run in runs]
    columns = [max(len(row[i]) for row in (_HEAD, *rows)) + 2 for i in range(len(_HEAD))]
    for number, row in enumerate((_HEAD, *rows)):
        text = "".join(cell.ljust(width) for cell, width in zip(row, columns, strict=True))
        canvas.verbatim(text.rstrip(), style="bold" if number == 0 else "")
    canvas.blank()


def _bars(canvas: Canvas, runs: tuple[BenchRun, ...], *, ascii_only: bool) -> None:
    """Draw the speeds: seconds of audio for each second of work."""
    most = max(run.speed_x_realtime for run in runs) or 1.0
    names = [visible(f"{run.model} {run.device} {run.compute_type}") for run in runs]
    columns = max(len(name) for name in names) + 2
    for name, run in zip(names, runs, strict=True):
        bar = ("#" if ascii_only else "█") * max(1, round(run.speed_x_realtime / most * _BAR_COLUMNS))
        canvas.verbatim(f"{name.ljust(columns)}{bar} {run.speed_x_realtime:.1f} x real time")
    canvas.blank()


def _failures(canvas: Canvas, document: BenchDocument) -> None:
    fallback = document.fallback
    if fallback is not None:
        went = "; the CPU was used instead" if document.device_used == "cpu" else ""
        canvas.line(
            ("no GPU result", "bold red" if document.exit_status else "yellow"),
            (f"  cause: {fallback.cause or 'none fits'}", "dim"),
            went,
        )
        _why(canvas, fallback)
    for failure in other_failures(document):
        canvas.line((f"failed {_what(failure)}", "yellow"), (f"  cause: {failure.cause or 'none fits'}", "dim"))
        _why(canvas, failure)


def other_failures(document: BenchDocument) -> list[BenchFailure]:
    """Return the failures that the reason of the fallback does not tell."""
    told = document.fallback.reason if document.fallback is not None else None
    return [failure for failure in document.failures if failure.reason != told]


def _what(failure: BenchFailure) -> str:
    return " ".join(part for part in (failure.model, failure.device, failure.compute_type) if part)


def _why(canvas: Canvas, failure: Fallback | BenchFailure) -> None:
    canvas.line(failure.reason, indent=2)
    if failure.free_gpu_memory_bytes is not None:
        canvas.row(("free", "dim", 6), value=f"{_size(failure.free_gpu_memory_bytes)} of GPU memory then", indent=4)
    for fix in failure.fixes:
        canvas.row(("do", "dim", 6), value=(fix.title, "bold"), indent=4)
        for command in fix.commands:
            canvas.verbatim(command, indent=12)
    if failure.rule:
        canvas.row(("more", "dim", 6), value=f"gpudoctor rule {failure.rule}", indent=4)
    canvas.blank()


def _memory_rows(judged: Iterable[MemoryJudgement]) -> list[tuple[str, str]]:
    words = {True: "fits", False: "is expected not to fit", None: "cannot be judged"}
    return [
        (
            f"memory  {m.model} {m.compute_type} {words[m.fits]}: takes {_size(m.needed_bytes)} "
            f"({'measured elsewhere' if m.basis == 'documented' else 'an estimate'}), {_size(m.free_bytes)} free",
            "yellow" if m.fits is False else "",
        )
        for m in judged
    ]


def _agreement_rows(agreement: Iterable[Agreement]) -> list[tuple[str, str]]:
    return [
        (
            f"{'same' if a.agrees else 'DIFFERS'}  {a.model} {a.device} {a.compute_type} against {a.reference}: "
            f"encoder off by {_share(a.encoder_error)}, log-probabilities by {_share(a.log_prob_error)} "
            f"(at most {a.tolerance:.0%}){_tokens(a)}",
            "" if a.agrees else "bold red",
        )
        for a in agreement
    ]


def _tokens(agreement: Agreement) -> str:
    return "" if agreement.tokens_equal is None else f", {agreement.tokens_equal:.0%} of the tokens equal"


def _against_rows(against: Against | None) -> list[tuple[str, str]]:
    if against is None:
        return []
    rows = [
        (
            f"{'slower' if c.slower else 'ok':<7} {c.model} {c.device} {c.compute_type}: {_seconds(c.before_s)} s "
            f"then, {_seconds(c.now_s)} s now ({c.ratio - 1:+.0%}, allowed +{against.tolerance:.0%})",
            "bold red" if c.slower else "",
        )
        for c in against.changes
    ]
    rows += [(f"missing {name} was measured in {against.file} and not now", "yellow") for name in against.missing]
    rows += [(f"differs {text}", "yellow") for text in against.differences]
    if not against.changes:
        rows.append((f"Nothing here can be compared with {against.file}.", "bold red"))
    return rows


def render_bench_markdown(document: BenchDocument) -> str:
    """Return a benchmark as Markdown to paste."""
    lines = [f"**gpudoctor {document.tool.version} bench**", ""]
    lines += [f"- {label}: {escaped(value)}" for label, value in _facts(document) if label != "repaired"]
    lines.append("")
    if document.runs:
        lines.append("| " + " | ".join(_HEAD) + " |")
        lines.append("|" + " --- |" * len(_HEAD))
        lines += ["| " + " | ".join(escaped(cell) for cell in _cells(run)) + " |" for run in document.runs]
        lines.append("")
    if document.fallback is not None:
        lines.append(
            f"No GPU result, cause `{document.fallback.cause or 'none fits'}`: {escaped(document.fallback.reason)}"
        )
        lines.append("")
    for failure in other_failures(document):
        lines.append(
            f"- failed {escaped(_what(failure))}, cause `{failure.cause or 'none fits'}`: {escaped(failure.reason)}"
        )
    for rows in (_memory_rows(document.memory), _agreement_rows(document.agreement), _against_rows(document.against)):
        lines += [f"- {escaped(text)}" for text, _ in rows]
    lines += [f"- {escaped(note)}" for note in document.notes]
    return "\n".join(lines).rstrip("\n") + "\n"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "no number" if value is None else f"{value:.1%}"


def _size(size_bytes: int | None) -> str:
    return "?" if size_bytes is None else f"{size_bytes / (1 << 20):,.0f} MiB"
