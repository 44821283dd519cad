"""Which libraries a consumer will not get, and which single rule answers for each of them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Literal

import msgspec

from gpudoctor.matrix.claims import NeedsLibrary
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Family
from gpudoctor.model.fact import Present, value_of
from gpudoctor.model.finding import Level
from gpudoctor.model.loading import NOT_REACHED, Library, Resolution, Scenario
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.origins import other_cuda_of
from gpudoctor.rules.reading import (
    TORCH_FIRST,
    Stock,
    belongs_to_driver,
    consumer_version,
    is_bundled,
    is_installed,
    major_of,
    plain_name,
    unique,
)

State = Literal["elsewhere", "not-installed", "other-major", "broken", "mixed"]

_SYSTEM_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_LEAST_LIBRARY_BYTES = 4096
_MIXED = ("undefined-symbol", "symbol-version")
# What has to be installed. (A program may well do without what it only perhaps opens, and nobody installed for it.)
NOWHERE = ("not-installed", "other-major")


class Miss(msgspec.Struct, frozen=True):
    """One library that a consumer opens and will not get.

    Attributes:
        resolution: The loader's answer.
        blamed: The library really at fault: a dependency, or the one asked for.
        family: The family of the blamed library, when the matrix knows one.
        state: What is wrong with it.
        found: The file that would satisfy it and lies where nobody looks.
        others: Files of its family that are of another major version.
    """

    resolution: Resolution
    blamed: str
    family: Family | None
    state: State
    found: Library | None = None
    others: tuple[Library, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """The misses of one consumer that have one cause: one finding.

    Attributes:
        rule: Id of the rule that answers for them.
        consumer: Who misses them.
        cause: Cause id.
        state: What is wrong.
        level: How bad.
        misses: At least one, the decisive one first.
    """

    rule: str
    consumer: str
    cause: str | None
    state: State
    level: Level
    misses: tuple[Miss, ...]

    @property
    def head(self) -> Miss:
        """Return the decisive miss."""
        return self.misses[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the blamed libraries, each once."""
        return unique(m.blamed for m in self.misses)


def deciding_scenario(snapshot: Stock, matrix: Matrix, consumer: str) -> Scenario:
    """Return the scenario that decides: after torch for a consumer whose own import imports torch, else alone."""
    imports_torch = matrix.imports_torch(consumer, consumer_version(snapshot, matrix, consumer))
    if imports_torch and any(r.consumer == consumer and r.scenario == "after-torch" for r in snapshot.resolutions):
        return "after-torch"
    return "alone"


def culprit_of(resolution: Resolution) -> str | None:
    """Return the dependency that is really at fault; None when it is the library asked for itself."""
    asked = (resolution.soname, *resolution.names)
    return resolution.culprit if resolution.culprit not in asked else None


def is_unreached(resolution: Resolution) -> bool:
    """Tell whether a library was never asked for, because the one that would ask for it does not load."""
    return resolution.outcome == "unknown" and (resolution.reason or "").startswith(NOT_REACHED)


def broken_consumers(snapshot: Snapshot) -> frozenset[str]:
    """Return the consumers that do not get as far as asking for all of their libraries."""
    absent = {r.consumer for r in snapshot.resolutions if r.outcome == "absent"}
    return frozenset(absent | {f.consumer for f in snapshot.import_faults})


def is_optional(matrix: Matrix, resolution: Resolution) -> bool:
    """Tell whether the consumer works for speech models without this library."""
    fact = matrix.fact(resolution.fact) if resolution.fact else None
    if fact is None or not isinstance(fact.claim, NeedsLibrary):
        return False
    return any(o.optional for o in fact.claim.opens if o.role == resolution.role)


def rows(snapshot: Snapshot, consumer: str, scenario: Scenario) -> tuple[Resolution, ...]:
    """Return a consumer's resolutions in one scenario."""
    return tuple(r for r in snapshot.resolutions if r.consumer == consumer and r.scenario == scenario)


def deciding_rows(snapshot: Snapshot, matrix: Matrix, consumer: str) -> tuple[Resolution, ...]:
    """Return a consumer's resolutions in the scenario that decides, the optional ones left out."""
    scenario = deciding_scenario(snapshot, matrix, consumer)
    return tuple(r for r in rows(snapshot, consumer, scenario) if not is_optional(matrix, r))


def resolved_roles(snapshot: Snapshot, consumer: str, scenario: Scenario) -> frozenset[str]:
    """Return the roles that are filled in a scenario."""
    answers = rows(snapshot, consumer, scenario)
    lost = {r.role for r in answers if r.outcome != "present"}
    return frozenset(r.role for r in answers if r.role not in lost)


