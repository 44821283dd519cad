"""Whether a drift matters: what the rules and the matrix say of the state as it is now. Pure."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.drift.rules import DISTRIBUTION_DRIFT
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, Evidence, Fail, Finding
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.engine import judge

Answers = tuple[tuple[Rule, tuple[Evaluation, ...]], ...]

_MATTERS = "matters"
_MOST = 3
_RELEASE = re.compile(r"(?:\d+!)?(\d+)\.(\d+)(?:\.|$|[^\d.])")
# What a driver, a GPU or a container lacks is no consequence of what drifted in the environment.
_OF_THE_ENVIRONMENT = ("consumer", "distribution", "variable", "library")


def weigh(pairs: Answers, snapshot: Snapshot, matrix: Matrix) -> Answers:
    """Say of each drift what is wrong with the present state; a patch release that harms nobody becomes a warning.

    Args:
        pairs: What each drift rule answered.
        snapshot: The present state.
        matrix: The facts to judge it by.
    """
    if not any(isinstance(e, Fail) for _, answers in pairs for e in answers):
        return pairs
    errors = errors_of(snapshot, matrix)
    return tuple((rule, tuple(_weighed(e, errors) if isinstance(e, Fail) else e for e in a)) for rule, a in pairs)


def errors_of(snapshot: Snapshot, matrix: Matrix) -> tuple[Finding, ...]:
    """Return what the rules say is wrong with a state's environment, whatever the machine is."""
    found = judge(snapshot, matrix).findings
    return tuple(f for f in found if f.level == "error" and f.subject.kind in _OF_THE_ENVIRONMENT)


def is_patch(old: str, new: str) -> bool:
    """Tell whether two versions are of one minor release."""
    releases = [_RELEASE.match(version) for version in (old, new)]
    return all(releases) and len({m.groups() for m in releases if m}) == 1


def _weighed(fail: Fail, errors: tuple[Finding, ...]) -> Fail:
    finding = fail.finding
    if finding.subject.kind in ("driver", "gpu", "target"):
        return fail
    about = _about(finding, errors)
    told = "; ".join(f"{f.rule} {f.message}" for f in about[:_MOST]) or "by the rules, no consumer has an error now"
    values = {e.label: e.value for e in finding.evidence}
    patch = is_patch(values.get("locked", ""), values.get("found", ""))
    harmless = not about and patch and finding.rule == DISTRIBUTION_DRIFT.id
    evidence = (*finding.evidence, Evidence(label=_MATTERS, value=told))
    return Fail(msgspec.structs.replace(finding, level="warning" if harmless else finding.level, evidence=evidence))


def _about(finding: Finding, errors: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the errors that a drift may be behind: of one consumer's drift those of this consumer."""
    if finding.subject.kind != "consumer":
        return errors
    return tuple(f for f in errors if f.subject == finding.subject)
