"""What lies at a path, asked of the machine once: the same few hundred paths are tried for every scenario."""

from __future__ import annotations

import posixpath

import msgspec

from gpudoctor.loader.elf import ElfError, ElfObject, SkippedElf, read_elf
from gpudoctor.loader.symbols import Symbols, read_symbols
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem


class Miss(msgspec.Struct, frozen=True):
    """A path that gives no usable file.

    Attributes:
        result: As in SearchStep: `missing`, `wrong-machine`, `unreadable`, ….
        reason: One clause for people.
        errno_name: What the loader's errno is afterwards.
        fatal: True when the loader gives the name up here.
    """

    result: str
    reason: str
    errno_name: str = "ENOENT"
    fatal: bool = False


_MISSING = Miss("missing", "no such file")


class Files:
    """A memory of files for processes of one architecture and one working directory.

    Attributes:
        system: The machine.
        machine: Architecture of the processes; None until their executable was read.
        cwd: Working directory that relative paths mean.
    """

    def __init__(self, system: ReadSystem, cwd: str, machine: str | None = None) -> None:
        self.system = system
        self.machine = machine
        self.cwd = cwd
        self._seen: dict[str, ElfObject | Miss] = {}
        self._directories: dict[str, bool] = {}
        self._gone: set[str] = set()
        self._symbols: dict[tuple[int, int], Symbols | None] = {}

    def absolute(self, path: str) -> str:
        """Return a path joined to the working directory."""
        return path if path.startswith("/") else posixpath.join(self.cwd, path)

    def look(self, path: str) -> ElfObject | Miss:
        """Return what opening a path as a shared object gives."""
        found = self._seen.get(path)
        if found is None:
            # Most places that a loader tries are names in folders that are not there: each process asks for others.
            gone = path.rpartition("/")[0] in self._gone
            found = self._seen[path] = _MISSING if gone else self._look(self.absolute(path))
        return found

    def is_directory(self, path: str) -> bool:
        """Tell whether a directory is at a path; an empty path is none, as for stat."""
        known = self._directories.get(path)
        if known is None:
            known = self._directories[path] = bool(path) and self._is_directory(path)
        return known

    def symbols(self, path: str, elf: ElfObject) -> Symbols | None:
        """Return the dynamic symbols of an object, None when they cannot be read."""
        if elf.identity not in self._symbols:
            self._symbols[elf.identity] = read_symbols(self.system, self.absolute(path), elf)
        return self._symbols[elf.identity]

    def _look(self, path: str) -> ElfObject | Miss:
        try:
            return read_elf(self.system, path, self.machine)
        except NotThere:
            return _MISSING
        except SkippedElf as error:
            return Miss(error.fault, error.reason)
        except ElfError as error:
            return Miss(error.fault, error.reason, fatal=True)
        except CannotLook as error:
            return _unopened(error)

    def _is_directory(self, path: str) -> bool:
        try:
            return self.system.stat(self.absolute(path)).kind == "directory"
        except NotThere:
            self._gone.add(path)
        except CannotLook:
            pass
        return False


def _unopened(error: CannotLook) -> Miss:
    name = error.errno_name or "EIO"
    result = {"EACCES": "unreadable", "EPERM": "unreadable", "ELOOP": "symlink-loop"}.get(name, "unreadable")
    return Miss(result, error.reason, name)
