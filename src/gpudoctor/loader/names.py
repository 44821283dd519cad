"""Names of libraries among the constants of an object: what it may hand to dlopen while it runs.

A compiler puts the text of `dlopen("libcudnn.so.9", …)` into read-only data, with a zero byte at both ends; a message
such as `cannot find libcudnn.so.9` has other text around the name. So a name that stands alone is one that the object
knows, though nothing says that it is ever opened. A name that is put together while running, that the compiler wrote
into instructions, or that stands without zero bytes (Go's and Rust's plain strings) is not seen.

Source: the ELF-64 object file format, version 1.5 (section headers).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator

from gpudoctor.loader.elf import ElfObject
from gpudoctor.system.protocol import CannotLook, NotThere, RandomReader, ReadSystem

_SECTION = struct.Struct("<IIQQQQIIQQ")
_SHT_PROGBITS = 1
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_CONSTANTS = (b".rodata", b".lrodata")
_MAX_SECTIONS = 4096
_MAX_NAMES_BYTES = 1 << 20
_MAX_OBJECT_BYTES = 64 << 20
_MAX_ALL_BYTES = 512 << 20
_MAX_NAMES = 1000
_CHUNK_BYTES = 1 << 20
_MAX_PATH_BYTES = 4096
_END = re.compile(rb"\.so(?:\.[0-9]{1,9}){0,4}\0")
_NAME = re.compile(rb"(?:/[^\0]*/)?lib[A-Za-z0-9_+-]{1,64}\.so[.0-9]*")


class OpenedNames:
    """A memory of the names in objects: each file is read once, however often its process is emulated.

    Attributes:
        unread: What was not looked at, and why.
    """

    def __init__(self, system: ReadSystem) -> None:
        self._system = system
        self._seen: dict[tuple[int, int], tuple[str, ...]] = {}
        self._left_bytes = _MAX_ALL_BYTES
        self.unread: list[str] = []

    def of(self, path: str, elf: ElfObject) -> tuple[str, ...]:
        """Return the libraries that an object names, bare or by absolute path, in the order of its constants.

        Args:
            path: The file, absolute.
            elf: What it holds.
        """
        if elf.identity not in self._seen:
            self._seen[elf.identity] = self._read(path, elf)
        return self._seen[elf.identity]

    def _read(self, path: str, elf: ElfObject) -> tuple[str, ...]:
        linked = {elf.soname, *elf.needed}
        found: dict[str, None] = {}
        try:
            with self._system.open(path) as reader:
                for offset, size_bytes in _constants(reader):
                    for name in _names(reader, offset, self._granted(path, size_bytes)):
                        if name not in linked and len(found) < _MAX_NAMES:
                            found[name] = None
        except (CannotLook, NotThere, struct.error) as error:
            self.unread.append(f"the constants of {path} cannot be read ({error})")
        if len(found) == _MAX_NAMES:
            self.unread.append(f"{path} holds more than {_MAX_NAMES} names of libraries; the others were not looked at")
        return tuple(found)

    def _granted(self, path: str, wanted_bytes: int) -> int:
        """Return how much of an object's constants may be read: a folder may hold any number of any size."""
        granted = min(wanted_bytes, _MAX_OBJECT_BYTES, self._left_bytes)
        self._left_bytes -= granted
        if granted < wanted_bytes:
            self.unread.append(f"only a part of the constants of {path} was searched for names of libraries")
        return granted


def _constants(reader: RandomReader) -> Iterator[tuple[int, int]]:
    """Yield offset and size of each section of constants; the whole file where there are no section headers."""
    header = reader.pread(64, 0)
    (table_at,) = struct.unpack_from("<Q", header, 40)
    entry_bytes, count, strings_index = struct.unpack_from("<HHH", header, 58)
    if not table_at or entry_bytes != _SECTION.size or not 0 < count <= _MAX_SECTIONS or strings_index >= count:
        yield 0, reader.stat.size_bytes
        return
    table = reader.pread(count * _SECTION.size, table_at)
    sections = tuple(_SECTION.iter_unpack(table[: len(table) // _SECTION.size * _SECTION.size]))
    if strings_index >= len(sections):
        yield 0, reader.stat.size_bytes
        return
    strings = reader.pread(min(sections[strings_index][5], _MAX_NAMES_BYTES), sections[strings_index][4])
    for name, kind, flags, _, offset, size_bytes, *_ in sections:
        constant = flags & (_SHF_WRITE | _SHF_ALLOC | _SHF_EXECINSTR) == _SHF_ALLOC
        if kind == _SHT_PROGBITS and constant and strings.startswith(_CONSTANTS, name):
            yield offset, max(0, min(size_bytes, reader.stat.size_bytes - offset))


def _names(reader: RandomReader, offset: int, size_bytes: int) -> Iterable[str]:
    """Yield the names that stand alone; the end of a chunk is read again with the next one."""
    position, end = offset, offset + size_bytes
    while position < end:
        data = reader.pread(min(_CHUNK_BYTES + _MAX_PATH_BYTES, end - position), position)
        for match in _END.finditer(data):
            start = data.rfind(b"\0", 0, match.start()) + 1
            if (start or position == offset) and _NAME.fullmatch(data, start, match.end() - 1):
                yield data[start : match.end() - 1].decode("utf-8", "surrogateescape")
        if len(data) <= _MAX_PATH_BYTES:
            return
        position += len(data) - _MAX_PATH_BYTES
