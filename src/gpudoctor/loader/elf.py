"""Reads of one ELF file what the dynamic loader reads: headers, dynamic section, versions. By position, bounded.

A GPU library is hundreds of megabytes; this reads a few KiB of it. The file is hostile input: every count, offset and
string length in it is bounded before it is believed.

Source: the ELF-64 object file format, version 1.5; https://refspecs.linuxfoundation.org/LSB_5.0.0/ (symbol versions).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from gpudoctor.loader.elftypes import (
    DF_1_NODEFLIB,
    DF_1_NOOPEN,
    DF_1_PIE,
    ET_DYN,
    ET_EXEC,
    ElfError,
    ElfFault,
    ElfObject,
    FatalElf,
    NeededVersions,
    Segment,
    SkippedElf,
)
from gpudoctor.system.protocol import CannotLook, NotThere, RandomReader, ReadSystem

MACHINES: Mapping[int, str] = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv",
    258: "loongarch",
}

_BLOCK_BYTES = 4096
_PHDR = struct.Struct("<IIQQQQQQ")
_DYN = struct.Struct("<QQ")
_VERNEED = struct.Struct("<HHIII")
_VERNAUX = struct.Struct("<IHHII")
_VERDEF = struct.Struct("<HHHHIII")
_VERDAUX = struct.Struct("<II")
_NOTE = struct.Struct("<III")

_MAX_PROGRAM_HEADERS = 1024
_MAX_DYNAMIC_BYTES = 1 << 18
_MAX_STRING_BYTES = 4096
_MAX_NEEDED = 2048
_MAX_VERSIONS = 4096
_MAX_NOTE_BYTES = 1 << 16

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE = 1, 2, 3, 4
_PT_GNU_STACK, _PF_X = 0x6474E551, 1
_DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 14, 15, 29
_DT_FLAGS_1 = 0x6FFFFFFB
_DT_VERDEF, _DT_VERDEFNUM, _DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
_NT_GNU_BUILD_ID = 3
_WEAK = 2


def read_elf(system: ReadSystem, path: str, machine: str | None = None) -> ElfObject:
    """Read one file as the loader of a machine would.

    Args:
        system: The machine to look at.
        path: The file.
        machine: Architecture of the process that would load it; None accepts any that this reader understands
            (64-bit, little-endian).

    Returns:
        What the loader learns from the file.

    Raises:
        SkippedElf: Wrong class or machine.
        FatalElf: Anything else that makes the loader give up.
        NotThere: Nothing is at the path.
        CannotLook: It could not be opened (errno_name says why: the loader goes on after EACCES).
    """
    try:
        reader = system.open(path)
    except CannotLook as error:
        if error.errno_name in (None, "EISDIR"):
            raise FatalElf("not-regular", "not a regular file") from error
        raise
    with reader:
        return _read(reader, machine)


def read_interpreter(system: ReadSystem, path: str) -> str | None:
    """Return PT_INTERP of a program, None for one without.

    Raises:
        ElfError: The file is no such program.
        NotThere: Nothing is at the path.
        CannotLook: It could not be opened.
    """
    return read_elf(system, path).interpreter


def _read(reader: RandomReader, machine: str | None) -> ElfObject:
    data = Blocks(reader)
    try:
        return _Parser(data, reader, machine).parse()
    except struct.error as error:
        raise FatalElf("unloadable", "cannot read file data") from error
    except CannotLook as error:
        raise FatalElf("unloadable", f"cannot read file data: {error.reason}") from error


class Blocks:
    """A reader that remembers the blocks it read: neighbouring strings and tables cost one read."""

    def __init__(self, reader: RandomReader) -> None:
        self._reader = reader
        self._blocks: dict[int, bytes] = {}

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return bytes at an offset, fewer at the end of the file.

        Raises:
            CannotLook: The device failed, or no file can have such an offset.
        """
        if size_bytes > _BLOCK_BYTES:
            return self._reader.pread(size_bytes, offset)
        first, start = divmod(offset, _BLOCK_BYTES)
        data = self._block(first)
        if start + size_bytes > _BLOCK_BYTES:
            data += self._block(first + 1)
        return data[start : start + size_bytes]

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = self._reader.pread(_BLOCK_BYTES, number * _BLOCK_BYTES)
        return block


def offset_of(segments: tuple[Segment, ...], address: int) -> int:
    """Return the place in the file of a virtual address.

    Raises:
        FatalElf: No segment holds it.
    """
    for segment in segments:
        if segment.address <= address < segment.address + segment.size_bytes:
            return address - segment.address + segment.offset
    raise FatalElf("unloadable", "a table of the dynamic section lies outside of every segment")