def library_groups(snapshot: Snapshot, matrix: Matrix) -> tuple[Group, ...]:
    """Return every missing library, grouped so that each group is one finding of one rule.

    What only the driver brings is left out: it belongs to the driver's cause.
    """
    shelf = _Shelf(snapshot, matrix)
    groups: list[Group] = []
    for consumer in unique(r.consumer for r in snapshot.resolutions):
        groups.extend(_grouped(consumer, "error", _decisive_misses(snapshot, matrix, consumer, shelf)))
        # A process that imports torch first is a choice of the program, so no certain fault.
        level: Level = "error" if is_installed(snapshot, *TORCH_FIRST) else "warning"
        groups.extend(_grouped(consumer, level, _torch_only_misses(snapshot, matrix, consumer, shelf)))
    return tuple(groups)


def is_foreign(snapshot: Snapshot, matrix: Matrix, miss: Miss) -> bool:
    """Tell whether the file that is there is built for another CUDA than who misses it: no path to it mends that."""
    return miss.found is not None and other_cuda_of(snapshot, matrix, miss.resolution, miss.found) is not None


def unreached_folders(snapshot: Snapshot, matrix: Matrix, consumer: str) -> tuple[str, ...]:
    """Return the folders of installed libraries that the consumer will ask for once it gets that far."""
    shelf = _Shelf(snapshot, matrix)
    late = (r for r in deciding_rows(snapshot, matrix, consumer) if is_unreached(r))
    owned = (x for r in late for x in shelf.owned(r.names) if not other_cuda_of(snapshot, matrix, r, x))
    return unique(posixpath.dirname(tidy_path(library)) for library in owned)


def late_misses(snapshot: Snapshot, matrix: Matrix, consumer: str) -> tuple[Miss, ...]:
    """Return what the consumer will ask for once it gets that far, and what is not here either, by families.

    Whoever installs what is missing first must not learn only then that something else is missing, too.
    """
    shelf = _Shelf(snapshot, matrix)
    answers = deciding_rows(snapshot, matrix, consumer)
    missed = {r.family for r in answers if r.outcome == "absent"}
    late = (r for r in answers if is_unreached(r) and r.family not in missed and not shelf.has(r.names))
    return tuple(Miss(r, plain_name(r), matrix.families.get(r.family), "not-installed") for r in late)


def _decisive_misses(snapshot: Snapshot, matrix: Matrix, consumer: str, shelf: _Shelf) -> Iterator[Miss]:
    decisive = deciding_rows(snapshot, matrix, consumer)
    after = resolved_roles(snapshot, consumer, "after-torch")
    for r in decisive:
        if r.outcome == "absent" and not (r.scenario == "alone" and r.role in after):  # that is GPD206's
            yield from (m for m in shelf.judge(r) if not r.assumed or m.state not in NOWHERE)


def _torch_only_misses(snapshot: Snapshot, matrix: Matrix, consumer: str, shelf: _Shelf) -> Iterator[Miss]:
    if deciding_scenario(snapshot, matrix, consumer) == "after-torch":
        return
    alone = resolved_roles(snapshot, consumer, "alone")
    for r in rows(snapshot, consumer, "after-torch"):
        if r.outcome == "absent" and r.role in alone and not is_optional(matrix, r):
            yield from shelf.judge(r)


