"""A measured run, for tests of what is made of it."""

from __future__ import annotations

from gpudoctor.bench.measure import spread_of
from gpudoctor.model.bench import BenchRun

RUN = BenchRun(
    device="cuda",
    compute_type="float16",
    model="m",
    synthetic=True,
    audio_s=30.0,
    load_s=1.0,
    first_s=1.0,
    inference_s=spread_of([1.0, 1.0, 1.1]),
    speed_x_realtime=30.0,
    realtime_factor=1 / 30,
    tokens=5,
)
