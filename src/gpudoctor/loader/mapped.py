"""What an emulated process consists of: its objects, what was asked for, what it starts with."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

import msgspec

from gpudoctor.loader.elf import ElfObject
from gpudoctor.loader.search import LoadError
from gpudoctor.model.loading import FoundVia, Link, SearchStep


class Mapped(msgspec.Struct, eq=False):
    """An object in the process.

    Attributes:
        elf: What its file holds.
        path: The name it was opened under; for the executable its real path.
        loader: The object that needed it; None for the executable and for what was opened by dlopen.
        origin: What $ORIGIN means for it.
        found_via: The rule that found it.
        names: Every name that stands for it.
        phantom: True when no file was found and the emulation goes on as if one had been.
    """

    elf: ElfObject
    path: str
    loader: Mapped | None
    origin: str
    found_via: FoundVia = "absolute"
    names: set[str] = msgspec.field(default_factory=set)
    phantom: bool = False
    checked: bool = False
    rpath_dirs: tuple[str, ...] | None = None
    runpath_dirs: tuple[str, ...] | None = None

    @property
    def file_name(self) -> str:
        """Return the last part of its path."""
        return posixpath.basename(self.path)


class Request(msgspec.Struct, eq=False):
    """One name asked for that was not already loaded.

    Attributes:
        name: The name.
        requester: On whose behalf.
        link: Linked, or opened while running.
        searched: Every place tried, in order.
        path: The file found, as the loader spells it.
        found_via: The rule that found it.
        mapped: The object it became, or was all along.
        error: Why it cannot be loaded.
    """

    name: str
    requester: Mapped
    link: Link
    searched: list[SearchStep] = msgspec.field(default_factory=list)
    path: str | None = None
    found_via: FoundVia | None = None
    mapped: Mapped | None = None
    error: LoadError | None = None


class ProcessSettings(msgspec.Struct, frozen=True):
    """What a process starts with.

    Attributes:
        executable: Path that starts it.
        environment: Its environment variables.
        secure_execution: True when the loader ignores LD_LIBRARY_PATH and paths in LD_PRELOAD.
    """

    executable: str
    environment: Mapping[str, str]
    secure_execution: bool = False
