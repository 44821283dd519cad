"""What several rules ask about the GPUs: which of them a process sees, what they are called, which CUDA they speak."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from gpudoctor.matrix.index import Matrix, driver_tuple
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, NotApplicable, Open
from gpudoctor.model.machine import Gpu, MigDevice
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.reading import has_driver, items_of, listed, numbers, pci_devices, unique

VARIABLE = "CUDA_VISIBLE_DEVICES"
# What people write when they mean to hide every GPU; CUDA itself only knows that such a text names no device.
_HIDES_ALL = ("", "-1", "none", "void", "nodevfiles")
_NO_PERMISSION = 4
_INDEX = re.compile(r"[0-9]+")
_UUID = re.compile(r"(GPU|MIG)-")


class Device(msgspec.Struct, frozen=True):
    """One device that CUDA can offer to a process: a whole GPU, or a slice of one in MIG mode.

    Attributes:
        gpu: The GPU.
        slice: The slice; None for the whole GPU.
    """

    gpu: Gpu
    slice: MigDevice | None = None


class Selection(msgspec.Struct, frozen=True):
    """What CUDA_VISIBLE_DEVICES leaves over.

    Attributes:
        devices: The devices that the process may see.
        kind: Unset; all hidden on purpose; every entry names a device; or reading stopped at one that names none.
        stopped_at: The entry at which CUDA stops reading.
        doubt: Why an entry could not be compared.
    """

    devices: tuple[Device, ...]
    kind: Literal["unset", "hidden", "chosen", "stopped"]
    stopped_at: str | None = None
    doubt: str | None = None


def all_devices(snapshot: Snapshot) -> tuple[Device, ...]:
    """Return the devices of the machine; a GPU in MIG mode offers its slices in place of itself."""
    found: list[Device] = []
    for gpu in items_of(snapshot.gpus):
        if gpu.mig_enabled == Present(value=True):
            found.extend(Device(gpu, mig) for mig in gpu.mig_devices)
        else:
            found.append(Device(gpu))
    return tuple(found)


def judged_value(snapshot: Snapshot) -> str | None:
    """Return CUDA_VISIBLE_DEVICES as it counts here: for an assumed machine, only what the user gave with it."""
    variable = next((v for v in snapshot.variables if v.name == VARIABLE), None)
    assumed = any(g.assumed for g in items_of(snapshot.gpus))
    return None if variable is None or (assumed and variable.source == "process") else variable.value


def selection(snapshot: Snapshot) -> Selection:
    """Return which devices the judged process sees.

    CUDA reads the list up to the first entry that names no device, and ignores the rest.
    Source: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html (2026-11-21)
    """
    value, devices = judged_value(snapshot), all_devices(snapshot)
    if value is None:
        return Selection(devices, "unset")
    if value.strip().lower() in _HIDES_ALL:
        return Selection((), "hidden")
    chosen: list[Device] = []
    for entry in (part.strip() for part in value.split(",")):
        if doubt := _doubt(entry, snapshot, devices):
            return Selection(devices, "chosen", doubt=doubt)
        named = _named(entry, snapshot, devices)
        if named is None or named in chosen:
            return Selection(tuple(chosen), "stopped", entry)
        chosen.append(named)
    return Selection(_candidates(snapshot, value, tuple(chosen), devices), "chosen")


def _named(entry: str, snapshot: Snapshot, devices: tuple[Device, ...]) -> Device | None:
    if _INDEX.fullmatch(entry):
        return devices[int(entry)] if len(entry) < 6 and int(entry) < len(devices) else None
    if not _UUID.match(entry):
        return None
    # Slices were named by their GPU's UUID and two numbers before R470.
    legacy = entry.startswith("MIG-GPU-") and "/" in entry
    wanted = entry.partition("/")[0].removeprefix("MIG-") if legacy else entry
    # A beginning is enough where it is of one device only.
    fitting = [d for d in _uuid_bearers(snapshot, devices) if any(u.startswith(wanted) for u in _uuids(d))]
    return fitting[0] if len(fitting) == 1 else None


def _uuid_bearers(snapshot: Snapshot, devices: tuple[Device, ...]) -> tuple[Device, ...]:
    """The UUID of a GPU in MIG mode names its first slice."""
    first: dict[int, Device] = {}
    for device in devices:
        first.setdefault(device.gpu.index, device)
    wholes = tuple(Device(g) for g in items_of(snapshot.gpus) if g.index in first and first[g.index].slice)
    return (*devices, *wholes)


def _uuids(device: Device) -> tuple[str, ...]:
    uuid = value_of(device.slice.uuid) if device.slice else value_of(device.gpu.uuid)
    return (uuid,) if uuid else ()


def _doubt(entry: str, snapshot: Snapshot, devices: tuple[Device, ...]) -> str | None:
    if not _UUID.match(entry):
        return None
    if snapshot.redacted and "redacted" not in entry:
        return "the snapshot's UUIDs are masked"
    unread = [d for d in devices if isinstance(d.slice.uuid if d.slice else d.gpu.uuid, Unknown)]
    return "the UUIDs of the GPUs are not known" if unread else None


def _candidates(
    snapshot: Snapshot, value: str, chosen: tuple[Device, ...], devices: tuple[Device, ...]
) -> tuple[Device, ...]:
    """CUDA counts the fastest GPU first unless told otherwise: with unlike GPUs an index may mean any of them."""
    by_bus = snapshot.variable("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    alike = len({(value_of(d.gpu.name), value_of(d.gpu.compute_capability)) for d in devices}) <= 1
    by_index = value.strip()[:1].isdigit()
    return devices if by_index and not by_bus and not alike else chosen


# --- words and numbers -----------------------------------------------------------------------------------------------


def gpu_name(gpu: Gpu) -> str:
    """Return how to call a GPU in a sentence."""
    return value_of(gpu.name) or f"GPU {gpu.index}"


def visible_gpus(snapshot: Snapshot) -> tuple[Gpu, ...]:
    """Return the GPUs that the process may use; all of them where its variable hides every one (another rule's)."""
    gpus = unique(d.gpu for d in selection(snapshot).devices)
    return gpus or items_of(snapshot.gpus)


def distinct_gpus(snapshot: Snapshot) -> tuple[Gpu, ...]:
    """Return one visible GPU of each model."""
    first: dict[tuple[str | None, str | None], Gpu] = {}
    for gpu in visible_gpus(snapshot):
        first.setdefault((value_of(gpu.name), value_of(gpu.compute_capability)), gpu)
    return tuple(first.values())


def described(gpus: tuple[Gpu, ...]) -> str:
    """Return GPUs with their compute capabilities: `NVIDIA L4 (8.9)`."""
    capabilities = [value_of(g.compute_capability) for g in gpus]
    return listed([f"{gpu_name(g)} ({c or 'unknown'})" for g, c in zip(gpus, capabilities, strict=True)])


def no_gpu_reason(snapshot: Snapshot) -> tuple[bool, str]:
    """Return whether the lack of GPUs in a snapshot leaves a question open, and the reason.

    One rule says that there is none, or that the driver is missing; the others need not repeat it.
    """
    match snapshot.gpus:
        case Unknown(reason=reason) if _is_silent(snapshot):
            return True, f"the GPUs could not be asked: {reason}; --assume-gpu NAME judges for another machine"
        case _:
            return False, "no GPU is known here; --assume-gpu NAME judges for another machine"


def no_gpu_answer(snapshot: Snapshot) -> tuple[Evaluation, ...]:
    """Return the answer of a rule on GPUs where none is known; see no_gpu_reason."""
    is_open, reason = no_gpu_reason(snapshot)
    return (Open(reason, "gpu"),) if is_open else (NotApplicable(reason),)


def _is_silent(snapshot: Snapshot) -> bool:
    """Tell whether a driver is there that does not say why it names no GPU: a refusal is judged by its own rule."""
    if not has_driver(snapshot) or isinstance(pci_devices(snapshot), Absent):
        return False
    error = snapshot.driver.nvml_error
    if isinstance(snapshot.driver.libnvidia_ml, Absent):
        return not isinstance(snapshot.host.container, Present)
    return not isinstance(error, Present) or error.value.code == _NO_PERMISSION


def is_tegra(snapshot: Snapshot, matrix: Matrix, capability: str) -> bool:
    """Tell whether a GPU is a Jetson's, whose machine code is not that of other GPUs."""
    if isinstance(snapshot.host.tegra, Present):
        return True
    known = matrix.gpu(capability)
    return known is not None and known.tegra


def driver_serves(snapshot: Snapshot, cuda: str, release: str | None) -> bool | None:
    """Tell whether the driver knows a CUDA version by itself, minor version included; None where nobody can tell.

    Args:
        snapshot: The machine.
        cuda: Dotted CUDA version.
        release: Least driver release that does, where a fact says so.
    """
    served, wanted = numbers(value_of(snapshot.driver.cuda_version) or ""), numbers(cuda)
    if served and wanted and served[:2] >= wanted[:2]:
        return True
    have = value_of(snapshot.driver.release)
    if have is None or (release is None and not served):
        return None
    if release is None:
        return False
    try:
        return driver_tuple(have) >= driver_tuple(release)
    except ValueError:
        return None
