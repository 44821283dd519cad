"""What becomes of each consumer in a locked or present state, as far as the loader's answers tell. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from gpudoctor.drift.lock import Lock, LockedResolution
from gpudoctor.matrix.claims import NeedsLibrary, Opening
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.diff import ConsumerOutcome

_MOST = 3
_MAJOR = "{shim1}"
_NOT_THERE = "not there"

Case = tuple[str, str]
Role = tuple[str, str]


def compare_outcomes(
    left: Lock, right: Lock, matrix: Matrix, consumers: tuple[str, ...]
) -> tuple[ConsumerOutcome, ...]:
    """Return what becomes of every consumer on both sides.

    Args:
        left: One state.
        right: The other one.
        matrix: Which libraries a consumer works without, and which belong to the driver.
        consumers: Only these; empty for all.
    """
    one, other = _by_case(left, matrix), _by_case(right, matrix)
    cases = [c for c in sorted(one.keys() | other.keys()) if not consumers or c[0] in consumers]
    names = _file_names(left, matrix), _file_names(right, matrix)
    return tuple(_outcome(case, one.get(case), other.get(case), names) for case in cases)


def _optional(lock: Lock, matrix: Matrix) -> frozenset[Role]:
    """Return consumer and role of what speech models work without, in the locked release of each consumer."""
    return frozenset((consumer, opening.role) for consumer, _, opening in _openings(lock, matrix) if opening.optional)


def _file_names(lock: Lock, matrix: Matrix) -> Mapping[Role, str]:
    """Return the name that each opening asks for, with no more of a release in it than the major."""
    found: dict[Role, str] = {}
    for consumer, major, opening in _openings(lock, matrix):
        names = (name.replace(_MAJOR, major) for name in opening.names)
        if (name := next((name for name in names if "{" not in name), None)) is not None:
            found[consumer, opening.role] = name
    return found


def _openings(lock: Lock, matrix: Matrix) -> Iterable[tuple[str, str, Opening]]:
    return (
        (consumer, claim.major, opening)
        for consumer, package in lock.consumers.items()
        for subject in {consumer, package}
        for _, claim in matrix.facts(subject, NeedsLibrary, lock.distributions.version(package), lock.platform)
        for opening in claim.opens
    )


def _by_case(lock: Lock, matrix: Matrix) -> Mapping[Case, tuple[LockedResolution, ...]]:
    optional = _optional(lock, matrix)
    found: dict[Case, tuple[LockedResolution, ...]] = {}
    for row in lock.resolution:
        family = matrix.families.get(row.family)
        counts = (row.consumer, row.role) not in optional and not (family is not None and family.from_driver)
        case = (row.consumer, row.scenario)
        found[case] = (*found.get(case, ()), *((row,) if counts else ()))
    return found


def _outcome(
    case: Case,
    left: tuple[LockedResolution, ...] | None,
    right: tuple[LockedResolution, ...] | None,
    names: tuple[Mapping[Role, str], Mapping[Role, str]],
) -> ConsumerOutcome:
    return ConsumerOutcome(
        consumer=case[0],
        scenario=case[1],
        left=_told(left, names[0]),
        right=_told(right, names[1]),
        changed=_verdict(left) != _verdict(right),
    )


def _verdict(rows: tuple[LockedResolution, ...] | None) -> object:
    """Return what has to be equal for an outcome to be the same: not which file, but whether it loads."""
    return None if rows is None else {(r.role, r.outcome) for r in rows if r.outcome != "present"}


def _told(rows: tuple[LockedResolution, ...] | None, known: Mapping[Role, str]) -> str:
    if rows is None:
        return _NOT_THERE
    for outcome, words in (("absent", "misses"), ("unknown", "not known:")):
        names = tuple(dict.fromkeys(_name(r, known) for r in rows if r.outcome == outcome))
        if names:
            return f"{words} {_listed(names)}"
    count = len({r.role for r in rows})
    return f"{count} librar{'y loads' if count == 1 else 'ies load'}"


def _name(row: LockedResolution, known: Mapping[Role, str]) -> str:
    return posixpath.basename(row.path) if row.path else known.get((row.consumer, row.role), row.role)


def _listed(names: Iterable[str]) -> str:
    names = tuple(names)
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"{', '.join(names[:_MOST])}{more}"
