"""GPD101, GPD102, GPD103: is there a GPU, is there a driver, and is it of one piece?"""

from __future__ import annotations

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import Absent, Fact, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fix, NotApplicable, Pass, Subject
from gpudoctor.model.machine import DriverFile
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.pages import driver as pages
from gpudoctor.rules.reading import (
    device_nodes,
    doubts,
    driver_consequences,
    evidence,
    has_driver,
    is_absent,
    is_assumed,
    items_of,
    listed,
    open_on,
    other_judge,
    pci_devices,
    same_release,
)

DRIVER = Subject(kind="driver", name="nvidia")
HOST = Subject(kind="host", name="host")
NVML_MISMATCH = 18

_INSTALL = Fix(
    title="Install the NVIDIA driver with your distribution's own tools, then reboot",
    applicability="display-only",
    commands=(
        "sudo ubuntu-drivers install  # Ubuntu; Debian: apt install nvidia-driver; Fedora: akmod-nvidia of RPM Fusion",
    ),
)
_LOAD = Fix(
    title="Load the kernel module and read why it refuses: no module for this kernel (rebuild it, or reboot into the "
    "kernel it was built for), Secure Boot (sign it), or nouveau in its place",
    applicability="display-only",
    commands=("sudo modprobe nvidia", "sudo dmesg | grep -iE 'nvidia|nouveau|NVRM'"),
)
_REBOOT = Fix(
    title="Reboot, so that the kernel loads the module of the release that is installed",
    applicability="display-only",
    commands=("sudo reboot",),
)


def update_driver(least: str | None) -> Fix:
    """Return the step to a newer driver, its least release named where it is known."""
    to = f" to {least} or newer" if least else ""
    return Fix(
        title=f"Update the NVIDIA driver{to} with your distribution's own tools, then reboot",
        applicability="display-only",
    )


# --- GPD101 ----------------------------------------------------------------------------------------------------------


