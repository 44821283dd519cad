"""Versions and specifiers, compared as PEP 440 says: most are plain numbers, for which packaging is not loaded."""

from __future__ import annotations

import operator
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

_LOCAL = re.compile(r"\+[A-Za-z0-9._-]+")
# Longer operators first: `<` is the start of `<=`.
_OPERATORS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def matches_version(specifiers: str, version: str | None) -> bool:
    """Tell whether a version satisfies a PEP 440 specifier set.

    Local parts are ignored on both sides (`2.5.1+cu124` is 2.5.1, `==2.5.1+cu124` is `==2.5.1`); an empty set matches
    everything; an unreadable or unknown version matches only the empty set.
    """
    return not specifiers or (version is not None and _matches(specifiers, version))


def driver_tuple(release: str) -> tuple[int, ...]:
    """Return a driver release as integers: `535.54.03` is (535, 54, 3).

    Raises:
        ValueError: It is not dotted integers.
    """
    return tuple(int(part) for part in release.split("."))


@lru_cache(maxsize=65536)
def _matches(specifiers: str, version: str) -> bool:
    plain = _matches_plainly(specifiers, version)
    if plain is not None:
        return plain
    parsed = _public(version)
    return parsed is not None and _specifier_set(specifiers).contains(parsed, prereleases=True)


def _matches_plainly(specifiers: str, version: str) -> bool | None:
    """Compare numbers with numbers; None where one is none: packaging costs 15 ms at the start, so it is asked last."""
    release = _numbers(version.partition("+")[0])
    if release is None:
        return None
    answer = True
    for specifier in specifiers.split(","):
        fits = _fits(specifier.strip(), release)
        if fits is None:
            return None
        answer = answer and fits
    return answer


def _fits(specifier: str, release: tuple[int, ...]) -> bool | None:
    sign = next((sign for sign in _OPERATORS if specifier.startswith(sign)), None)
    if sign is None:
        return None
    text = specifier[len(sign) :].strip().partition("+")[0]
    other = _numbers(text.removesuffix(".*"))
    if other is None:
        return None
    if text.endswith(".*"):
        if sign not in ("==", "!="):
            return None
        length = text.count(".")
        same = _padded(release, length) == _padded(other, length)
        return same if sign == "==" else not same
    return bool(_OPERATORS[sign](release, other))


def _padded(release: tuple[int, ...], length: int) -> tuple[int, ...]:
    return (*release, *(0 for _ in range(length)))[:length]


@lru_cache(maxsize=8192)
def _numbers(version: str) -> tuple[int, ...] | None:
    """Return a release of plain numbers without zeros at its end, so that tuples compare as versions do; else None."""
    parts = version.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        return None
    numbers = [int(part) for part in parts]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


@lru_cache(maxsize=4096)
def _public(version: str) -> Version | None:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(Version(version).public)
    except InvalidVersion:
        return None


@lru_cache(maxsize=4096)
def _specifier_set(specifiers: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(_LOCAL.sub("", specifiers))
