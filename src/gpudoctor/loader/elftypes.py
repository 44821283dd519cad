"""What the ELF reader returns and raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.model.loading import ElfFacts

ET_EXEC = 2
ET_DYN = 3
DF_1_NODEFLIB = 0x800
DF_1_NOOPEN = 0x40
DF_1_PIE = 0x08000000

ElfFault = Literal["wrong-class", "wrong-machine", "not-elf", "not-regular", "unloadable"]


class ElfError(GpuDoctorError):
    """A file that the loader will not map.

    Attributes:
        fault: What is wrong with it.
        reason: One clause, without the path.
    """

    def __init__(self, fault: ElfFault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


class SkippedElf(ElfError):
    """The loader passes over the file in silence and goes on to the next directory."""


class FatalElf(ElfError):
    """The loader gives the name up: no further directory is tried."""


class Segment(msgspec.Struct, frozen=True):
    """A loadable segment: where virtual addresses lie in the file.

    Attributes:
        address: First virtual address.
        offset: Its place in the file.
        size_bytes: Bytes that come from the file.
    """

    address: int
    offset: int
    size_bytes: int


class NeededVersions(msgspec.Struct, frozen=True):
    """The versions that an object wants of one library.

    Attributes:
        file: The library, as named when the object was linked.
        versions: Version and whether its absence is tolerated (weak).
    """

    file: str
    versions: tuple[tuple[str, bool], ...]


class ElfObject(msgspec.Struct, frozen=True):
    """One ELF file as the loader sees it.

    Attributes:
        elf_class: 32 or 64.
        machine: Architecture name.
        object_type: ET_DYN or ET_EXEC.
        identity: (device, inode).
        size_bytes: Size of the file.
        interpreter: PT_INTERP.
        soname: DT_SONAME.
        needed: DT_NEEDED in order.
        rpath: DT_RPATH.
        runpath: DT_RUNPATH.
        flags_1: DT_FLAGS_1.
        needs_versions: Versions wanted, by library.
        defines_versions: Versions defined; None for an object without symbol versions.
        build_id: GNU build id, hexadecimal.
        executable_stack: True when it asks for an executable stack (PT_GNU_STACK, or no such header on x86-64).
        truncated: True when a loadable segment ends after the file: touching it kills the process with SIGBUS.
        segments: Loadable segments.
        dynamic: Dynamic section by tag (first value of each).
    """

    elf_class: int
    machine: str
    object_type: int
    identity: tuple[int, int]
    size_bytes: int
    interpreter: str | None = None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: str | None = None
    runpath: str | None = None
    flags_1: int = 0
    needs_versions: tuple[NeededVersions, ...] = ()
    defines_versions: frozenset[str] | None = None
    build_id: str | None = None
    executable_stack: bool = False
    truncated: bool = False
    segments: tuple[Segment, ...] = ()
    dynamic: Mapping[int, int] | None = None

    def facts(self) -> ElfFacts:
        """Return what a snapshot records of the object."""
        return ElfFacts(
            elf_class=self.elf_class,
            machine=self.machine,
            soname=self.soname,
            needed=self.needed,
            rpath=self.rpath,
            runpath=self.runpath,
            build_id=self.build_id,
        )
