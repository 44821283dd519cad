"""Where repairs are on record. Small: every check looks here, and on most machines there is nothing."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.system.protocol import CannotLook, ReadSystem


def journal_home(environment: Mapping[str, str]) -> str:
    """Return the folder of all journals of this user.

    Source: https://specifications.freedesktop.org/basedir-spec (2026-11-20): a relative XDG_STATE_HOME is ignored.

    Raises:
        GpuDoctorError: There is no home folder to put it in.
    """
    state = environment.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return posixpath.join(state, "gpudoctor")
    home = environment.get("HOME", "")
    if not home.startswith("/"):
        raise GpuDoctorError("there is no place for the journal: set HOME or XDG_STATE_HOME")
    return posixpath.join(home, ".local/state/gpudoctor")


def has_journals(system: ReadSystem, environment: Mapping[str, str]) -> bool:
    """Tell whether this user ever repaired anything here, or may have: the journals are there and cannot be read."""
    try:
        return bool(system.listdir(posixpath.join(journal_home(environment), "fix")))
    except CannotLook:
        return True
    except GpuDoctorError:
        return False
