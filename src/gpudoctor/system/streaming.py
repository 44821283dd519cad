"""A log as a stream of bytes: a file, a pipe or standard input, in constant memory."""

from __future__ import annotations

import os
import stat as stat_bits
from collections.abc import Iterator

from gpudoctor.model.errors import InputFileError

PIECE_BYTES = 1 << 20


def read_pieces(path: str) -> Iterator[bytes]:
    """Yield a file piece by piece; `-` is standard input, and a named pipe is read until its writer closes it.

    Raises:
        InputFileError: It cannot be opened or read, or is a folder.
    """
    try:
        descriptor = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        if stat_bits.S_ISDIR(os.fstat(descriptor).st_mode):
            raise InputFileError(f"{path}: is a folder; name the log file in it")
        while piece := os.read(descriptor, PIECE_BYTES):
            yield piece
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def _unreadable(path: str, error: OSError | ValueError) -> InputFileError:
    name = "standard input" if path == "-" else path
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputFileError(f"{name}: the log cannot be read: {reason}")


def stdin_is_terminal() -> bool:
    """Tell whether nobody piped anything in."""
    try:
        return os.isatty(0)
    except OSError:
        return False
