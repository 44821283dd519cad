"""Probe: what libcuda itself answers, asked by a child process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from gpudoctor.model.fact import Fact, Present, Unknown
from gpudoctor.model.machine import CudaDriverProbe
from gpudoctor.model.snapshot import ProbeReport
from gpudoctor.probes.child_answer import Pending, ending_of, start_child
from gpudoctor.probes.nvml import dotted_cuda_version
from gpudoctor.system.protocol import ReadSystem

PROBE = "libcuda"
DEFAULT_TIMEOUT_S = 5.0


class CudaAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What libcuda said.

    Attributes:
        probe: Its answers; each of them may be unknown.
        report: How the probe went.
    """

    probe: Fact[CudaDriverProbe]
    report: ProbeReport


class _Line(msgspec.Struct, frozen=True):
    """One document of the child, whichever kind."""

    kind: Literal["unloadable", "version", "init", "count"]
    code: int = 0
    value: int = 0
    message: str = ""


def start_cuda(
    system: ReadSystem, environment: Mapping[str, str], path: str, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Pending:
    """Start asking a libcuda; other probes may run meanwhile.

    Args:
        system: The machine.
        environment: The judged environment: CUDA_VISIBLE_DEVICES and its like apply.
        path: The libcuda.so.1 that the target would load (`nvcuda.dll` on Windows).
        timeout_s: After so long the answer is Unknown.
    """
    return start_child(system, PROBE, environment, timeout_s, "libcuda", path)


def finish_cuda(pending: Pending) -> CudaAnswer:
    """Wait for the answer."""
    ending = ending_of(pending, _Line)
    said = {line.kind: line for line in ending.lines}
    if "unloadable" in said:
        return cuda_not_asked(f"libcuda cannot be loaded: {said['unloadable'].message}", "failed")
    if not said:
        return cuda_not_asked(ending.reason or "the probe gave no answer", ending.report.status)
    why = ending.reason or "not asked"
    version, init, count = said.get("version"), said.get("init"), said.get("count")
    probe = CudaDriverProbe(
        init_code=Unknown(f"cuInit: {why}") if init is None else Present(init.code),
        driver_version=_version(version),
        device_count=_count(init, count, why),
    )
    return CudaAnswer(probe=Present(probe), report=ending.report)


def cuda_not_asked(
    reason: str, status: Literal["ok", "skipped", "timeout", "crashed", "failed"] = "skipped"
) -> CudaAnswer:
    """Return the answer when there is none.

    Args:
        reason: Why, in one clause.
        status: How that came about.
    """
    return CudaAnswer(probe=Unknown(reason), report=ProbeReport(probe=PROBE, status=status, detail=reason))


def _version(line: _Line | None) -> Fact[str]:
    if line is None:
        return Unknown("cuDriverGetVersion gave no answer")
    if line.code or not line.value:
        return Unknown(f"cuDriverGetVersion answered {line.code}")
    return Present(dotted_cuda_version(line.value))


def _count(init: _Line | None, count: _Line | None, why: str) -> Fact[int]:
    if init is not None and init.code:
        return Unknown(f"cuInit answered {init.code}")
    if count is None:
        return Unknown(f"cuDeviceGetCount: {why}")
    return Unknown(f"cuDeviceGetCount answered {count.code}") if count.code else Present(count.value)
