"""The machine that gpudoctor runs on."""

from __future__ import annotations

import errno
import os
import stat as stat_bits
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal

from gpudoctor.system.child import RealChild
from gpudoctor.system.protocol import CannotLook, Child, FileKind, FileStat, NotThere, RandomReader

_GONE = (errno.ENOENT, errno.ENOTDIR)
# O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_FILE_KINDS: dict[int, FileKind] = {
    stat_bits.S_IFREG: "file",
    stat_bits.S_IFDIR: "directory",
    stat_bits.S_IFLNK: "symlink",
    stat_bits.S_IFIFO: "fifo",
}


def _os_name() -> Literal["linux", "windows", "macos"]:
    if sys.platform == "win32":
        return "windows"
    return "macos" if sys.platform == "darwin" else "linux"


def _machine() -> str:
    if sys.platform == "win32":
        import platform  # costs several ms; elsewhere the kernel tells

        return {"AMD64": "x86_64", "ARM64": "arm64"}.get(platform.machine(), platform.machine())
    return os.uname().machine


def _error(error: OSError | ValueError, path: str) -> NotThere | CannotLook:
    if isinstance(error, ValueError):  # a NUL byte in the path
        return CannotLook(f"{path!r}: not a path")
    if error.errno in _GONE:
        return NotThere(f"{path}: no such file")
    return CannotLook(f"{path}: {error.strerror or error}", errno.errorcode.get(error.errno or 0))


def _file_stat(status: os.stat_result) -> FileStat:
    kind = _FILE_KINDS.get(stat_bits.S_IFMT(status.st_mode), "other")
    identity = (status.st_dev, status.st_ino)
    return FileStat(kind, status.st_size, identity, stat_bits.S_IMODE(status.st_mode), status.st_nlink)


class _Reader:
    """An open regular file."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._fd = os.open(path, _OPEN_FLAGS)
        except (OSError, ValueError) as error:
            raise _error(error, path) from error
        self.stat = _file_stat(os.fstat(self._fd))
        if self.stat.kind != "file":
            os.close(self._fd)
            raise CannotLook(
                f"{path}: not a regular file ({self.stat.kind})", "EISDIR" if self.stat.kind == "directory" else None
            )

    def pread(self, size_bytes: int, offset: int) -> bytes:
        try:
            if sys.platform == "win32":
                os.lseek(self._fd, offset, os.SEEK_SET)
                return os.read(self._fd, size_bytes)
            return os.pread(self._fd, size_bytes, offset)
        except (OSError, OverflowError, ValueError) as error:  # an offset that no file can have
            raise CannotLook(f"{self._path}: {error}") from error

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._fd)


class RealSystem:
    """The real machine, read only."""

    def __init__(self) -> None:
        self.os_name: Literal["linux", "windows", "macos"] = _os_name()
        self.machine = _machine()

    def environ(self) -> Mapping[str, str]:
        """Return the environment of this process."""
        return dict(os.environ)

    def cwd(self) -> str:
        """Return the working directory; `/` when it was deleted under us."""
        try:
            return os.getcwd()
        except OSError:
            return os.sep

    def effective_uid(self) -> int | None:
        """Return the effective user id; None where the OS has none."""
        if sys.platform == "win32":
            return None
        return os.geteuid()

    def stat(self, path: str) -> FileStat:
        """Follow links and stat; see ReadSystem."""
        try:
            return _file_stat(os.stat(path))
        except (OSError, ValueError) as error:
            raise _error(error, path) from error

    def readlink(self, path: str) -> str | None:
        """Return a link's text, or None when the path is no link."""
        try:
            return os.readlink(path)
        except (OSError, ValueError):
            return None

    def realpath(self, path: str) -> str:
        """Return the path with every link resolved as far as it resolves."""
        try:
            return os.path.realpath(path)
        except (OSError, ValueError):
            return path

    def listdir(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory; see ReadSystem."""
        try:
            return tuple(sorted(os.listdir(path)))
        except NotADirectoryError as error:
            raise CannotLook(f"{path}: not a directory", "ENOTDIR") from error
        except (OSError, ValueError) as error:
            raise _error(error, path) from error

    def read_bytes(self, path: str, limit_bytes: int = 4 << 20) -> bytes:
        """Read a regular file, at most limit_bytes of it; see ReadSystem."""
        parts: list[bytes] = []
        got = 0
        with self.open(path) as reader:
            while got < limit_bytes:  # /proc files report size 0, so read until the end
                part = reader.pread(min(1 << 20, limit_bytes - got), got)
                if not part:
                    break
                parts.append(part)
                got += len(part)
        return b"".join(parts)

    def open(self, path: str) -> RandomReader:
        """Open a regular file for positional reads; see ReadSystem."""
        return _Reader(path)

    def xattr(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute, or None when the file has none or the OS knows none."""
        if sys.platform != "linux":
            return None
        try:
            return os.getxattr(path, name)
        except (OSError, ValueError):
            return None

    def start(self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Child:
        """Start a child with a time limit; see ReadSystem."""
        return RealChild(argv, env, timeout_s)
