"""Everything around the runs: which interpreter, under which settings, on which machine."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from gpudoctor.bench.causes import Diagnosis
from gpudoctor.bench.jobs import Shop
from gpudoctor.bench.request import BenchRequest
from gpudoctor.fix.process import SettingsRequest, process_settings
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.settings import VARIABLE
from gpudoctor.loader.sites import Sites
from gpudoctor.loader.target import Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.bench import BenchMachine
from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import value_of
from gpudoctor.model.machine import Gpu
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.probes.take import SnapshotRequest, find_process, take_snapshot
from gpudoctor.rules.engine import judge
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, encodable

_NEEDED = "faster-whisper"
# The release that brought max_new_tokens, without which runs decode different numbers of tokens.
_LEAST = (1, 0)
_DEFAULT_THREADS = 4


class Station(msgspec.Struct, frozen=True):
    """What every run shares.

    Attributes:
        python: Path of the interpreter.
        shop: Where jobs are done.
        diagnosis: What is known of the machine.
        library_path: The LD_LIBRARY_PATH that was set; None when nothing was.
        notes: What a reader must know of it.
    """

    python: str
    shop: Shop
    diagnosis: Diagnosis
    library_path: str | None
    notes: tuple[str, ...]

    @property
    def snapshot(self) -> Snapshot:
        """The machine and the environment."""
        return self.diagnosis.snapshot


def set_up(system: ReadSystem, matrix: Matrix, request: BenchRequest) -> Station:
    """Find the interpreter, look at the machine, and compute the settings.

    Raises:
        UsageError: The request names something that is not there, or faster-whisper is nowhere.
        InputFileError: The file of `--env-file` cannot be read.
    """
    target, notes = _find_target(system, request)
    wanted = _snapshot_request(request, target.executable)
    snapshot = take_snapshot(system, matrix, wanted)
    findings = judge(snapshot, matrix).findings
    environment = dict(target.environment)
    value, more = _settings(system, matrix, wanted) if request.repair else (None, ())
    if value is not None:
        environment[VARIABLE] = value
    return Station(
        python=target.executable,
        shop=Shop(target.executable, environment, request.step_limit_s),
        diagnosis=Diagnosis(snapshot, findings, request.step_limit_s),
        library_path=encodable(value) if value is not None else None,
        notes=(*notes, *more),
    )


def _snapshot_request(request: BenchRequest, python: str | None) -> SnapshotRequest:
    return SnapshotRequest(
        python=python,
        own_python=request.own_python,
        assignments=request.assignments,
        env_file=request.env_file,
    )


def _find_target(system: ReadSystem, request: BenchRequest) -> tuple[Target, tuple[str, ...]]:
    """Return the process of the interpreter named, else of the first of the defaults that has faster-whisper."""
    target = find_process(system, _snapshot_request(request, request.python))
    version = _installed(system, target)
    if version is None and request.python is None and request.own_python:
        own = find_process(system, _snapshot_request(request, request.own_python))
        if _installed(system, own) is not None:
            return own, (f"{target.executable} has no faster-whisper; gpudoctor's own interpreter was measured",)
    if version is None:
        other = "install it there" if request.python is not None else "install gpudoctor with its extra `bench`"
        raise UsageError(
            f"{target.executable} has no faster-whisper: name an environment that has it with --python, or {other}"
        )
    if (numbers := tuple(int(n) for n in re.findall(r"\d+", version)[:2])) and numbers < _LEAST:
        raise UsageError(
            f"{target.executable} has faster-whisper {version}, which cannot decode a fixed number of tokens: the "
            "benchmark needs 1.0 or newer"
        )
    return target, ()


def _installed(system: ReadSystem, target: Target) -> str | None:
    found = Sites(system, target.site_dirs).version(_NEEDED)
    return found[0] if found else None


def _settings(system: ReadSystem, matrix: Matrix, wanted: SnapshotRequest) -> tuple[str | None, tuple[str, ...]]:
    """Return the LD_LIBRARY_PATH that CTranslate2 needs, and why it gets none."""
    request = SettingsRequest(
        python=wanted.python,
        own_python=wanted.own_python,
        consumers=("ctranslate2",),
        assignments=wanted.assignments,
        env_file=wanted.env_file,
    )
    answer = process_settings(system, matrix, request).answer
    if isinstance(answer, Refusal):
        # Libraries of a GPU that is not wanted or not there are no news; where they are, the failure says so.
        return None, ()
    return answer.library_path, ()


# --- the machine -----------------------------------------------------------------------------------------------------


def chosen_gpu(snapshot: Snapshot, environment: Mapping[str, str]) -> Gpu | None:
    """Return the GPU that CUDA calls the first one.

    NVML counts by the bus and takes no notice of CUDA_VISIBLE_DEVICES; CUDA counts the fastest first. With several GPUs
    of different kinds this is a guess unless the variable names one.
    """
    gpus = value_of(snapshot.gpus) or ()
    first = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    for gpu in gpus:
        uuid = value_of(gpu.uuid)
        if (first.isdigit() and gpu.index == int(first)) or (first and uuid and uuid.startswith(first)):
            return gpu
    return gpus[0] if gpus else None


def threads_of(request: BenchRequest, environment: Mapping[str, str], usable: int | None) -> int:
    """Return how many threads a run gets: as asked, as OMP_NUM_THREADS says, else up to four: faster-whisper's way."""
    if request.threads is not None:
        return request.threads
    given = environment.get("OMP_NUM_THREADS", "").strip()
    if given.isdigit() and int(given) > 0:
        return int(given)
    return min(usable or 1, _DEFAULT_THREADS)


def describe_machine(
    system: ReadSystem, snapshot: Snapshot, gpu: Gpu | None, threads: int, usable: int | None
) -> BenchMachine:
    """Return on what a benchmark runs."""
    return BenchMachine(
        cpu=_cpu_name(system),
        cpu_threads=threads,
        cpus_usable=usable,
        gpu=value_of(gpu.name) if gpu else None,
        compute_capability=value_of(gpu.compute_capability) if gpu else None,
        driver=_release(snapshot),
        gpu_memory_total_bytes=value_of(gpu.memory_total_bytes) if gpu else None,
    )


def _release(snapshot: Snapshot) -> str | None:
    return value_of(snapshot.driver.nvml) or value_of(snapshot.driver.kernel_module)


def _cpu_name(system: ReadSystem) -> str | None:
    try:
        text = system.read_bytes("/proc/cpuinfo", 1 << 16).decode("utf-8", "replace")
    except (NotThere, CannotLook):
        return None
    match = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
    return match.group(1).strip() if match else None
