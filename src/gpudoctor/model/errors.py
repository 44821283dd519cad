"""The one root error. A message says what failed, on which object, and what to do next."""

from __future__ import annotations


class GpuDoctorError(Exception):
    """Something the user can act on; the command line prints it as one sentence and exits.

    Attributes:
        exit_status: The process's exit status, 2 unless the contract says otherwise.
    """

    exit_status = 2


class UsageError(GpuDoctorError):
    """The request itself is wrong: no such interpreter, an option that contradicts another."""


class InputFileError(GpuDoctorError):
    """A file that the user named cannot be read as what it should be."""
