"""One native program, or one library that some program opens, in one emulated process."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

import msgspec

from gpudoctor.loader.answers import (
    Asking,
    linked_answer,
    linked_families,
    opened_answer,
    request_for,
    role_of,
    steps_of,
    tell_error,
    unreached,
)
from gpudoctor.loader.emulation import Emulation
from gpudoctor.loader.mapped import Mapped
from gpudoctor.loader.names import OpenedNames
from gpudoctor.loader.process import Process
from gpudoctor.loader.releases import filled_names
from gpudoctor.loader.search import LoadError
from gpudoctor.loader.sites import Sites
from gpudoctor.matrix.claims import NeedsLibrary, Opening
from gpudoctor.matrix.index import Matrix, stem_of
from gpudoctor.matrix.types import Fact, Family
from gpudoctor.model.loading import ImportFault, Link, Resolution

RUNTIME = "libonnxruntime.so"
_PROVIDER = "libonnxruntime_providers_cuda.so"
# The runtime opens these from its own folder; without the second there is no CUDA in this build.
_PROVIDERS = ("libonnxruntime_providers_shared.so", _PROVIDER)
_RUNTIME_VERSION = re.compile(r"VERS_([0-9]+(?:\.[0-9]+)+)")
_WITH_SESSION = "when a session with the CUDA provider is created"
_PERHAPS = "perhaps: its file holds the name"


class NativeRun:
    """One program or library in one emulated process.

    Attributes:
        process: The process.
        unknowns: What could not be judged, and why.
        unread: What was not followed, and why.
        import_faults: Why the program itself does not start, where no GPU library is at fault.
    """

    def __init__(self, matrix: Matrix, emulation: Emulation, sites: Sites, names: OpenedNames, consumer: str) -> None:
        self._matrix = matrix
        self._emulation = emulation
        self._sites = sites
        self._names = names
        self._consumer = consumer
        self._told: set[tuple[str, Link]] = set()
        self._assumed: set[int] = set()
        self._lenient = True
        self.unknowns: list[str] = []
        self.unread: list[str] = []
        self.import_faults: list[ImportFault] = []
        self.process: Process = emulation.process(
            family=lambda n: getattr(matrix.family_of(n), "name", None), tolerate=self._tolerates
        )

    def _tolerates(self, name: str) -> bool:
        """Tell whether to go on without a linked library: all that an object misses are told, and not only the first.

        What is opened by name is another matter: there the first miss makes the program try the next name.
        """
        family = self._matrix.family_of(name)
        return family is not None and (family.from_driver or self._lenient)

    def resolve(self, library: str | None) -> Iterable[Resolution]:
        """Yield an answer for each GPU library; None for the program itself."""
        try:
            self.process.start()
            roots = [self.process.main]
            if library is not None:
                roots = [self.process.dlopen(self._emulation.files.absolute(library), self.process.main)]
        except LoadError as error:
            self._tell(error, library)
            yield from self._asked(error)
            return
        yield from self._linked(roots, "at start" if library is None else "when it is opened")
        yield from self._opened()

    # --- linked

    def _tell(self, error: LoadError, library: str | None) -> None:
        """Note why the program or library itself does not load."""
        if self._matrix.family_of(error.culprit) is not None or self._emulation.unknowns:
            self.unknowns.append(f"{self._consumer} itself cannot be loaded: {error.reason}")
            return
        request = request_for(self.process, error.culprit)
        self.import_faults.append(
            ImportFault(
                consumer=self._consumer,
                scenario="alone",
                file=library or self.process.main.path,
                failure=error.failure,
                culprit=error.culprit,
                reason=error.reason,
                searched=steps_of((request,) if request else ()),
            )
        )

    def _asked(self, error: LoadError) -> Iterable[Resolution]:
        for request in self.process.log:
            family = self._matrix.family_of(request.name)
            if family is not None:
                asking = self._asking(request.requester, (request.name,), family, "needed", "at start")
                yield unreached(asking, error.reason, steps_of((request,)))

    def _linked(self, roots: list[Mapped], when: str, first: int = 0) -> Iterable[Resolution]:
        for requester, name, family in linked_families(self._matrix, roots, self.process):
            if self._is_new(name, "needed"):
                asking = self._asking(requester, (name,), family, "needed", when)
                yield linked_answer(self._matrix, self.process, asking, self._emulation.unknowns, first)

    # --- opened while running

    def _opened(self) -> Iterator[Resolution]:
        """Follow every object of the process, those that were opened on the way too."""
        position = 0
        while position < len(self.process.maps):
            mapped = self.process.maps[position]
            position += 1
            if mapped.phantom:
                continue
            if mapped.file_name.startswith(RUNTIME):
                yield from self._providers(mapped)
            elif self._matrix.family_of(mapped.file_name) is None:
                yield from self._named(mapped)
            yield from self._known(mapped)

    def _providers(self, runtime: Mapped) -> Iterator[Resolution]:
        """Yield what ONNX Runtime's CUDA provider links: the runtime opens it from its own folder."""
        opened: list[Mapped] = []
        first = len(self.process.log)
        for name in _PROVIDERS:
            path = posixpath.join(posixpath.dirname(self._emulation.files.absolute(runtime.path)), name)
            try:
                opened.append(self.process.dlopen(path, runtime))
            except LoadError as error:
                if error.culprit != path:  # a CPU build has no provider
                    self.unknowns.append(f"{name}: {error.reason}")
        yield from self._linked(opened, _WITH_SESSION, first)

    def _known(self, requester: Mapped) -> Iterator[Resolution]:
        """Yield what an object is known to open: cuDNN its parts, whoever uses it."""
        roles: set[str] = set()
        for fact, claim, opening in self._openings(requester):
            family = self._matrix.families.get(claim.library)
            if family is None or opening.role in roles:
                continue
            roles.add(opening.role)
            files = self._emulation.files
            names = filled_names(opening.names, requester.path, claim, files, self._sites, self._matrix)
            when, assumed = opening.when_opened or claim.when_opened, id(requester) in self._assumed
            asking = self._asking(requester, names, family, "dlopen", when, assumed)
            role = self._role(opening.role, requester)
            yield self._open(msgspec.structs.replace(asking, role=role, fact=fact.id), requester)

    def _openings(self, requester: Mapped) -> Iterator[tuple[Fact, NeedsLibrary, Opening]]:
        for fact, claim in self._claims(requester):
            for opening in claim.opens:
                pattern = opening.requester or claim.requester
                if fnmatchcase(requester.elf.soname or "", pattern) or fnmatchcase(requester.file_name, pattern):
                    yield fact, claim, opening

    def _claims(self, requester: Mapped) -> Iterator[tuple[Fact, NeedsLibrary]]:
        """Yield the claims that hold whoever uses an object; of its users' claims only those on it as a whole."""
        if self._matrix.family_of(requester.file_name) is not None:
            for fact in self._matrix.data.facts:
                if isinstance(fact.claim, NeedsLibrary) and "/" not in fact.claim.requester:
                    yield fact, fact.claim
        elif requester.file_name == _PROVIDER:
            runtime = next((m for m in self.process.maps if m.file_name.startswith(RUNTIME)), None)
            versions = (_RUNTIME_VERSION.fullmatch(v) for v in (runtime and runtime.elf.defines_versions) or ())
            version = next((m[1] for m in versions if m), None)
            if version is not None:
                platform = f"linux-{self._emulation.executable.machine}"
                yield from self._matrix.facts("onnxruntime-gpu", NeedsLibrary, version, platform)

    # --- opened, as names in a file say

    def _named(self, requester: Mapped) -> Iterator[Resolution]:
        path = self._emulation.files.absolute(requester.path)
        groups: dict[str, list[str]] = {}
        for name in self._names.of(path, requester.elf):
            groups.setdefault(stem_of(posixpath.basename(name)) or name, []).append(name)
        # An object that links one release of a library knows others at best for its messages.
        settled = {stem_of(name) for name in (requester.file_name, *requester.elf.needed)}
        for stem, names in groups.items():
            if stem in settled:
                continue
            family = self._matrix.family_of(posixpath.basename(names[0]))
            names.sort(key=_newest_first)
            if family is not None and not family.from_driver:
                yield from self._perhaps(requester, tuple(names), family)
            elif stem in ("libonnxruntime", _PROVIDER.removesuffix(".so")):
                yield from self._follow(requester, names)

    def _perhaps(self, requester: Mapped, names: tuple[str, ...], family: Family) -> Iterator[Resolution]:
        if any(self.process.find_loaded(name) for name in names):
            return  # whoever linked or opened it has the answer
        asking = self._asking(requester, names, family, "dlopen", _PERHAPS, assumed=True)
        yield self._open(msgspec.structs.replace(asking, role=self._role(asking.role, requester)), requester)

    def _follow(self, requester: Mapped, names: list[str]) -> Iterator[Resolution]:
        """Go on with ONNX Runtime, which a program may open too: by its name, or where it lies beside the program."""
        folder = posixpath.dirname(self._emulation.files.absolute(requester.path))
        folders = (folder, f"{folder}/lib", f"{posixpath.dirname(folder)}/lib")
        first = len(self.process.log)
        errors: list[LoadError] = []
        for name in (*names, *(f"{f}/{posixpath.basename(n)}" for n in names for f in folders)):
            try:
                opened = self.process.dlopen(name, requester)
            except LoadError as error:
                errors.append(error)
                continue
            when = _WITH_SESSION if opened.file_name == _PROVIDER else "when it is opened"
            yield from self._linked([opened], when, first)
            return
        why = tell_error(errors, tuple(names)).reason
        self.unread.append(f"what {requester.file_name} opens by way of {names[0]} was not judged: {why}")

    # --- shared

    def _open(self, asking: Asking, requester: Mapped) -> Resolution:
        first = len(self.process.maps)
        self._lenient = False
        try:
            found = opened_answer(self.process, asking, requester, self._emulation.unknowns)
        finally:
            self._lenient = True
        if asking.assumed:
            self._assumed.update(map(id, self.process.maps[first:]))
        return found

    def _role(self, role: str, requester: Mapped) -> str:
        """Return the name of an opening; two objects that open one library ask two questions."""
        return role if self._is_new(role, "dlopen") else f"{role} of {requester.file_name}"

    def _is_new(self, name: str, link: Link) -> bool:
        if (name, link) in self._told:
            return False
        self._told.add((name, link))
        return True

    def _asking(
        self, requester: Mapped, names: tuple[str, ...], family: Family, link: Link, when: str, assumed: bool = False
    ) -> Asking:
        return Asking(
            consumer=self._consumer,
            scenario="alone",
            requester=requester.file_name,
            names=names,
            family=family.name,
            role=role_of(family, posixpath.basename(names[0])),
            link=link,
            when=when,
            assumed=assumed,
        )


def _newest_first(name: str) -> tuple[int, ...]:
    """Sort names of one library: the plain one last, since it is a developer's link that few machines have."""
    numbers = tuple(-int(n) for n in name.rpartition(".so")[2].split(".") if n)
    return numbers or (1,)
