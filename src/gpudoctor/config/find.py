"""Which file settles things for a project. Small: every check looks, and most find nothing."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpudoctor.model.errors import InputFileError
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, may_be_there

if TYPE_CHECKING:
    from gpudoctor.config.types import Config

OWN_FILE = "gpudoctor.toml"
PROJECT_FILE = "pyproject.toml"
SIZE_LIMIT_BYTES = 4 << 20

_REPOSITORY = (".git", ".hg", ".svn", ".jj")
# Every way to write the table's name. The TOML parser, which costs as much as a small check, is for files that have it.
_TABLE = re.compile(
    rb"""^[ \t]*(?:\[{1,2}[ \t]*)?["']?tool["']?[ \t]*(?:\.[ \t]*["']?gpudoctor\b|\][^\n]*$|=)""", re.MULTILINE
)
_MAX_FOLDERS = 64


def find_config(system: ReadSystem, named: str | None = None) -> Config | None:
    """Return the settings for the current folder; None where nobody settled anything.

    In each folder from the current one upwards `gpudoctor.toml` counts, else `pyproject.toml` with a table
    `[tool.gpudoctor]`. The search ends at a repository's root and at another file system.

    Args:
        system: The machine.
        named: The file of `--config`, which is read instead.

    Raises:
        InputFileError: A file is there and cannot be read, or holds something that it should not.
    """
    if named is not None:
        return _named(system, named)
    for folder in _folders(system):
        found = _in_folder(system, folder)
        if found is not None:
            return found
    return None


def _named(system: ReadSystem, path: str) -> Config:
    try:
        data = system.read_bytes(path, SIZE_LIMIT_BYTES + 1)
    except NotThere as error:
        raise InputFileError(f"--config {path}: no such file") from error
    except CannotLook as error:
        raise InputFileError(f"--config: cannot read {error.reason}") from error
    folder = posixpath.dirname(posixpath.join(system.cwd(), path))
    if posixpath.basename(path) == PROJECT_FILE and not _TABLE.search(data):
        raise InputFileError(f"--config {path}: it has no table [tool.gpudoctor]")
    found = _parsed(data, path, folder)
    if found is None:
        raise InputFileError(f"--config {path}: it has no table [tool.gpudoctor]")
    return found


def _folders(system: ReadSystem) -> Iterator[str]:
    """Yield the current folder and those above it, to the root of the repository or file system."""
    folder = system.cwd()
    device: int | None = None
    for _ in range(_MAX_FOLDERS):
        try:
            found = system.stat(folder).identity[0]
        except (NotThere, CannotLook):
            return
        if device is not None and found != device:
            return
        device = found
        yield folder
        parent = posixpath.dirname(folder)
        if parent == folder or any(may_be_there(system, posixpath.join(folder, name)) for name in _REPOSITORY):
            return
        folder = parent


def _in_folder(system: ReadSystem, folder: str) -> Config | None:
    for name in (OWN_FILE, PROJECT_FILE):
        path = posixpath.join(folder, name)
        try:
            data = system.read_bytes(path, SIZE_LIMIT_BYTES + 1)
        except NotThere:
            continue
        except CannotLook as error:
            if name == PROJECT_FILE:
                continue  # nobody said that it has anything for us
            raise InputFileError(f"cannot read the settings: {error.reason}; --no-config leaves them out") from error
        if name == PROJECT_FILE and not _TABLE.search(data):
            continue
        found = _parsed(data, posixpath.relpath(path, system.cwd()), folder)
        if found is not None:
            return found
    return None


def _parsed(data: bytes, shown: str, folder: str) -> Config | None:
    from gpudoctor.config.read import parse_config

    return parse_config(data, shown, folder)
