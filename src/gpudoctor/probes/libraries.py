"""GPU library files: those that the loader will open, and those that merely lie about. Names and sizes, no contents."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from gpudoctor.loader.elf import ElfError, read_elf
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import Distribution
from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.loading import ElfFacts, Library, Resolution
from gpudoctor.model.machine import Toolkit
from gpudoctor.probes.distributions import canonical_name, probe_distributions
from gpudoctor.probes.paths import is_dir, names_in
from gpudoctor.probes.record import Recorded, read_raw_record, read_record, recorded_size
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_LIBRARY_LIMIT = 4096
_FILE_VERSION = re.compile(r"\.so\.([0-9]+(?:\.[0-9]+)+)$")
_FULL_VERSION_PARTS = 3
_WHEEL_LAYOUT = re.compile(r"(/.+)/nvidia/[^/]+/lib/[^/]+$")
_CUDA_SUFFIX = re.compile(r"-cu\d+$")
_TOOLKIT_FOLDERS = ("lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib", "targets/aarch64-linux/lib")


def probe_libraries(
    system: ReadSystem,
    matrix: Matrix,
    site_dirs: tuple[str, ...],
    distributions: tuple[Distribution, ...],
    *,
    prefix: str | None = None,
    toolkits: tuple[Toolkit, ...] = (),
    extra_dirs: tuple[str, ...] = (),
    resolutions: tuple[Resolution, ...] = (),
    elf: Mapping[str, ElfFacts] | None = None,
) -> tuple[Library, ...]:
    """Return the GPU library files of an environment and its machine.

    Args:
        system: The machine.
        matrix: The compatibility matrix: what a GPU library is.
        site_dirs: Folders that packages are in.
        distributions: The installed distributions: owners and versions.
        prefix: The environment's root: a conda environment keeps libraries in its `lib`.
        toolkits: CUDA toolkits.
        extra_dirs: More folders, such as the elements of LD_LIBRARY_PATH.
        resolutions: The loader's answers: the files that will be opened, and those that they hide.
        elf: ELF facts of the files that the loader read, by path. The header of any other file is read only where a
            library of its family is missing: there the question is whether this one would do.

    Returns:
        One entry per path, those that will be opened first. Nothing about a machine's state makes this raise.
    """
    missing = frozenset(r.family for r in resolutions if r.outcome == "absent")
    inventory = _Inventory(system, matrix, distributions, elf or {}, missing)
    for resolution in resolutions:
        for path in (resolution.path, resolution.shadowed):
            if path is not None:
                inventory.add(path)
    for folder in _folders(system, site_dirs, prefix):
        inventory.add_folder(folder)
    for toolkit in toolkits:
        for name in _TOOLKIT_FOLDERS:
            inventory.add_folder(posixpath.join(toolkit.directory, name), toolkit)
    for folder in extra_dirs:
        inventory.add_folder(folder)
    return tuple(inventory.found.values())


def _folders(system: ReadSystem, site_dirs: tuple[str, ...], prefix: str | None) -> Iterator[str]:
    for site_dir in site_dirs:
        names = names_in(system, site_dir)
        if "nvidia" in names:
            components = names_in(system, posixpath.join(site_dir, "nvidia"))
            yield from (posixpath.join(site_dir, "nvidia", c, "lib") for c in components if "." not in c)
        for name in names:
            if name.endswith(".libs"):
                yield posixpath.join(site_dir, name)
            elif name in ("torch", "ctranslate2", "tensorrt_libs", "cusparselt"):
                yield posixpath.join(site_dir, name)
                yield posixpath.join(site_dir, name, "lib")
    if prefix is not None and is_dir(system, posixpath.join(prefix, "conda-meta")):
        yield posixpath.join(prefix, "lib")


class _Inventory:
    """The files found so far."""

    def __init__(
        self,
        system: ReadSystem,
        matrix: Matrix,
        distributions: tuple[Distribution, ...],
        elf: Mapping[str, ElfFacts],
        missing: frozenset[str],
    ) -> None:
        self.found: dict[str, Library] = {}
        self._system = system
        self._matrix = matrix
        self._elf = elf
        self._missing = missing
        self._owners = _Owners(system, distributions)
        self._real_dirs: dict[str, str] = {}
        self._visited: set[str] = set()
        self._placed: set[tuple[str, str]] = set()

    def add_folder(self, folder: str, toolkit: Toolkit | None = None) -> None:
        """Add the GPU libraries directly in a folder; the same folder under another name is passed over."""
        real = self._real_dir(folder)
        if real in self._visited:
            return
        self._visited.add(real)
        for name in names_in(self._system, folder):
            # A file that a resolution spelled `pkg/../pkg.libs/x.so` is listed once, as the loader opened it.
            if ".so" in name and (real, name) not in self._placed and self._matrix.family_of(name) is not None:
                self.add(posixpath.join(folder, name), toolkit)

    def add(self, path: str, toolkit: Toolkit | None = None) -> None:
        """Add one file, when it is a GPU library and a regular file."""
        family = self._matrix.family_of(posixpath.basename(path))
        if path in self.found or family is None or len(self.found) >= _LIBRARY_LIMIT:
            return
        try:
            stat = self._system.stat(path)
        except (NotThere, CannotLook):
            return
        if stat.kind != "file":
            return
        real = self._real_path(path)
        self._placed.add((self._real_dir(posixpath.dirname(path)), posixpath.basename(path)))
        owner = self._owners.of(path, stat.size_bytes)
        version, source = _version(real, owner, toolkit)
        recorded = self._owners.recorded_bytes(path, owner) if owner else Absent()
        changed = isinstance(recorded, Present) and recorded.value != stat.size_bytes
        self.found[path] = Library(
            path=path,
            real_path=real,
            family=family.name,
            size_bytes=stat.size_bytes,
            version=version,
            version_source=source,
            owner=owner.name if owner else None,
            elf=self._elf_facts(path, family.name),
            recorded_bytes=recorded,
            # Whoever makes another environment adds a name to every file: that is no other state of this one.
            links=stat.links if changed else 1,
        )

    def _elf_facts(self, path: str, family: str) -> Fact[ElfFacts]:
        if path in self._elf:
            return Present(self._elf[path])
        if family not in self._missing:
            return Unknown("not read")
        try:
            elf = read_elf(self._system, path)
            return Unknown("the file is cut short") if elf.truncated else Present(elf.facts())
        except (ElfError, NotThere, CannotLook) as error:
            return Unknown(str(error))

    def _real_path(self, path: str) -> str:
        if self._system.readlink(path) is not None:
            return self._system.realpath(path)
        folder, name = posixpath.split(path)
        return posixpath.join(self._real_dir(folder), name)

    def _real_dir(self, folder: str) -> str:
        if folder not in self._real_dirs:
            self._real_dirs[folder] = self._system.realpath(folder)
        return self._real_dirs[folder]


def _version(real: str, owner: Distribution | None, toolkit: Toolkit | None) -> tuple[Fact[str], str | None]:
    """Return a library's version and where it came from, the most exact source first."""
    match = _FILE_VERSION.search(posixpath.basename(real))
    named = match.group(1) if match else None
    if named and named.count(".") + 1 >= _FULL_VERSION_PARTS:
        return Present(named), "file-name"
    # A bundled library does not have the version of the package that bundles it.
    if owner is not None and owner.name.startswith("nvidia-") and isinstance(owner.version, Present):
        return owner.version, "distribution"
    if named:
        return Present(named), "file-name"
    if toolkit is not None and isinstance(toolkit.version, Present):
        return toolkit.version, "directory"
    return Unknown("neither its name nor its owner tells a version"), None


