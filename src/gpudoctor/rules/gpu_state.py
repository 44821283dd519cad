"""GPD108, GPD109, GPD110: forward compatibility where it is not allowed, an NVSwitch fabric, failing memory."""

from __future__ import annotations

import re

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fail, Fix, NotApplicable, Open, Pass, Subject
from gpudoctor.model.machine import DriverFile, Fabric, Gpu
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.devices import gpu_name, no_gpu_answer
from gpudoctor.rules.driver import DRIVER, is_compat
from gpudoctor.rules.pages import gpu as pages
from gpudoctor.rules.reading import device_nodes, evidence, is_assumed, items_of, listed, numbers, open_on

# Forward compatibility is for data-centre GPUs, some professional ones and Jetson, never for GeForce and TITAN.
# Source: https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html (2026-11-21)
_CONSUMER_GPU = re.compile(r"\b(GeForce|TITAN)\b")
_FABRIC_WORDS = {"not-started": "has not begun", "in-progress": "is not finished", "completed": "has failed"}
_NOT_ALLOWED = (803, 804)
_NVSWITCH = "/dev/nvidia-nvswitch"


# --- GPD108 ----------------------------------------------------------------------------------------------------------


def _forward(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    match snapshot.driver.libcuda:
        case Present(value=file) if is_compat(file):
            return (_compat(snapshot, file),)
        case Unknown(reason=reason) if not is_assumed(snapshot) and snapshot.host.os == "linux":
            return open_on(DRIVER.name, f"nobody can tell which libcuda.so.1 is found: {reason}")
        case _:
            return (NotApplicable("libcuda.so.1 is not of a forward-compatibility package"),)


def _compat(snapshot: Snapshot, file: DriverFile) -> Evaluation:
    """Judge by what this very libcuda answered; where it could not be asked, by what is known of GPU and driver."""
    probe = value_of(snapshot.driver.cuda)
    answered = probe.init_code if probe else None
    if answered == Present(value=0):
        return Pass(DRIVER.name)
    consumer_gpus = [name for g in items_of(snapshot.gpus) if _CONSUMER_GPU.search(name := gpu_name(g))]
    module = value_of(snapshot.driver.kernel_module)
    older = _is_older(file, module)
    proved = isinstance(answered, Present) and answered.value in _NOT_ALLOWED
    if isinstance(answered, Present) and not proved:
        return NotApplicable(f"libcuda answers {answered.value}, which is another fault")
    if consumer_gpus:
        why = f"{listed(consumer_gpus)} does not support forward compatibility, which is for data-centre GPUs"
    elif older:
        why = f"it is older than the driver's own {module}, which needs none"
    elif proved:
        why = "this GPU or this driver does not allow it"
    else:
        return Open("libcuda of a forward-compatibility package could not be asked whether it works here", DRIVER.name)
    return _misused(snapshot, file, why, proved=proved)


def _is_older(file: DriverFile, module: str | None) -> bool:
    if not isinstance(file.release, Present) or module is None:
        return False
    return numbers(file.release.value) < numbers(module)


def _misused(snapshot: Snapshot, file: DriverFile, why: str, *, proved: bool) -> Fail:
    probe = value_of(snapshot.driver.cuda)
    code = value_of(probe.init_code) if probe else None
    return forward_compat.fail(
        DRIVER,
        f"The libcuda.so.1 that is found is of a cuda-compat package ({file.real_path}), and {why}: CUDA does not "
        "start (error 803 or 804).",
        cause="forward-compat",
        confidence="proved" if proved else "table",
        evidence=evidence(
            ("libcuda.so.1", file.real_path),
            ("cuInit", str(code) if code is not None else None),
            ("kernel module", value_of(snapshot.driver.kernel_module)),
            ("GPU", ", ".join(gpu_name(g) for g in items_of(snapshot.gpus)) or None),
            ("LD_LIBRARY_PATH", snapshot.variable("LD_LIBRARY_PATH")),
        ),
        fixes=(
            Fix(
                title="Take the cuda-compat folder out of LD_LIBRARY_PATH, or its package out of the image, so that "
                "the driver's own libcuda is found; update the driver where it is too old",
                applicability="display-only",
                commands=("apt-get remove 'cuda-compat-*'",),
            ),
        ),
    )


# --- GPD109 ----------------------------------------------------------------------------------------------------------


def _fabric(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    if is_assumed(snapshot):
        return (NotApplicable("judged for an assumed machine, not for this one"),)
    if isinstance(snapshot.gpus, Unknown):
        return no_gpu_answer(snapshot)
    members = [(g, g.fabric) for g in items_of(snapshot.gpus) if not isinstance(g.fabric, Absent)]
    if not members:
        return (NotApplicable("no GPU belongs to an NVSwitch fabric"),)
    probe = value_of(snapshot.driver.cuda)
    if probe and probe.init_code == Present(value=0):
        return (Pass(DRIVER.name),)
    waiting = tuple((g, f.value) for g, f in members if isinstance(f, Present) and not _is_ready(f.value))
    if waiting:
        return (_not_ready(snapshot, waiting),)
    if blind := [f"{gpu_name(g)}: {f.reason}" for g, f in members if isinstance(f, Unknown)]:
        return open_on(DRIVER.name, f"the NVSwitch fabric could not be asked: {listed(blind)}")
    return (Pass(DRIVER.name),)


def _is_ready(fabric: Fabric) -> bool:
    return fabric.state == "completed" and fabric.status == 0


def _not_ready(snapshot: Snapshot, waiting: tuple[tuple[Gpu, Fabric], ...]) -> Fail:
    release = value_of(snapshot.driver.release)
    switches = [n for n in items_of(device_nodes(snapshot)) if n.startswith(_NVSWITCH)]
    whose = listed([f"{gpu_name(g)} (index {g.index})" for g, _ in waiting])
    words = _FABRIC_WORDS[waiting[0][1].state]
    return fabric_manager.fail(
        DRIVER,
        f"The NVSwitch fabric is not set up: joining it {words} for {whose}; CUDA does not start (error 802, system "
        "not yet initialized) until the fabric manager has done it.",
        cause="fabric-manager",
        evidence=evidence(
            *((f"GPU {g.index}", f"{f.state}, status {f.status}") for g, f in waiting),
            ("driver", release),
            ("NVSwitch devices", ", ".join(switches) or None),
        ),
        fixes=(
            Fix(
                title="Install nvidia-fabricmanager of exactly the driver's release"
                f"{f' ({release})' if release else ''} and start its service",
                applicability="display-only",
                commands=(
                    "systemctl status nvidia-fabricmanager",
                    "sudo systemctl enable --now nvidia-fabricmanager",
                ),
            ),
        ),
    )


# --- GPD110 ----------------------------------------------------------------------------------------------------------


def _memory_errors(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    if is_assumed(snapshot):
        return (NotApplicable("judged for an assumed machine, not for this one"),)
    if isinstance(snapshot.gpus, Unknown):
        return no_gpu_answer(snapshot)
    checked = [g for g in items_of(snapshot.gpus) if not isinstance(g.ecc_uncorrected, Absent) or _remaps(g)]
    if not checked:
        return (NotApplicable("no GPU with error-correcting memory"),)
    return tuple(_memory_state(gpu) for gpu in checked)


def _remaps(gpu: Gpu) -> bool:
    return not isinstance(gpu.row_remap_failed, Absent)


def _memory_state(gpu: Gpu) -> Evaluation:
    errors, failed = value_of(gpu.ecc_uncorrected) or 0, gpu.row_remap_failed == Present(value=True)
    if failed or errors:
        return _failing(gpu, errors, failed=failed)
    for fact in (gpu.ecc_uncorrected, gpu.row_remap_failed):
        if isinstance(fact, Unknown):
            return Open(f"{gpu_name(gpu)}: its memory errors could not be asked: {fact.reason}", gpu_name(gpu))
    return Pass(gpu_name(gpu))


def _failing(gpu: Gpu, errors: int, *, failed: bool) -> Fail:
    if failed:
        words = "has run out of spare memory rows: the card is to be replaced"
    else:
        plural = "errors" if errors > 1 else "error"
        words = (
            f"has had {errors} uncorrectable memory {plural} since the driver was loaded: processes on it were ended, "
            "and results may be wrong"
        )
    return memory_errors.fail(
        Subject(kind="gpu", name=gpu_name(gpu)),
        f"{gpu_name(gpu)} (index {gpu.index}) {words}.",
        cause="gpu-hardware-fault",
        confidence="proved",
        level="error" if failed else "warning",
        evidence=evidence(
            ("uncorrectable errors", str(errors)),
            ("row remapping", "failed" if failed else None),
            ("PCI address", value_of(gpu.pci_bus_id)),
        ),
        fixes=(
            Fix(
                title="Reset the GPU or reboot, and watch whether the count rises again; then have the card replaced",
                applicability="display-only",
                commands=("nvidia-smi -q -d ECC,ROW_REMAPPER", "sudo dmesg | grep -iE 'NVRM|Xid'"),
            ),
        ),
    )


forward_compat = Rule(
    id="GPD108",
    name="forward-compat-misuse",
    title="Forward-compatibility libraries are used where they are not allowed",
    level="error",
    causes=("forward-compat",),
    page=pages.GPD108,
    evaluate=_forward,
)
fabric_manager = Rule(
    id="GPD109",
    name="fabric-not-ready",
    title="The NVSwitch fabric of this machine is not set up",
    level="error",
    causes=("fabric-manager",),
    page=pages.GPD109,
    evaluate=_fabric,
)
memory_errors = Rule(
    id="GPD110",
    name="gpu-memory-errors",
    title="A GPU's memory fails",
    level="warning",
    causes=("gpu-hardware-fault",),
    page=pages.GPD110,
    evaluate=_memory_errors,
)