class _Parser:
    """One pass over one file."""

    def __init__(self, data: Blocks, reader: RandomReader, machine: str | None) -> None:
        self._data = data
        self._stat = reader.stat
        self._machine = machine
        self._strings: dict[int, str] = {}
        self._strtab = 0

    def parse(self) -> ElfObject:
        header = self._data.read(0, 64)
        machine, object_type = _check_header(header, self._machine)
        headers = self._program_headers(header)
        segments = tuple(Segment(h[3], h[2], h[5]) for h in headers if h[0] == _PT_LOAD)
        end = max((s.offset + s.size_bytes for s in segments), default=0)
        if end > self._stat.size_bytes:
            return ElfObject(
                64, machine, object_type, self._stat.identity, self._stat.size_bytes, truncated=True, segments=segments
            )
        if not segments:
            raise FatalElf("unloadable", "object file has no loadable segments")
        dynamic, needed = self._dynamic_section(headers, object_type)
        self._strtab = offset_of(segments, dynamic[_DT_STRTAB]) if _DT_STRTAB in dynamic else 0
        if not self._strtab and needed:
            raise FatalElf("unloadable", "dynamic section without a string table")
        return ElfObject(
            elf_class=64,
            machine=machine,
            object_type=object_type,
            identity=self._stat.identity,
            size_bytes=self._stat.size_bytes,
            interpreter=self._interpreter(headers),
            soname=self._tag_string(dynamic, _DT_SONAME),
            needed=tuple(self._string(offset) for offset in needed),
            rpath=self._tag_string(dynamic, _DT_RPATH),
            runpath=self._tag_string(dynamic, _DT_RUNPATH),
            flags_1=dynamic.get(_DT_FLAGS_1, 0),
            needs_versions=self._needed_versions(segments, dynamic),
            defines_versions=self._defined_versions(segments, dynamic),
            build_id=self._build_id(headers),
            executable_stack=_wants_executable_stack(headers, machine),
            segments=segments,
            dynamic=dynamic,
        )

    def _program_headers(self, header: bytes) -> tuple[tuple[int, ...], ...]:
        (offset,) = struct.unpack_from("<Q", header, 32)
        entry_bytes, count = struct.unpack_from("<HH", header, 54)
        if entry_bytes != _PHDR.size:
            raise FatalElf("unloadable", "ELF file's phentsize not the expected size")
        if count > _MAX_PROGRAM_HEADERS:
            raise FatalElf("unloadable", f"{count} program headers are more than any library has")
        table = self._data.read(offset, count * _PHDR.size)
        if len(table) < count * _PHDR.size:
            raise FatalElf("unloadable", "cannot read file data")
        return tuple(_PHDR.iter_unpack(table))

    def _dynamic_section(
        self, headers: tuple[tuple[int, ...], ...], object_type: int
    ) -> tuple[dict[int, int], list[int]]:
        found = next((h for h in headers if h[0] == _PT_DYNAMIC and h[5]), None)
        if found is None:
            if object_type == ET_EXEC:
                return {}, []
            raise FatalElf("unloadable", "object file has no dynamic section")
        table = self._data.read(found[2], min(found[5], _MAX_DYNAMIC_BYTES))
        return _parse_dynamic(table)

    def _string(self, offset: int) -> str:
        text = self._strings.get(offset)
        if text is None:
            text = self._strings[offset] = read_string(self._data, self._strtab + offset)
        return text

    def _tag_string(self, dynamic: Mapping[int, int], tag: int) -> str | None:
        return self._string(dynamic[tag]) if tag in dynamic and self._strtab else None

    def _interpreter(self, headers: tuple[tuple[int, ...], ...]) -> str | None:
        for header in headers:
            if header[0] == _PT_INTERP:
                raw = self._data.read(header[2], min(header[5], _MAX_STRING_BYTES))
                return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape") or None
        return None

    def _needed_versions(self, segments: tuple[Segment, ...], dynamic: Mapping[int, int]) -> tuple[NeededVersions, ...]:
        if _DT_VERNEED not in dynamic:
            return ()
        entry = offset_of(segments, dynamic[_DT_VERNEED])
        found: list[NeededVersions] = []
        budget = _MAX_VERSIONS
        for _ in range(min(dynamic.get(_DT_VERNEEDNUM, 0), _MAX_VERSIONS)):
            _, count, file, auxiliary, following = _VERNEED.unpack(self._data.read(entry, _VERNEED.size))
            count = min(count, budget)
            budget -= count
            found.append(NeededVersions(self._string(file), self._version_names(entry + auxiliary, count)))
            if not following or not budget:
                break
            entry += following
        return tuple(found)

    def _version_names(self, entry: int, count: int) -> tuple[tuple[str, bool], ...]:
        names: list[tuple[str, bool]] = []
        for _ in range(count):
            _, flags, _, name, following = _VERNAUX.unpack(self._data.read(entry, _VERNAUX.size))
            names.append((self._string(name), bool(flags & _WEAK)))
            if not following:
                break
            entry += following
        return tuple(names)

    def _defined_versions(self, segments: tuple[Segment, ...], dynamic: Mapping[int, int]) -> frozenset[str] | None:
        if _DT_VERDEF not in dynamic:
            return None
        entry = offset_of(segments, dynamic[_DT_VERDEF])
        names: set[str] = set()
        for _ in range(min(dynamic.get(_DT_VERDEFNUM, 0), _MAX_VERSIONS)):
            _, _, _, _, _, auxiliary, following = _VERDEF.unpack(self._data.read(entry, _VERDEF.size))
            name, _ = _VERDAUX.unpack(self._data.read(entry + auxiliary, _VERDAUX.size))
            names.add(self._string(name))
            if not following:
                break
            entry += following
        return frozenset(names)

    def _build_id(self, headers: tuple[tuple[int, ...], ...]) -> str | None:
        for header in headers:
            if header[0] == _PT_NOTE:
                found = _find_build_id(self._data.read(header[2], min(header[5], _MAX_NOTE_BYTES)), header[7])
                if found:
                    return found
        return None