class _Shelf:
    """The library files of a snapshot by name and by family."""

    def __init__(self, snapshot: Snapshot, matrix: Matrix) -> None:
        self._matrix = matrix
        self._by_name: dict[str, list[Library]] = {}
        self._by_family: dict[str, list[Library]] = {}
        self._searched = {e.directory for e in snapshot.search_elements}
        interpreter = value_of(snapshot.interpreter)
        own = (interpreter.prefix, *interpreter.site_dirs) if interpreter else ()
        self._roots = tuple(f"{root}/" for root in (*own, *_SYSTEM_FOLDERS))
        for library in snapshot.libraries:
            name = posixpath.basename(library.path)
            # Another processor's library would be skipped by the loader, and one that is no ELF file stops it.
            if is_bundled(name) or not _fits(library, snapshot.host.machine):
                continue
            self._by_name.setdefault(name, []).append(library)
            self._by_family.setdefault(library.family, []).append(library)

    def owned(self, names: tuple[str, ...]) -> tuple[Library, ...]:
        """Return the best file of one of the names, if a distribution brought it and nobody looks there yet."""
        candidates = [x for name in names for x in self._by_name.get(name, ()) if x.owner is not None]
        best = self._best(candidates) if candidates else None
        return (best,) if best and posixpath.dirname(best.path) not in self._searched else ()

    def has(self, names: tuple[str, ...]) -> bool:
        """Tell whether a file of one of the names is anywhere."""
        return any(name in self._by_name for name in names)

    def judge(self, resolution: Resolution) -> Iterator[Miss]:
        """Yield what is wrong with an absent library; nothing when it belongs to the driver."""
        blamed = culprit_of(resolution) or plain_name(resolution)
        if belongs_to_driver(self._matrix, blamed) or belongs_to_driver(self._matrix, resolution.soname):
            return
        family = self._matrix.family_of(blamed) or self._matrix.families.get(resolution.family)
        miss = Miss(resolution, blamed, family, _failure_state(resolution, family))
        yield self._located(miss) if miss.state == "not-installed" else miss

    def _located(self, miss: Miss) -> Miss:
        asked = miss.resolution.names or (miss.blamed,)
        names = (miss.blamed,) if culprit_of(miss.resolution) else asked
        candidates = [library for name in names for library in self._by_name.get(name, ())]
        if candidates:
            return msgspec.structs.replace(miss, state="elsewhere", found=self._best(candidates))
        wanted = major_of(miss.blamed)
        near = self._by_family.get(miss.family.name, []) if miss.family else []
        relatives = [x for x in near if self._is_near(x)]
        majors = {major_of(posixpath.basename(x.path)) for x in relatives}
        if wanted and majors - {None} and wanted not in majors:
            return msgspec.structs.replace(miss, state="other-major", others=tuple(relatives))
        return miss

    def _is_near(self, library: Library) -> bool:
        """A toolkit that lies about somewhere else on the machine is not what this environment was given."""
        folder = posixpath.dirname(library.path)
        return library.owner is not None or folder in self._searched or folder.startswith(self._roots)

    def _best(self, candidates: list[Library]) -> Library:
        """Prefer the folder that holds most of the family, then a file that a distribution owns."""

        def rank(library: Library) -> tuple[int, bool]:
            folder = posixpath.dirname(library.path)
            complete = sum(posixpath.dirname(x.path) == folder for x in self._by_family[library.family])
            return complete, library.owner is not None

        return max(candidates, key=rank)


def _fits(library: Library, machine: str) -> bool:
    match library.elf:
        case Present(value=elf):
            return elf.elf_class == 64 and (elf.machine, machine) not in (
                ("x86_64", "aarch64"),
                ("aarch64", "x86_64"),
            )
        case _:
            # Files that nobody loads are listed unread. A Git LFS pointer or an empty file is smaller than any library.
            return library.size_bytes >= _LEAST_LIBRARY_BYTES


def tidy_path(library: Library) -> str:
    """Return a library's path without the detours of an RPATH (`torch/lib/../../nvidia/…`), where that is sure."""
    plain = posixpath.normpath(library.path)
    same = posixpath.dirname(library.real_path) == posixpath.dirname(plain)
    return plain if same else library.path


def _failure_state(resolution: Resolution, family: Family | None) -> State:
    if resolution.failure in _MIXED and family is not None:
        return "mixed"
    return "not-installed" if resolution.failure in (None, "missing") else "broken"


def _grouped(consumer: str, level: Level, misses: Iterator[Miss]) -> Iterator[Group]:
    sorted_out: dict[tuple[str, str | None, State], list[Miss]] = {}
    found = tuple(misses)
    # Of another major: then what is not installed at all is a part of that same story.
    foreign = {_cause(m) for m in found if m.state == "other-major"}
    for miss in found:
        cause = _cause(miss)
        state = "other-major" if miss.state == "not-installed" and cause in foreign else miss.state
        sorted_out.setdefault((_rule(state, miss), cause, state), []).append(miss)
    for (rule, cause, state), members in sorted_out.items():
        members.sort(key=lambda m: (m.state != state, m.resolution.assumed))
        least: Level = level if any(not m.resolution.assumed for m in members) else "warning"
        yield Group(rule, consumer, _final_cause(rule, cause), state, least, tuple(members))


def _cause(miss: Miss) -> str | None:
    if miss.family:
        return miss.family.cause
    if miss.resolution.failure == "symbol-version" and miss.blamed.startswith(("libc.", "libm.", "libpthread.")):
        return "glibc-too-old"
    if miss.resolution.failure == "symbol-version" and miss.blamed.startswith("libstdc++"):
        return "libstdcxx-too-old"
    return None


def _rule(state: State, miss: Miss) -> str:
    cudnn = miss.family is not None and miss.family.name == "cudnn"
    if state == "other-major":
        return "GPD202" if cudnn else "GPD203"
    if state == "mixed":
        return "GPD204" if cudnn else "GPD205"
    return "GPD201"


def _final_cause(rule: str, cause: str | None) -> str | None:
    return {
        "GPD202": "cudnn-major-mismatch",
        "GPD203": "cuda-major-mismatch",
        "GPD204": "cudnn-mixed",
        "GPD205": "cuda-libs-mixed",
    }.get(rule, cause)
