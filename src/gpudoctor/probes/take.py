"""All probes, in the order that wastes least time, put together into one snapshot."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator, Mapping

import msgspec

from gpudoctor import __version__
from gpudoctor.loader.binary import resolve_binary
from gpudoctor.loader.consumers import resolve_consumers
from gpudoctor.loader.emulation import Emulation, start_emulation
from gpudoctor.loader.lookup import LibraryAnswer, find_libraries
from gpudoctor.loader.target import LoaderAnswer, Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import Interpreter, SearchElement
from gpudoctor.model.fact import Absent, Fact, Present, Unknown, value_of
from gpudoctor.model.machine import Driver, DriverFile, Gpu
from gpudoctor.model.snapshot import SNAPSHOT_SCHEMA_VERSION, ProbeReport, Snapshot
from gpudoctor.probes.assume import assumed_driver, assumed_gpus
from gpudoctor.probes.builds import probe_builds
from gpudoctor.probes.child_answer import Pending
from gpudoctor.probes.cuda_driver import CudaAnswer, cuda_not_asked, finish_cuda, start_cuda
from gpudoctor.probes.distributions import probe_distributions
from gpudoctor.probes.driver import assemble_driver, probe_driver_file, probe_kernel_module
from gpudoctor.probes.host import probe_host
from gpudoctor.probes.interpreter import find_target, probe_interpreter
from gpudoctor.probes.libraries import probe_libraries
from gpudoctor.probes.nvml import NvmlAnswer, finish_nvml, nvml_not_asked, start_nvml
from gpudoctor.probes.programs import probe_program
from gpudoctor.probes.search_path import probe_search_path
from gpudoctor.probes.selection import check_consumers, check_installed
from gpudoctor.probes.shared_files import probe_shared_files
from gpudoctor.probes.targets import beside, native_target, target_of
from gpudoctor.probes.text import json_safe
from gpudoctor.probes.toolkits import probe_toolkits
from gpudoctor.probes.trust import lies_in, roots_of, without_target
from gpudoctor.probes.variables import JudgedEnvironment, judged_environment
from gpudoctor.system.protocol import ReadSystem

LIBCUDA = "libcuda.so.1"
LIBNVIDIA_ML = "libnvidia-ml.so.1"


class SnapshotRequest(msgspec.Struct, frozen=True):
    """What a snapshot is to be taken of.

    Attributes:
        python: Interpreter or environment folder; None for the default.
        own_python: The interpreter that runs gpudoctor.
        consumers: Names as in `--for`; empty for all that are installed.
        binary: Native program or folder to judge as the consumer.
        assignments: `NAME=VALUE` as in `--env`.
        env_file: File as in `--env-file`.
        assume_driver: Driver release to judge by instead of this machine's.
        assume_gpus: GPUs to judge by instead of this machine's.
        probe_timeout_s: Time limit of each probe that can hang.
    """

    python: str | None = None
    own_python: str | None = None
    consumers: tuple[str, ...] = ()
    binary: str | None = None
    assignments: tuple[str, ...] = ()
    env_file: str | None = None
    assume_driver: str | None = None
    assume_gpus: tuple[str, ...] = ()
    probe_timeout_s: float = 5.0


def take_snapshot(system: ReadSystem, matrix: Matrix, request: SnapshotRequest) -> Snapshot:
    """Look at the machine and the environment.

    Raises:
        UsageError: The request names something that is not there.
        InputFileError: The file of `--env-file` cannot be read.
    """
    check_consumers(matrix, request.consumers)
    judged, interpreter, target = _process(system, request)
    emulation = start_emulation(system, target) if system.os_name == "linux" else None
    site_dirs = target.site_dirs
    prefix = interpreter.value.prefix if isinstance(interpreter, Present) else None
    distributions = probe_distributions(system, site_dirs, prefix)
    files = _driver_files(system, target, request, emulation)
    roots = roots_of(system, target, request.binary)
    pending = _start_children(system, request, judged.environment, files, roots)

    answer = _resolve(system, matrix, request, target, emulation)
    shared_files = probe_shared_files(system, distributions, matrix)
    builds = probe_builds(system, site_dirs, distributions, shared_files)
    if request.binary is None:
        check_installed(matrix, request.consumers, answer.resolutions, builds, distributions)
    toolkits = probe_toolkits(system, emulation.cache_entries() if emulation else ())
    host = probe_host(system, value_of(interpreter.value.elf_interpreter) if isinstance(interpreter, Present) else None)
    elements = _search_elements(system, matrix, target, judged.environment, emulation)
    libraries = probe_libraries(
        system,
        matrix,
        site_dirs,
        distributions,
        prefix=prefix,
        toolkits=value_of(toolkits) or (),
        extra_dirs=(
            *(e.directory for e in elements if e.directory and e.state in ("directory", "relative")),
            *beside(system, request.binary),
        ),
        resolutions=answer.resolutions,
        elf=answer.elf,
    )
    driver, gpus, reports = _finish_children(system, matrix, request, files, pending)
    taken = Snapshot(
        schema_version=SNAPSHOT_SCHEMA_VERSION,
        tool_version=__version__,
        taken_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        redacted=False,
        host=host,
        driver=driver,
        gpus=gpus,
        interpreter=interpreter,
        distributions=distributions,
        shared_files=shared_files,
        builds=builds,
        variables=judged.variables,
        search_elements=elements,
        toolkits=toolkits,
        libraries=libraries,
        resolutions=answer.resolutions,
        probes=(*reports, *_loader_reports(answer)),
        import_faults=answer.import_faults,
        ffmpeg=probe_program(system, "ffmpeg", judged.environment, (f"{prefix}/bin",) if prefix else ()),
        uv=_uv(system, request.own_python),
        binary=posixpath.normpath(posixpath.join(target.cwd, request.binary)) if request.binary else None,
    )
    return json_safe(taken)  # paths keep their raw bytes until here: only so can they be opened


def _uv(system: ReadSystem, own_python: str | None) -> Fact[str]:
    """Find uv where `gpudoctor fix --packages` looks for it, and a command that is typed is: not by the service."""
    return probe_program(system, "uv", system.environ(), (posixpath.dirname(own_python),) if own_python else ())


def _search_elements(
    system: ReadSystem, matrix: Matrix, target: Target, environment: Mapping[str, str], emulation: Emulation | None
) -> tuple[SearchElement, ...]:
    """Return LD_LIBRARY_PATH as the loader of the process reads it."""
    ldso = emulation.ldso if emulation is not None and emulation.ready and not emulation.ldso.unknown else None
    return probe_search_path(
        system,
        None if target.secure_execution else environment.get("LD_LIBRARY_PATH"),
        matrix,
        cwd=target.cwd,
        origin=posixpath.dirname(system.realpath(target.executable)),
        lib=ldso.lib if ldso else None,
        platform=ldso.platform if ldso else None,
    )


def find_process(system: ReadSystem, request: SnapshotRequest) -> Target:
    """Return the process that a request is about: what a deep check starts and a repair is for.

    Raises:
        UsageError: The request names something that is not there.
        InputFileError: The file of `--env-file` cannot be read.
    """
    return _process(system, request)[2]


def _process(system: ReadSystem, request: SnapshotRequest) -> tuple[JudgedEnvironment, Fact[Interpreter], Target]:
    judged = judged_environment(system, request.assignments, (request.env_file,) if request.env_file else ())
    interpreter = _interpreter(system, request, judged.environment)
    return judged, interpreter, _target(system, interpreter, request, judged.environment)


def _interpreter(system: ReadSystem, request: SnapshotRequest, environment: Mapping[str, str]) -> Fact[Interpreter]:
    if request.binary is not None and request.python is None:
        return Absent()  # the binary alone is judged
    return Present(probe_interpreter(system, find_target(system, request.python, request.own_python), environment))


def _target(
    system: ReadSystem, interpreter: Fact[Interpreter], request: SnapshotRequest, environment: Mapping[str, str]
) -> Target:
    found = value_of(interpreter)
    if found is None:
        return native_target(system, request.own_python, environment)
    return target_of(system, found, environment)


def _resolve(
    system: ReadSystem, matrix: Matrix, request: SnapshotRequest, target: Target, emulation: Emulation | None
) -> LoaderAnswer:
    if system.os_name != "linux":
        return LoaderAnswer((), {}, (f"only glibc's loader is emulated, not that of {system.os_name}",))
    if request.binary is not None:
        return resolve_binary(system, matrix, target, request.binary)
    return resolve_consumers(system, matrix, target, request.consumers or None, emulation)


def _loader_reports(answer: LoaderAnswer) -> Iterator[ProbeReport]:
    if answer.unknowns:
        yield ProbeReport(probe="loader", status="failed", detail="; ".join(answer.unknowns))
    else:
        yield ProbeReport(probe="loader", status="ok")
    if answer.unread:
        yield ProbeReport(probe="folder", status="failed", detail="; ".join(answer.unread))


# --- the driver: asked of children, which run while the rest is read -------------------------------------------------


class _DriverFiles(msgspec.Struct, frozen=True):
    """The two libraries that only the driver brings, as the target's loader finds them."""

    libcuda: Fact[DriverFile]
    libnvidia_ml: Fact[DriverFile]


