"""What a benchmark measured, and the document that `bench --format json` prints."""

from __future__ import annotations

from typing import Literal

from gpudoctor.model.base import Frozen
from gpudoctor.model.finding import Fix, Tool

BENCH_SCHEMA_VERSION = 1

Device = Literal["cuda", "cpu"]
Stage = Literal["start", "import", "model", "audio", "load", "warm-up", "run", "outputs"]
Basis = Literal["documented", "estimate"]


class BenchTarget(Frozen, frozen=True, kw_only=True):
    """What was run.

    Attributes:
        python: Interpreter path.
        python_version: Its version.
        faster_whisper: Version of faster-whisper in it.
        ctranslate2: Version of CTranslate2 in it.
        library_path: The LD_LIBRARY_PATH that `gpudoctor env` computed and that was set; None when nothing was.
    """

    python: str
    python_version: str | None = None
    faster_whisper: str | None = None
    ctranslate2: str | None = None
    library_path: str | None = None


class BenchMachine(Frozen, frozen=True, kw_only=True):
    """On what it was run.

    Attributes:
        cpu: Model name of the processor.
        cpu_threads: Threads that each run was given.
        cpus_usable: Processors that this process may use.
        gpu: Name of the GPU; None when there is none or nobody could ask.
        compute_capability: Of the GPU, dotted.
        driver: Release of the NVIDIA driver.
        gpu_memory_total_bytes: Memory of the GPU.
    """

    cpu: str | None = None
    cpu_threads: int = 0
    cpus_usable: int | None = None
    gpu: str | None = None
    compute_capability: str | None = None
    driver: str | None = None
    gpu_memory_total_bytes: int | None = None


class BenchSettings(Frozen, frozen=True, kw_only=True):
    """How it was run. Two documents compare only where these agree.

    Attributes:
        audio: File name, or `sample` for the one that the package makes.
        audio_s: Length of the audio.
        beam_size: Beams of the search.
        batch_size: Windows decoded at once; None for the sequential pipeline.
        warmup: Runs before those that count.
        runs: Runs that count; a run of long ones may have fewer, see its `inference_s`.
        max_new_tokens: What faster-whisper is given; how many tokens that makes is in each run.
    """

    audio: str
    audio_s: float | None = None
    beam_size: int = 5
    batch_size: int | None = None
    warmup: int = 1
    runs: int = 5
    max_new_tokens: int = 0


class Spread(Frozen, frozen=True, kw_only=True):
    """Times of several runs.

    Attributes:
        median: Seconds.
        min: Seconds.
        max: Seconds.
        stdev: Standard deviation of the sample; None for one run.
        runs: How many there were.
    """

    median: float
    min: float
    max: float
    stdev: float | None = None
    runs: int = 1


class GpuUse(Frozen, frozen=True, kw_only=True):
    """What NVML saw of the GPU meanwhile.

    Attributes:
        peak_bytes: Most memory in use.
        scope: `process`, or `increase` of what the whole device used, where NVML names no processes (in a container).
        least_free_bytes: Least memory that was free.
        clock_mhz: Median SM clock while it worked.
        clock_max_mhz: Highest SM clock that it can have.
        throttle: Reasons why it was slowed down (`power-cap`, `thermal`, …).
        samples: How often it was asked.
    """

    peak_bytes: int | None = None
    scope: Literal["process", "increase"] | None = None
    least_free_bytes: int | None = None
    clock_mhz: int | None = None
    clock_max_mhz: int | None = None
    throttle: tuple[str, ...] = ()
    samples: int = 0


class BenchRun(Frozen, frozen=True, kw_only=True):
    """One model on one device in one number format, measured.

    Attributes:
        device: Where.
        compute_type: Number format that was asked for.
        model: As named in `--model`.
        synthetic: True for random weights: the time is true, the text is noise.
        audio_s: Length of the audio.
        load_s: From the files to a model that is ready; imports are not in it.
        first_s: The first transcription (the warm-up), which pays for what later ones find ready.
        inference_s: The transcriptions after it.
        speed_x_realtime: Seconds of audio for each second of work (median): more is faster.
        realtime_factor: Seconds of work for each second of audio, the inverse: less is faster.
        tokens: Tokens decoded in one transcription.
        tokens_vary: True when the runs decoded different numbers of tokens, so that their times do not compare.
        threads: Threads of the processor that it was given.
        waited_share: Share of the measured time in which its threads, ready to work, waited for a processor; 0 on a
            machine that does nothing else.
        import_s: Importing faster-whisper.
        peak_gpu_memory_bytes: As in `gpu`.
        peak_rss_bytes: Most main memory that the process had.
        gpu: What NVML saw.
        text: Beginning of what was recognised, with a real model.
    """

    device: Device
    compute_type: str
    model: str
    synthetic: bool
    audio_s: float
    load_s: float
    first_s: float | None
    inference_s: Spread
    speed_x_realtime: float
    realtime_factor: float
    tokens: int
    tokens_vary: bool = False
    threads: int = 0
    waited_share: float = 0.0
    import_s: float | None = None
    peak_gpu_memory_bytes: int | None = None
    peak_rss_bytes: int | None = None
    gpu: GpuUse | None = None
    text: str | None = None


