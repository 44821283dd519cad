"""Child of a benchmark: does one job in the target's interpreter and tells of each step as it is done.

Started by the *target* interpreter with `-B -c BOOT bench_worker.py JOB FD`; Python 3.9 and later; imports nothing of
ours but the bench_*.py beside it. JOB is JSON: see gpudoctor.bench.jobs. One JSON document a line goes to the file
descriptor FD, which nothing else writes to: what a library prints goes where it always goes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Any

    Say = Callable[..., None]

SAMPLE_RATE = 16000
PR_SET_PDEATHSIG = 1
MESSAGE_CHARS = 4000


def main() -> None:
    """Do the job; an exception becomes a document, a crash is seen from outside."""
    job = json.loads(sys.argv[2])
    pipe = int(sys.argv[3])
    if pipe == 1:  # where descriptors cannot be handed down, standard output is taken over
        pipe = os.dup(1)
        os.dup2(2, 1)
    os.set_inheritable(pipe, False)
    die_with(job["parent"])
    teller = Teller(pipe)
    status = 0
    try:
        JOBS[job["job"]](job, teller.say)
        teller.say("end", peak_rss_bytes=peak_rss_bytes())
    except BaseException as error:  # noqa: BLE001 - SystemExit of a package is an answer as well
        teller.say("failed", **told(error))
        status = 1
    # Not through the exit handlers of what was imported: all is said, and they could still hang.
    os._exit(status)


class Teller:
    """Writes documents to the pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def say(self, event: str, **fields: object) -> None:
        """Write one document, all of it."""
        rest = json.dumps({"event": event, **fields}).encode() + b"\n"
        while rest:
            rest = rest[os.write(self._pipe, rest) :]


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when gpudoctor is gone, however that came about."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it was gone before we could ask
        os._exit(1)


def told(error: BaseException) -> dict[str, object]:
    """Return an exception as fields: its kinds, most special first, and its words with those of what caused it."""
    words: list[str] = []
    link: BaseException | None = error
    while link is not None and len(words) < 5:
        words.append(f"{type(link).__name__}: {link}"[:MESSAGE_CHARS])
        link = link.__cause__ or link.__context__
    kinds = [f"{k.__module__}.{k.__qualname__}" for k in type(error).__mro__[:-1]]
    return {"message": str(error)[:MESSAGE_CHARS], "type": type(error).__name__, "kinds": kinds, "words": words}


def waited_s() -> float:
    """Return how long the threads of this process together were ready and waited for a processor, in seconds.

    Source: https://docs.kernel.org/scheduler/sched-stats.html (2026-11-21): the second figure of schedstat.
    """
    waited_ns = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(FileNotFoundError), open(f"/proc/self/task/{thread}/schedstat", "rb") as file:
                waited_ns += int(file.read().split()[1])
    return waited_ns / 1e9


