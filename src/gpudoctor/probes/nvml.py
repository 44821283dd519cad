"""Probe: the driver and the GPUs as NVML describes them, asked by a child process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

import msgspec

from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.machine import Fabric, Gpu, MigDevice, NvmlError
from gpudoctor.model.snapshot import ProbeReport
from gpudoctor.probes.child_answer import Ending, Pending, ending_of, start_child
from gpudoctor.system.children import folder_of
from gpudoctor.system.protocol import ReadSystem

T = TypeVar("T")

PROBE = "nvml"
DEFAULT_TIMEOUT_S = 5.0
_NOT_SUPPORTED = 3
_NO_PERMISSION = 4
_FUNCTION_NOT_FOUND = 13
# nvmlGpuFabricState_t; 0 is "not supported".
_FABRIC_STATES: Mapping[int, Literal["not-started", "in-progress", "completed"]] = {
    1: "not-started",
    2: "in-progress",
    3: "completed",
}
# What one call may answer of a GPU in good health. A negative code is the child's own: the answer was no text.
_HARMLESS = (0, _NOT_SUPPORTED, _NO_PERMISSION, _FUNCTION_NOT_FOUND, -1)


class NvmlAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What NVML said.

    Attributes:
        release: Driver release.
        cuda_version: Highest CUDA version that the driver serves natively, dotted.
        error: NVML's refusal to start.
        gpus: The GPUs.
        report: How the probe went.
    """

    release: Fact[str]
    cuda_version: Fact[str]
    error: Fact[NvmlError]
    gpus: Fact[tuple[Gpu, ...]]
    report: ProbeReport


class _Answer(msgspec.Struct, frozen=True):
    """One call's answer: a value or NVML's code."""

    value: msgspec.Raw = msgspec.Raw()
    code: int = 0
    message: str = ""


class _Mig(msgspec.Struct, frozen=True):
    uuid: _Answer
    memory: _Answer


class _Line(msgspec.Struct, frozen=True):
    """One document of the child, whichever kind."""

    kind: Literal["refused", "system", "gpu", "end"]
    code: int = 0
    message: str = ""
    driver: _Answer = _Answer()
    cuda: _Answer = _Answer()
    count: _Answer = _Answer()
    index: int = 0
    error: _Answer | None = None
    name: _Answer = _Answer()
    uuid: _Answer = _Answer()
    pci_bus_id: _Answer = _Answer()
    compute_capability: _Answer = _Answer()
    memory: _Answer = _Answer()
    mig: _Answer = _Answer()
    ecc: _Answer = _Answer(code=_NOT_SUPPORTED)
    rows: _Answer = _Answer(code=_NOT_SUPPORTED)
    fabric: _Answer = _Answer(code=_NOT_SUPPORTED)
    mig_devices: tuple[_Mig, ...] = ()


def start_nvml(system: ReadSystem, environment: Mapping[str, str], timeout_s: float = DEFAULT_TIMEOUT_S) -> Pending:
    """Start asking NVML; other probes may run meanwhile.

    Args:
        system: The machine.
        environment: The judged environment: its LD_LIBRARY_PATH decides which libnvidia-ml is asked.
        timeout_s: After so long the answer is Unknown.
    """
    folder = folder_of("pynvml")
    if folder is None:
        return Pending(PROBE, timeout_s, None, "nvidia-ml-py is not installed beside gpudoctor")
    return start_child(system, PROBE, environment, timeout_s, "nvml", folder)


def finish_nvml(pending: Pending) -> NvmlAnswer:
    """Wait for the answer."""
    ending = ending_of(pending, _Line)
    lines = ending.lines
    if lines and lines[0].kind == "refused":
        return _refused(NvmlError(code=lines[0].code, message=lines[0].message))
    if not lines or lines[0].kind != "system":
        return nvml_not_asked(ending.reason or "the probe gave no answer", ending.report.status)
    return NvmlAnswer(
        release=_fact(lines[0].driver, str),
        cuda_version=_cuda_version(_fact(lines[0].cuda, int)),
        error=Absent(),
        gpus=_gpus(_fact(lines[0].count, int), ending),
        report=ending.report,
    )


def nvml_not_asked(
    reason: str, status: Literal["ok", "skipped", "timeout", "crashed", "failed"] = "skipped"
) -> NvmlAnswer:
    """Return the answer when there is none.

    Args:
        reason: Why, in one clause.
        status: How that came about.
    """
    unknown = Unknown(reason)
    report = ProbeReport(probe=PROBE, status=status, detail=reason)
    return NvmlAnswer(release=unknown, cuda_version=unknown, error=unknown, gpus=unknown, report=report)


