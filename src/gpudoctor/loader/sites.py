"""Files of installed packages, by glob relative to the site directories."""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase

from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_DIST_INFO = re.compile(r"^(?P<name>.+?)-(?P<version>[^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info$")
_MAGIC = ("*", "?", "[")


class Sites:
    """The site directories of a target, in sys.path order; each directory is listed once.

    Attributes:
        dirs: The directories.
    """

    def __init__(self, system: ReadSystem, dirs: tuple[str, ...]) -> None:
        self.dirs = dirs
        self._system = system
        self._names: dict[str, tuple[str, ...]] = {}
        self._versions: dict[str, tuple[str, str]] | None = None

    def first(self, pattern: str) -> str | None:
        """Return the first file that matches, in the first site directory that has one."""
        for root in self.dirs:
            found = self._expand(root, pattern.split("/"))
            if found:
                return found[0]
        return None

    def version(self, distribution: str) -> tuple[str, str] | None:
        """Return version and site directory of a distribution by canonical name; the first on the path counts."""
        if self._versions is None:
            self._versions = self._read_versions()
        return self._versions.get(distribution)

    def relative(self, path: str) -> str | None:
        """Return a path relative to the site directory that holds it."""
        normal = posixpath.normpath(path)
        for root in self.dirs:
            start = posixpath.normpath(root) + "/"
            if normal.startswith(start):
                return normal[len(start) :]
        return None

    def _expand(self, root: str, parts: list[str]) -> list[str]:
        first, rest = parts[0], parts[1:]
        if not any(mark in first for mark in _MAGIC):
            path = f"{root}/{first}"
            if rest:
                return self._expand(path, rest)
            return [path] if self._exists(path) else []
        found: list[str] = []
        for name in self._list(root):
            if fnmatchcase(name, first):
                found += self._expand(f"{root}/{name}", rest) if rest else [f"{root}/{name}"]
        return found

    def _exists(self, path: str) -> bool:
        try:
            self._system.stat(path)
        except NotThere:
            return self._system.readlink(path) is not None
        except CannotLook:
            return True
        return True

    def _list(self, directory: str) -> tuple[str, ...]:
        if directory not in self._names:
            try:
                self._names[directory] = self._system.listdir(directory)
            except (NotThere, CannotLook):
                self._names[directory] = ()
        return self._names[directory]

    def _read_versions(self) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for root in self.dirs:
            for name in self._list(root):
                match = _DIST_INFO.match(name) if name.endswith("-info") else None
                if match:
                    found.setdefault(re.sub(r"[-_.]+", "-", match["name"]).lower(), (match["version"], root))
        return found
