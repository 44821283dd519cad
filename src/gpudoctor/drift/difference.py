"""Differences between two states, and how one that follows from another goes under it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from gpudoctor.drift.lock import Lock, LockedLibrary
from gpudoctor.drift.rules import NO_CAUSE
from gpudoctor.model.finding import Evidence, Fail, Fix, Level, Open, Subject
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule

Key = tuple[str, ...]
NOT_INSTALLED, UNSET = "not installed", "unset"
"""What a distribution, and LD_LIBRARY_PATH, are on a side that does not have them."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was locked.

    Attributes:
        key: Which thing.
        rule: Rule that reports it.
        level: How bad.
        subject: What it is about.
        message: What, from, to, in one sentence.
        parents: Things that would explain it if they differ too, best explanation first.
        evidence: Details.
        fixes: Ways back, before refreshing the lock.
        values: What it is on either side, in a few words.
        mended: True for what could not be loaded in the first state, was an error of it, and can be in the second.
    """

    key: Key
    rule: Rule
    level: Level
    subject: Subject
    message: str
    parents: tuple[Key, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    fixes: tuple[Fix, ...] = ()
    values: tuple[str, str] = ("", "")
    mended: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """Something that could not be compared.

    Attributes:
        rule: Id of the rule that stays open.
        evaluation: Why.
    """

    rule: str
    evaluation: Open


@dataclass(frozen=True, slots=True)
class Words:
    """How messages speak of the two sides.

    Attributes:
        then: Of the first: `was 9.1.0 when locked`.
        now: Of the second: `is 9.10.2 now`.
        added: What only the second has.
        removed: What only the first has.
        labels: Short names of both.
    """

    then: str = "when locked"
    now: str = "now"
    added: str = "is installed; the lock does not have it"
    removed: str = "is locked and no longer installed"
    labels: tuple[str, str] = ("locked", "found")


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared.

    Attributes:
        locked: The known-good state.
        now: The present state, as a lock.
        snapshot: The second state in full; None where it is a lock, too.
        before: The first state in full, where it is no lock.
        locked_files: The locked libraries by place.
        files: Every library now, by place, loaded or not.
        answers: The present resolutions in the order of `now.resolution`.
        consumers: Compare only these consumers' resolutions; empty for all.
        words: How messages speak of the two.
    """

    locked: Lock
    now: Lock
    snapshot: Snapshot | None
    locked_files: Mapping[str, LockedLibrary]
    files: Mapping[str, LockedLibrary]
    answers: tuple[Resolution, ...]
    consumers: tuple[str, ...] = ()
    words: Words = Words()
    before: Snapshot | None = None


@dataclass(slots=True)
class Comparison:
    """What one area of the comparison found.

    Attributes:
        differences: What differs.
        questions: What could not be compared.
    """

    differences: list[Difference] = field(default_factory=list)
    questions: dict[Question, None] = field(default_factory=dict)

    def ask(self, rule: Rule, subject: str, reason: str) -> None:
        """Note that something could not be compared; the same words only once."""
        self.questions[Question(rule.id, Open(reason, subject))] = None

    def join(self, other: Comparison) -> None:
        """Take over what another area found."""
        self.differences.extend(other.differences)
        self.questions.update(other.questions)


def fold(
    differences: Iterable[Difference], ways: Callable[[Difference], tuple[Fix, ...]]
) -> tuple[tuple[Rule, Fail], ...]:
    """Return one finding for each difference that no other one explains, with what it explains under it.

    Args:
        differences: What differs.
        ways: Ways out of one of them, besides its own.
    """
    pairs = headlines(differences)
    return tuple((head.rule, _fail(head, tuple(d.message for d in below), ways(head))) for head, below in pairs)


def headlines(differences: Iterable[Difference]) -> tuple[tuple[Difference, tuple[Difference, ...]], ...]:
    """Return each difference that no other one explains, with those that it explains."""
    by_key = {difference.key: difference for difference in differences}
    below: dict[Key, list[Difference]] = {}
    heads: list[Difference] = []
    for difference in by_key.values():
        root = _root(difference, by_key)
        if root is difference:
            heads.append(difference)
        else:
            below.setdefault(root.key, []).append(difference)
    return tuple((_lowered(head, below.get(head.key, [])), tuple(below.get(head.key, ()))) for head in heads)


def _lowered(head: Difference, below: list[Difference]) -> Difference:
    """Make a warning of what came and did nothing but mend: a repair is a drift, and harms nobody."""
    came = head.mended or head.values[0] in (NOT_INSTALLED, UNSET)
    mends = head.mended or any(d.mended for d in below)
    if came and mends and all(d.mended for d in below):
        return replace(head, level="warning", mended=True)
    return head


def _root(difference: Difference, by_key: Mapping[Key, Difference]) -> Difference:
    seen = {difference.key}
    while True:
        parent = next((by_key[key] for key in difference.parents if key in by_key and key not in seen), None)
        if parent is None:
            return difference
        seen.add(parent.key)
        difference = parent


def _fail(head: Difference, consequences: tuple[str, ...], ways: tuple[Fix, ...]) -> Fail:
    return head.rule.fail(
        head.subject,
        head.message,
        cause=None,
        reason=NO_CAUSE,
        level=head.level,
        evidence=head.evidence,
        consequences=consequences,
        fixes=(*head.fixes, *ways),
    )
