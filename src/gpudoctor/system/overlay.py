"""The machine as it would be with some more symbolic links, or names: for judging a change before it is made."""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

from gpudoctor.system.protocol import Child, FileStat, RandomReader, ReadSystem


class _Lens(ABC):
    """A machine on which a path may mean another one; see gpudoctor.system.protocol.ReadSystem."""

    def __init__(self, system: ReadSystem) -> None:
        self.os_name: Literal["linux", "windows", "macos"] = system.os_name
        self.machine = system.machine
        self._system = system

    @abstractmethod
    def _meant(self, path: str) -> str:
        """Return the path on the machine itself."""

    def environ(self) -> Mapping[str, str]:
        """Return the environment of this process."""
        return self._system.environ()

    def cwd(self) -> str:
        """Return the working directory."""
        return self._system.cwd()

    def effective_uid(self) -> int | None:
        """Return the effective user id."""
        return self._system.effective_uid()

    def stat(self, path: str) -> FileStat:
        """Follow links and stat; see ReadSystem."""
        return self._system.stat(self._meant(path))

    def readlink(self, path: str) -> str | None:
        """Return a link's text, or None when the path is no link."""
        return self._system.readlink(self._meant(path))

    def realpath(self, path: str) -> str:
        """Return the path with every link resolved as far as it resolves."""
        return self._system.realpath(self._meant(path))

    def listdir(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory; see ReadSystem."""
        return self._system.listdir(self._meant(path))

    def read_bytes(self, path: str, limit_bytes: int = 4 << 20) -> bytes:
        """Read a regular file; see ReadSystem."""
        return self._system.read_bytes(self._meant(path), limit_bytes)

    def open(self, path: str) -> RandomReader:
        """Open a regular file for positional reads; see ReadSystem."""
        return self._system.open(self._meant(path))

    def xattr(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute, or None."""
        return self._system.xattr(self._meant(path), name)

    def start(self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Child:
        """Start a child on the machine itself; see ReadSystem."""
        return self._system.start(argv, env, timeout_s)


class LinkedSystem(_Lens):
    """A machine seen through links that are not there yet."""

    def __init__(self, system: ReadSystem, links: Mapping[str, str]) -> None:
        """Lay links over a machine.

        Args:
            system: The machine.
            links: Link text by path.
        """
        super().__init__(system)
        self._targets: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        for path, text in links.items():
            here = self._plain(path)
            self._texts[here] = text
            self._targets[here] = posixpath.join(posixpath.dirname(here), text)

    def _plain(self, path: str) -> str:
        """Return a path with the links in its folder resolved: by which other path it is reached does not matter."""
        absolute = posixpath.join(self._system.cwd(), path)
        return posixpath.join(self._system.realpath(posixpath.dirname(absolute)), posixpath.basename(absolute))

    def _meant(self, path: str) -> str:
        names = {posixpath.basename(p) for p in self._targets}
        return self._targets.get(self._plain(path), path) if posixpath.basename(path) in names else path

    def readlink(self, path: str) -> str | None:
        """Return a link's text, or None when the path is no link."""
        return self._texts.get(self._plain(path)) or self._system.readlink(path)

    def listdir(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory; see ReadSystem."""
        real = self._system.realpath(path)
        more = {posixpath.basename(p) for p in self._targets if posixpath.dirname(p) == real}
        return tuple(sorted({*self._system.listdir(path), *more}))


class RenamedSystem(_Lens):
    """A machine on which some folders have a second name."""

    def __init__(self, system: ReadSystem, names: Mapping[str, str]) -> None:
        """Give folders a second name.

        Args:
            system: The machine.
            names: Folder by its second name.
        """
        super().__init__(system)
        self._names = names

    def _meant(self, path: str) -> str:
        return own_name(path, self._names)


def own_name(path: str, names: Mapping[str, str]) -> str:
    """Return a path with the second name of a folder replaced by the folder."""
    for name, folder in names.items():
        if path == name or path.startswith(name + "/"):
            return folder + path[len(name) :]
    return path