class _Owners:
    """Which distribution installed a file, from the layout of the wheels, and from RECORD where that is not enough."""

    def __init__(self, system: ReadSystem, distributions: tuple[Distribution, ...]) -> None:
        self._system = system
        self._records: dict[str, dict[str, Recorded] | None] = {}
        self._raw: dict[str, Fact[bytes]] = {}
        self._by_dir: dict[str, dict[str, Distribution]] = {}
        for distribution in distributions:
            self._by_dir.setdefault(distribution.site_dir, {}).setdefault(distribution.name, distribution)

    def of(self, path: str, size_bytes: int) -> Distribution | None:
        """Return the owner of a file; None when none is known or several claim it alike."""
        path = posixpath.normpath(path)
        site_dir = next((d for d in self._by_dir if path.startswith(f"{d}/")), None) or self._foreign(path)
        if site_dir is None:
            return None
        relative = path[len(site_dir) + 1 :]
        parts = relative.split("/")
        installed = self._by_dir[site_dir]
        if parts[0] != "nvidia" or len(parts) < _FULL_VERSION_PARTS:
            return installed.get(canonical_name(parts[0].removesuffix(".libs")))
        component = f"nvidia-{canonical_name(parts[1])}"
        candidates = [d for name, d in installed.items() if _CUDA_SUFFIX.sub("", name) == component]
        if len(candidates) == 1:
            return candidates[0]
        nvidia = [d for name, d in installed.items() if name.startswith("nvidia-")]
        return self._by_record(candidates or nvidia, relative, size_bytes)

    def recorded_bytes(self, path: str, owner: Distribution) -> Fact[int]:
        """Return the size that a file had when its owner was installed; absent where nothing was recorded."""
        # torch's RECORD is as long as all others together, and its own libraries are no parts of a family.
        start = f"{owner.site_dir}/"
        path = posixpath.normpath(path)
        if owner.name == "torch" or not path.startswith(start):
            return Absent()
        if owner.metadata_path not in self._raw:
            self._raw[owner.metadata_path] = read_raw_record(self._system, owner)
        raw = self._raw[owner.metadata_path]
        if not isinstance(raw, Present):
            return Unknown(raw.reason) if isinstance(raw, Unknown) else Absent()
        size_bytes = recorded_size(raw.value, path[len(start) :])
        return Absent() if size_bytes is None else Present(size_bytes)

    def _foreign(self, path: str) -> str | None:
        """Return the site directory of another environment, for a `…/nvidia/cudnn/lib/x.so` in it."""
        match = _WHEEL_LAYOUT.match(path)
        if match is None:
            return None
        if match[1] not in self._by_dir:
            distributions = probe_distributions(self._system, (match[1],))
            self._by_dir[match[1]] = {d.name: d for d in reversed(distributions)}
        return match[1]

    def _by_record(self, candidates: list[Distribution], relative: str, size_bytes: int) -> Distribution | None:
        claims = [(d, record[relative]) for d in candidates if (record := self._record(d)) and relative in record]
        if len(claims) == 1:
            return claims[0][0]
        fitting = [d for d, recorded in claims if recorded.size_bytes == size_bytes]
        return fitting[0] if len(fitting) == 1 else None

    def _record(self, distribution: Distribution) -> dict[str, Recorded] | None:
        if distribution.metadata_path not in self._records:
            self._records[distribution.metadata_path] = read_record(self._system, distribution)
        return self._records[distribution.metadata_path]
