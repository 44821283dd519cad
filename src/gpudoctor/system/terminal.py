"""What the terminal on standard output can show."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

import msgspec

from gpudoctor.model.errors import GpuDoctorError


class Terminal(msgspec.Struct, frozen=True):
    """Abilities of the terminal.

    Attributes:
        color: Whether colour is wanted (NO_COLOR, FORCE_COLOR, a terminal at all).
        width: Columns.
        ascii_only: Whether only ASCII can be encoded.
    """

    color: bool
    width: int
    ascii_only: bool


def probe_terminal() -> Terminal:
    """Look at standard output and the environment.

    Source: https://no-color.org and https://force-color.org (2026-11-20): set and not empty decides.
    """
    stdout: TextIO | None = sys.stdout  # None when the process was started with it closed
    is_tty = stdout is not None and stdout.isatty()
    if os.environ.get("NO_COLOR"):
        color = False
    elif os.environ.get("FORCE_COLOR"):
        color = True
    else:
        color = is_tty and os.environ.get("TERM") != "dumb"
    # A pipe has no width: lines are then left whole, so that grep finds a path in one piece.
    width = shutil.get_terminal_size((100, 24)).columns if is_tty or "COLUMNS" in os.environ else 10_000
    encoding = ((stdout.encoding if stdout else None) or "ascii").lower().replace("-", "")
    return Terminal(color, width, not encoding.startswith("utf"))


def write_stdout(data: bytes) -> None:
    """Write a document to standard output, all of it, past the encoding that the terminal has.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        GpuDoctorError: It is closed, or the device is full.
    """
    stdout: TextIO | None = sys.stdout
    if stdout is None:
        raise GpuDoctorError("standard output is closed, so nothing can be printed")
    try:
        stdout.flush()
        stdout.buffer.write(data)
        stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon_stdout()
        raise GpuDoctorError(f"cannot write to standard output: {error.strerror or error}") from error


def abandon_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush does not complain about a closed pipe."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
