"""The write protocol: changes that are whole or not at all, each durable before the call returns.

Every change goes through one object, so that a test can end the process before, in and after any of them, and so that
none of them can lead out of the folders that the user named: whoever owns a judged environment may put a link in a
folder's place between the look at it and the change.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat as stat_bits
import sys
from collections.abc import Iterator
from typing import Union

import msgspec

from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.system.opening import digest_of, open_plainly, opened, set_folder_mode
from gpudoctor.system.writing import fill_new, replacing, sync_folder, write_all

_BINARY = getattr(os, "O_BINARY", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_DESCRIPTORS = "/proc/self/fd"
_MOST_BYTES = 64 << 20
_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class CannotChange(GpuDoctorError):
    """A change was refused by the machine; what was there is unchanged.

    Attributes:
        reason: One clause.
    """

    exit_status = 1

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Busy(GpuDoctorError):
    """Another gpudoctor is changing the same environment."""

    exit_status = 1


class Nothing(msgspec.Struct, frozen=True, tag="nothing", tag_field="kind"):
    """Nothing is at a path."""


class FileState(msgspec.Struct, frozen=True, tag="file", tag_field="kind"):
    """A regular file.

    Attributes:
        sha256: Digest of its content.
        mode: Permission bits.
        mtime_ns: Time of last modification.
        uid: Owner.
        gid: Group.
    """

    sha256: str
    mode: int
    mtime_ns: int
    uid: int
    gid: int


class LinkState(msgspec.Struct, frozen=True, tag="link", tag_field="kind"):
    """A symbolic link.

    Attributes:
        text: What it holds.
    """

    text: str


class FolderState(msgspec.Struct, frozen=True, tag="folder", tag_field="kind"):
    """A folder.

    Attributes:
        names_sha256: Digest of the names in it.
        mtime_ns: Time of last modification.
    """

    names_sha256: str
    mtime_ns: int


class OtherState(msgspec.Struct, frozen=True, tag="other", tag_field="kind"):
    """A device, a socket, a pipe: nothing that is ever changed."""


PathState = Union[Nothing, FileState, LinkState, FolderState, OtherState]  # noqa: UP007 - msgspec reads it at run time


class RealChanges:
    """Changes on the real machine."""

    _roots: tuple[str, ...] | None = None

    def __init__(self, roots: tuple[str, ...] | None = None) -> None:
        """Say where changes may be made.

        Args:
            roots: Folders that nothing outside of is changed; None for no such limit.
        """
        if roots is not None:
            self._roots = tuple(os.path.realpath(root) for root in roots)

    @contextlib.contextmanager
    def _held(self, path: str) -> Iterator[str]:
        """Hold the folder of a path open while the path in it is changed, and give the path by way of it.

        Raises:
            CannotChange: The folder lies outside of the roots.
            OSError: It cannot be opened.
        """
        if self._roots is None or not os.path.isdir(_DESCRIPTORS):
            yield path
            return
        folder, name = os.path.split(path)
        with self._opened(folder, self._roots) as fd:
            yield f"{_DESCRIPTORS}/{fd}/{name}"

    @contextlib.contextmanager
    def _opened(self, folder: str, roots: tuple[str, ...]) -> Iterator[int]:
        real = os.path.realpath(folder)
        if not any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots):
            raise CannotChange(f"{folder} leads to {real}, outside of {roots[0]}; nothing was changed there")
        fd = open_plainly(real)
        try:
            yield fd
        finally:
            os.close(fd)

    # --- looking, without following a link

    def state(self, path: str) -> PathState:
        """Return what is at a path; the path itself when it is a link.

        Raises:
            CannotChange: It cannot be looked at.
        """
        with _told(path, "cannot be looked at"):
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                return Nothing()
            if stat_bits.S_ISLNK(status.st_mode):
                return LinkState(os.readlink(path))
            if stat_bits.S_ISDIR(status.st_mode):
                return FolderState(_names_digest(path), status.st_mtime_ns)
            if not stat_bits.S_ISREG(status.st_mode):
                return OtherState()
            digest = digest_of(path)
            mode = stat_bits.S_IMODE(status.st_mode)
            return FileState(digest, mode, status.st_mtime_ns, status.st_uid, status.st_gid)

    def read(self, path: str) -> bytes:
        """Return a regular file's content, links not followed.

        Raises:
            CannotChange: It cannot be read, or is larger than any file that a repair edits.
        """
        with _told(path, "cannot be read"), opened(path) as file:
            content = file.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                raise CannotChange(f"{path} is larger than any file that is edited here")
            return content

    def writable(self, folder: str) -> str | None:
        """Return why no file can be made in a folder, as a clause; None when one can."""
        try:
            readonly = bool(os.statvfs(folder).f_flag & getattr(os, "ST_RDONLY", 1))
        except OSError as error:
            return error.strerror or str(error)
        if readonly:
            return "the file system is mounted read-only"
        return None if os.access(folder, os.W_OK | os.X_OK) else "this user may not write there"

    # --- changing

    def write_file(
        self,
        path: str,
        content: bytes,
        *,
        mode: int,
        temporary: str,
        mtime_ns: int | None = None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Make or replace a file: a reader sees the old content or the new, and never a part.

        Args:
            path: The file; a link there is replaced, not followed.
            content: All of it.
            mode: Permission bits, whatever the umask says.
            temporary: Path of the file in between, in the same folder; what an earlier run left there is replaced.
            mtime_ns: Time of last modification; None for now.
            owner: User and group id; None for this process's.

        Raises:
            CannotChange: It cannot be written.
        """
        with _told(path, "cannot be written"), self._held(path) as here:
            between = os.path.join(os.path.dirname(here), os.path.basename(temporary))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(between)
            with replacing(between, here):
                self._fill(between, content, mode, owner)
                if mtime_ns is not None:
                    os.utime(between, ns=(mtime_ns, mtime_ns))

    def _fill(self, path: str, content: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        fill_new(path, content, mode, owner)

    def make_link(self, path: str, text: str) -> None:
        """Make a symbolic link where nothing is.

        Raises:
            CannotChange: Something is there, or it cannot be made.
        """
        with _told(path, "cannot be linked"), self._held(path) as here:
            os.symlink(text, here)
            sync_folder(os.path.dirname(here))

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        """Make a folder where nothing is.

        Raises:
            CannotChange: It cannot be made.
        """
        with _told(path, "cannot be made"), self._held(path) as here:
            os.mkdir(here, mode)
            set_folder_mode(here, mode)
            sync_folder(os.path.dirname(here))

    def remove(self, path: str) -> None:
        """Remove a file or a link; what is not there is no error.

        Raises:
            CannotChange: It cannot be removed.
        """
        with _told(path, "cannot be removed"), contextlib.suppress(FileNotFoundError), self._held(path) as here:
            os.unlink(here)
            sync_folder(os.path.dirname(here))

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder; what is not there is no error.

        Raises:
            CannotChange: It holds something, or cannot be removed.
        """
        with _told(path, "cannot be removed"), contextlib.suppress(FileNotFoundError), self._held(path) as here:
            os.rmdir(here)
            sync_folder(os.path.dirname(here))

    def set_mtime(self, path: str, mtime_ns: int) -> None:
        """Set the time of last modification of a folder.

        Raises:
            CannotChange: It cannot be set.
        """
        with _told(path, "cannot be given its former time"):
            if self._roots is None or os.utime not in os.supports_fd:
                os.utime(path, ns=(mtime_ns, mtime_ns))
                return
            with self._opened(path, self._roots) as fd:
                os.utime(fd, ns=(mtime_ns, mtime_ns))

    # --- records of our own

    def make_folders(self, path: str) -> None:
        """Make a folder for records, and those above it, for this user only.

        Raises:
            CannotChange: It cannot be made.
        """
        with _told(path, "cannot be made"):
            os.makedirs(path, 0o700, exist_ok=True)
            sync_folder(os.path.dirname(path))

    def append(self, path: str, line: bytes) -> None:
        """Append to a record; on the disk when this returns.

        Raises:
            CannotChange: It cannot be written.
        """
        with _told(path, "cannot be written"):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY | _CLOEXEC, 0o600)
            try:
                write_all(fd, line)
                os.fsync(fd)
            finally:
                os.close(fd)
            sync_folder(os.path.dirname(path))

    @contextlib.contextmanager
    def lock(self, folder: str, fallback: str) -> Iterator[None]:
        """Hold a folder against every other gpudoctor; the lock goes with the process, and leaves no file in it.

        Args:
            folder: The environment.
            fallback: File to lock instead where folders cannot be locked (NFS).

        Raises:
            Busy: Another process holds it.
            CannotChange: It cannot be locked.
        """
        fd = _locked(folder, fallback)
        try:
            yield
        finally:
            if fd is not None:
                os.close(fd)


def _locked(folder: str, fallback: str) -> int | None:
    if sys.platform == "win32":
        return None
    import fcntl

    for path, flags in ((folder, os.O_RDONLY), (fallback, os.O_RDWR | os.O_CREAT)):
        with _told(path, "cannot be locked"):
            fd = os.open(path, flags | _CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in _BUSY:
                raise Busy(
                    f"{folder}: another gpudoctor is changing this environment; try again when it is done"
                ) from None
            continue
        return fd
    raise CannotChange(f"{folder}: cannot be locked against another gpudoctor")


@contextlib.contextmanager
def _told(path: str, what: str) -> Iterator[None]:
    """Turn an error of the machine into one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CannotChange(f"{path} {what}: {detail}") from error


def _names_digest(folder: str) -> str:
    names = sorted(os.fsencode(name) for name in os.listdir(folder))
    return hashlib.sha256(b"\0".join(names)).hexdigest()


def same_content(one: PathState, other: PathState) -> bool:
    """Tell whether two states differ in nothing but times and, for files, owner and permissions."""
    if isinstance(one, FileState) and isinstance(other, FileState):
        return one.sha256 == other.sha256
    if isinstance(one, FolderState) and isinstance(other, FolderState):
        return True
    return one == other


def content_state(content: bytes) -> FileState:
    """Return the state of a file of this content, as far as same_content looks at it."""
    return FileState(hashlib.sha256(content).hexdigest(), 0, 0, 0, 0)
