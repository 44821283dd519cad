"""What several rules ask of a snapshot: who is installed, how it is called, what the driver's state is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import Build, Distribution, SharedFiles
from gpudoctor.model.fact import Absent, Fact, Present, Unknown, value_of
from gpudoctor.model.finding import Evidence, NotApplicable, Open, Subject
from gpudoctor.model.loading import Resolution
from gpudoctor.model.machine import Toolkit
from gpudoctor.model.snapshot import Snapshot

T = TypeVar("T")

_MAJOR = re.compile(r"\.so\.(\d+)")
_MANGLED = re.compile(r"-[0-9a-f]{8,}\.so(\.|$)")
# Packages whose models compute on torch: a CPU-only torch takes the GPU away from them, and they import torch before
# anything else that opens CUDA libraries.
TORCH_FIRST = ("whisperx", "pyannote-audio")
TORCH_MODELS = (*TORCH_FIRST, "openai-whisper")


class Stock(Protocol):
    """What of a snapshot tells who brought what; `fix` has it before there is a whole snapshot."""

    @property
    def resolutions(self) -> tuple[Resolution, ...]:
        """What the loader answers."""

    @property
    def toolkits(self) -> Fact[tuple[Toolkit, ...]]:
        """CUDA toolkits of the system."""

    @property
    def shared_files(self) -> tuple[SharedFiles, ...]:
        """Files that two distributions own."""

    def build(self, package: str) -> Build | None:
        """Return the build facts of a package, by import name."""

    def distribution(self, name: str) -> Distribution | None:
        """Return the distribution that `import` would use, by canonical name."""


def consumer_subject(name: str) -> Subject:
    """Return the subject of a finding about a consumer."""
    return Subject(kind="consumer", name=name)


def consumer_version(snapshot: Stock, matrix: Matrix, consumer: str) -> str | None:
    """Return a consumer's version: from its own files, else from the distribution that brings it."""
    build = snapshot.build(consumer)
    if build and isinstance(build.version, Present):
        return build.version.value
    known = matrix.consumers.get(consumer)
    for name in known.distributions if known else (consumer,):
        distribution = snapshot.distribution(name)
        if distribution and isinstance(distribution.version, Present):
            return distribution.version.value
    return None


def label(snapshot: Snapshot, matrix: Matrix, consumer: str) -> str:
    """Return a consumer as people name it: `ctranslate2 4.6.0`."""
    version = consumer_version(snapshot, matrix, consumer)
    return f"{consumer} {version}" if version else consumer