def _missing(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if (elsewhere := other_judge(snapshot)) is not None:
        return (elsewhere,)
    driver, devices = snapshot.driver, pci_devices(snapshot)
    if snapshot.host.os == "macos":
        return (NotApplicable("there is no NVIDIA driver for macOS"),)
    if isinstance(driver.nvml, Present):
        return (Pass(DRIVER.name),)
    if isinstance(devices, Absent):
        return (NotApplicable("no NVIDIA device on the bus"),)
    if isinstance(devices, Unknown) and not (value_of(driver.libcuda) and value_of(driver.kernel_module)):
        return open_on(DRIVER.name, f"nobody can tell whether there is an NVIDIA device: {devices.reason}")
    if snapshot.host.os != "linux":
        return open_on(DRIVER.name, f"the driver did not answer: {_nvml_words(snapshot)}")
    if reason := doubts(driver.libcuda, driver.kernel_module):
        return open_on(DRIVER.name, f"nobody can tell whether a driver is installed: {reason}")
    return (_installed_or_not(snapshot, matrix, items_of(devices)),)


def _nvml_words(snapshot: Snapshot) -> str:
    error = value_of(snapshot.driver.nvml_error)
    return error.message if error else doubts(snapshot.driver.nvml, snapshot.driver.nvml_error) or "no answer of NVML"


def _installed_or_not(snapshot: Snapshot, matrix: Matrix, devices: tuple[str, ...]) -> Evaluation:
    driver = snapshot.driver
    at = f" (at {listed(devices)})" if devices else ""
    module, libcuda = value_of(driver.kernel_module), value_of(driver.libcuda)
    if module and libcuda:
        return Pass(DRIVER.name)
    if libcuda:
        release = value_of(libcuda.release)
        message = (
            f"The NVIDIA driver{' ' + release if release else ''} is installed but its kernel module is not loaded, so "
            f"no program can use the NVIDIA GPU{at}."
        )
        fix = _LOAD
    elif module:
        message = (
            f"The kernel module of NVIDIA driver {module} is loaded, but the driver's library libcuda.so.1 is not "
            f"installed, so no program can use the NVIDIA GPU{at}."
        )
        fix = _INSTALL
    else:
        message = (
            f"This machine has an NVIDIA GPU{at} but no NVIDIA driver, so every program will run on the CPU or fail."
        )
        fix = _INSTALL
    return driver_missing.fail(
        DRIVER,
        message,
        cause="driver-missing",
        evidence=evidence(
            ("NVIDIA devices", ", ".join(devices)),
            ("kernel module", module or "not loaded"),
            ("libcuda.so.1", libcuda.path if libcuda else "not found"),
            ("NVML", _nvml_words(snapshot)),
        ),
        consequences=driver_consequences(snapshot, matrix),
        fixes=(fix,),
    )


# --- GPD102 ----------------------------------------------------------------------------------------------------------


def _no_gpu(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if (elsewhere := other_judge(snapshot)) is not None:
        return (elsewhere,)
    driver, devices = snapshot.driver, pci_devices(snapshot)
    if snapshot.host.os == "macos":
        return (_none(snapshot, matrix, "macOS has no NVIDIA driver, so no program can use CUDA here."),)
    if isinstance(driver.nvml, Present) or isinstance(devices, Present) or items_of(snapshot.gpus):
        return (Pass(HOST.name),)
    if isinstance(driver.kernel_module, Present) or isinstance(device_nodes(snapshot), Present):
        return (Pass(HOST.name),)
    if isinstance(devices, Unknown):
        return open_on(HOST.name, f"nobody can tell whether there is an NVIDIA device: {devices.reason}")
    if isinstance(driver.libcuda, Present):
        words = "This machine has no NVIDIA GPU (the driver's libraries are installed, but there is no device for them)"
    else:
        words = "This machine has no NVIDIA GPU and no NVIDIA driver"
    return (_none(snapshot, matrix, f"{words}: everything runs on the CPU."),)


def _none(snapshot: Snapshot, matrix: Matrix, message: str) -> Evaluation:
    return no_nvidia_gpu.fail(
        HOST,
        message,
        cause="no-nvidia-gpu",
        evidence=evidence(("NVIDIA devices", "none on the bus" if is_absent(pci_devices(snapshot)) else None)),
        consequences=driver_consequences(snapshot, matrix),
        fixes=(
            Fix(
                title="To judge for another machine, name its driver",
                applicability="display-only",
                commands=("gpudoctor check --assume-driver RELEASE --assume-gpu NAME",),
            ),
        ),
    )


# --- GPD103 ----------------------------------------------------------------------------------------------------------


def _mismatch(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    if is_assumed(snapshot):
        return (NotApplicable("judged for an assumed machine, not for this one"),)
    driver = snapshot.driver
    error = value_of(driver.nvml_error)
    module = value_of(driver.kernel_module)
    others = _other_files(snapshot, module) if module else ()
    if (error and error.code == NVML_MISMATCH) or others:
        return (_differ(snapshot, module, others),)
    if isinstance(driver.kernel_module, Absent) or not has_driver(snapshot):
        return (NotApplicable("no NVIDIA kernel module is loaded"),)
    if isinstance(driver.nvml, Present):
        return (Pass(DRIVER.name),)
    if reason := doubts(driver.kernel_module, driver.libcuda, *_releases(snapshot)):
        return open_on(DRIVER.name, f"kernel module and driver libraries could not be compared: {reason}")
    if not _releases(snapshot):
        return (NotApplicable("none of the driver's libraries is installed"),)
    return (Pass(DRIVER.name),)


def _releases(snapshot: Snapshot) -> tuple[Fact[str], ...]:
    return tuple(file.release for _, file in _files(snapshot))


def _files(snapshot: Snapshot) -> tuple[tuple[str, DriverFile], ...]:
    """Return the driver's libraries, those of a forward-compatibility package left out: they are newer by design."""
    named = (("libcuda.so.1", snapshot.driver.libcuda), ("libnvidia-ml.so.1", snapshot.driver.libnvidia_ml))
    found = ((name, fact.value) for name, fact in named if isinstance(fact, Present))
    return tuple((name, file) for name, file in found if not is_compat(file))


def is_compat(file: DriverFile) -> bool:
    """Tell whether a libcuda comes from a cuda-compat package."""
    return "/compat/" in file.real_path or "/compat/" in file.path


def _other_files(snapshot: Snapshot, module: str) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (name, file.release.value, file.real_path)
        for name, file in _files(snapshot)
        if isinstance(file.release, Present) and not same_release(file.release.value, module)
    )


def _differ(snapshot: Snapshot, module: str | None, others: tuple[tuple[str, str, str], ...]) -> Evaluation:
    container = value_of(snapshot.host.container)
    if module and others:
        detail = f"the kernel module is {module}, but {others[0][0]} is {others[0][1]}"
    else:
        detail = "NVML refuses with “driver/library version mismatch”"
    cure = "a driver update waits for a reboot" if not container else "the image brings driver libraries of its own"
    return driver_kernel_mismatch.fail(
        DRIVER,
        f"The NVIDIA driver is of two releases: {detail}; no program can use the GPU (most likely {cure}).",
        cause="driver-kernel-mismatch",
        evidence=evidence(
            ("kernel module", module),
            *((name, f"{release}, {path}") for name, release, path in others),
            ("NVML", _nvml_words(snapshot) if isinstance(snapshot.driver.nvml_error, Present) else None),
        ),
        fixes=(
            Fix(
                title="Take the NVIDIA driver packages out of the image: the container runtime mounts the host's own",
                applicability="display-only",
            ),
        )
        if container
        else (_REBOOT,),
    )


driver_missing = Rule(
    id="GPD101",
    name="driver-missing",
    title="There is an NVIDIA GPU, but its driver is missing or not loaded",
    level="error",
    causes=("driver-missing",),
    page=pages.GPD101,
    evaluate=_missing,
)
no_nvidia_gpu = Rule(
    id="GPD102",
    name="no-nvidia-gpu",
    title="The machine has no NVIDIA GPU",
    level="note",
    causes=("no-nvidia-gpu",),
    page=pages.GPD102,
    evaluate=_no_gpu,
)
driver_kernel_mismatch = Rule(
    id="GPD103",
    name="driver-kernel-mismatch",
    title="The loaded kernel module and the driver's libraries are of different releases",
    level="error",
    causes=("driver-kernel-mismatch",),
    page=pages.GPD103,
    evaluate=_mismatch,
)
