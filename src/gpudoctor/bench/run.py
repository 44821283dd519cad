"""The benchmark: what is measured in which order, and what becomes of a GPU that does not work."""

from __future__ import annotations

import posixpath
import time
from contextlib import nullcontext

import msgspec

from gpudoctor import __version__
from gpudoctor.bench.agreement import Outputs, compare_outputs
from gpudoctor.bench.causes import is_hopeless
from gpudoctor.bench.gpu_watch import GpuWatch
from gpudoctor.bench.jobs import Event, JobResult
from gpudoctor.bench.measure import doubts_of, measured_run, where
from gpudoctor.bench.memory import judge_memory
from gpudoctor.bench.models import ModelChoice, choose_model, locate_model, sample_file
from gpudoctor.bench.progress import Progress
from gpudoctor.bench.request import DEFAULT_RUNS, ENOUGH_S, LEAST_RUNS, MAX_NEW_TOKENS, BenchRequest
from gpudoctor.bench.sample import WINDOW_S
from gpudoctor.bench.station import Station, chosen_gpu, describe_machine, set_up, threads_of
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.bench import (
    BENCH_SCHEMA_VERSION,
    Agreement,
    BenchDocument,
    BenchFailure,
    BenchMachine,
    BenchRun,
    BenchSettings,
    BenchTarget,
    Device,
    Fallback,
    GpuUse,
    MemoryJudgement,
)
from gpudoctor.model.errors import InputFileError, UsageError
from gpudoctor.model.fact import value_of
from gpudoctor.model.finding import Tool
from gpudoctor.probes.planned import COMPUTE_TYPES
from gpudoctor.system.caching import scratch_folder
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, encodable

# What people use on each device, the first that is supported first; the others are measured when they are named.
_USUAL = {"cuda": ("float16", "int8_float16"), "cpu": ("int8", "float32")}
NOISE = "The model has random weights: its time is that of the real one, its text is noise."


def run_bench(system: ReadSystem, matrix: Matrix, request: BenchRequest, progress: Progress) -> BenchDocument:
    """Measure what is asked for. Runs the target's interpreter.

    Raises:
        GpuDoctorError: The request is wrong, the audio cannot be read, or a model cannot be had.
    """
    models = tuple(choose_model(system, matrix, given) for given in dict.fromkeys(request.models))
    _check_types(request.compute_types)
    _check_audio(system, request.audio)
    progress.step("looking at the machine")
    station = set_up(system, matrix, request)
    with scratch_folder() if request.compare else nullcontext("") as scratch:
        return _Bench(system, matrix, request, progress, models, station, scratch).document()


def _check_types(wanted: tuple[str, ...]) -> None:
    for name in wanted:
        if name not in ("auto", "default", *COMPUTE_TYPES):
            raise UsageError(f"--compute-type {name!r}: no such number format; there are: {', '.join(COMPUTE_TYPES)}")


def _check_audio(system: ReadSystem, path: str | None) -> None:
    if path is None:
        return
    try:
        with system.open(path):
            pass
    except (NotThere, CannotLook) as error:
        raise InputFileError(f"--audio {error}") from error


