"""GPU code in a shared object, from its section table: whether there is any, and for which architectures.

The CUDA tool chain puts all GPU code into the section `.nv_fatbin`: containers, one after another, each a header and a
list of images, each with a header of its own. Only headers are read, a few KiB of a file of hundreds of megabytes.

Source: the ELF-64 object file format, version 1.5; https://docs.nvidia.com/cuda/cuda-binary-utilities/ (cuobjdump
--list-elf and --list-ptx print the same list).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import msgspec

from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.system.protocol import CannotLook, NotThere, RandomReader, ReadSystem

GPU_SECTION = ".nv_fatbin"

_HEADER_BYTES = 64
_MAX_SECTIONS = 256
_MAX_NAMES_BYTES = 64 << 10
_CONTAINER = struct.Struct("<IHHQ")
_CONTAINER_MAGIC = 0xBA55ED50
_IMAGE = struct.Struct("<HHIQ")
_IMAGE_ARCHITECTURE_OFFSET = 28
_IMAGE_KINDS = {1: "compute", 2: "sm"}
_CONTAINERS_READ = 16
_IMAGES_READ = 64
_PADDING_READ = 64
_CHUNK_BYTES = 256 << 10
_OVERLAP_BYTES = 512
_MAX_RODATA_BYTES = 16 << 20
# In torch 2.8.0 other text stands right before the list, without a zero between: a list needs none.
_ARCH_FLAGS = re.compile(
    rb"(?:(?:sm|compute)_[0-9]{2,3}[a-z]?(?: (?:sm|compute)_[0-9]{2,3}[a-z]?)+"
    rb"|(?<![^\0])(?:sm|compute)_[0-9]{2,3}[a-z]?)(?=\0)"
)


class Section(msgspec.Struct, frozen=True):
    """One section of an ELF file.

    Attributes:
        offset: Its place in the file.
        size_bytes: Its size.
    """

    offset: int
    size_bytes: int


def has_gpu_code(system: ReadSystem, path: str) -> Fact[bool]:
    """Tell whether a shared object carries GPU code."""
    sections = _read_sections(system, path)
    return Unknown(sections) if isinstance(sections, str) else Present(GPU_SECTION in sections)


def read_architectures(system: ReadSystem, path: str) -> Fact[tuple[str, ...]]:
    """Return the architectures of the GPU code in a shared object: `sm_80` for machine code, `compute_80` for PTX.

    The first containers stand for all: every source file of a build is compiled for the same list, or for a part of it.
    """
    sections = _read_sections(system, path)
    if isinstance(sections, str):
        return Unknown(sections)
    section = sections.get(GPU_SECTION)
    if section is None:
        return Absent((path,))
    try:
        with system.open(path) as reader:
            found = _walk_containers(reader, section)
    except (NotThere, CannotLook) as error:
        return Unknown(str(error))
    return Present(_sorted(found)) if found else Unknown(f"{path}: its GPU code is in a form not understood")


def read_arch_flags(system: ReadSystem, path: str) -> Fact[tuple[str, ...]]:
    """Return torch's list of the architectures it was built for, a string in libtorch_python.so's read-only data.

    Source: torch/csrc/cuda/Module.cpp, CUDA_ARCH_FLAGS (what torch.cuda.get_arch_list returns).
    """
    sections = _read_sections(system, path)
    if isinstance(sections, str):
        return Unknown(sections)
    section = sections.get(".rodata")
    if section is None:
        return Unknown(f"{path}: no read-only data")
    try:
        with system.open(path) as reader:
            flags = _search_flags(reader, section)
    except (NotThere, CannotLook) as error:
        return Unknown(str(error))
    return Present(tuple(flags.split())) if flags else Unknown(f"{path}: names no architectures")


def _sorted(architectures: set[str]) -> tuple[str, ...]:
    return tuple(sorted(architectures, key=lambda a: (a.startswith("compute"), int(a.rpartition("_")[2]))))


def _read_sections(system: ReadSystem, path: str) -> dict[str, Section] | str:
    """Return an ELF file's sections by name, or one clause that says why they cannot be read."""
    try:
        with system.open(path) as reader:
            return _parse_sections(reader)
    except NotThere:
        return f"{path}: no such file"
    except CannotLook as error:
        return error.reason
    except (struct.error, ValueError):
        return f"{path}: not a shared object that can be read"


