"""Look-up in the matrix: by subject and version, by library family, by consumer."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeVar

from gpudoctor.matrix.types import Claim, Consumer, Fact, Family, MatrixData, When

C = TypeVar("C", bound=Claim)

_SONAME = re.compile(r"^(lib[A-Za-z0-9_+-]+?)(?:-[0-9a-f]{8})?\.so(?:\.|$)")


def matches_version(specifiers: str, version: str | None) -> bool:
    """Tell whether a version satisfies a PEP 440 specifier set.

    Local parts are ignored (`2.5.1+cu124` is 2.5.1); an empty set matches everything; an unreadable or unknown
    version matches only the empty set.
    """
    return not specifiers or (version is not None and _matches(specifiers, version))


@lru_cache(maxsize=4096)
def _matches(specifiers: str, version: str) -> bool:
    # Imported here: most facts carry no specifier for the package at hand, and packaging costs 10 ms.
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        parsed = Version(version)
    except InvalidVersion:
        return False
    return SpecifierSet(specifiers).contains(Version(parsed.public), prereleases=True)


def driver_tuple(release: str) -> tuple[int, ...]:
    """Return a driver release as integers: `535.54.03` is (535, 54, 3).

    Raises:
        ValueError: It is not dotted integers.
    """
    return tuple(int(part) for part in release.split("."))


def stem_of(file_name: str) -> str | None:
    """Return the library stem of a file name: `libcudnn_ops` for `libcudnn_ops.so.9.1.0`; None for another file."""
    match = _SONAME.match(file_name)
    return match.group(1) if match else None


class Matrix:
    """The compiled matrix with its indexes. Immutable after construction."""

    def __init__(self, data: MatrixData) -> None:
        self.data = data
        self.version = data.version
        self.consumers: dict[str, Consumer] = {c.name: c for c in data.consumers}
        self.families: dict[str, Family] = {f.name: f for f in data.families}
        self._by_subject: dict[str, list[Fact]] = {}
        for fact in data.facts:
            self._by_subject.setdefault(fact.subject, []).append(fact)
        self._family_patterns = [(re.compile(p), f) for f in data.families for p in f.sonames]
        self._family_cache: dict[str, Family | None] = {}

    def facts(
        self, subject: str, kind: type[C], version: str | None, platform: str | None = None
    ) -> tuple[tuple[Fact, C], ...]:
        """Return the facts of one kind that hold for a subject at a version.

        Args:
            subject: Canonical package name, or `cuda`.
            kind: Claim type.
            version: Version of the subject.
            platform: Such as `linux-x86_64`; None skips the platform test.

        Returns:
            Pairs of fact and its claim, in the matrix's order.
        """
        found: list[tuple[Fact, C]] = []
        for fact in self._by_subject.get(subject, ()):
            if isinstance(fact.claim, kind) and _holds(fact.when, version, platform):
                found.append((fact, fact.claim))
        return tuple(found)

    def knows(self, subject: str) -> bool:
        """Tell whether the matrix has any fact about a subject."""
        return subject in self._by_subject

    def fact(self, fact_id: str) -> Fact | None:
        """Return a fact by id."""
        return next((f for f in self.data.facts if f.id == fact_id), None)

    def family_of(self, file_name: str) -> Family | None:
        """Return the family of a library by its file name or SONAME, versions ignored."""
        if file_name not in self._family_cache:
            stem = stem_of(file_name)
            self._family_cache[file_name] = next(
                (f for pattern, f in self._family_patterns if stem and pattern.fullmatch(stem)), None
            )
        return self._family_cache[file_name]


def _holds(when: When, version: str | None, platform: str | None) -> bool:
    if when.platforms and platform is not None and platform not in when.platforms:
        return False
    return matches_version(when.versions, version)
