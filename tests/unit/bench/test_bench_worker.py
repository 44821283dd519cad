"""The child's own code: what is inside the timed region, and what is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gpudoctor.system.children import bench_worker


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter

    def work(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(bench_worker, "time", clock)
    # Asking how long it waited is no transcribing.
    monkeypatch.setattr(bench_worker, "waited_s", lambda: clock.work(13) or clock.now / 100)
    return clock


def _faster_whisper(clock: Clock) -> ModuleType:
    module = ModuleType("faster_whisper")

    class Tokenizer:
        def token_to_id(self, token: str) -> int:
            clock.work(7)
            return 3

        def get_vocab_size(self) -> int:
            clock.work(7)
            return 6

    class Segment:
        @property
        def tokens(self) -> list[int]:
            clock.work(11)  # counting is no transcribing
            return [0, 1]

        text = "x"

    class WhisperModel:
        def __init__(self, *_: object, **__: object) -> None:
            clock.work(50)
            self.hf_tokenizer = Tokenizer()

        def transcribe(self, audio: object, **options: Any) -> tuple[Iterator[Segment], None]:
            assert options["suppress_tokens"] == [3, 4, 5]
            options["suppress_tokens"].append(0)
            clock.work(1)
            return self._segments(), None

        def _segments(self) -> Iterator[Segment]:
            for _ in range(3):
                clock.work(2)
                yield Segment()

    def decode_audio(path: str, sampling_rate: int) -> bytes:
        clock.work(1000)
        return bytes(sampling_rate * 30)

    vars(module).update(WhisperModel=WhisperModel, decode_audio=decode_audio)
    return module


JOB = {
    "audio": "a.wav",
    "model": "m",
    "device": "cpu",
    "compute_type": "int8",
    "threads": 1,
    "warmup": 1,
    "runs": 3,
    "least_runs": 3,
    "enough_s": None,
    "batch_size": None,
    "beam_size": 5,
    "max_new_tokens": 9,
    "synthetic": False,
    "outputs": None,
}


def test_the_timed_region_holds_nothing_but_the_transcription(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", _faster_whisper(clock))
    said: list[dict[str, Any]] = []
    bench_worker.run(JOB, lambda event, **fields: said.append({"event": event, **fields}))
    runs = [d for d in said if d["event"] == "run"]
    # One for the call, two for each of three segments: neither decoding, loading, the options nor the counting.
    assert [(d["kind"], d["s"], d["tokens"]) for d in runs] == [("warm-up", 7.0, 6), *[("run", 7.0, 6)] * 3]
    assert next(d["s"] for d in said if d["event"] == "loaded") == 50.0
    assert next(d["audio_s"] for d in said if d["event"] == "audio") == 30.0


@pytest.mark.parametrize(("enough_s", "runs"), [(None, 9), (7.0, 3), (27.0, 4), (1000.0, 9)])
def test_long_runs_are_fewer_but_never_fewer_than_the_least(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, enough_s: float | None, runs: int
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", _faster_whisper(clock))
    said: list[dict[str, Any]] = []
    job = {**JOB, "runs": 9, "enough_s": enough_s}
    bench_worker.run(job, lambda event, **fields: said.append({"event": event, **fields}))
    timed = [d for d in said if d["event"] == "run" and d["kind"] == "run"]
    assert len(timed) == runs
    # What the counter said after the transcription of 7 s and its own 13 s, less what it said before.
    assert [d["waited_s"] for d in timed] == pytest.approx([0.20] * runs)


_SHARING = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import bench_worker
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
other = os.fork()
before, until = bench_worker.waited_s(), time.monotonic() + 0.5
while time.monotonic() < until:
    pass
if other:
    print(bench_worker.waited_s() - before)
    os.waitpid(other, 0)
"""


def test_a_process_that_shares_its_processor_waits() -> None:
    argv = [sys.executable, "-c", _SHARING, os.path.dirname(bench_worker.__file__)]
    waited = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert float(waited) > 0.05


def test_windows_of_a_batch_cover_the_audio() -> None:
    class Pipeline:
        def __init__(self, model: object) -> None:
            self.transcribe = None

    tokenizer = SimpleNamespace(token_to_id=lambda token: 1, get_vocab_size=lambda: 2)
    model = SimpleNamespace(hf_tokenizer=tokenizer)
    module = SimpleNamespace(BatchedInferencePipeline=Pipeline)
    _, options = bench_worker.prepare(module, model, {**JOB, "batch_size": 2}, 70.5)
    windows = options()["clip_timestamps"]
    assert [(w["start"], w["end"]) for w in windows] == [(0.0, 30.0), (30.0, 60.0), (60.0, 70.5)]


def test_an_exception_is_told_with_what_caused_it() -> None:
    error = ValueError("b")
    error.__cause__ = OSError("a" * 10_000)
    told = bench_worker.told(error)
    assert told["words"] == ["ValueError: b", ("OSError: " + "a" * 10_000)[: bench_worker.MESSAGE_CHARS]]
    assert "builtins.Exception" in told["kinds"]  # type: ignore[operator]