def dotted_cuda_version(number: int) -> str:
    """Return CUDA's version number as people write it: 12040 is `12.4`."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _refused(error: NvmlError) -> NvmlAnswer:
    unknown = Unknown(f"NVML refused with code {error.code}: {error.message}")
    return NvmlAnswer(
        release=unknown,
        cuda_version=unknown,
        error=Present(error),
        gpus=unknown,
        report=ProbeReport(probe=PROBE, status="failed", detail=unknown.reason),
    )


def _gpus(count: Fact[int], ending: Ending[_Line]) -> Fact[tuple[Gpu, ...]]:
    if not isinstance(count, Present):
        return count
    gpus = tuple(_gpu(line) for line in ending.lines if line.kind == "gpu")
    if not count.value:
        return Absent(("NVML",))
    # A GPU that NVML counts and that the child did not come to describe is a GPU all the same.
    why = ending.reason or "not described"
    missing = tuple(_unknown_gpu(index, why) for index in range(len(gpus), min(count.value, 128)))
    return Present(gpus + missing)


def _gpu(line: _Line) -> Gpu:
    if line.error is not None:
        error = NvmlError(code=line.error.code, message=line.error.message)
        return _unknown_gpu(line.index, f"NVML code {error.code}: {error.message}", Present(error))
    total, free = _memory(line.memory)
    return Gpu(
        index=line.index,
        name=_fact(line.name, str),
        uuid=_fact(line.uuid, str),
        pci_bus_id=_fact(line.pci_bus_id, str),
        compute_capability=_fact(line.compute_capability, str),
        memory_total_bytes=total,
        memory_free_bytes=free,
        mig_enabled=_mig_enabled(line.mig),
        mig_devices=tuple(_slice(device) for device in line.mig_devices),
        error=_gpu_error(line),
        ecc_uncorrected=_optional(line.ecc, int),
        row_remap_failed=_row_remap_failed(line.rows),
        fabric=_fabric(line.fabric),
    )


def _slice(device: _Mig) -> MigDevice:
    total, free = _memory(device.memory)
    return MigDevice(uuid=_fact(device.uuid, str), memory_total_bytes=total, memory_free_bytes=free)


def _optional(answer: _Answer, kind: type[T]) -> Fact[T]:
    """Return what only some GPUs and drivers have: whoever lacks it has nothing to report."""
    return Absent() if answer.code in (_NOT_SUPPORTED, _FUNCTION_NOT_FOUND) else _fact(answer, kind)


def _row_remap_failed(answer: _Answer) -> Fact[bool]:
    rows = _optional(answer, tuple[int, int, int, int])
    return Present(bool(rows.value[3])) if isinstance(rows, Present) else rows


def _fabric(answer: _Answer) -> Fact[Fabric]:
    both = _optional(answer, tuple[int, int])
    if not isinstance(both, Present):
        return both
    state, status = both.value
    if state not in _FABRIC_STATES:
        return Absent() if state == 0 else Unknown(f"NVML: unheard-of fabric state {state}")
    return Present(Fabric(state=_FABRIC_STATES[state], status=status))


def _unknown_gpu(index: int, reason: str, error: Fact[NvmlError] | None = None) -> Gpu:
    unknown = Unknown(reason)
    return Gpu(
        index=index,
        name=unknown,
        uuid=unknown,
        pci_bus_id=unknown,
        compute_capability=unknown,
        memory_total_bytes=unknown,
        memory_free_bytes=unknown,
        mig_enabled=unknown,
        error=error or unknown,
    )


def _gpu_error(line: _Line) -> Fact[NvmlError]:
    """Return the first answer that speaks of the GPU's health rather than of the call."""
    for answer in (line.name, line.uuid, line.pci_bus_id, line.compute_capability, line.memory, line.mig):
        if answer.code not in _HARMLESS:
            return Present(NvmlError(code=answer.code, message=answer.message))
    return Absent()


def _mig_enabled(answer: _Answer) -> Fact[bool]:
    if answer.code == _NOT_SUPPORTED:
        return Absent()
    mode = _fact(answer, int)
    return Present(bool(mode.value)) if isinstance(mode, Present) else mode


def _memory(answer: _Answer) -> tuple[Fact[int], Fact[int]]:
    """Return total and free. A GPU that shares the processor's memory (Grace, Jetson, GB10) answers neither."""
    both = _fact(answer, tuple[int, int])
    if isinstance(both, Present):
        return Present(both.value[0]), Present(both.value[1])
    return both, both


def _cuda_version(number: Fact[int]) -> Fact[str]:
    return Present(dotted_cuda_version(number.value)) if isinstance(number, Present) else number


def _fact(answer: _Answer, kind: type[T]) -> Fact[T]:
    if answer.code == _FUNCTION_NOT_FOUND:
        return Unknown("this driver's NVML has no such function")
    if answer.code == _NOT_SUPPORTED:
        return Unknown("NVML: not supported by this GPU")
    if answer.code < 0:
        return Unknown(f"NVML: {answer.message}")
    if answer.code:
        return Unknown(f"NVML code {answer.code}: {answer.message}")
    try:
        return Present(msgspec.json.decode(answer.value, type=kind))
    except msgspec.MsgspecError:
        return Unknown("the probe's answer cannot be read")
