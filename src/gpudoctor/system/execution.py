"""Becoming another program: found as a shell finds it, started in this very process."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat as stat_bits
import sys
from collections.abc import Mapping, Sequence

from gpudoctor.model.errors import GpuDoctorError

STATUS_NOT_EXECUTABLE = 126
STATUS_NOT_FOUND = 127
# Python ignores these from its start on, and what is ignored stays ignored in the next program:
# `gpudoctor run -- producer | head` would never end.
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")


class CannotRun(GpuDoctorError):
    """A program cannot be started.

    Attributes:
        exit_status: 127 when it is not there, 126 when it is there and cannot be executed.
    """

    def __init__(self, reason: str, exit_status: int) -> None:
        super().__init__(reason)
        self.exit_status = exit_status


def find_program(name: str, environment: Mapping[str, str]) -> str:
    """Return the file that a command means: as given when it has a slash, else the first executable on PATH.

    Raises:
        CannotRun: There is none, or none that may be executed.
    """
    if not name:
        raise CannotRun("the command is empty", STATUS_NOT_FOUND)
    if os.sep in name or (os.altsep and os.altsep in name):
        _check(name)
        return name
    refused: CannotRun | None = None
    for directory in environment.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory or os.curdir, name)
        try:
            _check(path)
        except CannotRun as error:
            # In a folder of PATH that this user may not look into there is nothing, as for a shell.
            if error.exit_status == STATUS_NOT_EXECUTABLE and os.path.exists(path):
                refused = refused or error
        else:
            return path
    raise refused or CannotRun(f"{name}: no such program on PATH", STATUS_NOT_FOUND)


def _check(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        gone = isinstance(error, ValueError) or error.errno in (errno.ENOENT, errno.ENOTDIR)
        reason = "no such program" if gone else os.strerror(getattr(error, "errno", 0) or errno.EIO)
        raise CannotRun(f"{path}: {reason}", STATUS_NOT_FOUND if gone else STATUS_NOT_EXECUTABLE) from error
    if not stat_bits.S_ISREG(mode):
        kind = "a folder" if stat_bits.S_ISDIR(mode) else "not a regular file"
        raise CannotRun(f"{path}: cannot be executed: {kind}", STATUS_NOT_EXECUTABLE)
    if not os.access(path, os.X_OK):
        raise CannotRun(f"{path}: cannot be executed: permission denied", STATUS_NOT_EXECUTABLE)


def become(path: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
    """Replace this process by a program; returns only by raising.

    Standard streams, working directory, process id and parent stay; signals, input and the exit status are the
    program's own business from here on, since nobody stands between.

    Args:
        path: Its file, from find_program.
        argv: The command as the user wrote it; the first is the name that the program sees as its own.
        environment: Its variables, all of them.

    Raises:
        CannotRun: The kernel refuses.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    for name in _IGNORED_BY_PYTHON:
        number = getattr(signal, name, None)
        if number is not None:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, list(argv), dict(environment))  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        gone = error.errno == errno.ENOENT
        # ENOENT on a file that is there: its `#!` line, or its ELF header, names an interpreter that is not.
        reason = "its interpreter is not there" if gone else error.strerror or str(error)
        raise CannotRun(
            f"{path}: cannot be executed: {reason}", STATUS_NOT_FOUND if gone else STATUS_NOT_EXECUTABLE
        ) from error
    except ValueError as error:
        raise CannotRun(f"{path}: cannot be executed: {error}", STATUS_NOT_EXECUTABLE) from error


def added_by_python() -> tuple[str, ...]:
    """Return the environment variables that this interpreter set itself while it started.

    In a C locale, Python puts LC_CTYPE into its environment (PEP 538). A program that takes this process over must not
    inherit what its user never set.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            original = file.read().split(b"\0")
    except OSError:
        return ()
    given = {entry.partition(b"=")[0] for entry in original}
    return tuple(name for name in ("LC_CTYPE",) if name in os.environ and name.encode() not in given)
