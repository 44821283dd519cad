"""Whether a drift matters: what the rules and the matrix say of the state as it is now. Pure."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.drift.lock import Lock
from gpudoctor.drift.places import clean
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


def weigh(pairs: Answers, snapshot: Snapshot, matrix: Matrix, lock: Lock) -> Answers:
    """Say of each drift what is wrong with the present state; a patch release that harms nobody becomes a warning.

    Args:
        pairs: What each drift rule answered.
        snapshot: The present state.
        matrix: The facts to judge it by.
        lock: The known-good state: what was wrong with it already is no consequence of a drift.
    """
    if not any(isinstance(e, Fail) for _, answers in pairs for e in answers):
        return pairs
    every = errors_of(snapshot, matrix)
    scale = _Scale(tuple(e for e in every if words_of(e) not in lock.errors), bool(every), frozenset(lock.gpu_names()))
    return tuple((rule, tuple(_weighed(e, scale) if isinstance(e, Fail) else e for e in a)) for rule, a in pairs)


class _Scale(msgspec.Struct, frozen=True):
    """What a drift is weighed by.

    Attributes:
        errors: What is wrong now and was not when the state was locked.
        any_error: Whether anything is wrong now.
        gpu: Distributions of the GPU stack, as locked.
    """

    errors: tuple[Finding, ...]
    any_error: bool
    gpu: frozenset[str]


def words_of(error: Finding) -> str:
    """Return an error as a lock records it: the same words on every machine, so that no folder is in them."""
    name = clean(error.subject.name.replace("\\", "/").rpartition("/")[2])
    return f"{error.rule} {name} {error.cause or error.name}"


def errors_of(snapshot: Snapshot, matrix: Matrix) -> tuple[Finding, ...]:
    """Return what the rules say is wrong with a state's environment, whatever the machine is."""
    found = judge(snapshot, matrix).findings
    return tuple(f for f in found if f.level == "error" and f.subject.kind in _OF_THE_ENVIRONMENT)


def is_patch(old: str, new: str) -> bool:
    """Tell whether two versions are of one minor release."""
    releases = [_RELEASE.match(version) for version in (old, new)]
    return all(releases) and len({m.groups() for m in releases if m}) == 1


def _weighed(fail: Fail, scale: _Scale) -> Fail:
    finding = fail.finding
    if finding.subject.kind in ("driver", "gpu", "target"):
        return fail
    about = _about(finding, scale)
    values = {e.label: e.value for e in finding.evidence}
    patch = is_patch(values.get("locked", ""), values.get("found", ""))
    harmless = not about and patch and finding.rule == DISTRIBUTION_DRIFT.id
    evidence = (*finding.evidence, Evidence(label=_MATTERS, value=_told(about, scale)))
    return Fail(msgspec.structs.replace(finding, level="warning" if harmless else finding.level, evidence=evidence))


def _told(about: tuple[Finding, ...], scale: _Scale) -> str:
    if about:
        return "; ".join(f"{f.rule} {f.message}" for f in about[:_MOST])
    if scale.errors:
        return "by the rules, nothing that is wrong now comes from it"
    if scale.any_error:
        return "by the rules, what is wrong now was wrong when it was locked"
    return "by the rules, no consumer has an error now"


def _about(finding: Finding, scale: _Scale) -> tuple[Finding, ...]:
    """Return the errors that a drift may be behind: of one consumer's drift those of this consumer."""
    name = finding.subject.name
    if finding.subject.kind == "consumer":
        return tuple(f for f in scale.errors if f.subject == finding.subject)
    if finding.subject.kind == "distribution" and name not in scale.gpu and not name.startswith("nvidia-"):
        # numpy or typing-extensions is behind an error that speaks of it, and behind no other one.
        speaks = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])")
        return tuple(f for f in scale.errors if f.subject.name == name or speaks.search(f.message))
    return scale.errors
