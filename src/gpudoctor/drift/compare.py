"""Lock + snapshot -> evaluations. Pure.

The present state is recorded as a lock of its own and the two locks are compared, so that both sides went through the
same naming of places. What follows from another difference is listed under it: one change, one headline.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gpudoctor.drift.difference import Comparison, Sides, fold
from gpudoctor.drift.environment import (
    compare_distributions,
    compare_driver,
    compare_gpus,
    compare_interpreter,
    compare_search_path,
    ways_of_lock,
    with_added_together,
)
from gpudoctor.drift.loading import compare_loading
from gpudoctor.drift.lock import Lock
from gpudoctor.drift.places import Places
from gpudoctor.drift.record import NO_DIGESTS, build_lock, library_places, ordered, platform_of
from gpudoctor.drift.rules import DRIFT_RULES, DRIVER_DRIFT, GPU_DRIFT, INTERPRETER_DRIFT
from gpudoctor.drift.weight import weigh
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, NotApplicable, Open, Pass
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule

# What an environment is made of, and what it runs on.
AREAS = (compare_interpreter, compare_distributions, compare_search_path, compare_loading)
_ALL_AREAS = (compare_driver, compare_gpus, *AREAS)


def compare(
    lock: Lock,
    snapshot: Snapshot,
    *,
    digests: Mapping[str, str] = NO_DIGESTS,
    matrix_version: str | None = None,
    consumers: tuple[str, ...] = (),
) -> tuple[Evaluation, ...]:
    """Return how a state differs from the locked one; see compare_by_rule."""
    judged = compare_by_rule(lock, snapshot, digests=digests, matrix_version=matrix_version, consumers=consumers)
    return tuple(evaluation for _, evaluations in judged for evaluation in evaluations)


def compare_by_rule(
    lock: Lock,
    snapshot: Snapshot,
    *,
    digests: Mapping[str, str] = NO_DIGESTS,
    matrix_version: str | None = None,
    consumers: tuple[str, ...] = (),
    path: str | None = None,
) -> tuple[tuple[Rule, tuple[Evaluation, ...]], ...]:
    """Return the evaluations of each drift rule.

    Args:
        lock: The known-good state.
        snapshot: The present one.
        digests: Digests of the libraries loaded now, by path; empty for a snapshot from a file.
        matrix_version: Matrix that the snapshot was taken with; None for that of the lock.
        consumers: Compare only what these consumers load; empty for all.
        path: The lock's file, for the commands that lead back to it.
    """
    if lock.platform != platform_of(snapshot):
        reason = f"the lock is of {lock.platform}, this is {platform_of(snapshot)}: nothing in it can be compared"
        return tuple((rule, (Open(reason),)) for rule in DRIFT_RULES)
    sides = _sides(lock, snapshot, digests, matrix_version, consumers)
    found = _compare(sides)
    by_rule: dict[str, list[Evaluation]] = {rule.id: [] for rule in DRIFT_RULES}
    for rule, fail in fold(with_added_together(found.differences), lambda head: ways_of_lock(sides, head, path)):
        by_rule[rule.id].append(fail)
    for question in found.questions:
        by_rule[question.rule].append(question.evaluation)
    return tuple((rule, tuple(by_rule[rule.id]) or (_nothing_found(rule, lock),)) for rule in DRIFT_RULES)


def bind_rules(
    lock: Lock, *, digests: Mapping[str, str] = NO_DIGESTS, consumers: tuple[str, ...] = (), path: str | None = None
) -> tuple[Rule, ...]:
    """Return the drift rules with a lock in hand: the engine runs, selects and folds them like any other rule.

    Args:
        lock: The known-good state.
        digests: Digests of the libraries loaded now, by path; empty for a snapshot from a file.
        consumers: Compare only what these consumers load; empty for all.
        path: The lock's file, for the commands that lead back to it.
    """
    done: list[tuple[Snapshot, Mapping[str, tuple[Evaluation, ...]]]] = []

    def judged(snapshot: Snapshot, matrix: Matrix) -> Mapping[str, tuple[Evaluation, ...]]:
        if not done or done[0][0] is not snapshot:  # one comparison answers for all rules
            pairs = compare_by_rule(
                lock, snapshot, digests=digests, matrix_version=matrix.version, consumers=consumers, path=path
            )
            weighed = weigh(pairs, snapshot, matrix, lock)
            done[:] = [(snapshot, {rule.id: evaluations for rule, evaluations in weighed})]
        return done[0][1]

    def bound(rule: Rule) -> Rule:
        return msgspec.structs.replace(rule, evaluate=lambda snapshot, matrix: judged(snapshot, matrix)[rule.id])

    return tuple(bound(rule) for rule in DRIFT_RULES)


def _sides(
    lock: Lock,
    snapshot: Snapshot,
    digests: Mapping[str, str],
    matrix_version: str | None,
    consumers: tuple[str, ...],
) -> Sides:
    places = Places(snapshot)
    now = build_lock(snapshot, matrix_version or lock.matrix_version, digests=digests, places=places)
    return Sides(
        locked=lock,
        now=now,
        snapshot=snapshot,
        locked_files={library.path: library for library in lock.library},
        files=library_places(snapshot, places, digests),
        answers=ordered(snapshot),
        consumers=consumers,
    )


def _compare(sides: Sides) -> Comparison:
    found = Comparison()
    for area in _ALL_AREAS:
        found.join(area(sides))
    return found


def _nothing_found(rule: Rule, lock: Lock) -> Evaluation:
    if rule is DRIVER_DRIFT and lock.driver.policy == "recorded":
        return NotApplicable("the lock records the driver and compares nothing with it")
    if rule is GPU_DRIFT and lock.gpus.policy == "recorded":
        return NotApplicable("the lock records the GPUs and compares nothing with them")
    if rule is INTERPRETER_DRIFT and lock.interpreter is None:
        return NotApplicable("the lock has no interpreter")
    return Pass()