def _check_header(header: bytes, machine: str | None) -> tuple[str, int]:
    """Apply the loader's own checks, in its order; return machine and object type."""
    if len(header) < 64:
        raise FatalElf("not-elf", "file too short")
    if header[:4] != b"\x7fELF":
        raise FatalElf("not-elf", "invalid ELF header")
    if header[4] != 2:
        raise SkippedElf("wrong-class", "a 32-bit library" if header[4] == 1 else "of an unknown ELF class")
    _check_ident(header)
    object_type, number, version = struct.unpack_from("<HHI", header, 16)
    if version != 1:
        raise FatalElf("unloadable", "ELF file version does not match current one")
    name = MACHINES.get(number, f"machine {number}")
    if machine is not None and name != machine:
        raise SkippedElf("wrong-machine", f"built for {name}")
    if object_type not in (ET_EXEC, ET_DYN):
        raise FatalElf("unloadable", "only ET_DYN and ET_EXEC can be loaded")
    return name, object_type


def _wants_executable_stack(headers: tuple[tuple[int, ...], ...], machine: str) -> bool:
    # Without the header, the default of the ABI counts: executable on x86-64, not so on 64-bit ARM.
    flags = next((header[1] for header in headers if header[0] == _PT_GNU_STACK), None)
    return machine == "x86_64" if flags is None else bool(flags & _PF_X)


def _check_ident(header: bytes) -> None:
    if header[5] != 1:
        raise FatalElf("unloadable", "ELF file data encoding not little-endian")
    if header[6] != 1:
        raise FatalElf("unloadable", "ELF file version ident does not match current one")
    if header[7] not in (0, 3):
        raise FatalElf("unloadable", "ELF file OS ABI invalid")
    if any(header[9:16]):
        raise FatalElf("unloadable", "nonzero padding in e_ident")


def _parse_dynamic(table: bytes) -> tuple[dict[int, int], list[int]]:
    """Return the last value of each tag, as the loader keeps it, and the offsets of all DT_NEEDED."""
    tags: dict[int, int] = {}
    needed: list[int] = []
    for tag, value in _DYN.iter_unpack(table[: len(table) - len(table) % _DYN.size]):
        if tag == 0:
            break
        if tag == _DT_NEEDED:
            needed.append(value)
            if len(needed) > _MAX_NEEDED:
                raise FatalElf("unloadable", f"needs more than {_MAX_NEEDED} libraries")
        else:
            tags[tag] = value
    return tags, needed


def read_string(data: Blocks, offset: int) -> str:
    """Return the NUL-terminated string at an offset.

    Raises:
        FatalElf: It does not end within 4 KiB, or lies outside of the file.
    """
    raw = data.read(offset, 64)
    end = raw.find(b"\0")
    if end < 0:
        raw = data.read(offset, _MAX_STRING_BYTES)
        end = raw.find(b"\0")
    if end < 0:
        raise FatalElf("unloadable", "a string of the dynamic section has no end")
    return raw[:end].decode("utf-8", "surrogateescape")


def _find_build_id(notes: bytes, alignment: int) -> str | None:
    step = 8 if alignment == 8 else 4
    position = 0
    while position + _NOTE.size <= len(notes):
        name_bytes, text_bytes, kind = _NOTE.unpack_from(notes, position)
        name_at = position + _NOTE.size
        text_at = _aligned(name_at + name_bytes, step)
        if kind == _NT_GNU_BUILD_ID and notes[name_at : name_at + name_bytes] == b"GNU\0":
            return notes[text_at : text_at + text_bytes].hex() or None
        position = _aligned(text_at + text_bytes, step)
    return None


def _aligned(position: int, step: int) -> int:
    return (position + step - 1) // step * step


__all__ = [
    "DF_1_NODEFLIB",
    "DF_1_NOOPEN",
    "DF_1_PIE",
    "ET_DYN",
    "ET_EXEC",
    "MACHINES",
    "Blocks",
    "CannotLook",
    "ElfError",
    "ElfFault",
    "ElfObject",
    "FatalElf",
    "NeededVersions",
    "NotThere",
    "Segment",
    "SkippedElf",
    "offset_of",
    "read_elf",
    "read_interpreter",
    "read_string",
]
