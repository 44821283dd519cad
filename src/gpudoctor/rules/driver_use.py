"""GPD104, GPD105, GPD106: does the driver serve the CUDA in use, and does it answer at all?"""

from __future__ import annotations

import re

import msgspec

from gpudoctor.matrix.claims import NeedsDriver
from gpudoctor.matrix.index import Matrix, driver_tuple
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fail, Fix, Level, NotApplicable, Open, Pass, Subject
from gpudoctor.model.snapshot import Gpu, NvmlError, Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.driver import DRIVER, NVML_MISMATCH, is_compat
from gpudoctor.rules.misses import deciding_rows
from gpudoctor.rules.pages import driver as pages
from gpudoctor.rules.reading import (
    evidence,
    gpu_consumers,
    has_driver,
    is_assumed,
    label,
    listed,
    major_of,
    numbers,
    open_on,
    pci_devices,
    unique,
)

_NO_PERMISSION = 4
_LOST = (15, 16)
_UPDATE = Fix(
    title="Update the NVIDIA driver with your distribution's own tools, then reboot",
    applicability="display-only",
)


# --- GPD104 ----------------------------------------------------------------------------------------------------------


class _Need(msgspec.Struct, frozen=True):
    consumer: str
    cuda: str
    source: str


def _too_old(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    needs, unknown = _needs(snapshot, matrix)
    if not needs and not unknown:
        return (NotApplicable("no installed package brings CUDA code"),)
    blind = tuple(Open(f"{label(snapshot, matrix, c)}: the CUDA version of its build is not known", c) for c in unknown)
    if isinstance(snapshot.host.tegra, Present):
        return open_on(DRIVER.name, "a Jetson's driver is numbered by its L4T system, which the matrix does not know")
    release = snapshot.driver.release
    if not isinstance(release, Present):
        why = release.reason if isinstance(release, Unknown) else "there is no NVIDIA driver here"
        return open_on(DRIVER.name, f"{why}; --assume-driver RELEASE judges for another machine")
    return (*_against(snapshot, matrix, needs, release.value), *blind)


def _needs(snapshot: Snapshot, matrix: Matrix) -> tuple[tuple[_Need, ...], tuple[str, ...]]:
    found, unknown = [], []
    for consumer in gpu_consumers(snapshot):
        need = _need(snapshot, matrix, consumer)
        if need:
            found.append(need)
        elif (build := snapshot.build(consumer)) and build.gpu not in (Absent(), Present(value=False)):
            unknown.append(consumer)
    return tuple(found), tuple(unknown)


def _need(snapshot: Snapshot, matrix: Matrix, consumer: str) -> _Need | None:
    build = snapshot.build(consumer)
    if build and build.gpu == Present(value=False):
        return None
    if build and isinstance(build.cuda, Present) and numbers(build.cuda.value):
        return _Need(consumer, build.cuda.value, f"built for CUDA {build.cuda.value}")
    for r in deciding_rows(snapshot, matrix, consumer):
        major = major_of(r.soname)
        if r.family in ("cudart", "cublas") and major:
            return _Need(consumer, major, f"opens {r.soname}")
    return None


def _against(snapshot: Snapshot, matrix: Matrix, needs: tuple[_Need, ...], release: str) -> tuple[Evaluation, ...]:
    try:
        have = driver_tuple(release)
    except ValueError:
        return open_on(DRIVER.name, f"the driver release {release!r} is no dotted number")
    served = numbers(value_of(snapshot.driver.cuda_version) or "")
    failing: list[tuple[_Need, str, str]] = []
    answers: list[Evaluation] = []
    for need in needs:
        minimum = _minimum(snapshot, matrix, need)
        if served and not snapshot.driver.assumed and served[0] >= numbers(need.cuda)[0]:
            answers.append(Pass(need.consumer))  # what libcuda itself says: a forward-compatibility package counts
        elif minimum is None:
            answers.append(Open(f"the matrix has no least driver for CUDA {need.cuda} here", need.consumer))
        elif have < driver_tuple(minimum[0]):
            failing.append((need, *minimum))
        else:
            answers.append(Pass(need.consumer))
    if failing:
        answers.insert(0, _old(snapshot, matrix, release, tuple(failing)))
    return tuple(answers)


def _minimum(snapshot: Snapshot, matrix: Matrix, need: _Need) -> tuple[str, str] | None:
    """Return the least driver release for a CUDA version and the fact that says so.

    Minor-version compatibility: within one CUDA major the least of all its minimums counts, unless PTX has to be
    compiled. Source: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    """
    windows = snapshot.host.os == "windows" or isinstance(snapshot.host.wsl, Present)
    version = need.cuda if "." in need.cuda else f"{need.cuda}.0"
    known = [
        (driver_tuple(release), release, fact.id)
        for fact, claim in matrix.facts("cuda", NeedsDriver, version)
        if not claim.ptx and (release := claim.windows if windows else claim.linux)
    ]
    return min(known)[1:] if known else None


def _old(snapshot: Snapshot, matrix: Matrix, release: str, failing: tuple[tuple[_Need, str, str], ...]) -> Fail:
    worst = max(failing, key=lambda f: driver_tuple(f[1]))
    cuda = unique(f"CUDA {numbers(need.cuda)[0]}" for need, _, _ in failing)
    users = tuple(label(snapshot, matrix, need.consumer) for need, _, _ in failing)
    uses = "use" if len(users) > 1 else "uses"
    whose = "assumed NVIDIA driver" if snapshot.driver.assumed else "NVIDIA driver"
    return driver_too_old.fail(
        DRIVER,
        f"The {whose} {release} is too old for {listed(cuda)}, which {listed(users)} {uses}: it must be {worst[1]} or "
        "newer, or every call to the GPU fails with “CUDA driver version is insufficient for CUDA runtime version”.",
        cause="driver-too-old",
        confidence="table",
        evidence=evidence(
            ("driver", release),
            ("serves CUDA up to", value_of(snapshot.driver.cuda_version)),
            ("wanted", f"{worst[1]} or newer"),
            *((need.consumer, need.source) for need, _, _ in failing),
        ),
        facts=unique(fact for _, _, fact in failing),
        consequences=tuple(
            f"{user} cannot use the GPU: CUDA {need.cuda} needs driver {least} or newer"
            for user, (need, least, _) in zip(users, failing, strict=True)
        ),
        fixes=(
            _UPDATE,
            Fix(
                title=f"Or install releases of {listed([need.consumer for need, _, _ in failing])} that are built for "
                "an older CUDA",
                applicability="display-only",
            ),
        ),
    )


# --- GPD105 ----------------------------------------------------------------------------------------------------------


def _lost(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    if is_assumed(snapshot) or not has_driver(snapshot):
        return (NotApplicable("no driver that could report a GPU's state"),)
    general = value_of(snapshot.driver.nvml_error)
    if general and general.code in _LOST:
        return (_gone(Subject(kind="driver", name=DRIVER.name), "A GPU", general),)
    match snapshot.gpus:
        case Present(value=gpus):
            return tuple(_gpu_state(gpu) for gpu in gpus) or (NotApplicable("the driver lists no GPU"),)
        case Absent():
            return (NotApplicable("the driver lists no GPU"),)
        case Unknown(reason=reason):
            return open_on("gpu", f"the GPUs' state could not be asked: {reason}")


def _gpu_state(gpu: Gpu) -> Evaluation:
    name = value_of(gpu.name) or f"GPU {gpu.index}"
    match gpu.error:
        case Present(value=error) if error.code in _LOST:
            where = value_of(gpu.pci_bus_id)
            return _gone(Subject(kind="gpu", name=name), f"{name}{f' (at {where})' if where else ''}", error)
        case Present(value=error):
            return Open(f"{name}: NVML answered {error.code}, {error.message}", name)
        case Unknown(reason=reason):
            return Open(f"{name}: {reason}", name)
        case Absent():
            return Pass(name)


def _gone(subject: Subject, who: str, error: NvmlError) -> Fail:
    return gpu_lost.fail(
        subject,
        f"{who} no longer answers the driver ({error.message}): it fell off the bus or needs a reset, so everything on "
        "it fails until then.",
        cause="gpu-hardware-fault",
        confidence="proved",
        evidence=evidence(("NVML", f"{error.code}, {error.message}")),
        fixes=(
            Fix(
                title="Read the kernel's log for Xid messages, then power the machine off and on; if it comes back, "
                "look at power supply, cooling and seating of the card",
                applicability="display-only",
                commands=("sudo dmesg | grep -iE 'NVRM|Xid'",),
            ),
        ),
    )


# --- GPD106 ----------------------------------------------------------------------------------------------------------


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
        "the driver's state is broken, often after suspend or because /dev/nvidia-uvm is missing",
        "Load nvidia_uvm anew, or reboot",
    ),
}
# NVML: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html (nvmlReturn_t)
_NVML = {
    9: _Refusal("driver-missing", "the kernel module is not loaded", "Load the kernel module"),
    17: _Refusal("driver-state-broken", "the operating system refused a request of the driver", "Reboot"),
    999: _Refusal("driver-state-broken", "the driver reports an internal error", "Reboot"),
}
_JUDGED_ELSEWHERE = (NVML_MISMATCH, *_LOST, 12)


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
                    return (_refused("cuInit", code, _CU_INIT.get(code), snapshot),)
                case Unknown(reason=reason):
                    return open_on(DRIVER.name, f"libcuda could not be asked: {reason}")
                case Absent():
                    return (NotApplicable("libcuda was not asked"),)
        case Unknown(reason=reason):
            return open_on(DRIVER.name, f"libcuda could not be asked: {reason}")
        case Absent():
            return (NotApplicable("there is no libcuda to ask"),)


