"""Why there is no set: the fewest statements of the matrix that rule every set out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from packaging.version import Version

from gpudoctor.pins.narrow import Net, Statement
from gpudoctor.pins.needs import Needs
from gpudoctor.pins.types import Candidate, Conflict, Need, Wish

if TYPE_CHECKING:
    from resolvelib.structs import RequirementInformation

_MOST_REASONS = 8
_MOST_RUNS = 3
_MOST_NEWEST = 3

Said = tuple[Candidate, str, tuple[str, ...]]
"""A release, what is said of it, and the facts that say so."""


def explain(net: Net, needs: Needs, wishes: Sequence[Wish]) -> Conflict:
    """Return why there is no set, of a net in which nothing is left of a package that is needed."""
    fewest = _fewest(list(net.statements()), lambda kept: Net(needs, wishes, frozenset(kept)).empty is not None)
    return _told(needs, wishes, fewest, order=list(net.domains))


def searched(
    needs: Needs, wishes: Sequence[Wish], causes: Iterable[RequirementInformation[Need, Candidate]]
) -> Conflict:
    """Return why there is no set, as the last needs that met in a search tell it."""
    last = {(c.parent, c.requirement): None for c in causes if c.parent is not None}
    said = [(asking, need.clause, need.facts) for asking, need in last]
    return _conflict(needs, tuple(map(str, wishes)), said)


def _fewest(said: list[Statement], fails: Callable[[list[Statement]], bool]) -> list[Statement]:
    """Leave out ever smaller parts for as long as there is no set: of what is left, nothing can be left out."""
    part = max(1, len(said) // 2)
    while True:
        start = 0
        while start < len(said):
            fewer = said[:start] + said[start + part :]
            if fails(fewer):
                said = fewer
            else:
                start += part
        if part == 1:
            return said
        part //= 2


def _told(needs: Needs, wishes: Sequence[Wish], statements: Sequence[Statement], order: list[str]) -> Conflict:
    """Say of the releases that come into question what the statements say of them, what was asked for first."""
    wished = {wish.package: wish for wish in wishes if ("", str(wish)) in statements}
    rank = {package: place for place, package in enumerate(order)}
    ranked = sorted((s for s in statements if s[0]), key=lambda statement: rank[statement[0]])
    asked = _asked(needs, ranked)
    said: list[Said] = []
    machine: dict[str, None] = {}
    for package, clause in ranked:
        for candidate, rejection in needs.shelf.judged(package):
            if not _in_question(needs, candidate, wished.get(package), asked.get(package, ())):
                continue
            if rejection is not None and rejection.reason == clause:
                said.append((candidate, clause, rejection.facts))
                machine |= dict.fromkeys(rejection.between)
            elif rejection is None or (not rejection.unknown and (package, rejection.reason) not in statements):
                said += [(candidate, n.clause + _nowhere(needs, n), n.facts) for n in _of(needs, candidate, clause)]
    between = (*map(str, wished.values()), *sorted(machine, key=_place))
    if not said:
        return Conflict(between, tuple(_no_such_release(needs, wish) for wish in wished.values()), ())
    return _conflict(needs, between, said)


def _asked(needs: Needs, statements: Iterable[Statement]) -> dict[str, list[Need]]:
    """Return what the statements ask of each package that must be there."""
    asked: dict[str, list[Need]] = {}
    for package, clause in statements:
        every = {n: None for c, _ in needs.shelf.judged(package) for n in _of(needs, c, clause)}
        for need in every:
            if not need.only_if_there:
                asked.setdefault(need.package, []).append(need)
    return asked


def _of(needs: Needs, candidate: Candidate, clause: str) -> list[Need]:
    return [need for need in needs.of(candidate) if need.clause == clause and not need.said_of]


def _in_question(needs: Needs, candidate: Candidate, wish: Wish | None, asked: Sequence[Need]) -> bool:
    """Tell whether a release is what was asked for, and what any of those that need the package would take."""
    if wish is not None and not needs.satisfied(wish.need, candidate):
        return False
    return not asked or any(needs.satisfied(need, candidate) for need in asked)


def _place(part: str) -> int:
    """Order the parts of a machine: GPUs, driver, Python."""
    return 2 if part.startswith("Python ") else int(part.startswith("driver "))


def _nowhere(needs: Needs, need: Need) -> str:
    """Say it where no release at all is what a need asks for."""
    if need.excluded or need.only_if_there:
        return ""
    some = any(needs.satisfied(need, candidate) for candidate, _ in needs.shelf.judged(need.package))
    return "" if some else ", of which no release with wheels is published"


def _no_such_release(needs: Needs, wish: Wish) -> str:
    for candidate, rejection in needs.shelf.judged(wish.package):
        if rejection is not None and needs.satisfied(wish.need, candidate):
            return f"{candidate} {rejection.reason}"
    known = dict.fromkeys(candidate.version for candidate, _ in needs.shelf.judged(wish.package))
    newest = ", ".join(list(known)[:_MOST_NEWEST])
    return f"{wish.package} has no release {wish.versions} with wheels that the matrix knows; the newest are {newest}"


def _conflict(needs: Needs, between: tuple[str, ...], said: Sequence[Said]) -> Conflict:
    """Say once for all releases of a package what is said of each: `torch 2.9.0 to 2.15.0 needs …`."""
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for candidate, clause, _ in said:
        groups.setdefault((candidate.package, clause), {})[candidate.version] = None
    reasons = [f"{package} {_releases(needs, package, of)} {clause}" for (package, clause), of in groups.items()]
    facts = sorted({fact for _, _, names in said for fact in names})
    if (more := len(reasons) - _MOST_REASONS) > 0:
        reasons[_MOST_REASONS:] = [f"and {more} more statement{'s' if more > 1 else ''} on what these need"]
    return Conflict(between, tuple(reasons), tuple(facts))


def _releases(needs: Needs, package: str, versions: Iterable[str]) -> str:
    """Return releases as ranges of what is published: `0.10.0 and 1.0.0 to 1.2.1`."""
    published = sorted({candidate.version for candidate, _ in needs.shelf.judged(package)}, key=Version)
    places = sorted(published.index(version) for version in versions)
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    if len(runs) > _MOST_RUNS:
        runs = [places]
    return " and ".join(", ".join(_run(published, run) for run in runs).rsplit(", ", 1))


def _run(published: Sequence[str], run: Sequence[int]) -> str:
    first, last = published[run[0]], published[run[-1]]
    return first if first == last else f"{first} to {last}"