def _driver_files(
    system: ReadSystem, target: Target, request: SnapshotRequest, emulation: Emulation | None
) -> _DriverFiles:
    if request.assume_driver is not None and request.assume_gpus:
        unknown = Unknown("the machine is assumed; this one was not asked")
        return _DriverFiles(unknown, unknown)
    if system.os_name != "linux":
        unknown = Unknown(f"not looked for on {system.os_name}")
        return _DriverFiles(unknown, unknown)
    answers = find_libraries(system, target, (LIBCUDA, LIBNVIDIA_ML), emulation)
    return _DriverFiles(_driver_file(system, answers[LIBCUDA]), _driver_file(system, answers[LIBNVIDIA_ML]))


def _driver_file(system: ReadSystem, answer: LibraryAnswer) -> Fact[DriverFile]:
    if answer.path is not None:
        return Present(probe_driver_file(system, answer.path))
    if answer.unknown:
        return Unknown(answer.reason or "the loader could not be emulated")
    return Absent(tuple(step.path for step in answer.searched))


class _Children(msgspec.Struct, frozen=True):
    nvml: Pending | None
    cuda: Pending | None


def _start_children(
    system: ReadSystem,
    request: SnapshotRequest,
    environment: Mapping[str, str],
    files: _DriverFiles,
    roots: tuple[str, ...],
) -> _Children:
    nvml = cuda = None
    limit_s = request.probe_timeout_s
    environment = without_target(system, environment, roots)
    if request.assume_driver is None or not request.assume_gpus:
        # Where the loader finds no libnvidia-ml.so.1, nvidia-ml-py finds none either: there is nothing to ask.
        if not isinstance(files.libnvidia_ml, Absent):
            refused = _of_target(system, "nvml", files.libnvidia_ml, roots, limit_s)
            nvml = refused or start_nvml(system, environment, limit_s)
        if request.assume_driver is None and isinstance(files.libcuda, Present):
            refused = _of_target(system, "libcuda", files.libcuda, roots, limit_s)
            cuda = refused or start_cuda(system, environment, files.libcuda.value.path, limit_s)
    return _Children(nvml, cuda)


