"""Facts that hold for one release and yet say different things of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from gpudoctor.matrix.claims import (
    Claim,
    ComputeType,
    Conflicts,
    HasGpuCode,
    NeedsDriver,
    NeedsLibrary,
    NeedsMemory,
    NeedsPython,
    PairsWith,
    Requires,
    Yanked,
)
from gpudoctor.matrix.types import Fact, When

_ANY = Version("0.dev0")


class Contradiction(msgspec.Struct, frozen=True, kw_only=True):
    """Two facts that cannot both be right.

    Attributes:
        one: A fact.
        other: Another one about the same.
        version: A release of the subject for which both hold.
    """

    one: Fact
    other: Fact
    version: str


def contradictions(facts: Sequence[Fact]) -> Iterator[Contradiction]:
    """Yield pairs of facts about one thing that hold together somewhere and claim different things.

    About one thing: the GPU code of a subject, its least driver, its interpreters, what it requires of one package, how
    it must pair with one, one number format, the memory of one model, the libraries it opens of one family.

    Args:
        facts: Facts whose specifiers can be read.
    """
    groups: dict[Hashable, list[Fact]] = {}
    for fact in facts:
        if (about := _about(fact.claim)) is not None:
            groups.setdefault((fact.subject, type(fact.claim), about), []).append(fact)
    for group in groups.values():
        yield from _within(group)


def _about(claim: Claim) -> Hashable | None:
    """Return what a claim speaks of, within its subject and kind; None when two of them never contradict."""
    match claim:
        case NeedsDriver(ptx=ptx):
            return ptx
        case PairsWith(package=package) | Requires(package=package):
            return package
        case NeedsMemory(model=model, compute_type=compute_type, batch_size=batch_size):
            return model, compute_type, batch_size
        case ComputeType(compute_type=compute_type):
            return compute_type
        case NeedsLibrary(library=library):
            return library
        case HasGpuCode() | NeedsPython():
            return ""
        case Conflicts() | Yanked():
            return None
    raise NotImplementedError(type(claim).__name__)


def _within(group: Sequence[Fact]) -> Iterator[Contradiction]:
    """Compare the facts of a group whose ranges can meet: a sweep, so that many disjoint ranges cost no squares."""
    bounded = sorted(((*_bounds(fact.when.versions), fact) for fact in group), key=lambda entry: entry[0])
    active: list[tuple[Version | None, Fact]] = []
    for low, high, fact in bounded:
        active = [(end, other) for end, other in active if end is None or end >= low]
        for _, other in active:
            if other.claim != fact.claim and (version := _meet(other.when, fact.when)) is not None:
                yield Contradiction(one=other, other=fact, version=version)
        active.append((high, fact))


def _bounds(specifiers: str) -> tuple[Version, Version | None]:
    """Return versions that enclose all that match: the lowest, and the highest or None without one."""
    low, high = _ANY, None
    for specifier in SpecifierSet(specifiers):
        version = _point(specifier.version)
        if specifier.operator in (">=", ">", "==", "~="):
            low = max(low, version)
        if specifier.operator in ("<", "<=") or (specifier.operator == "==" and "*" not in specifier.version):
            high = version if high is None else min(high, version)
    return low, high


def _meet(one: When, other: When) -> str | None:
    """Return a release for which both conditions hold, None when there is none."""
    if not (_share(one.platforms, other.platforms) and _share(one.builds, other.builds)):
        return None
    if _common(one.python, other.python) is None:
        return None
    return _common(one.versions, other.versions)


def _share(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return not one or not other or not set(one).isdisjoint(other)


@lru_cache(maxsize=65536)
def _common(one: str, other: str) -> str | None:
    """Return a version that satisfies both specifier sets, tried at their ends and between them."""
    first, second = SpecifierSet(one), SpecifierSet(other)
    ends = sorted({_ANY, *(_point(s.version) for s in (*first, *second))})
    for version in (*ends[1:], *map(_after, ends), _ANY):
        if first.contains(version, prereleases=True) and second.contains(version, prereleases=True):
            return str(version)
    return None


def _point(version: str) -> Version:
    return Version(version.removesuffix(".*"))


def _after(version: Version) -> Version:
    """Return a release right after a version: nobody publishes a sixth part."""
    release = (*version.release, 0, 0, 0, 0, 0)[:5]
    return Version(".".join(map(str, (*release, 1))))
