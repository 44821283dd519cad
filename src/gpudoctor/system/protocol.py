"""What probes and the loader may ask of a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal, Protocol

import msgspec

from gpudoctor.model.errors import GpuDoctorError

FileKind = Literal["file", "directory", "symlink", "fifo", "other"]


class CannotLook(GpuDoctorError):
    """A path exists or may exist, but could not be read (permission, I/O error, not a regular file).

    Attributes:
        reason: One clause.
        errno_name: The symbolic errno, such as `EACCES`, where there is one.
    """

    def __init__(self, reason: str, errno_name: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.errno_name = errno_name


class NotThere(GpuDoctorError):
    """Nothing is at the path (ENOENT, ENOTDIR, or a dangling link)."""


class FileStat(msgspec.Struct, frozen=True):
    """What stat tells.

    Attributes:
        kind: Sort of file.
        size_bytes: Size.
        identity: (device, inode): equal for hard links of one file.
        mode: Permission and set-id bits.
        links: Names of the file on its file system; more than one are hard links.
    """

    kind: FileKind
    size_bytes: int
    identity: tuple[int, int]
    mode: int
    links: int = 1


class RandomReader(Protocol):
    """An open regular file, read by position. Use as a context manager."""

    stat: FileStat

    def pread(self, size_bytes: int, offset: int) -> bytes:
        """Read at most size_bytes at offset; fewer at the end of the file.

        Raises:
            CannotLook: The device failed.
        """

    def __enter__(self) -> RandomReader: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...


class ChildResult(msgspec.Struct, frozen=True):
    """How a child process ended.

    Attributes:
        status: Exit status; negative is the signal that killed it.
        stdout: Its output, cut at the limit.
        stderr: Its error output, cut at the limit.
        timed_out: True when it was killed at the time limit.
    """

    status: int
    stdout: bytes
    stderr: bytes
    timed_out: bool


class Child(Protocol):
    """A child process that was started and not yet waited for."""

    def result(self) -> ChildResult:
        """Wait for the end or the time limit (then kill the whole process group) and return how it went."""


class ReadSystem(Protocol):
    """A machine that can be looked at. Nothing here writes; no file of the target is executed except by `start`."""

    os_name: Literal["linux", "windows", "macos"]
    machine: str

    def environ(self) -> Mapping[str, str]:
        """Return the environment of this process."""

    def cwd(self) -> str:
        """Return the working directory."""

    def effective_uid(self) -> int | None:
        """Return the effective user id; None where the OS has none."""

    def stat(self, path: str) -> FileStat:
        """Follow links and stat.

        Raises:
            NotThere: Nothing is there.
            CannotLook: Permission, a loop of links (errno_name ELOOP), I/O error.
        """

    def readlink(self, path: str) -> str | None:
        """Return a link's text, or None when the path is no link."""

    def realpath(self, path: str) -> str:
        """Return the path with every link resolved as far as it resolves."""

    def listdir(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory.

        Raises:
            NotThere: No such directory.
            CannotLook: Not readable, or not a directory (errno_name ENOTDIR).
        """

    def read_bytes(self, path: str, limit_bytes: int = 4 << 20) -> bytes:
        """Read a regular file, at most limit_bytes of it. Never blocks on a FIFO or a device.

        Raises:
            NotThere: Nothing is there.
            CannotLook: Not a regular file, not readable.
        """

    def open(self, path: str) -> RandomReader:
        """Open a regular file for positional reads. Never blocks on a FIFO or a device.

        Raises:
            NotThere: Nothing is there.
            CannotLook: Not a regular file (errno_name EISDIR for a directory), not readable.
        """

    def xattr(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute, or None when the file has none or the OS knows none."""

    def start(self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Child:
        """Start a child with exactly this environment, no standard input, no core dump, in its own process group.

        Raises:
            CannotLook: The program cannot be started.
        """


def may_be_there(system: ReadSystem, path: str) -> bool:
    """Tell whether something is at a path, or may be: only `NotThere` says that nothing is."""
    try:
        system.stat(path)
    except NotThere:
        return False
    except CannotLook:
        pass
    return True


def read_text(system: ReadSystem, path: str, limit_bytes: int = 4 << 20) -> str:
    """Read a text file as UTF-8, undecodable bytes replaced.

    Raises:
        NotThere: Nothing is there.
        CannotLook: Not a regular file, not readable.
    """
    return system.read_bytes(path, limit_bytes).decode("utf-8", "replace")


def encodable(text: str) -> str:
    """Return a path or a variable's value as it can be written to a file.

    Bytes that are not UTF-8 reach Python as lone surrogates, which no JSON document can hold; these are spelt out.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
