"""Opening files and folders that others may exchange at any moment: nothing is followed, nothing is waited for."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO

_BINARY = getattr(os, "O_BINARY", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_CHUNK_BYTES = 1 << 20


def open_plainly(real: str) -> int:
    """Open a folder by a path without links, and fail where one was put into it meanwhile.

    Raises:
        OSError: It cannot be opened, or a part of its path is a link now.
    """
    flags = os.O_RDONLY | _DIRECTORY | _CLOEXEC | _NOFOLLOW
    fd = os.open("/", flags)
    try:
        for part in real.strip("/").split("/"):
            below = os.open(part, flags, dir_fd=fd) if part else os.dup(fd)
            os.close(fd)
            fd = below
    except OSError:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading; a link is not followed, and a pipe that took its place is not waited for.

    Raises:
        OSError: It cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | _BINARY | _CLOEXEC | _NOFOLLOW | _NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        yield file


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file, of which only a part is in memory at any time.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with opened(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def set_folder_mode(path: str, mode: int) -> None:
    """Set the permission bits of a folder, whatever the umask made of them.

    Raises:
        OSError: They cannot be set, or a link is at its place.
    """
    fd = os.open(path, os.O_RDONLY | _DIRECTORY | _CLOEXEC | _NOFOLLOW)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)
