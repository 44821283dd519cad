"""Dynamic symbols of one object: what it wants by version, and what it defines.

Only asked inside one vendor's family of libraries: parts of two cuDNN builds have matching SONAMEs and fail on a
symbol. Tables are read whole, by position; libraries of hundreds of megabytes have tables of a few hundred KiB.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import msgspec

from gpudoctor.loader.elf import ElfError, ElfObject, FatalElf, offset_of
from gpudoctor.system.protocol import CannotLook, NotThere, RandomReader, ReadSystem

_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ = 4, 5, 6, 10
_DT_GNU_HASH, _DT_VERSYM = 0x6FFFFEF5, 0x6FFFFFF0
_DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_SYMBOL = struct.Struct("<IBBHQQ")
_MAX_SYMBOLS = 400_000
_MAX_STRINGS_BYTES = 64 << 20
_MAX_BUCKETS = 1 << 20
_MAX_VERSIONS = 4096
_STB_WEAK = 2


class Symbols(msgspec.Struct, frozen=True):
    """The dynamic symbols of one object.

    Attributes:
        wanted: Strong undefined symbols by the library that must define them, in table order.
        defined: Names of defined symbols.
    """

    wanted: Mapping[str, tuple[bytes, ...]]
    defined: frozenset[bytes]


def read_symbols(system: ReadSystem, path: str, elf: ElfObject) -> Symbols | None:
    """Read the dynamic symbol table.

    Args:
        system: The machine to look at.
        path: The file.
        elf: What read_elf said of it.

    Returns:
        The symbols, or None when the table cannot be read.
    """
    if elf.dynamic is None:
        return None
    try:
        with system.open(path) as reader:
            return _read(reader, elf, elf.dynamic)
    except (ElfError, CannotLook, NotThere, struct.error):
        return None


def _read(reader: RandomReader, elf: ElfObject, dynamic: Mapping[int, int]) -> Symbols:
    count = _symbol_count(reader, elf, dynamic)
    table = reader.pread(count * _SYMBOL.size, _table_at(elf, dynamic, _DT_SYMTAB))
    strings = reader.pread(min(dynamic.get(_DT_STRSZ, 0), _MAX_STRINGS_BYTES), _table_at(elf, dynamic, _DT_STRTAB))
    versions: tuple[int, ...] = ()
    if _DT_VERSYM in dynamic:
        raw = reader.pread(count * 2, _table_at(elf, dynamic, _DT_VERSYM))
        versions = struct.unpack(f"<{len(raw) // 2}H", raw[: len(raw) // 2 * 2])
    return _sort(table[: len(table) // _SYMBOL.size * _SYMBOL.size], strings, versions, _files(reader, elf, dynamic))


def _table_at(elf: ElfObject, dynamic: Mapping[int, int], tag: int) -> int:
    """Return the place in the file of a table that the dynamic section names."""
    if tag not in dynamic:
        raise FatalElf("unloadable", "no symbol table")
    return offset_of(elf.segments, dynamic[tag])


def _sort(table: bytes, strings: bytes, versions: tuple[int, ...], files: Mapping[int, str]) -> Symbols:
    wanted: dict[str, list[bytes]] = {}
    defined: set[bytes] = set()
    find = strings.find
    for index, (name, info, _, section, _, _) in enumerate(_SYMBOL.iter_unpack(table)):
        if section:
            defined.add(strings[name : find(b"\0", name)])
        elif info >> 4 != _STB_WEAK and index < len(versions):
            file = files.get(versions[index] & 0x7FFF)
            if file is not None:
                wanted.setdefault(file, []).append(strings[name : find(b"\0", name)])
    return Symbols({file: tuple(names) for file, names in wanted.items()}, frozenset(defined))


def _symbol_count(reader: RandomReader, elf: ElfObject, dynamic: Mapping[int, int]) -> int:
    if _DT_HASH in dynamic:
        (count,) = struct.unpack("<4xI", reader.pread(8, _table_at(elf, dynamic, _DT_HASH)))
    elif _DT_GNU_HASH in dynamic:
        count = _count_by_gnu_hash(reader, _table_at(elf, dynamic, _DT_GNU_HASH))
    else:
        raise FatalElf("unloadable", "no symbol hash table")
    if count > _MAX_SYMBOLS:
        raise FatalElf("unloadable", "too many symbols")
    return int(count)


def _count_by_gnu_hash(reader: RandomReader, offset: int) -> int:
    """Return the number of symbols: the end of the last chain of the GNU hash table."""
    buckets, first, bloom, _ = struct.unpack("<IIII", reader.pread(16, offset))
    if buckets > _MAX_BUCKETS or bloom > _MAX_BUCKETS:
        raise FatalElf("unloadable", "symbol hash table too large")
    at = offset + 16 + 8 * bloom
    last = max(struct.unpack(f"<{buckets}I", reader.pread(4 * buckets, at)), default=0)
    if last < first:
        return int(first)
    chains = at + 4 * buckets
    while last < _MAX_SYMBOLS:
        raw = reader.pread(4096, chains + 4 * (last - first))
        for (value,) in struct.iter_unpack("<I", raw[: len(raw) // 4 * 4]):
            last += 1
            if value & 1:
                return int(last)
        if len(raw) < 4:
            break
    raise FatalElf("unloadable", "symbol hash chain without end")


def _files(reader: RandomReader, elf: ElfObject, dynamic: Mapping[int, int]) -> dict[int, str]:
    """Return the library that each version index stands for."""
    if _DT_VERNEED not in dynamic:
        return {}
    start = _table_at(elf, dynamic, _DT_VERNEED)
    table = reader.pread(1 << 16, start)
    files: dict[int, str] = {}
    entry = 0
    for needed in elf.needs_versions:
        _, count, _, auxiliary, following = struct.unpack_from("<HHIII", table, entry)
        at = entry + auxiliary
        for _ in range(min(count, len(needed.versions))):
            _, _, index, _, step = struct.unpack_from("<IHHII", table, at)
            files[index & 0x7FFF] = needed.file
            at += step
        entry += following
    return files
