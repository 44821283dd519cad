"""One consumer in one emulated process: its import, what that links, and what it opens afterwards."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from gpudoctor.loader.answers import (
    Asking,
    absent,
    linked_answer,
    linked_families,
    opened_answer,
    request_for,
    role_of,
    steps_of,
    unreached,
)
from gpudoctor.loader.emulation import Emulation
from gpudoctor.loader.mapped import Mapped
from gpudoctor.loader.process import Process
from gpudoctor.loader.releases import filled_names, names_without_release
from gpudoctor.loader.search import LoadError
from gpudoctor.loader.sites import Sites
from gpudoctor.matrix.claims import NeedsLibrary, Opening
from gpudoctor.matrix.index import Matrix, matches_version, stem_of
from gpudoctor.matrix.types import Consumer, EntryStep, Fact, Family
from gpudoctor.model.loading import ImportFault, Resolution, Scenario


class Installed(msgspec.Struct, frozen=True):
    """A consumer that is there.

    Attributes:
        consumer: What the matrix says of it.
        version: Its release, None when no metadata tells.
        distribution: The distribution that brought it.
    """

    consumer: Consumer
    version: str | None
    distribution: str | None


def openings_of(matrix: Matrix, item: Installed, platform: str) -> tuple[tuple[Fact, NeedsLibrary], ...]:
    """Return what a consumer opens by name at its release, as facts of its distribution or of its import name."""
    found: list[tuple[Fact, NeedsLibrary]] = []
    for subject in dict.fromkeys((item.distribution or item.consumer.name, item.consumer.name)):
        found += matrix.facts(subject, NeedsLibrary, item.version, platform)
    return tuple(found)


def asking_for(
    item: Installed, scenario: Scenario, claim: NeedsLibrary, opening: Opening, names: tuple[str, ...], fact: Fact
) -> Asking:
    """Return the question that one opening of a claim puts."""
    return Asking(
        consumer=item.consumer.name,
        scenario=scenario,
        requester=posixpath.basename(opening.requester or claim.requester),
        names=names_without_release(names, claim.major),
        family=claim.library,
        role=opening.role,
        link="dlopen",
        when=opening.when_opened or claim.when_opened,
        fact=fact.id,
    )


class Broken(msgspec.Struct, frozen=True):
    """One file of an import that does not load.

    Attributes:
        path: The file.
        error: Why not.
        group: The alternatives that it is one of; None for a file without any.
    """

    path: str
    error: LoadError
    group: str | None = None


class ConsumerRun:
    """One consumer in one emulated process.

    Attributes:
        process: The process.
    """

    def __init__(
        self, matrix: Matrix, sites: Sites, emulation: Emulation, item: Installed, scenario: Scenario, machine: str
    ) -> None:
        self._matrix = matrix
        self._sites = sites
        self._emulation = emulation
        self._item = item
        self._scenario: Scenario = scenario
        self._platform = f"linux-{emulation.executable.machine or machine}"
        self._importing = False
        self._entries: list[tuple[Mapped, EntryStep]] = []
        self._broken: LoadError | None = None
        self._unloaded: list[Broken] = []
        self._first_request = 0
        self._hooked: set[int] = set()
        self.process: Process

    def start(self, library_path: bool, before: tuple[Installed, ...]) -> None:
        """Start the interpreter and import the consumers that come before.

        Raises:
            LoadError: One of these fails, so that this consumer is never reached.
        """
        self.process = self._emulation.process(
            library_path=library_path, family=self._family_name, tolerate=self._tolerates
        ).start()
        for item in before:
            self._import(item)
            if self._broken:
                raise self._broken
        self._entries.clear()
        self._unloaded.clear()
        self._first_request = len(self.process.log)

    def _family_name(self, file_name: str) -> str | None:
        family = self._matrix.family_of(file_name)
        return family.name if family else None

    def _tolerates(self, name: str) -> bool:
        """Tell whether to go on without a linked library.

        The real loader stops at the first one that is missing; going on finds all of them. One that the driver
        brings is not this consumer's fault at any time.
        """
        family = self._matrix.family_of(name)
        return family is not None and (family.from_driver or self._importing)

    @property
    def import_faults(self) -> tuple[ImportFault, ...]:
        """Why the import fails, where no GPU library is at fault: one entry for a file, or for alternatives."""
        unrelated = (b for b in self._unloaded if self._matrix.family_of(b.error.culprit) is None)
        told: dict[str, list[Broken]] = {}
        for broken in unrelated:
            told.setdefault(broken.group or broken.path, []).append(broken)
        return tuple(self._fault(members) for members in told.values())

    def _fault(self, members: list[Broken]) -> ImportFault:
        """Blame the alternative that got furthest: one that lacks another library than most of them do."""
        lacked = [stem_of(b.error.culprit) for b in members]
        head = min(members, key=lambda b: lacked.count(stem_of(b.error.culprit)))
        request = request_for(self.process, head.error.culprit, self._first_request)
        doubts = self._emulation.unknowns
        return ImportFault(
            consumer=self._item.consumer.name,
            scenario=self._scenario,
            file=head.path,
            failure=head.error.failure,
            culprit=head.error.culprit,
            reason=head.error.reason,
            group=head.group,
            doubt="; ".join(doubts) if head.error.failure == "missing" and doubts else None,
            searched=steps_of((request,) if request else ()),
        )

    # --- the import

    def _import(self, item: Installed) -> None:
        self._run_hook(item)
        done: set[str] = set()
        phantoms = len(self.process.phantoms)
        for number, step in enumerate(item.consumer.entry):
            if step.group in done or not matches_version(step.versions, item.version):
                continue
            if self._take(item, step, with_preloads=number == 0) and step.group:
                done.add(step.group)
            if self._broken:
                return
        self._force_groups(item, done)
        missing = [e for e in self.process.phantoms[phantoms:] if not self._from_driver(e.culprit)]
        self._broken = missing[0] if missing else None

    def _run_hook(self, item: Installed) -> None:
        """Open what an import hook in the target opens before the package itself is looked for."""
        for path in self._emulation.preloads(item.consumer.name):
            first = len(self.process.maps)
            self._opens(path, self._importer())
            self._hooked.update(map(id, self.process.maps[first:]))

    def _take(self, item: Installed, step: EntryStep, *, with_preloads: bool) -> bool:
        """Take one step of an import; tell whether it loaded something."""
        path = self._sites.first(step.glob)
        requester = self._importer() if step.requester is None else self._mapped(step.requester)
        if path is None or requester is None or (step.if_mapped and self._mapped(step.if_mapped) is None):
            return False
        name = step.name or path
        if (step.preload or step.group) and not self._opens(name, requester):
            return False
        if with_preloads and item.consumer.preloads and not self._opens(name, requester):
            self._open_preloads(item)
        self._importing = True
        try:
            self._entries.append((self.process.dlopen(name, requester), step))
        except LoadError as error:
            self._broken = error
            self._unloaded.append(Broken(path, error))
        finally:
            self._importing = False
        return True

    def _force_groups(self, item: Installed, done: set[str]) -> None:
        """Take the alternative that fails for GPU libraries only, where none of a group loads: they are the fault."""
        failed: list[Broken] = []
        for step in item.consumer.entry:
            path = self._sites.first(step.glob) if step.group and step.group not in done and not step.preload else None
            if path is None or not matches_version(step.versions, item.version):
                continue
            self._importing = True
            try:
                self._entries.append((self.process.dlopen(step.name or path, self._importer()), step))
                done.add(step.group or "")
            except LoadError as error:
                failed.append(Broken(path, error, step.group))
            finally:
                self._importing = False
        self._unloaded += [b for b in failed if b.group not in done]

    def _opens(self, name: str, requester: Mapped) -> bool:
        try:
            self.process.dlopen(name, requester)
        except LoadError:
            return False
        return True

    def _open_preloads(self, item: Installed) -> None:
        for pattern in item.consumer.preloads:
            path = self._sites.first(pattern)
            if path is not None:
                self._opens(path, self._importer())

    def _importer(self) -> Mapped:
        """Return the object whose code calls dlopen for an import: libpython where there is one."""
        maps = self.process.maps
        return next((m for m in maps if m.file_name.startswith("libpython3")), self.process.main)

    def _mapped(self, pattern: str) -> Mapped | None:
        """Return the first mapped object that a pattern of the matrix means."""
        for mapped in self.process.maps:
            if "/" in pattern:
                relative = self._sites.relative(mapped.path)
                if relative is not None and fnmatchcase(relative, pattern):
                    return mapped
            elif fnmatchcase(mapped.elf.soname or "", pattern) or fnmatchcase(mapped.file_name, pattern):
                return mapped
        return None

    def _from_driver(self, name: str) -> bool:
        family = self._matrix.family_of(name)
        return family is not None and family.from_driver

    # --- the answers

    def resolve(self) -> tuple[Resolution, ...]:
        """Import the consumer, then open what it opens; return an answer for each library."""
        self._import(self._item)
        found = list(self._linked())
        for fact, claim in openings_of(self._matrix, self._item, self._platform):
            found += self._open_all(fact, claim)
        found += self._driver_libraries({r.names[0] for r in found})
        return tuple(found)

    def not_reached(self, error: LoadError) -> tuple[Resolution, ...]:
        """Return the answers when the process does not get as far as the import."""
        found: list[Resolution] = []
        for fact, claim in openings_of(self._matrix, self._item, self._platform):
            for opening in claim.opens:
                asking = asking_for(self._item, self._scenario, claim, opening, opening.names, fact)
                found.append(unreached(asking, error.reason))
        return tuple(found)

    def _linked(self) -> Iterable[Resolution]:
        told: set[str] = set()
        for entry, step in self._entries:
            for requester, name, family in linked_families(self._matrix, (entry,), self.process):
                if name not in told:
                    told.add(name)
                    yield self._linked_answer(requester, name, family, step.when_opened)
        if self._broken is not None:
            yield from self._linked_before_break(told)

    def _linked_asking(self, requester: Mapped, name: str, family: Family, when: str) -> Asking:
        return Asking(
            consumer=self._item.consumer.name,
            scenario=self._scenario,
            requester=requester.file_name,
            names=(name,),
            family=family.name,
            role=role_of(family, name),
            link="needed",
            when=when,
        )

    def _linked_answer(self, requester: Mapped, name: str, family: Family, when: str) -> Resolution:
        asking = self._linked_asking(requester, name, family, when)
        found = linked_answer(self._matrix, self.process, asking, self._emulation.unknowns, self._first_request)
        hooked = found.outcome == "present" and id(self.process.find_loaded(name)) in self._hooked
        return msgspec.structs.replace(found, found_via="preload") if hooked else found

    def _linked_before_break(self, told: set[str]) -> Iterable[Resolution]:
        """Yield what was asked for by an entry that failed as a whole, for a version or a symbol."""
        error = self._broken
        for request in self.process.log[self._first_request :]:
            family = self._matrix.family_of(request.name)
            if error is None or family is None or request.name in told or "/" in request.name:
                continue
            told.add(request.name)
            asking = self._linked_asking(request.requester, request.name, family, "at import")
            if request.name == error.culprit:
                yield absent(asking, error, steps_of((request,)), self._emulation.unknowns)
            else:
                yield unreached(asking, error.reason, steps_of((request,)))

    def _open_all(self, fact: Fact, claim: NeedsLibrary) -> Iterable[Resolution]:
        reached = self._mapped(claim.requester) is not None
        if not reached and self._broken is None:
            return  # this build does not have the object that would open them
        for opening in claim.opens:
            asking = asking_for(self._item, self._scenario, claim, opening, opening.names, fact)
            requester = self._mapped(opening.requester or claim.requester)
            if self._broken is not None:
                yield unreached(asking, self._broken.reason)
            elif requester is None:
                yield unreached(asking, f"{asking.requester}, which opens it, is not loaded")
            else:
                yield self._open(asking, opening.names, requester, claim)

    def _open(self, asking: Asking, names: tuple[str, ...], requester: Mapped, claim: NeedsLibrary) -> Resolution:
        filled = filled_names(names, requester.path, claim, self._emulation.files, self._sites, self._matrix)
        asking = msgspec.structs.replace(asking, requester=requester.file_name, names=filled)
        return opened_answer(self.process, asking, requester, self._emulation.unknowns, self._hooked)

    def _driver_libraries(self, told: set[str]) -> Iterable[Resolution]:
        """Yield the driver's libraries that something asked for and that were passed over."""
        for request in self.process.log[self._first_request :]:
            family = self._matrix.family_of(request.name)
            if family is None or not family.from_driver or request.name in told or request.link != "needed":
                continue
            told.add(request.name)
            yield self._linked_answer(request.requester, request.name, family, "when it is first needed")
