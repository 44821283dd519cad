"""From what a child told of its runs to figures, and what makes them doubtful."""

from __future__ import annotations

import statistics

from gpudoctor.bench.jobs import Event, JobResult
from gpudoctor.bench.models import ModelChoice
from gpudoctor.model.bench import BenchRun, Device, GpuUse, Spread

_UNSTEADY = 0.2
# The threads of NumPy and CTranslate2 wait for each other by turning in circles: up to a tenth on a quiet machine.
_BUSY = 0.2


def measured_run(
    result: JobResult, model: ModelChoice, device: Device, compute_type: str, use: GpuUse | None, threads: int
) -> BenchRun:
    """Return the figures of a run that succeeded.

    Args:
        result: What its child told.
        model: The model.
        device: Where it ran.
        compute_type: Number format.
        use: What NVML saw.
        threads: Threads of the processor that it was given.
    """
    timed = [e for e in result.all("run") if e.kind == "run"]
    warm = [e.s for e in result.all("run") if e.kind == "warm-up"]
    audio, loaded, imported, end, text = (
        result.first(kind) or Event("") for kind in ("audio", "loaded", "imported", "end", "text")
    )
    spread = spread_of([e.s for e in timed])
    return BenchRun(
        device=device,
        compute_type=compute_type,
        model=model.given,
        synthetic=model.kind == "synthetic",
        audio_s=audio.audio_s,
        load_s=loaded.s,
        first_s=warm[0] if warm else None,
        inference_s=spread,
        speed_x_realtime=audio.audio_s / spread.median if spread.median else 0.0,
        realtime_factor=spread.median / audio.audio_s if audio.audio_s else 0.0,
        tokens=timed[-1].tokens,
        tokens_vary=len({e.tokens for e in timed}) > 1,
        threads=threads,
        waited_share=_waited_share(timed, threads if device == "cpu" else 1),
        import_s=imported.s,
        peak_gpu_memory_bytes=use.peak_bytes if use else None,
        peak_rss_bytes=end.peak_rss_bytes,
        gpu=use,
        text=text.text or None,
    )


def _waited_share(timed: list[Event], threads: int) -> float:
    whole_s = sum(e.s for e in timed) * threads
    return min(1.0, max(0.0, sum(e.waited_s for e in timed) / whole_s)) if whole_s else 0.0


def spread_of(seconds: list[float]) -> Spread:
    """Return the median and the spread of several times."""
    return Spread(
        median=statistics.median(seconds),
        min=min(seconds),
        max=max(seconds),
        stdev=statistics.stdev(seconds) if len(seconds) > 1 else None,
        runs=len(seconds),
    )


def doubts_of(run: BenchRun) -> tuple[str, ...]:
    """Return why the figures of a run are to be taken with care, in sentences."""
    name = f"{run.model} on {where(run.device)} in {run.compute_type}"
    spread = run.inference_s
    doubts: list[str] = []
    if spread.runs == 1:
        doubts.append(f"{name}: one run alone tells nothing of the spread; --runs 3 does.")
    if run.tokens_vary:
        doubts.append(f"{name}: the runs decoded different numbers of tokens; their times do not compare.")
    if run.waited_share > _BUSY:
        doubts.append(
            f"{name}: its threads waited for a processor {run.waited_share:.0%} of the time: the machine is busy with "
            "other work, and the times are too long."
        )
    elif spread.max > spread.median * (1 + _UNSTEADY):
        doubts.append(
            f"{name}: the slowest run took {spread.max / spread.median - 1:.0%} longer than the median: the machine "
            "was busy with other work, or changed its clock."
        )
    if run.gpu and run.gpu.throttle:
        doubts.append(f"{name}: the GPU was slowed down ({', '.join(run.gpu.throttle)}).")
    return tuple(doubts)


def where(device: Device) -> str:
    """Return a device as people say it."""
    return "the GPU" if device == "cuda" else "the CPU"