def gpu_consumers(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the consumers that open, or may open, GPU libraries, in a stable order."""
    names = {r.consumer for r in snapshot.resolutions}
    names.update(b.package for b in snapshot.builds if value_of(b.gpu) is not False)
    return tuple(sorted(names))


def is_installed(snapshot: Snapshot, *names: str) -> bool:
    """Tell whether any of these distributions (canonical names) is installed."""
    return any(d.name in names for d in snapshot.distributions)


def installed_versions(snapshot: Snapshot) -> dict[str, str | None]:
    """Return the version of each distribution that `import` would use, by canonical name; None where unknown."""
    return {d.name: value_of(d.version) for d in reversed(snapshot.distributions)}


def sys_path_doubt(snapshot: Snapshot) -> str | None:
    """Return why more may be installed than was seen; None when an absence is sure."""
    match snapshot.interpreter:
        case Present(value=interpreter):
            return interpreter.path_unknowns[0] if interpreter.path_unknowns else None
        case Unknown(reason=reason):
            return reason
        case Absent():
            return None


def major_of(name: str) -> str | None:
    """Return the major version in a SONAME: `12` for `libcublas.so.12`."""
    match = _MAJOR.search(name)
    return match.group(1) if match else None


def is_bundled(file_name: str) -> bool:
    """Tell whether a file is a private copy that auditwheel renamed (`libcudnn-74a4c495.so.9.1.0`)."""
    return bool(_MANGLED.search(file_name))


def plain_name(resolution: Resolution) -> str:
    """Return the name that people know a library by: `libcudnn_ops.so.9` of `libcudnn_ops.so.9.1.0, …`."""
    short = (n for n in resolution.names if re.search(r"\.so\.\d+$", n))
    return next(short, resolution.soname)


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading dotted integers of a version: (9, 1, 0, 70) for `9.1.0.70`; empty for none."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def same_release(one: str, other: str) -> bool:
    """Tell whether two versions name one release, as far as the shorter one tells (`9.1.0` and `9.1.0.70` do)."""
    a, b = numbers(one), numbers(other)
    length = min(len(a), len(b))
    return a[:length] == b[:length] if length else one == other


def library_version(snapshot: Snapshot, path: str | None) -> str | None:
    """Return the version of the library file at a path, where it is known."""
    library = snapshot.library(path)
    return value_of(library.version) if library else None


# --- the driver ------------------------------------------------------------------------------------------------------


def is_absent(fact: Fact[T]) -> bool:
    """Tell whether a thing was looked for and is not there."""
    return isinstance(fact, Absent)


def doubts(*facts: object) -> str | None:
    """Return the first reason why one of the facts is unknown."""
    return next((f.reason for f in facts if isinstance(f, Unknown)), None)


def items_of(fact: Fact[tuple[T, ...]]) -> tuple[T, ...]:
    """Return the items of a list that was read; none where it was not."""
    return fact.value if isinstance(fact, Present) else ()


def pci_devices(snapshot: Snapshot) -> Fact[tuple[str, ...]]:
    """Return the NVIDIA devices on the bus; an empty list is an absence."""
    devices = snapshot.host.nvidia_pci
    return Absent() if isinstance(devices, Present) and not devices.value else devices


def device_nodes(snapshot: Snapshot) -> Fact[tuple[str, ...]]:
    """Return the driver's device files; an empty list is an absence."""
    nodes = snapshot.host.device_nodes
    return Absent() if isinstance(nodes, Present) and not nodes.value else nodes


def is_assumed(snapshot: Snapshot) -> bool:
    """Tell whether the user asked to judge for a machine that is not this one."""
    return snapshot.driver.assumed or any(g.assumed for g in items_of(snapshot.gpus))


def other_judge(snapshot: Snapshot) -> NotApplicable | None:
    """Return why the rules of a plain machine do not judge this one: it is assumed, a container, WSL or a Jetson."""
    if is_assumed(snapshot):
        return NotApplicable("judged for an assumed machine, not for this one")
    host = snapshot.host
    for fact, reason in (
        (host.wsl, "the Windows Subsystem for Linux is judged by GPD602"),
        (host.container, "a container is judged by GPD601"),
        (host.tegra, "a Jetson's driver is a part of its L4T system"),
    ):
        if isinstance(fact, Present):
            return NotApplicable(reason)
    return None


def container_of(snapshot: Snapshot) -> str | NotApplicable | Open:
    """Return the kind of container that this process is in, or why no rule on containers has anything to judge."""
    if is_assumed(snapshot):
        return NotApplicable("judged for an assumed machine, not for this one")
    match snapshot.host.container:
        case Absent():
            return NotApplicable("not in a container")
        case Unknown(reason=reason):
            return Open(f"nobody can tell whether this is a container: {reason}", "host")
        case Present(value=kind):
            return kind


def has_driver(snapshot: Snapshot) -> bool:
    """Tell whether any part of an NVIDIA driver was seen, or assumed."""
    driver = snapshot.driver
    parts = (driver.release, driver.kernel_module, driver.libcuda, driver.libnvidia_ml, driver.nvml, driver.nvml_error)
    return driver.assumed or any(isinstance(part, Present) for part in parts)


def has_gpu(snapshot: Snapshot) -> bool:
    """Tell whether an NVIDIA GPU is known to be there, or assumed. Every Jetson has one."""
    return bool(items_of(snapshot.gpus)) or any(
        isinstance(sign, Present) for sign in (pci_devices(snapshot), snapshot.host.tegra)
    )


def belongs_to_driver(matrix: Matrix, file_name: str | None) -> bool:
    """Tell whether only the driver brings a library (libcuda, libnvidia-ml): never a library finding."""
    family = matrix.family_of(file_name) if file_name else None
    return bool(family and family.from_driver)


def driver_consequences(snapshot: Snapshot, matrix: Matrix) -> tuple[str, ...]:
    """Return who misses which of the driver's libraries: symptoms of one missing driver."""
    missed: dict[str, None] = {}
    for r in snapshot.resolutions:
        name = r.culprit or r.soname
        if r.outcome == "absent" and belongs_to_driver(matrix, name):
            missed.setdefault(f"{label(snapshot, matrix, r.consumer)} cannot load {name}")
    return tuple(missed)


# --- words -----------------------------------------------------------------------------------------------------------


def listed(items: Sequence[str], most: int = 3) -> str:
    """Return items as a phrase: `a, b and c`, or `a, b, c and 4 more`."""
    if len(items) > most + 1:
        return f"{', '.join(items[:most])} and {len(items) - most} more"
    return " and ".join((", ".join(items[:-1]), items[-1])) if len(items) > 1 else "".join(items)


def evidence(*pairs: tuple[str, str | None]) -> tuple[Evidence, ...]:
    """Return observations, those without a value left out."""
    return tuple(Evidence(label=name, value=value) for name, value in pairs if value)


def unique(items: Iterable[T]) -> tuple[T, ...]:
    """Return the items in order, each once."""
    return tuple(dict.fromkeys(items))


def open_on(subject: str, reason: str) -> tuple[Open, ...]:
    """Return a single open evaluation."""
    return (Open(reason, subject),)
