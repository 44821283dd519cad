"""A machine in memory: files, links, permissions and children as plain data, for judging what is not at hand."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Literal

from gpudoctor.system.protocol import CannotLook, Child, ChildResult, FileStat, NotThere, RandomReader

_MAX_LINKS = 40


class MemorySystem:
    """A machine that is data; see gpudoctor.system.protocol.ReadSystem.

    Folders exist where something lies in them, or where `directories` names them.
    """

    def __init__(
        self,
        files: Mapping[str, bytes | str] | None = None,
        *,
        links: Mapping[str, str] | None = None,
        directories: Iterable[str] = (),
        fifos: Iterable[str] = (),
        unreadable: Iterable[str] = (),
        modes: Mapping[str, int] | None = None,
        xattrs: Mapping[tuple[str, str], bytes] | None = None,
        environ: Mapping[str, str] | None = None,
        children: Mapping[str, ChildResult] | None = None,
        cwd: str = "/",
        uid: int | None = 0,
        os_name: Literal["linux", "windows", "macos"] = "linux",
        machine: str = "x86_64",
    ) -> None:
        """Describe the machine.

        Args:
            files: Content by absolute path.
            links: Link text by path.
            directories: Folders that may be empty.
            fifos: Named pipes.
            unreadable: Files and folders that answer EACCES when read, listed or walked through.
            modes: Permission bits that differ from 0o755.
            xattrs: Extended attributes by path and name.
            environ: Environment of this process.
            children: How a child ends, by the file name of its program or of the script it runs.
            cwd: Working directory.
            uid: Effective user id.
            os_name: Operating system.
            machine: Architecture.
        """
        self.os_name: Literal["linux", "windows", "macos"] = os_name
        self.machine = machine
        self.started: list[tuple[tuple[str, ...], Mapping[str, str], float]] = []
        self._files = {p: c.encode() if isinstance(c, str) else c for p, c in (files or {}).items()}
        self._links = dict(links or {})
        self._fifos = frozenset(fifos)
        self._unreadable = frozenset(unreadable)
        self._modes = dict(modes or {})
        self._xattrs = dict(xattrs or {})
        self._environ = dict(environ or {})
        self._children = dict(children or {})
        self._cwd, self._uid = cwd, uid
        named = (*self._files, *self._links, *self._fifos, *(posixpath.join(d, "x") for d in directories))
        self._directories = {parent for path in named for parent in _parents(path)}

    def environ(self) -> Mapping[str, str]:
        """Return the environment of this process."""
        return self._environ

    def cwd(self) -> str:
        """Return the working directory."""
        return self._cwd

    def effective_uid(self) -> int | None:
        """Return the effective user id."""
        return self._uid

    def stat(self, path: str) -> FileStat:
        """Follow links and stat; see ReadSystem."""
        real = self._existing(path)
        mode = self._modes.get(real, 0o755)
        identity = (1, hash(real) & 0xFFFFFFFF)
        if real in self._files:
            return FileStat("file", len(self._files[real]), identity, mode)
        return FileStat("fifo" if real in self._fifos else "directory", 0, identity, mode)

    def readlink(self, path: str) -> str | None:
        """Return a link's text, or None when the path is no link."""
        return self._links.get(posixpath.join(self._walk(posixpath.dirname(path))[0], posixpath.basename(path)))

    def realpath(self, path: str) -> str:
        """Return the path with every link resolved as far as it resolves."""
        return self._walk(path)[0]

    def listdir(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory; see ReadSystem."""
        try:
            real = self._existing(path)
        except NotThere:
            if not any(parent in self._files for parent in _parents(self.realpath(path))):
                raise
            real = ""
        if real not in self._directories:
            raise CannotLook(f"{path}: not a directory", "ENOTDIR")
        self._check_readable(real, path)
        everything = (*self._files, *self._links, *self._fifos, *self._directories)
        return tuple(sorted({posixpath.basename(p) for p in everything if posixpath.dirname(p) == real and p != real}))

    def read_bytes(self, path: str, limit_bytes: int = 4 << 20) -> bytes:
        """Read a regular file, at most limit_bytes of it; see ReadSystem."""
        with self.open(path) as reader:
            return reader.pread(limit_bytes, 0)

    def open(self, path: str) -> RandomReader:
        """Open a regular file for positional reads; see ReadSystem."""
        status = self.stat(path)
        if status.kind != "file":
            errno_name = "EISDIR" if status.kind == "directory" else None
            raise CannotLook(f"{path}: not a regular file ({status.kind})", errno_name)
        real = self._existing(path)
        self._check_readable(real, path)
        return _Reader(self._files[real], status)

    def xattr(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute, or None."""
        return self._xattrs.get((self.realpath(path), name))

    def start(self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Child:
        """Note the child in `started` and answer from the table; see ReadSystem."""
        self.started.append((tuple(argv), dict(env), timeout_s))
        for argument in argv:
            result = self._children.get(posixpath.basename(argument.replace("\\", "/")))
            if result is not None:
                return _Child(result)
        raise CannotLook(f"{argv[0]}: cannot be started")

    def _existing(self, path: str) -> str:
        real, looped = self._walk(path)
        if looped:
            raise CannotLook(f"{path}: too many levels of symbolic links", "ELOOP")
        for parent in _parents(real):
            self._check_readable(parent, path)
        if real not in self._files and real not in self._directories and real not in self._fifos:
            raise NotThere(f"{path}: no such file")
        return real

    def _check_readable(self, real: str, path: str) -> None:
        if real in self._unreadable:
            raise CannotLook(f"{path}: Permission denied", "EACCES")

    def _walk(self, path: str) -> tuple[str, bool]:
        """Resolve links; the flag tells of a loop."""
        todo = posixpath.join(self._cwd, path).split("/")[::-1]
        real, links = "/", 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            here = posixpath.dirname(real) if part == ".." else posixpath.join(real, part)
            target = self._links.get(here)
            if target is None:
                real = here
                continue
            links += 1
            if links > _MAX_LINKS:
                return posixpath.normpath(path), True
            todo.extend(target.split("/")[::-1])
            real = "/" if target.startswith("/") else real
        return real, False


class _Reader:
    def __init__(self, content: bytes, stat: FileStat) -> None:
        self.stat = stat
        self._content = content

    def pread(self, size_bytes: int, offset: int) -> bytes:
        return self._content[offset : offset + size_bytes]

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        return None


class _Child:
    def __init__(self, result: ChildResult) -> None:
        self._result = result

    def result(self) -> ChildResult:
        return self._result


def _parents(path: str) -> tuple[str, ...]:
    """Return every folder above an absolute path."""
    found = []
    while path != "/":
        path = posixpath.dirname(path)
        found.append(path)
    return tuple(found)
