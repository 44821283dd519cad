"""What can be ruled out before anything is chosen: releases that none of what they need can be had with.

Arc consistency over the packages that are asked for and all that they need. It is no search: what it rules out is in no
set. Where it leaves nothing of a package that is needed, there is no set, and the statements that ruled the releases
out say why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence

import msgspec

from gpudoctor.pins.needs import Needs
from gpudoctor.pins.types import Candidate, Need, Wish

Statement = tuple[str, str]
"""A package and what is said of releases of it: `("whisperx", "requires torch>=2.5.1")`; a wish has no package."""

Domain = dict[Candidate, dict[str, list[Need]]]


def statement_of(asking: Candidate, need: Need) -> Statement:
    """Return the statement that a need is."""
    return need.said_of or asking.package, need.clause


def _is_hard(needs: Sequence[Need]) -> bool:
    return any(not need.only_if_there for need in needs)


class Death(msgspec.Struct, frozen=True):
    """Why a candidate was ruled out.

    Attributes:
        statements: What speaks against it.
        other: The package of which nothing goes with it; None where it is no candidate by itself.
    """

    statements: frozenset[Statement]
    other: str | None


class Net:
    """The candidates that are left of each package.

    Args:
        needs: What candidates ask of each other.
        wishes: What is asked for.
        kept: Statements that count; None for all of them.
    """

    def __init__(self, needs: Needs, wishes: Sequence[Wish], kept: Collection[Statement] | None = None) -> None:
        self._needs = needs
        self._kept = kept
        self._wishes = {wish.package: wish for wish in wishes if self._counts(("", str(wish)))}
        self._neighbours: dict[str, set[str]] = {}
        self._required: dict[str, Death] = {}
        self.domains: dict[str, Domain] = {}
        self.deaths: dict[Candidate, Death] = {}
        self.empty = self._propagate()

    def _counts(self, statement: Statement) -> bool:
        return self._kept is None or statement in self._kept

    def _open(self, package: str) -> Domain:
        """Return what is left of a package; at first, the candidates that are not rejected by themselves."""
        if package not in self.domains:
            domain = self.domains[package] = {}
            wish = self._wishes.get(package)
            for candidate, rejection in self._needs.shelf.judged(package):
                if rejection is not None and (rejection.unknown or self._counts((package, rejection.reason))):
                    said = frozenset() if rejection.unknown else frozenset({(package, rejection.reason)})
                    self.deaths[candidate] = Death(said, None)
                elif wish is not None and not self._needs.satisfied(wish.need, candidate):
                    self.deaths[candidate] = Death(frozenset({("", str(wish))}), None)
                else:
                    domain[candidate] = self._by_package(candidate)
        return self.domains[package]

    def _by_package(self, candidate: Candidate) -> dict[str, list[Need]]:
        asked: dict[str, list[Need]] = {}
        for need in self._needs.of(candidate):
            if self._counts(statement_of(candidate, need)):
                asked.setdefault(need.package, []).append(need)
                self._neighbours.setdefault(need.package, set()).add(candidate.package)
                self._neighbours.setdefault(candidate.package, set()).add(need.package)
        return asked

    def _propagate(self) -> str | None:
        """Rule out until nothing more falls; return a package that is needed and of which nothing is left."""
        for package in self._wishes:
            self._required[package] = Death(frozenset({("", str(self._wishes[package]))}), None)
        waiting = deque(self._required)
        changed = set(self._required)
        while waiting:
            package = waiting.popleft()
            known = len(self.domains)
            self._open(package)
            if self._revise(package):
                changed.add(package)
            if package in self._required and not self.domains[package]:
                return package
            needed = list(self._require(package))
            opened = list(self.domains)[known:]
            changed.update(needed, opened)
            touched = [p for p in self._neighbours.get(package, ()) if p in self.domains] if package in changed else []
            changed.discard(package)
            waiting.extend(p for p in dict.fromkeys((*needed, *opened, *touched)) if p not in waiting)
        return None

    def _revise(self, package: str) -> bool:
        domain = self.domains[package]
        required = [p for p in self._neighbours.get(package, ()) if p in self._required]
        fallen = []
        for candidate, asked in domain.items():
            hard = [p for p, needs in asked.items() if _is_hard(needs)]
            for other in dict.fromkeys((*hard, *required)):
                if not self._goes_with(candidate, asked.get(other, ()), other):
                    fallen.append(candidate)
                    self.deaths[candidate] = Death(self._between(candidate, asked.get(other, ()), other), other)
                    break
        for candidate in fallen:
            del domain[candidate]
        return bool(fallen)

    def _goes_with(self, candidate: Candidate, asked: Sequence[Need], other: str) -> bool:
        satisfied, package = self._needs.satisfied, candidate.package
        return any(
            all(satisfied(need, one) for need in asked)
            and all(satisfied(need, candidate) for need in theirs.get(package, ()))
            for one, theirs in self._open(other).items()
        )

    def _between(self, candidate: Candidate, asked: Sequence[Need], other: str) -> frozenset[Statement]:
        said = {statement_of(candidate, need) for need in asked}
        for one, theirs in self.domains[other].items():
            said |= {statement_of(one, need) for need in theirs.get(candidate.package, ())}
        return frozenset(said)

    def _require(self, package: str) -> Iterator[str]:
        """Yield the packages that are needed from now on: those that all that is left of a needed one needs."""
        domain = self.domains[package]
        if package not in self._required or not domain:
            return
        asked = [{p for p, needs in a.items() if _is_hard(needs)} for a in domain.values()]
        for other in sorted(set.intersection(*asked) - set(self._required)):
            said = {statement_of(c, need) for c, a in domain.items() for need in a[other] if not need.only_if_there}
            self._required[other] = Death(frozenset(said), package)
            yield other

    def statements(self) -> dict[Statement, None]:
        """Return what can have led to the package of which nothing is left; more than it takes."""
        said: dict[Statement, None] = {}
        seen: set[str] = set()
        waiting = deque([self.empty] if self.empty else [])
        while waiting:
            package = waiting.popleft()
            if package in seen:
                continue
            seen.add(package)
            reasons = [d for c, d in self.deaths.items() if c.package == package]
            reasons += [self._required[package]] if package in self._required else []
            for death in reasons:
                said |= dict.fromkeys(sorted(death.statements))
                waiting.extend([death.other] if death.other else [])
        return said