def _no_device(snapshot: Snapshot) -> Evaluation:
    """Judge the answer 100 of cuInit: the driver works and offers no device to this process."""
    visible = snapshot.variable("CUDA_VISIBLE_DEVICES")
    if visible is not None and not re.fullmatch(r"\d+(,\d+)*", visible.replace(" ", "")):
        refusal = _Refusal(
            "wrong-device-selected",
            f"CUDA_VISIBLE_DEVICES={visible!r} selects no device",
            "Unset CUDA_VISIBLE_DEVICES, or name a device that nvidia-smi -L lists",
        )
        return _refused("cuInit", 100, refusal, snapshot, level="warning")
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


def _refused(door: str, code: int, refusal: _Refusal | None, snapshot: Snapshot, level: Level = "error") -> Evaluation:
    if refusal is None:
        return Open(f"{door} answered {code}, which gpudoctor cannot explain", DRIVER.name)
    libcuda = value_of(snapshot.driver.libcuda)
    return driver_not_usable.fail(
        DRIVER,
        f"The NVIDIA driver refuses to start ({door} answers {code}): {refusal.words}; no program can use the GPU.",
        cause=refusal.cause,
        reason=refusal.why,
        confidence="proved",
        level=level,
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


driver_too_old = Rule(
    id="GPD104",
    name="driver-too-old",
    title="The driver is too old for the CUDA version in use",
    level="error",
    causes=("driver-too-old",),
    page=pages.GPD104,
    evaluate=_too_old,
)
gpu_lost = Rule(
    id="GPD105",
    name="gpu-lost",
    title="A GPU no longer answers its driver",
    level="error",
    causes=("gpu-hardware-fault",),
    page=pages.GPD105,
    evaluate=_lost,
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
        "wrong-device-selected",
        "container-no-gpu",
    ),
    page=pages.GPD106,
    evaluate=_not_usable,
)