def _parse_sections(reader: RandomReader) -> dict[str, Section]:
    header = reader.pread(_HEADER_BYTES, 0)
    if header[:6] != b"\x7fELF\x02\x01":
        raise ValueError
    (table,) = struct.unpack_from("<Q", header, 40)
    entry_bytes, count, names_index = struct.unpack_from("<HHH", header, 58)
    if entry_bytes < 64 or entry_bytes > 256 or not 0 < count <= _MAX_SECTIONS or names_index >= count:
        raise ValueError
    rows = reader.pread(entry_bytes * count, table)
    entries = [struct.unpack_from("<IIQQQQ", rows, i * entry_bytes) for i in range(count)]
    names = reader.pread(min(entries[names_index][5], _MAX_NAMES_BYTES), entries[names_index][4])
    return {
        names[e[0] : names.index(b"\0", e[0])].decode("latin-1"): Section(e[4], e[5])
        for e in entries
        if e[0] < len(names)
    }


def _walk_containers(reader: RandomReader, section: Section) -> set[str]:
    position, end = section.offset, section.offset + section.size_bytes
    found: set[str] = set()
    read = padding = 0
    while position < end and read < _CONTAINERS_READ and padding < _PADDING_READ:
        header = reader.pread(_CONTAINER.size, position)
        if len(header) < _CONTAINER.size:
            break
        magic, _, header_bytes, payload_bytes = _CONTAINER.unpack(header)
        if magic != _CONTAINER_MAGIC:  # containers are aligned
            position, padding = position + 8, padding + 1
            continue
        found |= _read_images(reader, position + header_bytes, position + header_bytes + payload_bytes)
        position += max(8, header_bytes + payload_bytes)
        read, padding = read + 1, 0
    return found


def _read_images(reader: RandomReader, position: int, end: int) -> set[str]:
    found = set()
    for _ in range(_IMAGES_READ):
        if position >= end:
            break
        header = reader.pread(_IMAGE_ARCHITECTURE_OFFSET + 4, position)
        if len(header) < _IMAGE_ARCHITECTURE_OFFSET + 4:
            break
        kind, _, header_bytes, payload_bytes = _IMAGE.unpack_from(header)
        (architecture,) = struct.unpack_from("<I", header, _IMAGE_ARCHITECTURE_OFFSET)
        if kind in _IMAGE_KINDS and 10 <= architecture < 1000:
            found.add(f"{_IMAGE_KINDS[kind]}_{architecture}")
        position += max(8, header_bytes + payload_bytes)
    return found


def _search_flags(reader: RandomReader, section: Section) -> str:
    """Return the longest list of architectures in a section, read in overlapping chunks."""
    best = b""
    for start in range(0, min(section.size_bytes, _MAX_RODATA_BYTES), _CHUNK_BYTES):
        size = min(_CHUNK_BYTES + _OVERLAP_BYTES, section.size_bytes - start)
        chunk = reader.pread(size, section.offset + start)
        if not chunk:
            break
        best = max((best, *_lists(chunk)), key=len)
    return best.decode("ascii")


def _lists(chunk: bytes) -> Iterator[bytes]:
    """Yield the lists of architectures: searching for their first words is ten times faster than for the expression."""
    for word in (b"sm_", b"compute_"):
        at = chunk.find(word)
        while at >= 0:
            match = _ARCH_FLAGS.match(chunk, at)
            if match:
                yield match[0]
            at = chunk.find(word, match.end() if match else at + 1)
