"""What a candidate asks of other packages: the matrix's facts, read as needs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from gpudoctor.matrix.claims import Conflicts, NeedsLibrary, PairsWith, Requires
from gpudoctor.matrix.index import Matrix, matches_version
from gpudoctor.matrix.types import Fact
from gpudoctor.pins.candidates import Shelf
from gpudoctor.pins.types import TORCH_FAMILY, Candidate, Machine, Need


class Needs:
    """What every candidate asks of others on one machine, and which candidate satisfies what.

    Args:
        matrix: Facts and published releases.
        machine: What the set must run on.
        shelf: The candidates.
    """

    def __init__(self, matrix: Matrix, machine: Machine, shelf: Shelf) -> None:
        self.shelf = shelf
        self._matrix = matrix
        self._machine = machine
        self._of: dict[Candidate, tuple[Need, ...]] = {}
        self._matches: dict[tuple[str, str], bool] = {}

    def of(self, candidate: Candidate) -> tuple[Need, ...]:
        """Return what a candidate asks of packages whose releases the matrix knows."""
        if not candidate.version:
            return ()
        if candidate not in self._of:
            needs = _all_needs(self._matrix, self._machine, self.shelf, candidate)
            self._of[candidate] = tuple(need for need in needs if self._matrix.releases(need.package))
        return self._of[candidate]

    def satisfied(self, need: Need, candidate: Candidate) -> bool:
        """Tell whether a candidate of the package that a need is about satisfies it."""
        if not candidate.version:
            return need.only_if_there
        if need.build is not None and candidate.build != need.build:
            return False
        asked = (need.versions, candidate.version)
        if asked not in self._matches:
            self._matches[asked] = matches_version(*asked)
        return self._matches[asked] != need.excluded and self._agrees(need, candidate)

    def _agrees(self, need: Need, candidate: Candidate) -> bool:
        if need.cuda is None or need.cuda_agreement is None:
            return True
        own = self.shelf.cuda_of(candidate)
        if own is None or need.cuda_agreement == "same-release":
            return own in (None, need.cuda)
        return own.partition(".")[0] == need.cuda.partition(".")[0]


def left_to_installer(matrix: Matrix, machine: Machine, candidate: Candidate) -> Iterator[str]:
    """Yield the requirements that facts state on packages whose releases the matrix does not know."""
    for _, claim in matrix.facts(candidate.package, Requires, candidate.release, machine.platform, machine.python):
        if not matrix.releases(claim.package):
            yield f"{claim.package}{claim.versions}"


def _all_needs(matrix: Matrix, machine: Machine, shelf: Shelf, candidate: Candidate) -> Iterator[Need]:
    where = (candidate.release, machine.platform, machine.python)
    for fact, required in matrix.facts(candidate.package, Requires, *where):
        yield _requirement(fact, required)
    for fact, pair in matrix.facts(candidate.package, PairsWith, *where):
        yield _pair(fact, pair, candidate, shelf)
    for fact, conflict in matrix.facts(candidate.package, Conflicts, *where):
        yield _conflict(fact, conflict)
    for fact, library in matrix.facts(candidate.package, NeedsLibrary, *where):
        yield from _library(matrix, fact, library)
    yield from _reversed(matrix, machine, candidate)
    if candidate.package in TORCH_FAMILY:
        yield from _family(candidate)


def _requirement(fact: Fact, claim: Requires) -> Need:
    verb = "requires" if claim.declared else "needs, though its metadata does not say so,"
    return Need(
        package=claim.package,
        versions=claim.versions,
        because=f"{verb} {claim.package}{claim.versions}",
        facts=(fact.id,),
    )


def _pair(fact: Fact, claim: PairsWith, candidate: Candidate, shelf: Shelf) -> Need:
    cuda = shelf.cuda_of(candidate) if claim.cuda else None
    built = f" built for CUDA {cuda}" if cuda else ""
    return Need(
        package=claim.package,
        versions=claim.versions,
        only_if_there=not claim.declared,
        cuda=cuda,
        cuda_agreement=claim.cuda if cuda else None,
        because=f"works only with {claim.package}{claim.versions}{built}",
        in_general=f"works only with its own release of {claim.package}" if claim.versions.startswith("==") else "",
        facts=(fact.id,),
    )


def _conflict(fact: Fact, claim: Conflicts) -> Need:
    return Need(
        package=claim.package,
        versions=claim.versions,
        excluded=True,
        only_if_there=True,
        because=_clash(claim),
        facts=(fact.id,),
    )


def _clash(claim: Conflicts) -> str:
    how = "overwrites files of" if claim.shares_files else "does not work with"
    return f"{how} {claim.package}{claim.versions}"


def _reversed(matrix: Matrix, machine: Machine, candidate: Candidate) -> Iterator[Need]:
    """Yield whom a candidate cannot be beside for what *their* facts say, so that a contradiction shows at once."""
    for fact, claim in _conflicts_with(matrix, candidate.package):
        if fact.when.builds or not _is_here(fact, machine):
            continue
        if matches_version(claim.versions, candidate.version):
            how = "shares files with" if claim.shares_files else "does not work with"
            yield Need(
                package=fact.subject,
                versions=fact.when.versions,
                excluded=True,
                only_if_there=True,
                because=f"{how} {fact.subject}{fact.when.versions}",
                in_general=_clash(claim),
                said_of=fact.subject,
                facts=(fact.id,),
            )


def _is_here(fact: Fact, machine: Machine) -> bool:
    """Tell whether a fact applies to a machine, whatever the version of its subject."""
    platforms = fact.when.platforms
    return (not platforms or machine.platform in platforms) and matches_version(fact.when.python, machine.python)


@lru_cache(maxsize=512)
def _conflicts_with(matrix: Matrix, package: str) -> tuple[tuple[Fact, Conflicts], ...]:
    """Return what the facts of other subjects say against a package."""
    claims = ((fact, fact.claim) for fact in matrix.data.facts)
    return tuple((fact, claim) for fact, claim in claims if isinstance(claim, Conflicts) and claim.package == package)


def _library(matrix: Matrix, fact: Fact, claim: NeedsLibrary) -> Iterator[Need]:
    """A library that is opened by bare name while running: no metadata names the wheel that brings it."""
    if claim.provided_by is None or all(opening.optional for opening in claim.opens):
        return
    family = matrix.families.get(claim.library)
    fitting = [p for p in family.providers if p.distribution == claim.provided_by] if family else []
    versions = next((p.versions for p in fitting if p.major == claim.major), "")
    title = family.title if family else claim.library
    yield Need(
        package=claim.provided_by,
        versions=versions,
        because=f"opens {title} {claim.major} {claim.when_opened}",
        facts=(fact.id,),
    )


def _family(candidate: Candidate) -> Iterator[Need]:
    index = f"PyTorch's index for {candidate.build}" if candidate.build else "the package index"
    for other in sorted(TORCH_FAMILY - {candidate.package}):
        yield Need(
            package=other,
            only_if_there=True,
            build=candidate.build,
            because=f"is from {index}, and the torch family must be of one index",
        )