def peak_rss_bytes() -> int | None:
    """Return the most memory that this process had; not what its parent had before exec, as ru_maxrss would."""
    with contextlib.suppress(OSError, ValueError, StopIteration), open("/proc/self/status", "rb") as file:
        return int(next(line for line in file if line.startswith(b"VmHWM:")).split()[1]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return None


def beside(name: str) -> ModuleType:
    """Load a program beside this one by its path: its folder must not be on the sys.path that packages see."""
    spec = spec_from_file_location(name, os.path.join(os.path.dirname(sys.argv[1]), f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- jobs ------------------------------------------------------------------------------------------------------------


def describe(job: dict[str, Any], say: Say) -> None:
    """Tell the versions, and what CTranslate2 supports on a device."""
    say("begun", stage="import")
    import ctranslate2
    import faster_whisper

    say(
        "versions",
        python=sys.version.split()[0],
        ctranslate2=str(getattr(ctranslate2, "__version__", "")),
        faster_whisper=str(getattr(faster_whisper, "__version__", "")),
        model_format=model_format() if job["wants_format"] else None,
        usable_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    )
    say("begun", stage="start")
    say("types", types=sorted(ctranslate2.get_supported_compute_types(job["device"])))


def model_format() -> str:
    """Return which format of model files this CTranslate2 writes: releases that write the same can share a file."""
    from ctranslate2.specs import WhisperSpec, model_spec

    return f"{model_spec.CURRENT_BINARY_VERSION}.{WhisperSpec(1, 1, 1, 1).revision}"


def fetch(job: dict[str, Any], say: Say) -> None:
    """Find a model by name: in the Hugging Face cache, or in the network."""
    say("begun", stage="model")
    from faster_whisper.utils import available_models, download_model

    if "/" not in job["name"] and job["name"] not in available_models():
        say("unknown", names=list(available_models()))
        return
    say("fetched", path=download_model(job["name"]))


def make(job: dict[str, Any], say: Say) -> None:
    """Write a model of random weights."""
    say("begun", stage="model")
    beside("bench_model").write_model(job["shape"], job["folder"], say)


def compare(job: dict[str, Any], say: Say) -> None:
    """Compare what several runs computed with what a reference computed."""
    say("begun", stage="outputs")
    outputs = beside("bench_outputs")
    for number, path in enumerate(job["others"]):
        say("compared", number=number, **outputs.compare(job["reference"], path))


def run(job: dict[str, Any], say: Say) -> None:
    """Load a model and transcribe: once or more to warm up, then as often as is measured."""
    say("begun", stage="import")
    started = time.monotonic()
    import faster_whisper

    say("imported", s=time.monotonic() - started)
    say("begun", stage="audio")
    audio = faster_whisper.decode_audio(job["audio"], sampling_rate=SAMPLE_RATE)
    if not len(audio):
        raise ValueError("the file holds no audio")
    say("audio", audio_s=len(audio) / SAMPLE_RATE)
    say("begun", stage="load")
    load_s, model = timed(lambda: load(faster_whisper, job))
    say("loaded", s=load_s)
    transcribe, options = prepare(faster_whisper, model, job, len(audio) / SAMPLE_RATE)
    segments: list[Any] = []
    taken: list[float] = []
    for number in range(job["warmup"] + job["runs"]):
        kind = "warm-up" if number < job["warmup"] else "run"
        seconds, segments = one_run(say, kind, transcribe, audio, options())
        taken += [seconds] if kind == "run" else []
        if job["enough_s"] and len(taken) >= job["least_runs"] and sum(taken) >= job["enough_s"]:
            break
    if not job["synthetic"]:
        say("text", text="".join(s.text for s in segments)[:500])
    if job["outputs"]:
        say("begun", stage="outputs")
        tokens = [t for s in segments for t in s.tokens]
        beside("bench_outputs").write_outputs(model, audio, tokens, job["outputs"])


def load(faster_whisper: Any, job: dict[str, Any]) -> Any:
    """Load the model."""
    return faster_whisper.WhisperModel(
        job["model"], device=job["device"], compute_type=job["compute_type"], cpu_threads=job["threads"]
    )


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long a call took, in seconds, and what it returned."""
    started = time.perf_counter()
    value = call()
    return time.perf_counter() - started, value


def one_run(
    say: Say, kind: str, transcribe: Callable[..., tuple[Iterable[Any], Any]], audio: Any, options: dict[str, Any]
) -> tuple[float, list[Any]]:
    """Transcribe once, tell of it, and return how long it took, in seconds, and its segments."""
    say("begun", stage=kind)
    before = waited_s()
    seconds, segments = timed_transcription(transcribe, audio, options)
    waited = waited_s() - before
    say("run", kind=kind, s=seconds, waited_s=waited, tokens=sum(len(s.tokens) for s in segments))
    return seconds, segments


def timed_transcription(
    transcribe: Callable[..., tuple[Iterable[Any], Any]], audio: Any, options: dict[str, Any]
) -> tuple[float, list[Any]]:
    """Return how long one transcription took, in seconds, and its segments. Nothing else is in the timed region."""
    started = time.perf_counter()
    segments = list(transcribe(audio, **options)[0])
    ended = time.perf_counter()
    return ended - started, segments


def prepare(
    faster_whisper: Any, model: Any, job: dict[str, Any], audio_s: float
) -> tuple[Callable[..., Any], Callable[[], dict[str, Any]]]:
    """Return what transcribes, and what makes its options anew for each run: faster-whisper changes the lists in them.

    Every window decodes the same number of tokens: no end of text, no special token, no time stamp, one temperature, no
    threshold that starts the search again, no voice detection.
    """
    tokenizer = model.hf_tokenizer
    first_special = tokenizer.token_to_id("<|endoftext|>")
    special = list(range(first_special, tokenizer.get_vocab_size()))

    def options() -> dict[str, Any]:
        return {
            "language": "en",
            "beam_size": job["beam_size"],
            "temperature": 0.0,
            "compression_ratio_threshold": None,
            "log_prob_threshold": None,
            "no_speech_threshold": None,
            "condition_on_previous_text": False,
            "without_timestamps": True,
            "vad_filter": False,
            "suppress_blank": False,
            "suppress_tokens": list(special),
            "max_new_tokens": job["max_new_tokens"],
        }

    if job["batch_size"] is None:
        return model.transcribe, options
    pipeline = faster_whisper.BatchedInferencePipeline(model)

    def batched() -> dict[str, Any]:
        windows = [{"start": float(s), "end": min(s + 30.0, audio_s)} for s in range(0, int(audio_s) or 1, 30)]
        return {**options(), "batch_size": job["batch_size"], "clip_timestamps": windows}

    return pipeline.transcribe, batched


JOBS = {"describe": describe, "fetch": fetch, "make": make, "compare": compare, "run": run}

if __name__ == "__main__":
    main()
