"""What the matrix says of releases that meet: pairs, conflicts, interpreters. By name and version, of no snapshot.

`check` asks this of what is installed, and a check of requirement files may ask it of what is pinned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from gpudoctor.matrix.claims import Conflicts, NeedsPython, PairsWith
from gpudoctor.matrix.index import Matrix, holds, matches_version
from gpudoctor.matrix.types import Fact

# Labels of the builds that PyTorch publishes. Any other one, and any pre-release, is somebody's own build.
_PUBLISHED_LABEL = re.compile(r"(cu\d+(\.with\.pypi\.cudnn)?|cpu|cxx11\.abi|cpu\.cxx11\.abi|rocm[\d.]+|xpu)?")
_FINAL_RELEASE = re.compile(r"v?\d+(\.\d+)*(\.post\d+)?", re.IGNORECASE)

Versions = Mapping[str, str | None]


class Pairing(msgspec.Struct, frozen=True):
    """A fact on two packages that are both there.

    Attributes:
        fact: The fact.
        claim: Its claim.
        version: Version of the fact's subject.
        other: Version of the other package.
    """

    fact: Fact
    claim: PairsWith
    version: str | None
    other: str | None

    @property
    def fits(self) -> bool:
        """Tell whether the other package is of a release that the claim allows."""
        return matches_version(self.claim.versions, self.other)


class Clash(msgspec.Struct, frozen=True):
    """Two packages that are both there and must not be together.

    Attributes:
        fact: The fact.
        claim: Its claim.
        version: Version of the fact's subject.
        other: Version of the other package.
    """

    fact: Fact
    claim: Conflicts
    version: str
    other: str


class WrongPython(msgspec.Struct, frozen=True):
    """A release without a wheel for the interpreter.

    Attributes:
        fact: The fact.
        claim: Its claim.
        version: Version of the fact's subject.
    """

    fact: Fact
    claim: NeedsPython
    version: str


def is_own_build(version: str) -> bool:
    """Tell whether a version is none that was published as such: `2.6.0a0+ecf3bae40a.nv25.1` of NVIDIA's images."""
    public, _, label = version.partition("+")
    return not _FINAL_RELEASE.fullmatch(public) or not _PUBLISHED_LABEL.fullmatch(label)


def pairs_of(matrix: Matrix, versions: Versions) -> tuple[tuple[str, str], ...]:
    """Return the pairs of packages that are both there and of which the matrix says which releases fit."""
    found = (
        (fact.subject, fact.claim.package)
        for fact in matrix.data.facts
        if isinstance(fact.claim, PairsWith) and fact.subject in versions and fact.claim.package in versions
    )
    return tuple(dict.fromkeys(found))


def pairings(
    matrix: Matrix, versions: Versions, subject: str, package: str, platform: str | None = None
) -> tuple[Pairing, ...]:
    """Return the facts on one pair at the release of its subject."""
    version = versions.get(subject)
    return tuple(
        Pairing(fact, claim, version, versions.get(package))
        for fact, claim in matrix.facts(subject, PairsWith, version, platform)
        if claim.package == package
    )


def clashes(matrix: Matrix, versions: Versions, platform: str | None = None) -> Iterator[Clash]:
    """Yield the conflicts between packages that are there, those that only share files left out.

    A package without a known version is in no conflict that has one.
    """
    for fact in matrix.data.facts:
        claim = fact.claim
        if not isinstance(claim, Conflicts) or claim.shares_files:
            continue
        version, other = versions.get(fact.subject), versions.get(claim.package)
        if version is None or other is None or is_own_build(version) or is_own_build(other):
            continue
        if matches_version(claim.versions, other) and holds(fact.when, version, platform):
            yield Clash(fact, claim, version, other)


def possible_clashes(matrix: Matrix, versions: Versions) -> tuple[tuple[Fact, Conflicts], ...]:
    """Return the facts on packages that are there and that conflict at some release."""
    return tuple(
        (fact, fact.claim)
        for fact in matrix.data.facts
        if isinstance(fact.claim, Conflicts)
        and not fact.claim.shares_files
        and fact.subject in versions
        and fact.claim.package in versions
    )


def wrong_pythons(
    matrix: Matrix, versions: Versions, python: str, platform: str | None = None
) -> Iterator[WrongPython]:
    """Yield the packages that have no wheel for an interpreter, each once."""
    for subject, version in versions.items():
        if version is None or is_own_build(version):
            continue
        facts = matrix.facts(subject, NeedsPython, version, platform)
        bad = next(((f, c) for f, c in facts if not matches_version(c.versions, python)), None)
        if bad is not None:
            yield WrongPython(*bad, version)


def other_side(specifiers: str) -> str | None:
    """Return what a specifier set leaves on its other side: `<2` for `>=2`; None where that is not one bound."""
    match = re.fullmatch(r"\s*(>=|<)\s*([0-9][0-9.]*)\s*", specifiers)
    if match is None:
        return None
    return f"{'<' if match[1] == '>=' else '>='}{match[2]}"


def upper_bound(specifiers: str) -> str | None:
    """Return the first release after a specifier set: `2.3` for `>=2.0,<2.3`; None without such a bound."""
    match = re.search(r"<(?!=)\s*([0-9][0-9.]*)", specifiers)
    return match[1] if match else None
