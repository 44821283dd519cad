"""What a benchmark is asked for."""

from __future__ import annotations

from typing import Literal

import msgspec

DEFAULT_STEP_LIMIT_S = 180.0
DEFAULT_MODEL = "synthetic:tiny"
# CTranslate2 decodes half the length that it is allowed, less one: 200 and the four tokens of the prompt make 101
# tokens a window, as much as half a minute of quick English has.
MAX_NEW_TOKENS = 200
DEFAULT_RUNS = 5
# Where nobody said how many runs: so many are the least that have a median and a spread, and no more follow once they
# took so long together. A large model on a CPU takes minutes a run.
LEAST_RUNS = 3
ENOUGH_S = 20.0


class BenchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure.

    Attributes:
        python: Interpreter or environment folder; None for the default.
        own_python: The interpreter that runs gpudoctor.
        assignments: `NAME=VALUE` as in `--env`.
        env_file: File as in `--env-file`.
        models: As in `--model`.
        device: Where; `auto` is the GPU, and the CPU when that fails.
        compute_types: Number formats; empty for the ones that suit each device.
        audio: File; None for the sample.
        beam_size: Beams of the search.
        batch_size: Windows decoded at once; None for the sequential pipeline.
        runs: Runs that count; None for DEFAULT_RUNS, or fewer where they take long.
        warmup: Runs before them.
        threads: Threads of the processor; None for the default.
        step_limit_s: Most seconds that one step may take.
        compare: Measure GPU and CPU, and compare what they compute.
        repair: Set what `gpudoctor env` computes.
    """

    python: str | None = None
    own_python: str | None = None
    assignments: tuple[str, ...] = ()
    env_file: str | None = None
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    device: Literal["auto", "cuda", "cpu"] = "auto"
    compute_types: tuple[str, ...] = ()
    audio: str | None = None
    beam_size: int = 5
    batch_size: int | None = None
    runs: int | None = None
    warmup: int = 1
    threads: int | None = None
    step_limit_s: float = DEFAULT_STEP_LIMIT_S
    compare: bool = False
    repair: bool = True
