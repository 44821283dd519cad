"""Path arithmetic for three operating systems, with `/` between the parts on all of them."""

from __future__ import annotations

import posixpath
import re

from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_DRIVE = re.compile(r"[A-Za-z]:/")


def native(system: ReadSystem, path: str) -> str:
    """Return the path with `/` between its parts; Windows opens both forms."""
    return path.replace("\\", "/") if system.os_name == "windows" else path


def absolute(system: ReadSystem, path: str, start: str) -> str:
    """Return an absolute, normalised path; a relative one is joined to start."""
    path = native(system, path)
    if system.os_name == "windows" and _DRIVE.match(path):
        return posixpath.normpath(path)
    return posixpath.normpath(posixpath.join(native(system, start), path))


def is_dir(system: ReadSystem, path: str) -> bool:
    """Tell whether a directory is known to be there."""
    return kind_of(system, path) == "directory"


def is_file(system: ReadSystem, path: str) -> bool:
    """Tell whether a regular file is known to be there."""
    return kind_of(system, path) == "file"


def kind_of(system: ReadSystem, path: str) -> str | None:
    """Return the sort of file at a path, links followed; None when nothing can be seen there."""
    try:
        return system.stat(path).kind
    except (NotThere, CannotLook):
        return None


def names_in(system: ReadSystem, path: str) -> tuple[str, ...]:
    """Return the names in a directory, none when it cannot be listed."""
    try:
        return system.listdir(path)
    except (NotThere, CannotLook):
        return ()
