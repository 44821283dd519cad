"""The sample, the figures, the GPU's samples, memory, tolerances, and what changed since an earlier document."""

from __future__ import annotations

import io
import os
import re
import sys
import wave
from pathlib import Path

import msgspec
import pytest

from fakehw.build import build
from gpudoctor.bench.agreement import Outputs, compare_outputs, tolerance_of
from gpudoctor.bench.gpu_watch import GpuWatch, _Line, summarize
from gpudoctor.bench.jobs import Shop
from gpudoctor.bench.measure import doubts_of, spread_of
from gpudoctor.bench.memory import judge_memory
from gpudoctor.bench.models import choose_model
from gpudoctor.bench.sample import sample_wav
from gpudoctor.matrix.claims import NeedsMemory
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.bench import BenchRun, GpuUse, Spread
from gpudoctor.system.real import RealSystem
from gpudoctor.system.worker import Worker
from support.benchruns import RUN

MATRIX = load_matrix(None)


def test_the_sample_is_the_same_every_time_and_as_long_as_its_windows() -> None:
    one, two = sample_wav(), sample_wav(2)
    assert one == sample_wav()
    for data, seconds in ((one, 30), (two, 60)):
        with wave.open(io.BytesIO(data)) as sound:
            assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
            assert sound.getnframes() == seconds * 16000
    with wave.open(io.BytesIO(one)) as sound:
        samples = memoryview(sound.readframes(480000)).cast("h")
    assert 2000 < max(samples) <= 32767
    assert any(not any(samples[i : i + 3200]) for i in range(0, 480000, 3200))  # a pause


def test_one_run_alone_has_no_spread() -> None:
    assert spread_of([2.0]) == Spread(median=2.0, min=2.0, max=2.0, stdev=None, runs=1)
    assert spread_of([1.0, 2.0, 9.0]).median == 2.0


def _run(**changes: object) -> BenchRun:
    return msgspec.structs.replace(RUN, **changes)


def test_doubts_are_told() -> None:
    assert doubts_of(_run()) == ()
    assert "one run alone" in doubts_of(_run(inference_s=spread_of([1.0])))[0]
    assert "50% longer" in doubts_of(_run(inference_s=spread_of([1.0, 1.0, 1.5])))[0]
    assert "different numbers" in doubts_of(_run(tokens_vary=True))[0]
    assert "waited for a processor 40% of the time" in doubts_of(_run(waited_share=0.4))[0]
    assert "power-cap" in doubts_of(_run(gpu=GpuUse(throttle=("power-cap",))))[0]


def test_the_gpu_is_summed_up_by_process_where_it_is_named() -> None:
    lines = [
        _Line("gpu", clock_max_mhz=1980),
        _Line("sample", memory=(100, 900), processes=(), clock_mhz=210, busy=0, throttle=1),
        _Line("sample", memory=(400, 600), processes=((7, 250), (8, 50)), clock_mhz=1900, busy=90, throttle=4),
        _Line("sample", memory=(300, 700), processes=((7, 200),), clock_mhz=1800, busy=50, throttle=0),
    ]
    assert summarize(lines, 7) == GpuUse(
        peak_bytes=250,
        scope="process",
        least_free_bytes=600,
        clock_mhz=1850,
        clock_max_mhz=1980,
        throttle=("power-cap",),
        samples=3,
    )
    other = summarize(lines, 99)
    assert other is not None
    assert (other.peak_bytes, other.scope) == (300, "increase")
    assert summarize(lines[:1], 7) is None


def test_watching_a_gpu_ends_at_once_and_keeps_what_was_seen(tmp_path: Path) -> None:
    settings = "driver = 550.54.15\ngpu0.name = A\ngpu0.total = 1000\ngpu0.free = 400\n"
    watch = GpuWatch({**os.environ, **build(tmp_path).environment(settings)})
    worker = watch._worker
    assert worker is not None
    use = watch.stop()
    assert use is not None
    assert use.least_free_bytes == 400
    # Whoever follows it came to its end, and no thread waits for a child that is gone.
    assert not watch._thread.is_alive()
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_memory_that_was_measured_is_a_fact_and_the_rest_an_estimate() -> None:
    documented = next(f.claim for f in MATRIX.data.facts if isinstance(f.claim, NeedsMemory) and f.status != "inferred")
    model = choose_model(RealSystem(), MATRIX, f"synthetic:{documented.model}")
    judged = judge_memory(MATRIX, model, documented.compute_type, documented.batch_size, documented.peak_bytes)
    assert judged is not None
    assert (judged.basis, judged.needed_bytes, judged.fits) == ("documented", documented.peak_bytes, True)
    tiny = choose_model(RealSystem(), MATRIX, "synthetic:tiny")
    guess = judge_memory(MATRIX, tiny, "bfloat16", 3, None)
    assert guess is not None
    assert (guess.basis, guess.fits) == ("estimate", None)


def test_more_bits_and_more_windows_take_more() -> None:
    model = choose_model(RealSystem(), MATRIX, "synthetic:medium")
    sizes = [
        judge_memory(MATRIX, model, kind, batch, None).needed_bytes or 0  # type: ignore[union-attr]
        for kind, batch in (("int8_bfloat16", None), ("bfloat16", None), ("bfloat16", 8))
    ]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


def test_a_format_that_nobody_knows_gets_the_widest_tolerance() -> None:
    assert tolerance_of("float32") < tolerance_of("float16") < tolerance_of("int8_float16") == tolerance_of("auto")


def test_what_cannot_be_compared_does_not_agree() -> None:
    shop = Shop("/bin/false", {}, 5.0)
    (found,) = compare_outputs(shop, "/r", [Outputs("/o", "m", "cuda", "float16", synthetic=True)])
    assert not found.agrees
    assert found.encoder_error is None


@pytest.mark.parametrize(
    ("program", "status", "lost"),
    [
        ("os._exit(3)", 3, False),
        ("os.kill(os.getpid(), 11)", -11, False),
        ("os.close(int(sys.argv[1])); import time; time.sleep(600)", -9, True),
    ],
)
def test_a_worker_that_tells_nothing_still_comes_to_an_end(program: str, status: int, lost: bool) -> None:
    worker = Worker((sys.executable, "-c", f"import os, sys; {program}"), {})
    ending = worker.follow(lambda line: True, 60.0)
    assert (ending.status, ending.lost_pipe, ending.timed_out) == (status, lost, False)


def test_output_is_cut_in_the_middle() -> None:
    script = "echo first; head -c 5000000 /dev/zero | tr '\\0' 'x'; echo; echo last"
    worker = Worker(("/bin/sh", "-c", script, "sh"), {"PATH": "/usr/bin:/bin"})
    output = worker.follow(lambda line: True, 20.0).output
    lines = output.lines()
    assert (lines[0], lines[-1]) == (b"first", b"last")
    assert output.dropped_bytes > 4_000_000
    assert any(re.search(rb"bytes left out", line) for line in lines)