class _Bench:
    """One benchmark under way."""

    def __init__(
        self,
        system: ReadSystem,
        matrix: Matrix,
        request: BenchRequest,
        progress: Progress,
        models: tuple[ModelChoice, ...],
        station: Station,
        scratch: str,
    ) -> None:
        self._system = system
        self._matrix = matrix
        self._request = request
        self._progress = progress
        self._models = models
        self._station = station
        self._scratch = scratch
        self._gpu = chosen_gpu(station.snapshot, station.shop.environment)
        self._versions: Event | None = None
        self._threads = 1
        self._audio = ""
        self._folders: dict[str, str] = {}
        self._runs: list[BenchRun] = []
        self._failures: list[BenchFailure] = []
        self._memory: list[MemoryJudgement] = []
        self._outputs: list[Outputs] = []
        self._notes: list[str] = list(station.notes)

    def document(self) -> BenchDocument:
        """Measure, and return all of it."""
        fallback = None
        cpu_types = self._supported("cpu")
        agreement: tuple[Agreement, ...] = ()
        if cpu_types is not None:
            self._prepare()
            fallback = self._measure(cpu_types)
            if self._request.compare:
                agreement = self._agreement()
        if any(run.synthetic for run in self._runs):
            self._notes.append(NOISE)
        for run in self._runs:
            self._notes += doubts_of(run)
        if self._runs and self._runs[0].audio_s < WINDOW_S:
            self._notes.append(
                f"The audio is shorter than the {WINDOW_S} s that Whisper always computes: its x real time says little."
            )
        return self._written(fallback, agreement)

    def _measure(self, cpu_types: tuple[str, ...]) -> Fallback | None:
        """Measure on each device that is wanted; return why the GPU was not used."""
        device, fallback = self._request.device, None
        if device != "cpu":
            self._on_gpu()
            fallback = None if self._used("cuda") else self._fallback()
        if (
            device == "cpu"
            or (fallback is not None and device == "auto")
            or (fallback is None and self._request.compare)
        ):
            self._on_cpu(cpu_types, as_asked=device == "cpu")
        return fallback

    # --- before the runs

    def _supported(self, device: Device) -> tuple[str, ...] | None:
        """Ask CTranslate2 what it supports; a failure is noted."""
        self._progress.step(f"asking CTranslate2 what it supports on {where(device)}")
        wants_format = device == "cpu" and any(m.kind == "synthetic" for m in self._models)
        result = self._do({"job": "describe", "device": device, "wants_format": wants_format})
        told = result.first("versions")
        if device == "cpu" and told is not None:
            self._versions = told
        types = result.first("types")
        if types is None or not result.succeeded:
            self._failures.append(self._station.diagnosis.failure(result, device))
            return None
        return types.types

    def _prepare(self) -> None:
        """Find the models and the audio, so that every sentence about them comes before anything is measured."""
        versions = self._versions
        self._threads = threads_of(
            self._request, self._station.shop.environment, versions.usable_cpus if versions else None
        )
        for model in self._models:
            model_format = versions.model_format if versions else None
            folder = locate_model(self._system, self._station.shop, model, model_format, self._progress)
            self._folders[model.given] = folder
        if self._request.audio is None:
            self._audio = sample_file(self._system, self._request.batch_size or 1, self._progress)
        else:
            self._audio = posixpath.join(self._system.cwd(), self._request.audio)

    # --- the devices

    def _on_gpu(self) -> None:
        supported = self._supported("cuda")
        if supported is None:
            return
        for model in self._models:
            for compute_type in self._request.compute_types or _usual("cuda", supported):
                self._judge_memory(model, compute_type)
                failure = self._one(model, "cuda", compute_type)
                if failure is not None and is_hopeless(failure):
                    return

    def _on_cpu(self, supported: tuple[str, ...], *, as_asked: bool) -> None:
        types = self._request.compute_types
        if types and not as_asked:
            # The formats were named for the GPU: what the CPU lacks of them is no failure.
            lacking = [t for t in types if t not in supported and t not in ("auto", "default")]
            types = tuple(t for t in types if t not in lacking)
            if lacking:
                self._notes.append(f"The CPU does not support {', '.join(lacking)}.")
        for model in self._models:
            for compute_type in types or _usual("cpu", supported):
                self._one(model, "cpu", compute_type)

    def _judge_memory(self, model: ModelChoice, compute_type: str) -> None:
        free = value_of(self._gpu.memory_free_bytes) if self._gpu else None
        judged = judge_memory(self._matrix, model, compute_type, self._request.batch_size, free)
        if judged is None:
            return
        self._memory.append(judged)
        if judged.fits is False:
            self._progress.result(
                f"{model.given} in {compute_type} is expected not to fit: it takes {_gb(judged.needed_bytes)} "
                f"({judged.basis}), and {_gb(judged.free_bytes)} are free; trying all the same"
            )

    # --- one run

    def _one(self, model: ModelChoice, device: Device, compute_type: str) -> BenchFailure | None:
        """Measure one model in one format on one device; a failure is noted and returned."""
        label = f"{model.given} on {where(device)} in {compute_type}"
        self._progress.step(f"{label}: starting")
        outputs = posixpath.join(self._scratch, f"{len(self._outputs)}.npz") if self._request.compare else None
        watch = GpuWatch(self._station.shop.environment, self._gpu.index) if device == "cuda" and self._gpu else None
        result, use = None, None
        try:
            result = self._do(
                self._job(model, device, compute_type, outputs), _Told(self._progress, label, self._request)
            )
        finally:
            use = watch.stop(result.pid if result else None) if watch else None
        if not result.succeeded:
            return self._failed(result, model, device, compute_type, use)
        run = measured_run(result, model, device, compute_type, use, self._threads)
        self._runs.append(run)
        if outputs is not None:
            self._outputs.append(Outputs(outputs, model.given, device, compute_type, model.kind == "synthetic"))
        self._progress.result(f"{label}: {run.inference_s.median:.3g} s, {run.speed_x_realtime:.3g} x real time")
        return None

    def _do(self, job: dict[str, object], told: _Told | None = None) -> JobResult:
        return self._station.shop.do(job, told)

    def _job(
        self, model: ModelChoice, device: Device, compute_type: str, outputs: str | None, *, runs: bool = True
    ) -> dict[str, object]:
        return {
            "job": "run",
            "model": self._folders[model.given],
            "synthetic": model.kind == "synthetic",
            "device": device,
            "compute_type": compute_type,
            "audio": self._audio,
            "beam_size": self._request.beam_size,
            "batch_size": self._request.batch_size,
            "warmup": self._request.warmup if runs else 0,
            "runs": (self._request.runs or DEFAULT_RUNS) if runs else 1,
            "least_runs": LEAST_RUNS,
            "enough_s": ENOUGH_S if self._request.runs is None else None,
            "threads": self._threads,
            "max_new_tokens": MAX_NEW_TOKENS,
            "outputs": outputs,
        }

    def _failed(
        self, result: JobResult, model: ModelChoice, device: Device, compute_type: str, use: GpuUse | None
    ) -> BenchFailure:
        if result.stage == "audio" and (failed := result.first("failed")) is not None:
            name = self._request.audio or "the sample"
            words = " ".join(failed.message.split())[:200] or failed.type
            raise InputFileError(f"--audio {name}: it cannot be decoded ({words}); name a file with sound in it")
        failure = self._station.diagnosis.failure(
            result,
            device,
            model=model.given,
            compute_type=compute_type,
            free_bytes=use.least_free_bytes if use else None,
        )
        self._failures.append(failure)
        self._progress.result(f"{model.given} on {where(device)} in {compute_type}: {failure.cause or 'failed'}")
        return failure

    # --- what was computed

    def _agreement(self) -> tuple[Agreement, ...]:
        """Compare what each run computed with the CPU in single precision, which is run for that where it was not."""
        found: list[Agreement] = []
        for model in self._models:
            others = [o for o in self._outputs if o.model == model.given]
            if not others:
                continue
            self._progress.step(f"comparing what {model.given} computed")
            own = next((o for o in others if (o.device, o.compute_type) == ("cpu", "float32")), None)
            reference = own.path if own else self._reference(model)
            if reference is not None:
                rest = [o for o in others if o.path != reference]
                found += compare_outputs(self._station.shop, reference, rest)
        return tuple(found)

    def _reference(self, model: ModelChoice) -> str | None:
        path = posixpath.join(self._scratch, f"reference-{len(self._outputs)}-{len(self._notes)}.npz")
        result = self._do(self._job(model, "cpu", "float32", path, runs=False))
        if result.succeeded:
            return path
        why = self._station.diagnosis.failure(result, "cpu", model=model.given, compute_type="float32").reason
        self._notes.append(f"What {model.given} computed could not be compared: the reference on the CPU failed: {why}")
        return None

    # --- afterwards

    def _used(self, device: Device) -> bool:
        return any(run.device == device for run in self._runs)

    def _fallback(self) -> Fallback:
        failures = [f for f in self._failures if f.device == "cuda"]
        # The one that stopped everything, else the first.
        decisive = next((f for f in failures if is_hopeless(f)), failures[0])
        return Fallback(
            from_device="cuda",
            cause=decisive.cause,
            reason=decisive.reason,
            rule=decisive.rule,
            fixes=decisive.fixes,
            free_gpu_memory_bytes=decisive.free_gpu_memory_bytes,
        )

    def _written(self, fallback: Fallback | None, agreement: tuple[Agreement, ...]) -> BenchDocument:
        versions = self._versions
        used: Device | None = "cuda" if self._used("cuda") else ("cpu" if self._runs else None)
        document = BenchDocument(
            schema_version=BENCH_SCHEMA_VERSION,
            tool=Tool(name="gpudoctor", version=__version__),
            matrix_version=self._matrix.version,
            taken_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            target=BenchTarget(
                python=encodable(self._station.python),
                python_version=versions.python if versions else None,
                faster_whisper=versions.faster_whisper if versions else None,
                ctranslate2=versions.ctranslate2 if versions else None,
                library_path=self._station.library_path,
            ),
            machine=self._machine(),
            settings=BenchSettings(
                audio=encodable(self._request.audio or "sample"),
                audio_s=self._runs[0].audio_s if self._runs else None,
                beam_size=self._request.beam_size,
                batch_size=self._request.batch_size,
                warmup=self._request.warmup,
                runs=self._request.runs or DEFAULT_RUNS,
                max_new_tokens=MAX_NEW_TOKENS,
            ),
            runs=tuple(self._runs),
            device_used=used,
            fallback=fallback,
            failures=tuple(self._failures),
            memory=tuple(self._memory),
            agreement=agreement,
            notes=tuple(dict.fromkeys(self._notes)),
        )
        return msgspec.structs.replace(document, exit_status=exit_status(document, self._request.device))

    def _machine(self) -> BenchMachine:
        usable = self._versions.usable_cpus if self._versions else None
        return describe_machine(self._system, self._station.snapshot, self._gpu, self._threads, usable)


class _Told:
    """Turns events of one run into progress."""

    def __init__(self, progress: Progress, label: str, request: BenchRequest) -> None:
        self._progress = progress
        self._label = label
        self._done = 0
        self._total = request.warmup + (request.runs or DEFAULT_RUNS)

    def __call__(self, event: Event) -> None:
        """Tell of an event."""
        if event.event == "begun" and event.stage == "load":
            self._progress.step(f"{self._label}: loading")
        elif event.event == "begun" and event.stage in ("warm-up", "run"):
            self._done += 1
            self._progress.step(f"{self._label}: {event.stage} {self._done} of {self._total}")


def exit_status(document: BenchDocument, device: str) -> int:
    """Return what the process returns: 1 without a result, or when what was asked for failed or computes wrong."""
    asked_failed = device != "auto" and any(f.device == device for f in document.failures)
    wrong = any(not a.agrees for a in document.agreement)
    return 1 if not document.runs or asked_failed or wrong else 0


def _usual(device: Device, supported: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(t for t in _USUAL[device] if t in supported) or ("default",)


def _gb(size_bytes: int | None) -> str:
    return "?" if size_bytes is None else f"{size_bytes / 1e9:.2f} GB"