def _of_target(
    system: ReadSystem, probe: str, file: Fact[DriverFile], roots: tuple[str, ...], limit_s: float
) -> Pending | None:
    """Return why a driver library is not asked: it is code of the target. None for any other."""
    if not isinstance(file, Present) or not lies_in(system, file.value.path, roots):
        return None
    return Pending(probe, limit_s, None, f"{file.value.path} belongs to what is judged and is not loaded")


def _finish_children(
    system: ReadSystem, matrix: Matrix, request: SnapshotRequest, files: _DriverFiles, pending: _Children
) -> tuple[Driver, Fact[tuple[Gpu, ...]], tuple[ProbeReport, ...]]:
    nvml = _nvml_answer(files, pending.nvml)
    cuda = finish_cuda(pending.cuda) if pending.cuda else _cuda_answer(files)
    if request.assume_driver is not None:
        driver = assumed_driver(matrix, request.assume_driver)
    else:
        driver = assemble_driver(
            kernel_module=probe_kernel_module(system),
            libcuda=files.libcuda,
            libnvidia_ml=files.libnvidia_ml,
            nvml=nvml,
            cuda=cuda.probe,
        )
    gpus: Fact[tuple[Gpu, ...]] = (
        Present(assumed_gpus(matrix, request.assume_gpus)) if request.assume_gpus else nvml.gpus
    )
    return driver, gpus, (nvml.report, cuda.report)


def _nvml_answer(files: _DriverFiles, pending: Pending | None) -> NvmlAnswer:
    if pending is not None:
        return finish_nvml(pending)
    if isinstance(files.libnvidia_ml, Absent):
        absent = Absent(files.libnvidia_ml.searched)
        report = ProbeReport(probe="nvml", status="skipped", detail=f"{LIBNVIDIA_ML} is not there")
        # No NVML is no word on the GPUs: there may be one without a driver.
        gpus = Unknown(f"{LIBNVIDIA_ML} is not there to be asked")
        return NvmlAnswer(release=absent, cuda_version=absent, error=Absent(), gpus=gpus, report=report)
    return nvml_not_asked("the machine is assumed")


def _cuda_answer(files: _DriverFiles) -> CudaAnswer:
    match files.libcuda:
        case Absent(searched):
            report = ProbeReport(probe="libcuda", status="skipped", detail=f"{LIBCUDA} is not there")
            return CudaAnswer(probe=Absent(searched), report=report)
        case Unknown(reason):
            return cuda_not_asked(reason)
        case _:
            return cuda_not_asked("the machine is assumed")
