"""GPD106: what libcuda and NVML themselves say when the driver refuses to start."""

from __future__ import annotations

import msgspec

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fail, Fix, NotApplicable, Open, Pass
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.devices import VARIABLE, judged_value, selection
from gpudoctor.rules.driver import DRIVER, NVML_MISMATCH, is_compat
from gpudoctor.rules.driver_use import LOST
from gpudoctor.rules.pages import driver as pages
from gpudoctor.rules.reading import device_nodes, evidence, has_driver, is_assumed, items_of, open_on, pci_devices

_NO_PERMISSION = 4
_UVM = "/dev/nvidia-uvm"
# "OS call failed", "unknown error": https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html
_VAGUE = (304, 999)


class _Refusal(msgspec.Struct, frozen=True):
    """What a return code means. `cause` None: the taxonomy has none, `why` says so."""

    cause: str | None
    words: str
    cure: str
    why: str | None = None


# cuInit: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html (CUresult)
_CU_INIT = {
    34: _Refusal(
        "driver-missing",
        "the libcuda.so.1 that is found is the toolkit's stub for linking, not the driver's",
        "Take the toolkit's stubs folder out of LD_LIBRARY_PATH",
    ),
    46: _Refusal(
        None,
        "the GPU is in use by another process in exclusive mode",
        "End the other process, or set the compute mode to default",
        "a GPU held by another process is no fault of the installation",
    ),
    802: _Refusal(
        "fabric-manager",
        "the NVSwitch fabric is not ready",
        "Install nvidia-fabricmanager of exactly the driver's release and start its service",
    ),
    803: _Refusal(
        "forward-compat",
        "libcuda and the kernel module do not fit each other",
        "Take the cuda-compat package out, or reboot if the driver was just updated",
    ),
    804: _Refusal(
        "forward-compat",
        "forward-compatibility libraries (cuda-compat) are used on a GPU that does not support them",
        "Take the cuda-compat folder out of LD_LIBRARY_PATH or the image, and update the driver instead",
    ),
    999: _Refusal(
        "driver-state-broken",
        "the driver's state is broken, often after suspend",
        "Load nvidia_uvm anew (sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm), or reboot",
    ),
}
# NVML: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html (nvmlReturn_t)
_NVML = {
    9: _Refusal("driver-missing", "the kernel module is not loaded", "Load the kernel module"),
    17: _Refusal("driver-state-broken", "the operating system refused a request of the driver", "Reboot"),
    999: _Refusal("driver-state-broken", "the driver reports an internal error", "Reboot"),
}
_JUDGED_ELSEWHERE = (NVML_MISMATCH, *LOST, 12)


def _not_usable(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    if is_assumed(snapshot) or not has_driver(snapshot):
        return (NotApplicable("no driver that could be asked"),)
    asked = [*_ask_cuda(snapshot), *_ask_nvml(snapshot)]
    fails = [e for e in asked if isinstance(e, Fail)]
    # One broken driver answers through both of its doors: the first answer is the headline.
    return tuple(fails[:1] or asked)


def _ask_cuda(snapshot: Snapshot) -> tuple[Evaluation, ...]:
    match snapshot.driver.cuda:
        case Present(value=probe):
            match probe.init_code:
                case Present(value=0):
                    return (Pass(DRIVER.name),)
                case Present(value=100):
                    return (_no_device(snapshot),)
                case Present(value=code):
                    return (_refused("cuInit", code, _meaning(snapshot, code), snapshot),)
                case Unknown(reason=reason):
                    return open_on(DRIVER.name, f"libcuda could not be asked: {reason}")
                case Absent():
                    return (NotApplicable("libcuda was not asked"),)
        case Unknown(reason=reason):
            return open_on(DRIVER.name, f"libcuda could not be asked: {reason}")
        case Absent():
            return (NotApplicable("there is no libcuda to ask"),)


def _meaning(snapshot: Snapshot, code: int) -> _Refusal | None:
    """Return what a code of cuInit means here; a missing device file explains the codes that say nothing themselves.

    Source: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/ (device files), read 2026-11-21
    """
    nodes = items_of(device_nodes(snapshot))
    if code in _VAGUE and "/dev/nvidiactl" in nodes and _UVM not in nodes:
        inside = isinstance(snapshot.host.container, Present)
        return _Refusal(
            "driver-state-broken",
            f"the device file {_UVM} is missing",
            f"Start the container with --gpus all, or with --device {_UVM} besides the other device files"
            if inside
            else "Load the module and make its device file: sudo nvidia-modprobe -u -c=0",
        )
    return _CU_INIT.get(code)


def _no_device(snapshot: Snapshot) -> Evaluation:
    """Judge the answer 100 of cuInit: the driver works and offers no device to this process."""
    if judged_value(snapshot) is not None and not selection(snapshot).devices:
        return NotApplicable(f"{VARIABLE} is set: GPD506 judges whether it names a device")
    if isinstance(snapshot.host.container, Present):
        refusal = _Refusal(
            "container-no-gpu",
            "the container was given the driver's libraries but no device",
            "Start the container with --gpus all (or a device request)",
        )
        return _refused("cuInit", 100, refusal, snapshot)
    if isinstance(pci_devices(snapshot), Present):
        return Open("libcuda says that there is no device for this process (100), and nothing here tells why", "nvidia")
    return NotApplicable("no NVIDIA device on the bus")


def _ask_nvml(snapshot: Snapshot) -> tuple[Evaluation, ...]:
    match snapshot.driver.nvml_error:
        case Present(value=error) if error.code == _NO_PERMISSION:
            return open_on(DRIVER.name, f"this user may not ask NVML ({error.message}): run as the service's own user")
        case Present(value=error) if error.code in _JUDGED_ELSEWHERE:
            return (NotApplicable("another rule judges this answer of NVML"),)
        case Present(value=error) if error.code in _NVML:
            return (_refused("NVML", error.code, _NVML[error.code], snapshot),)
        case Present(value=error):
            return open_on(DRIVER.name, f"NVML answered {error.code}, {error.message}")
        case Unknown(reason=reason):
            return open_on(DRIVER.name, f"NVML could not be asked: {reason}")
        case Absent():
            return (Pass(DRIVER.name),)


def _refused(door: str, code: int, refusal: _Refusal | None, snapshot: Snapshot) -> Evaluation:
    if refusal is None:
        return Open(f"{door} answered {code}, which gpudoctor cannot explain", DRIVER.name)
    libcuda = value_of(snapshot.driver.libcuda)
    return driver_not_usable.fail(
        DRIVER,
        f"The NVIDIA driver refuses to start ({door} answers {code}): {refusal.words}; no program can use the GPU.",
        cause=refusal.cause,
        reason=refusal.why,
        confidence="proved",
        evidence=evidence(
            (door, str(code)),
            ("libcuda.so.1", libcuda.real_path if libcuda else None),
            (
                "forward compatibility",
                "this libcuda is of a cuda-compat package" if libcuda and is_compat(libcuda) else None,
            ),
            ("kernel module", value_of(snapshot.driver.kernel_module)),
        ),
        fixes=(Fix(title=refusal.cure, applicability="display-only"),),
    )


driver_not_usable = Rule(
    id="GPD106",
    name="driver-not-usable",
    title="The driver is installed but refuses to start",
    level="error",
    causes=(
        "driver-missing",
        "forward-compat",
        "fabric-manager",
        "driver-state-broken",
        "container-no-gpu",
    ),
    page=pages.GPD106,
    evaluate=_not_usable,
)
