"""Writing a file that the user named, so that a reader sees the old or the new content and never a part."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from gpudoctor.model.errors import GpuDoctorError

_BINARY = getattr(os, "O_BINARY", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


def write_atomically(path: str, data: bytes) -> None:
    """Write a file through a temporary one in the same folder, synced before it takes the name.

    A link is followed, so that the file behind it is replaced and the link stays. Permission bits of an existing file
    are kept. What is no regular file (`/dev/stdout`, a FIFO) is written to directly.

    Raises:
        GpuDoctorError: It cannot be written; whatever was there is unchanged.
    """
    try:
        target = os.path.realpath(path)
        mode = _mode_of(target)
        if mode is not None and stat.S_ISDIR(mode):
            raise GpuDoctorError(f"cannot write {path}: it is a folder; name a file in it")
        if mode is not None and not stat.S_ISREG(mode):
            _write_directly(target, data)
        else:
            _replace(target, data, mode)
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise GpuDoctorError(f"cannot write {path}: {detail}") from error


def _mode_of(path: str) -> int | None:
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _write_directly(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | _BINARY | _CLOEXEC)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def _replace(target: str, data: bytes, mode: int | None) -> None:
    temporary = os.path.join(os.path.dirname(target), f".gpudoctor-{os.urandom(6).hex()}.tmp")
    with replacing(temporary, target):
        fill_new(temporary, data, None if mode is None else stat.S_IMODE(mode))


@contextlib.contextmanager
def replacing(temporary: str, target: str) -> Iterator[None]:
    """Let a file that is made meanwhile take the place of another one; without it where the making fails.

    Raises:
        OSError: It cannot be made, or not take the place.
    """
    try:
        yield
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(target))


def fill_new(path: str, data: bytes, mode: int | None, owner: tuple[int, int] | None = None) -> None:
    """Make a file where nothing is; on the disk when this returns.

    Args:
        path: The file.
        data: All of its content.
        mode: Permission bits, whatever the umask says; None to let the umask decide, as for every other program.
        owner: User and group id; None for this process's.

    Raises:
        OSError: It cannot be made.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY | _CLOEXEC, 0o666 if mode is None else 0o600)
    try:
        write_all(fd, data)
        if owner is not None and (os.fstat(fd).st_uid, os.fstat(fd).st_gid) != owner:
            os.fchown(fd, *owner)
        if mode is not None:
            os.chmod(fd if os.chmod in os.supports_fd else path, mode)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however many calls that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: str) -> None:
    """Make a changed name durable where folders can be opened; the content itself is synced already."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | _CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
