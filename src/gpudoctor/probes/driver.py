"""Probe: the driver's kernel module, its user-space files, and both put together with what they said."""

from __future__ import annotations

import posixpath
import re

from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.machine import CudaDriverProbe, Driver, DriverFile
from gpudoctor.probes.nvml import NvmlAnswer
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, encodable, read_text

PROC_VERSION = "/proc/driver/nvidia/version"
SYS_VERSION = "/sys/module/nvidia/version"
_SMALL_BYTES = 64 << 10
# Driver releases have had three-digit majors since 2006: this keeps `libcuda.so.1.1` of WSL and Jetson out.
_RELEASE = r"[0-9]{3,}\.[0-9]+(?:\.[0-9]+)*"
_NVRM_LINE = re.compile(rf"^NVRM version:.*?\s({_RELEASE})(?:\s|$)", re.MULTILINE)
_FILE_RELEASE = re.compile(rf"\.so\.({_RELEASE})$")
_ASSUMABLE = re.compile(r"[0-9]{3,4}(?:\.[0-9]{1,4}){0,3}")


def parse_nvrm_version(text: str) -> str | None:
    """Return the release in /proc/driver/nvidia/version.

    Both wordings are read: `NVIDIA UNIX x86_64 Kernel Module  550.54.15  …` of the proprietary module and
    `NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build  (…)` of the open one.
    """
    match = _NVRM_LINE.search(text)
    return match.group(1) if match else None


def probe_kernel_module(system: ReadSystem) -> Fact[str]:
    """Read the release of the loaded kernel module.

    Absent inside WSL, whose driver is Windows', and on Jetson, whose driver is part of the kernel.
    """
    if system.os_name != "linux":
        return Unknown(f"not read on {system.os_name}")
    problems: list[str] = []
    for path in (PROC_VERSION, SYS_VERSION):
        try:
            text = read_text(system, path, _SMALL_BYTES)
        except NotThere:
            continue
        except CannotLook as error:
            problems.append(error.reason)
            continue
        release = parse_nvrm_version(text) if path == PROC_VERSION else _whole_release(text)
        if release:
            return Present(release)
        problems.append(f"{path}: no driver release in it")
    return Unknown("; ".join(problems)) if problems else Absent((PROC_VERSION, SYS_VERSION))


def _whole_release(text: str) -> str | None:
    return text.strip() if re.fullmatch(_RELEASE, text.strip()) else None


def probe_driver_file(system: ReadSystem, path: str) -> DriverFile:
    """Describe a driver library that the loader would open.

    Args:
        system: The machine.
        path: Where the loader finds libcuda.so.1 or libnvidia-ml.so.1.
    """
    real_path = system.realpath(path)
    match = _FILE_RELEASE.search(posixpath.basename(real_path))
    # WSL and Jetson name it libcuda.so.1.1: no release in it.
    release: Fact[str] = Present(match.group(1)) if match else Unknown("the file's name carries no driver release")
    return DriverFile(path=encodable(path), real_path=encodable(real_path), release=release)


def assemble_driver(
    *,
    kernel_module: Fact[str],
    libcuda: Fact[DriverFile],
    libnvidia_ml: Fact[DriverFile],
    nvml: NvmlAnswer,
    cuda: Fact[CudaDriverProbe],
) -> Driver:
    """Put the driver together from its parts.

    Args:
        kernel_module: From probe_kernel_module.
        libcuda: The libcuda.so.1 that the target would load.
        libnvidia_ml: The libnvidia-ml.so.1 that the target would load.
        nvml: NVML's answer.
        cuda: libcuda's answer.
    """
    return Driver(
        release=_release(nvml.release, kernel_module, libcuda),
        cuda_version=_cuda_version(nvml.cuda_version, cuda, kernel_module, libcuda),
        kernel_module=kernel_module,
        libcuda=libcuda,
        libnvidia_ml=libnvidia_ml,
        nvml=nvml.release,
        nvml_error=nvml.error,
        cuda=cuda,
    )


def assume_driver(release: str, cuda_version: str | None = None) -> Driver:
    """Return a driver that the user named; nothing is asked of this machine.

    Args:
        release: As in `--assume-driver`.
        cuda_version: Highest CUDA version that this release serves, from the matrix.

    Raises:
        UsageError: The release is not dotted integers.
    """
    if not _ASSUMABLE.fullmatch(release):
        raise UsageError(f"--assume-driver {release!r}: a driver release looks like 550.54.15 or 535")
    unknown = Unknown("the driver is assumed; this machine was not asked")
    return Driver(
        release=Present(release),
        cuda_version=Present(cuda_version) if cuda_version else Unknown("the matrix does not know this release"),
        kernel_module=unknown,
        libcuda=unknown,
        libnvidia_ml=unknown,
        nvml=unknown,
        nvml_error=unknown,
        cuda=unknown,
        assumed=True,
    )


def _release(nvml: Fact[str], kernel_module: Fact[str], libcuda: Fact[DriverFile]) -> Fact[str]:
    of_file = libcuda.value.release if isinstance(libcuda, Present) else libcuda
    for fact in (nvml, kernel_module, of_file):
        if isinstance(fact, Present):
            return fact
    return _none_of(kernel_module, of_file) or Unknown(_why_unknown(nvml, kernel_module, of_file))


def _cuda_version(
    nvml: Fact[str], cuda: Fact[CudaDriverProbe], kernel_module: Fact[str], libcuda: Fact[DriverFile]
) -> Fact[str]:
    of_libcuda = cuda.value.driver_version if isinstance(cuda, Present) else cuda
    for fact in (nvml, of_libcuda):
        if isinstance(fact, Present):
            return fact
    return _none_of(kernel_module, libcuda) or Unknown(_why_unknown(nvml, of_libcuda))


def _none_of(*facts: Fact[str] | Fact[DriverFile]) -> Absent | None:
    """Return Absent when every fact is: only then is there no driver."""
    searched: list[str] = []
    for fact in facts:
        if not isinstance(fact, Absent):
            return None
        searched.extend(fact.searched)
    return Absent(tuple(searched))


def _why_unknown(*facts: Fact[str]) -> str:
    reasons = dict.fromkeys(fact.reason for fact in facts if isinstance(fact, Unknown))
    return "; ".join(reasons) or "nothing on this machine tells it"
