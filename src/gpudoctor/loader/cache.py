"""ld.so.cache from its bytes: which file the system's own index gives for a SONAME.

Source: glibc, sysdeps/generic/dl-cache.h and elf/dl-cache.c (the new format, with or without the old one before it,
and the extension section that names glibc-hwcaps subdirectories). Checked against `ldconfig -p`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import msgspec

from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

DEFAULT_PATH = "/etc/ld.so.cache"
FLAGS: Mapping[str, int] = {"x86_64": 0x0303, "aarch64": 0x0A03}

_MAGIC = b"glibc-ld.so.cache1.1"
_OLD_MAGIC = b"ld.so-1.7.0"
_OLD_ENTRIES_AT = 16
_OLD_ENTRY_BYTES = 12
_HEADER_BYTES = 48
_ENTRY = struct.Struct("<iIIIQ")
_EXTENSION_MAGIC = 0xEAA42174
_HWCAPS_TAG = 1
_HWCAPS_EXTENSION = 1 << 62
_MAX_BYTES = 64 << 20


class CacheEntry(msgspec.Struct, frozen=True):
    """One line of the cache.

    Attributes:
        soname: The name looked up.
        path: The file it stands for.
        flags: Architecture and C library.
        hwcaps: Subdirectory of glibc-hwcaps that it needs; empty for one that every processor may use.
        legacy: True for an entry of the removed hardware capability scheme, which is not emulated.
    """

    soname: str
    path: str
    flags: int
    hwcaps: str = ""
    legacy: bool = False


class Cache(msgspec.Struct, frozen=True):
    """A parsed cache.

    Attributes:
        entries: All lines, in the order of the file.
    """

    entries: tuple[CacheEntry, ...]

    def index(self, machine: str, hwcaps: tuple[str, ...]) -> dict[str, str]:
        """Return the file for each name, as a processor with these capabilities (best first) would choose it."""
        flags = FLAGS.get(machine)
        best: dict[str, tuple[int, str]] = {}
        ranks = {name: rank for rank, name in enumerate(hwcaps)}
        for entry in self.entries:
            if entry.flags != flags or entry.legacy:
                continue
            rank = ranks.get(entry.hwcaps, -1) if entry.hwcaps else len(ranks)
            if rank >= 0 and (entry.soname not in best or rank < best[entry.soname][0]):
                best[entry.soname] = (rank, entry.path)
        return {soname: path for soname, (_, path) in best.items()}


def read_cache(system: ReadSystem, path: str = DEFAULT_PATH) -> Fact[Cache]:
    """Read the cache of a machine.

    Returns:
        Absent when there is no file (the loader then goes straight to its default directories), Unknown when it
        cannot be read or is damaged.
    """
    try:
        data = system.read_bytes(path, _MAX_BYTES)
    except NotThere:
        return Absent((path,))
    except CannotLook as error:
        return Unknown(f"the loader's cache cannot be read: {error.reason}")
    return parse_cache(data, path)


def parse_cache(data: bytes, path: str = DEFAULT_PATH) -> Fact[Cache]:
    """Parse the bytes of a cache; Unknown with a reason for a damaged one."""
    base = _new_format_at(data)
    if base is None:
        return Unknown(f"{path}: not a loader cache of glibc 2.2 or later")
    try:
        return Present(Cache(_entries(data, base)))
    except (struct.error, _DamagedError) as error:
        return Unknown(f"{path}: damaged loader cache: {error}")


class _DamagedError(Exception):
    """An offset or count of the cache leads outside of it."""


def _new_format_at(data: bytes) -> int | None:
    if data.startswith(_MAGIC):
        return 0
    if not data.startswith(_OLD_MAGIC) or len(data) < _OLD_ENTRIES_AT:
        return None
    (count,) = struct.unpack_from("<I", data, 12)
    at = _OLD_ENTRIES_AT + count * _OLD_ENTRY_BYTES
    at = (at + 7) // 8 * 8
    return at if data[at : at + len(_MAGIC)] == _MAGIC else None


def _entries(data: bytes, base: int) -> tuple[CacheEntry, ...]:
    count, _, endianness, extensions = struct.unpack_from("<IIB3xI", data, base + len(_MAGIC))
    if endianness & 3 not in (0, 2):
        raise _DamagedError("not little-endian")
    end = base + _HEADER_BYTES + count * _ENTRY.size
    if end > len(data):
        raise _DamagedError("more entries than bytes")
    names = _hwcaps_names(data, base, extensions) if extensions else ()
    found: list[CacheEntry] = []
    for flags, key, value, _, hwcaps in _ENTRY.iter_unpack(data[base + _HEADER_BYTES : end]):
        name = ""
        if hwcaps & _HWCAPS_EXTENSION:
            number = hwcaps & 0xFFFFFFFF
            name = names[number] if number < len(names) else "?"
        found.append(
            CacheEntry(_text(data, base + key), _text(data, base + value), flags, name, bool(hwcaps and not name))
        )
    return tuple(found)


def _hwcaps_names(data: bytes, base: int, extensions: int) -> tuple[str, ...]:
    magic, count = struct.unpack_from("<II", data, base + extensions)
    if magic != _EXTENSION_MAGIC:
        raise _DamagedError("unknown extension section")
    for number in range(min(count, 1024)):
        tag, _, offset, size_bytes = struct.unpack_from("<IIII", data, base + extensions + 8 + 16 * number)
        if tag == _HWCAPS_TAG:
            words = struct.unpack_from(f"<{min(size_bytes, 4096) // 4}I", data, base + offset)
            return tuple(_text(data, base + word) for word in words)
    return ()


def _text(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset)
    if end < 0 or end - offset > 4096:
        raise _DamagedError("a string outside of the file")
    return data[offset:end].decode("utf-8", "surrogateescape")
