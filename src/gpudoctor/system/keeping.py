"""Keeping files so that they can be given back: hard links where both folders share a disk, copies elsewhere.

An installer replaces a file by a new one and never writes into it (its cache and other environments share it by hard
links), so a link keeps the former content, its mode, its time, and costs nothing. A file that was written to all the
same has another size or time than was noted; that is seen when it is given back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat as stat_bits
from collections.abc import Iterator

import msgspec

from gpudoctor.system.changes import CannotChange


class Kept(msgspec.Struct, frozen=True):
    """A file or a symbolic link that was kept.

    Attributes:
        path: Where it was.
        copy: Where it is kept; empty for a link, which is kept as its text.
        size_bytes: Size of a file.
        mode: Permission bits of a file.
        mtime_ns: Time of last modification.
        owner: User and group id.
        text: What a link holds.
    """

    path: str
    copy: str
    size_bytes: int
    mode: int
    mtime_ns: int
    owner: tuple[int, int]
    text: str | None = None


class KeptFolder(msgspec.Struct, frozen=True):
    """A folder that was there.

    Attributes:
        path: The folder.
        mode: Permission bits.
        mtime_ns: Time of last modification.
        names: Digest of the names in it.
    """

    path: str
    mode: int
    mtime_ns: int
    names: str


def keep(path: str, copy: str) -> Kept | None:
    """Keep a file or a link; None when neither is there.

    Args:
        path: What to keep.
        copy: Where to; nothing is there.

    Raises:
        CannotChange: It cannot be read, or there is no room for a copy.
    """
    with _told(path, "cannot be kept for undoing"):
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        owner = (status.st_uid, status.st_gid)
        if stat_bits.S_ISLNK(status.st_mode):
            return Kept(path, "", 0, 0o777, status.st_mtime_ns, owner, os.readlink(path))
        if not stat_bits.S_ISREG(status.st_mode):
            return None
        _link_or_copy(path, copy)
        mode = stat_bits.S_IMODE(status.st_mode)
        return Kept(path, copy, status.st_size, mode, status.st_mtime_ns, owner)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
        with open(target, "rb") as file:
            os.fsync(file.fileno())


def is_as_kept(kept: Kept) -> bool:
    """Tell whether the former file is at its place."""
    try:
        status = os.lstat(kept.path)
        if kept.text is not None:
            return stat_bits.S_ISLNK(status.st_mode) and os.readlink(kept.path) == kept.text
        return stat_bits.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (
            kept.size_bytes,
            kept.mtime_ns,
        )
    except OSError:
        return False


def give_back(kept: Kept, temporary: str) -> str | None:
    """Put a kept file back in its place, replacing what is there; return why that cannot be, as a clause.

    Args:
        kept: The file.
        temporary: A path in the same folder, for the moment between.

    Raises:
        CannotChange: It cannot be written.
    """
    with _told(kept.path, "cannot be restored"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if kept.text is not None:
            os.symlink(kept.text, temporary)
            os.utime(temporary, ns=(kept.mtime_ns, kept.mtime_ns), follow_symlinks=False)
            os.replace(temporary, kept.path)
            return None
        try:
            status = os.stat(kept.copy)
        except FileNotFoundError:
            return "its former content is no longer kept"
        if (status.st_size, status.st_mtime_ns) != (kept.size_bytes, kept.mtime_ns):
            return "its former content was written to since by another owner of the same file"
        _link_or_copy(kept.copy, temporary)
        if stat_bits.S_IMODE(status.st_mode) != kept.mode:
            os.chmod(temporary, kept.mode)
        if (status.st_uid, status.st_gid) != kept.owner:
            os.chown(temporary, *kept.owner)
        os.replace(temporary, kept.path)
        with contextlib.suppress(FileNotFoundError):  # a rename onto another link of the same file does nothing
            os.unlink(temporary)
        return None


def folder_state(path: str) -> KeptFolder | None:
    """Return a folder as it is; None when there is none, or something else."""
    try:
        status = os.lstat(path)
        names = _names(path)
    except OSError:
        return None
    if not stat_bits.S_ISDIR(status.st_mode):
        return None
    return KeptFolder(path, stat_bits.S_IMODE(status.st_mode), status.st_mtime_ns, names)


def _names(folder: str) -> str:
    return hashlib.sha256(b"\0".join(sorted(map(os.fsencode, os.listdir(folder))))).hexdigest()


def make_former_folder(kept: KeptFolder) -> None:
    """Make a folder that was there and is gone.

    Raises:
        CannotChange: It cannot be made.
    """
    with _told(kept.path, "cannot be made"):
        if not os.path.isdir(kept.path):
            os.mkdir(kept.path)
            os.chmod(kept.path, kept.mode)


def restore_time(kept: KeptFolder) -> None:
    """Give a folder its former time where it holds the same names as then: otherwise others changed it too."""
    with contextlib.suppress(OSError):
        if os.lstat(kept.path).st_mtime_ns != kept.mtime_ns and _names(kept.path) == kept.names:
            os.utime(kept.path, ns=(kept.mtime_ns, kept.mtime_ns))


def remove_if_empty(path: str) -> bool:
    """Remove a folder that holds nothing; tell whether it is gone."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove_tree(path: str) -> None:
    """Remove a folder of our own records with all below it, as far as that can be."""
    shutil.rmtree(path, ignore_errors=True)


def size_of(path: str) -> int | None:
    """Return the size of a regular file; None for anything else."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size if stat_bits.S_ISREG(status.st_mode) else None


def size_below(folder: str) -> int:
    """Return the size of all regular files below a folder, in bytes."""
    return sum(size_of(os.path.join(folder, name)) or 0 for name in files_below(folder))


def exists(path: str) -> bool:
    """Tell whether anything is at a path, a broken link too."""
    return os.path.lexists(path)


def files_below(folder: str) -> tuple[str, ...]:
    """Return every file and link below a folder, as paths relative to it, sorted."""
    found: list[str] = []
    for root, folders, files in os.walk(folder):
        linked = [f for f in folders if os.path.islink(os.path.join(root, f))]
        found += (os.path.relpath(os.path.join(root, name), folder) for name in (*files, *linked))
    return tuple(sorted(found))


@contextlib.contextmanager
def _told(path: str, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotChange(f"{path} {what}: {error.strerror or error}") from error
