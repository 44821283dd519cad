"""One process as the dynamic loader sees it: what is mapped, by which name, and what the next request gives.

Emulates _dl_map_object, _dl_map_object_deps, _dl_check_map_versions and the loader's part of dlopen. Nothing is
mapped or run. Source: glibc 2.36, elf/dl-load.c, dl-deps.c, dl-version.c, dl-open.c, rtld.c, read 2026-11-20.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping

from gpudoctor.loader.elf import DF_1_NODEFLIB, DF_1_NOOPEN, DF_1_PIE, ET_EXEC, ElfObject, NeededVersions
from gpudoctor.loader.files import Files
from gpudoctor.loader.ldso import LdSo
from gpudoctor.loader.mapped import Mapped, ProcessSettings, Request
from gpudoctor.loader.search import Hit, LoadError, Search
from gpudoctor.loader.stack import refuses_executable_stack
from gpudoctor.model.loading import FoundVia, Link, SearchStep
from gpudoctor.system.protocol import CannotLook, NotThere

_PRELOAD_FILE = "/etc/ld.so.preload"


class Process:
    """An emulated process; `start` it, then `dlopen`.

    Attributes:
        main: The executable.
        maps: Objects in load order.
        log: Every request that was searched for, in order.
        phantoms: Missing libraries that the emulation passed over, with the error each would have been.
    """

    def __init__(
        self,
        files: Files,
        ldso: LdSo,
        cache: Mapping[str, str],
        settings: ProcessSettings,
        executable: ElfObject,
        *,
        family: Callable[[str], str | None] = lambda _: None,
        tolerate: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._files = files
        self._search = Search(files, ldso)
        self._cache = cache
        self._settings = settings
        self._family = family
        self._tolerate = tolerate
        real = files.system.realpath(settings.executable)
        self.main = Mapped(executable, real, None, _directory_of(real))
        self.maps: list[Mapped] = [self.main]
        self.log: list[Request] = []
        self.phantoms: list[LoadError] = []
        self._by_name: dict[str, Mapped] = {}
        self._ldso_map = self._map_ldso(ldso.path)
        self._env_dirs = self._library_path()
        self._refuses_stack = False

    # --- set-up

    def _map_ldso(self, path: str) -> Mapped:
        seen = self._files.look(path)
        elf = seen if isinstance(seen, ElfObject) else ElfObject(64, self.main.elf.machine, 3, (0, 0), 0)
        mapped = Mapped(
            elf, path, None, _directory_of(path), "absolute", {path, posixpath.basename(path)}, checked=True
        )
        for name in (*mapped.names, *((elf.soname,) if elf.soname else ())):
            self._by_name[name] = mapped
        return mapped

    def _library_path(self) -> tuple[str, ...]:
        text = self._settings.environment.get("LD_LIBRARY_PATH", "")
        if not text or self._settings.secure_execution:
            return ()
        return self._search.split(text, self.main.origin, ":;")

    def start(self) -> Process:
        """Emulate the start of the program: its preloaded and its linked libraries.

        Raises:
            LoadError: The program would not start.
        """
        preloaded: list[Mapped] = []
        for name in self._preload_names():
            try:
                preloaded.append(self.map_object(name, self.main, "needed", preload=True)[0])
            except LoadError as error:
                if error.failure == "truncated":  # not the loader gives up but the kernel: SIGBUS
                    raise
                # otherwise the loader warns and goes on
        self._add_dependencies([self.main, *preloaded])
        libc = self._by_name.get("libc.so.6")
        tunables = "" if self._settings.secure_execution else self._settings.environment.get("GLIBC_TUNABLES", "")
        self._refuses_stack = refuses_executable_stack(libc.elf if libc else None, tunables, (m.elf for m in self.maps))
        return self

    def _preload_names(self) -> Iterable[str]:
        for name in re.split("[ :]", self._settings.environment.get("LD_PRELOAD", "")):
            if name and not (self._settings.secure_execution and "/" in name):
                yield name
        try:
            text = self._files.system.read_bytes(_PRELOAD_FILE, 1 << 16).decode("utf-8", "surrogateescape")
        except (NotThere, CannotLook):
            return
        for line in text.splitlines():
            yield from (name for name in re.split(r"[ :\t]", line.split("#", 1)[0]) if name)

    # --- requests

    def find_loaded(self, name: str) -> Mapped | None:
        """Return the object that a name already stands for: a name used before, or a SONAME."""
        return self._by_name.get(name)

    def dlopen(self, name: str, requester: Mapped) -> Mapped:
        """Emulate dlopen on an object's behalf.

        Raises:
            LoadError: It fails; whatever it had mapped is unmapped again.
        """
        before = len(self.maps)
        try:
            mapped, is_new = self.map_object(name, requester, "dlopen")
            if is_new:
                self._add_dependencies([mapped])
        except LoadError:
            self._unmap(before)
            raise
        return mapped

    def map_object(self, name: str, requester: Mapped, link: Link, *, preload: bool = False) -> tuple[Mapped, bool]:
        """Emulate one request for one name.

        Returns:
            The object, and whether it is new in the process.

        Raises:
            LoadError: It cannot be had.
        """
        loaded = self._by_name.get(name)
        if loaded is not None:
            return loaded, False
        request = Request(name, requester, link)
        self.log.append(request)
        try:
            mapped, is_new = self._map_new(request, preload)
        except LoadError as error:
            request.error = error
            if link == "dlopen" or preload or not self._tolerate(name):
                raise
            self.phantoms.append(error)
            mapped, is_new = self._phantom(request), True
        request.mapped = mapped
        return mapped, is_new

    def _map_new(self, request: Request, preload: bool) -> tuple[Mapped, bool]:
        hit = self._find_path(request) if "/" in request.name else self._find_name(request)
        if hit is None:
            raise LoadError("missing", request.name, f"{request.name}: cannot open shared object file")
        request.path = hit.path
        same = next((m for m in self.maps[1:] if m.elf.identity == hit.elf.identity and not m.phantom), None)
        if same is not None:
            request.found_via = "already-loaded"
            request.path = same.path
            self._name(same, request.name)
            return same, False
        _check_loadable(hit, request.link, refuses_stack=self._refuses_stack)
        if preload:
            request.found_via = "preload"
        loader = None if request.link == "dlopen" else request.requester
        origin = _directory_of(self._files.absolute(hit.path))
        mapped = Mapped(hit.elf, hit.path, loader, origin, request.found_via or "absolute")
        self._add(mapped, request.name)
        return mapped, True

    def _phantom(self, request: Request) -> Mapped:
        elf = ElfObject(64, self.main.elf.machine, 3, (0, 0), 0)
        mapped = Mapped(elf, request.name, request.requester, "/", phantom=True, checked=True)
        self._add(mapped, request.name)
        return mapped

    # --- the search

    def _find_path(self, request: Request) -> Hit | None:
        path = self._search.expand(request.name, request.requester.origin)
        if path is None:
            return None
        request.found_via = "absolute"
        seen = self._search.try_file(path, "absolute", request.searched)
        return Hit(path, seen) if isinstance(seen, ElfObject) else None

    def _find_name(self, request: Request) -> Hit | None:
        name, requester, steps = request.name, request.requester, request.searched
        for found_via, directories, owner in self._path_lists(requester):
            rule = f"{found_via} of {owner}" if owner else found_via
            hit = self._search.open_path(name, directories, rule, steps)
            if hit is not None:
                request.found_via = found_via
                return hit
        no_defaults = bool(requester.elf.flags_1 & DF_1_NODEFLIB)
        hit = self._find_cached(name, no_defaults, steps)
        if hit is not None:
            request.found_via = "ld-cache"
            return hit
        if no_defaults:
            return None
        request.found_via = "default"
        return self._search.open_path(name, self._search.ldso.system_dirs, "default", steps)

    def _path_lists(self, requester: Mapped) -> Iterable[tuple[FoundVia, tuple[str, ...], str]]:
        """Yield the directory lists before the cache, in order, with the object that each belongs to."""
        if requester.elf.runpath is None:
            for owner in self._rpath_owners(requester):
                yield "rpath", self._rpath(owner), owner.file_name
        if self._env_dirs:
            yield "ld-library-path", self._env_dirs, ""
        if requester.elf.runpath:
            yield "runpath", self._runpath(requester), requester.file_name

    def _rpath_owners(self, requester: Mapped) -> Iterable[Mapped]:
        """Yield the requester, what loaded it, and so on up; then the executable."""
        owner: Mapped | None = requester
        saw_main = False
        while owner is not None:
            if self._rpath(owner):
                yield owner
                saw_main |= owner is self.main
            owner = owner.loader
        if not saw_main and self._rpath(self.main):
            yield self.main

    def _rpath(self, mapped: Mapped) -> tuple[str, ...]:
        if mapped.rpath_dirs is None:
            text = mapped.elf.rpath if mapped.elf.runpath is None else None
            mapped.rpath_dirs = self._search.split(text, mapped.origin, ":") if text else ()
        return mapped.rpath_dirs

    def _runpath(self, mapped: Mapped) -> tuple[str, ...]:
        if mapped.runpath_dirs is None:
            mapped.runpath_dirs = self._search.split(mapped.elf.runpath or "", mapped.origin, ":")
        return mapped.runpath_dirs

    def _find_cached(self, name: str, no_defaults: bool, steps: list[SearchStep]) -> Hit | None:
        cached = self._cache.get(name)
        if cached is None or (no_defaults and cached.startswith(self._search.ldso.system_dirs)):
            return None
        seen = self._search.try_file(cached, "ld-cache", steps)
        return Hit(cached, seen) if isinstance(seen, ElfObject) else None

    # --- what a request brings with it

    def _add_dependencies(self, roots: list[Mapped]) -> None:
        """Map everything that the roots need, breadth first, then check symbol versions."""
        queue = list(roots)
        known = set(map(id, queue))
        for mapped in queue:
            if mapped.checked:
                continue
            for name in mapped.elf.needed:
                expanded = self._search.expand(name, mapped.origin) or name
                needed, _ = self.map_object(expanded, mapped, "needed")
                if id(needed) not in known:
                    known.add(id(needed))
                    queue.append(needed)
        fresh = [mapped for mapped in queue if not mapped.checked]
        for mapped in fresh:
            self._check_versions(mapped)
        for mapped in fresh:
            self._check_symbols(mapped)
            mapped.checked = True

    def _check_versions(self, mapped: Mapped) -> None:
        for wanted in mapped.elf.needs_versions:
            provider = self._by_name.get(wanted.file)
            if provider is None or provider.phantom or provider.elf.defines_versions is None:
                continue
            for version, weak in wanted.versions:
                if not weak and version not in provider.elf.defines_versions:
                    raise LoadError(
                        "symbol-version",
                        wanted.file,
                        f"{provider.path}: version `{version}' not found (required by {mapped.path})",
                    )

    def _check_symbols(self, mapped: Mapped) -> None:
        """Check versioned symbols between parts of one family: two builds of cuDNN fail only here."""
        family = self._family(mapped.file_name)
        if family is None:
            return
        for wanted in mapped.elf.needs_versions:
            provider = self._by_name.get(wanted.file)
            if provider is not None and not provider.phantom and self._family(wanted.file) == family:
                self._check_symbols_of(mapped, provider, wanted)

    def _check_symbols_of(self, mapped: Mapped, provider: Mapped, wanted: NeededVersions) -> None:
        asking = self._files.symbols(mapped.path, mapped.elf)
        giving = self._files.symbols(provider.path, provider.elf)
        if asking is None or giving is None:
            return
        missing = [s for s in asking.wanted.get(wanted.file, ()) if s not in giving.defined]
        if missing:
            symbol = missing[0].decode("utf-8", "replace")
            raise LoadError(
                "undefined-symbol",
                wanted.file,
                f"{mapped.path}: undefined symbol: {symbol}, version {wanted.file}; "
                f"{provider.path} is of another build",
            )

    # --- book-keeping

    def _add(self, mapped: Mapped, name: str) -> None:
        self.maps.append(mapped)
        self._name(mapped, mapped.path)
        self._name(mapped, name)
        if mapped.elf.soname:
            self._by_name.setdefault(mapped.elf.soname, mapped)

    def _name(self, mapped: Mapped, name: str) -> None:
        mapped.names.add(name)
        self._by_name.setdefault(name, mapped)

    def _unmap(self, keep: int) -> None:
        gone = set(map(id, self.maps[keep:]))
        del self.maps[keep:]
        self._by_name = {name: mapped for name, mapped in self._by_name.items() if id(mapped) not in gone}


def _directory_of(path: str) -> str:
    """Return the part before the last slash, exactly as spelt: the loader resolves nothing in $ORIGIN."""
    return path.rsplit("/", 1)[0] or "/"


def _check_loadable(hit: Hit, link: Link, *, refuses_stack: bool) -> None:
    name = hit.path.rsplit("/", 1)[-1]
    if hit.elf.truncated:
        raise LoadError("truncated", name, f"{hit.path}: the file is cut short; the process would die with SIGBUS")
    if hit.elf.flags_1 & DF_1_PIE or hit.elf.object_type == ET_EXEC:
        raise LoadError("unloadable", name, f"{hit.path}: a program, not a library")
    if link == "dlopen" and hit.elf.flags_1 & DF_1_NOOPEN:
        raise LoadError("unloadable", name, f"{hit.path}: shared object cannot be dlopen()ed")
    if refuses_stack and hit.elf.executable_stack:
        raise LoadError("exec-stack", name, f"{hit.path} asks for an executable stack, which this C library refuses")