class BenchFailure(Frozen, frozen=True, kw_only=True):
    """A run that came to nothing.

    Attributes:
        device: Where.
        compute_type: Number format; None where it did not come to that.
        model: As named; None where it did not come to that.
        stage: During what.
        cause: Cause id; None with `reason` where no cause of the taxonomy fits.
        reason: One sentence.
        signal: Signal that killed the process.
        said: Its last words.
        rule: Rule whose finding tells the same.
        fixes: Ways out, best first.
        free_gpu_memory_bytes: What was free on the GPU then, for want of memory.
    """

    device: Device
    compute_type: str | None = None
    model: str | None = None
    stage: Stage = "start"
    cause: str | None = None
    reason: str = ""
    signal: str | None = None
    said: str | None = None
    rule: str | None = None
    fixes: tuple[Fix, ...] = ()
    free_gpu_memory_bytes: int | None = None


class Fallback(Frozen, frozen=True, kw_only=True, rename={"from_device": "from"}):
    """Why the GPU was not used.

    Attributes:
        from_device: The device that was wanted.
        cause: Cause id; None with `reason` where none fits.
        reason: One sentence.
        rule: Rule whose finding tells the same.
        fixes: Ways out, best first.
        free_gpu_memory_bytes: What was free on the GPU then, for want of memory.
    """

    from_device: Device
    cause: str | None
    reason: str
    rule: str | None = None
    fixes: tuple[Fix, ...] = ()
    free_gpu_memory_bytes: int | None = None


class MemoryJudgement(Frozen, frozen=True, kw_only=True):
    """Whether a model will fit on the GPU, judged before it is tried.

    Attributes:
        model: As named.
        compute_type: Number format.
        needed_bytes: What it takes at its peak; None where nothing is known.
        basis: `documented` when somebody measured it, `estimate` when it is worked out.
        free_bytes: What was free.
        fits: Whether it fits; None when nobody can tell.
        fact: Id of the matrix fact.
    """

    model: str
    compute_type: str
    needed_bytes: int | None = None
    basis: Basis | None = None
    free_bytes: int | None = None
    fits: bool | None = None
    fact: str | None = None


class Agreement(Frozen, frozen=True, kw_only=True):
    """Whether a run computed what the reference computed.

    Attributes:
        model: As named.
        device: Of the run.
        compute_type: Of the run.
        reference: Device and number format of the reference: `cpu float32`.
        encoder_error: Norm of the difference of the encoder's outputs over the norm of the reference's.
        log_prob_error: Root mean square of the difference of the log-probabilities of given tokens, over their
            standard deviation in the reference.
        tolerance: Most that either may be.
        tokens_equal: Share of equal tokens up to the shorter length; None with a synthetic model, whose text is noise.
        agrees: Whether both are within the tolerance.
    """

    model: str
    device: Device
    compute_type: str
    reference: str
    encoder_error: float | None
    log_prob_error: float | None
    tolerance: float
    tokens_equal: float | None = None
    agrees: bool = False


class Change(Frozen, frozen=True, kw_only=True):
    """A run beside the same one of an earlier document.

    Attributes:
        model: As named.
        device: Where.
        compute_type: Number format.
        before_s: Median then.
        now_s: Median now.
        ratio: Now over before: above 1 is slower.
        slower: True when it is slower by more than the tolerance.
    """

    model: str
    device: Device
    compute_type: str
    before_s: float
    now_s: float
    ratio: float
    slower: bool


class Against(Frozen, frozen=True, kw_only=True):
    """What `--against` found.

    Attributes:
        file: The earlier document.
        tolerance: Share by which a run may be slower.
        changes: Runs that are in both.
        missing: Runs of the earlier document that were not measured now.
        differences: What else differs, and makes the times compare less well.
        regressed: Whether anything is slower, or nothing could be compared.
    """

    file: str
    tolerance: float
    changes: tuple[Change, ...] = ()
    missing: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    regressed: bool = False


class BenchDocument(Frozen, frozen=True, kw_only=True):
    """The document of `bench`.

    Attributes:
        schema_version: Version of this document's shape.
        tool: Who wrote it.
        matrix_version: Date version of the compatibility matrix.
        taken_at: UTC time, ISO 8601.
        target: What was run.
        machine: On what.
        settings: How.
        runs: What was measured.
        device_used: Where the runs took place: `cuda` when any did; None when none succeeded.
        fallback: Why the GPU was not used; None when it was, or was not wanted.
        failures: Runs that came to nothing.
        memory: Whether each model was expected to fit on the GPU.
        agreement: With `--compare`: whether the runs computed the same.
        against: With `--against`: what changed.
        notes: What a reader of the figures must know.
        exit_status: What the process returns.
    """

    schema_version: int
    tool: Tool
    matrix_version: str
    taken_at: str
    target: BenchTarget
    machine: BenchMachine
    settings: BenchSettings
    runs: tuple[BenchRun, ...]
    device_used: Device | None
    fallback: Fallback | None = None
    failures: tuple[BenchFailure, ...] = ()
    memory: tuple[MemoryJudgement, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    against: Against | None = None
    notes: tuple[str, ...] = ()
    exit_status: int = 0
