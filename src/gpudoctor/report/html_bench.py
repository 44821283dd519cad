"""The chart of a benchmark: one bar a run, longer is faster."""

from __future__ import annotations

from gpudoctor.model.bench import BenchDocument, BenchRun
from gpudoctor.report.bench import other_failures
from gpudoctor.report.html_text import outside

GIB = 1 << 30
_MOST_RUNS = 100


def bench_section(bench: BenchDocument) -> str:
    """Return the section: what was measured, on what, what failed, and why the GPU was not used."""
    runs = bench.runs[:_MOST_RUNS]
    fastest = max((run.speed_x_realtime for run in runs), default=0.0)
    rows = "".join(_row(run, fastest) for run in runs)
    chart = (
        '<table class="bench">\n<caption>Seconds of audio for each second of work: longer is faster</caption>\n'
        '<thead class="hidden"><tr><th scope="col">run</th><th scope="col">speed</th></tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table>\n"
    )
    body = f"{_machine(bench)}{chart if runs else '<p>Nothing could be measured.</p>'}{_troubles(bench)}"
    return f'<section aria-labelledby="bench">\n<h2 id="bench">Benchmark</h2>\n{body}</section>\n'


def _row(run: BenchRun, fastest: float) -> str:
    share = 100 * run.speed_x_realtime / fastest if fastest > 0 else 0
    spread = run.inference_s
    told = [f"median {spread.median:.3g} s of {run.audio_s:.3g} s audio ({spread.min:.3g} to {spread.max:.3g} s)"]
    if run.peak_gpu_memory_bytes:
        told.append(f"{run.peak_gpu_memory_bytes / GIB:.1f} GiB of GPU memory")
    if run.synthetic:
        told.append("random weights")
    return (
        f'<tr><th scope="row">{outside(run.model)}<small>{run.device}, {outside(run.compute_type)}</small></th>'
        f'<td><div class="bar {run.device}" style="width:{max(share, 0.5):.1f}%"></div>'
        f"<b>{run.speed_x_realtime:.3g}×</b> <small>{outside(', '.join(told))}</small></td></tr>\n"  # noqa: RUF001
    )


def _machine(bench: BenchDocument) -> str:
    machine, settings = bench.machine, bench.settings
    parts = [machine.gpu, machine.cpu, f"driver {machine.driver}" if machine.driver else None]
    parts.append(f"faster-whisper {bench.target.faster_whisper}" if bench.target.faster_whisper else None)
    parts.append(f"beam {settings.beam_size}, {settings.runs} runs, taken {bench.taken_at}")
    return f"<p>{outside(', '.join(part for part in parts if part))}</p>\n"


def _troubles(bench: BenchDocument) -> str:
    lines = []
    if bench.fallback is not None:
        lines.append(f"The GPU was not used: {bench.fallback.reason}")
    for failure in other_failures(bench):
        what = " ".join(part for part in (failure.model, failure.device, failure.compute_type) if part)
        lines.append(f"{what} failed during {failure.stage}: {failure.reason}")
    lines += [
        f"{a.model} on {a.device} in {a.compute_type} does not compute what {a.reference} does: distrust its figure"
        for a in bench.agreement
        if not a.agrees
    ]
    lines += bench.notes
    items = "".join(f"<li>{outside(line)}</li>\n" for line in lines[:_MOST_RUNS])
    return f'<ul class="plain">\n{items}</ul>\n' if items else ""
