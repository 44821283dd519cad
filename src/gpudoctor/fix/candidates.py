"""Directories that hold what a consumer misses, best first, and whether LD_LIBRARY_PATH can name them."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping

import msgspec

from gpudoctor.loader.elf import ElfObject
from gpudoctor.loader.files import Files
from gpudoctor.loader.search import inexpressible
from gpudoctor.loader.target import Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import Build, Distribution, SharedFiles
from gpudoctor.model.fact import Absent, Fact, value_of
from gpudoctor.model.loading import Library, Resolution
from gpudoctor.model.machine import Toolkit
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.origins import other_cuda_of
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_PIN = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*\(?\s*==\s*([0-9][^\s,;)]*)")


class Scene(msgspec.Struct, frozen=True):
    """What is known of a target before any setting.

    Attributes:
        resolutions: The loader's answers.
        libraries: GPU library files, those that nobody loads too.
        distributions: Installed distributions: owners and their pins.
        toolkits: CUDA toolkits of the system.
        shared_files: Files that two distributions own.
        builds: What the consumers' packages say of their builds.
    """

    resolutions: tuple[Resolution, ...]
    libraries: tuple[Library, ...]
    distributions: tuple[Distribution, ...] = ()
    toolkits: Fact[tuple[Toolkit, ...]] = Absent()
    shared_files: tuple[SharedFiles, ...] = ()
    builds: tuple[Build, ...] = ()

    @classmethod
    def of(cls, snapshot: Snapshot) -> Scene:
        """Return what a snapshot holds."""
        return cls(**{name: getattr(snapshot, name) for name in cls.__struct_fields__})

    @property
    def toolkit_dirs(self) -> tuple[str, ...]:
        """Return the roots of the CUDA toolkits."""
        return tuple(t.directory for t in value_of(self.toolkits) or ())

    def build(self, package: str) -> Build | None:
        """Return the build facts of a package, by import name."""
        return next((b for b in self.builds if b.package == package), None)

    def distribution(self, name: str) -> Distribution | None:
        """Return the distribution that `import` would use, by canonical name."""
        return next((d for d in self.distributions if d.name == name), None)

    def foreign(self, matrix: Matrix, row: Resolution, names: Iterable[str]) -> Mapping[str, str]:
        """Return the files of these names that are built for another CUDA than who asks: path -> its major version.

        cuDNN 9 for CUDA 12 and cuDNN 9 for CUDA 13 have the same file names: a path to the wrong one mends nothing.
        """
        wanted = frozenset(names)
        named = (x for x in self.libraries if posixpath.basename(x.path) in wanted)
        return {x.path: cuda for x in named if (cuda := other_cuda_of(self, matrix, row, x)) is not None}


class Candidates:
    """The shelf of library files, asked by name."""

    def __init__(
        self,
        system: ReadSystem,
        target: Target,
        scene: Scene,
        machine: str | None,
        second_names: Mapping[str, str] | None = None,
    ) -> None:
        """Sort the shelf.

        Args:
            system: The machine.
            target: The process.
            scene: What lies on the shelf.
            machine: Architecture of the process.
            second_names: Names, by folder, for folders that LD_LIBRARY_PATH cannot name: for judging only.
        """
        self._second_names = second_names or {}
        self._system = system
        self._target = target
        self._scene = scene
        self._files = Files(system, target.cwd, machine)
        self._pins = _pins(scene.distributions)
        self._real: dict[str, str] = {}
        self._by_name: dict[str, list[Library]] = {}
        self._by_real: dict[str, Library] = {}
        self._names: dict[str, set[str]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        for library in scene.libraries:
            name = posixpath.basename(library.path)
            self._by_name.setdefault(name, []).append(library)
            self._by_real.setdefault(library.real_path, library)
            folder = self.real(posixpath.dirname(library.path))
            self._names.setdefault(folder, set()).add(name)
            self._counts[folder, library.family] += 1

    def real(self, path: str) -> str:
        """Return a path with its links resolved, remembered."""
        if path not in self._real:
            self._real[path] = self._system.realpath(path)
        return self._real[path]

    def version(self, path: str | None) -> str | None:
        """Return the version of the library file at a path, however it is spelled, where it is known."""
        library = self._by_real.get(self.real(path)) if path else None
        return value_of(library.version) if library else None

    def same_build(self, one: str, other: str) -> bool:
        """Tell whether two paths are one file, or two of equal version."""
        if self._identity(one) == self._identity(other):
            return True
        versions = (self.version(one), self.version(other))
        return versions[0] is not None and versions[0] == versions[1]

    def _identity(self, path: str) -> object:
        try:
            return self._system.stat(path).identity
        except (NotThere, CannotLook):
            return path

    def holds(self, directory: str, name: str) -> bool:
        """Tell whether a directory holds a GPU library of a name."""
        return name in self._names.get(self.real(directory), ())

    def directories(self, names: Iterable[str], foreign: Container[str] = ()) -> tuple[str, ...]:
        """Return the directories that hold a usable file of one of these names and can be named, best first.

        Args:
            names: File names, any of which will do.
            foreign: Files that will not do, by path.
        """
        return tuple(d for d in self._ranked(tuple(names), foreign) if inexpressible(d) is None)

    def unusable(self, names: Iterable[str], foreign: Container[str] = ()) -> str | None:
        """Return a directory that would do if LD_LIBRARY_PATH could name it; see directories."""
        return next((d for d in self._ranked(tuple(names), foreign) if inexpressible(d) is not None), None)

    def spelled(self, directory: str) -> str:
        """Return a directory in its plainest spelling that can be named: as it is, else with its links resolved."""
        real = self.real(directory)
        plain = posixpath.normpath(directory)
        best = plain if self.real(plain) == real else real
        if real in self._second_names and inexpressible(best) is not None:
            return self._second_names[real]
        return real if inexpressible(best) is not None and inexpressible(real) is None else best

    def _ranked(self, names: tuple[str, ...], foreign: Container[str]) -> tuple[str, ...]:
        ranks: dict[str, tuple[tuple[int, ...], str]] = {}
        for name in names:
            for library in self._by_name.get(name, ()):
                if library.path in foreign or not isinstance(self._files.look(library.path), ElfObject):
                    continue
                directory = posixpath.dirname(library.path)
                real = self.real(directory)
                rank = self._rank(library, directory)
                if real not in ranks or rank < ranks[real][0]:
                    ranks[real] = (rank, self.spelled(directory))
        return tuple(directory for _, directory in sorted(ranks.values()))

    def _rank(self, library: Library, directory: str) -> tuple[int, ...]:
        """The environment's own before the machine's, what a distribution pins before what is just there."""
        version = value_of(library.version)
        pinned = library.owner is not None and version in self._pins.get(library.owner, ())
        complete = self._counts[self.real(directory), library.family]
        return self._tier(directory), 0 if pinned else 1, -complete

    def _tier(self, directory: str) -> int:
        for number, roots in enumerate((self._target.site_dirs, (self._target.prefix,), self._scene.toolkit_dirs)):
            # A system interpreter's prefix is /usr, which is not an environment of its own.
            if any(root not in ("", "/", "/usr") and directory.startswith(root.rstrip("/") + "/") for root in roots):
                return number
        return 3


def _pins(distributions: Iterable[Distribution]) -> Mapping[str, set[str]]:
    """Return the exact versions that installed distributions ask for, by canonical name."""
    pins: dict[str, set[str]] = {}
    for distribution in distributions:
        for line in distribution.requires:
            match = _PIN.match(line)
            if match:
                pins.setdefault(re.sub(r"[-_.]+", "-", match[1]).lower(), set()).add(match[2])
    return pins
