"""Whether a drift matters: what the rules and the matrix say of the state as it is now. Pure."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.drift.lock import Lock
from gpudoctor.drift.places import clean
from gpudoctor.drift.record import build_lock
from gpudoctor.drift.rules import DISTRIBUTION_DRIFT
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, Evidence, Fail, Finding, Level
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
    words = {words_of(e) for e in every}
    scale = _Scale(
        errors=tuple(e for e in every if words_of(e) not in lock.errors),
        any_error=bool(every),
        mended=tuple(e for e in lock.errors if e not in words),
        gpu=frozenset(lock.gpu_names()),
        stack=frozenset((*lock.gpu_names(), *build_lock(snapshot, matrix.version).gpu_names())),
        judged=judged_packages(matrix),
    )
    return tuple((rule, tuple(_weighed(e, scale) if isinstance(e, Fail) else e for e in a)) for rule, a in pairs)


class _Scale(msgspec.Struct, frozen=True):
    """What a drift is weighed by.

    Attributes:
        errors: What is wrong now and was not when the state was locked.
        any_error: Whether anything is wrong now.
        mended: What was wrong when the state was locked and is not now, as the lock has it.
        gpu: Distributions of the GPU stack, as locked.
        stack: These, and those of the present state.
        judged: Packages that the matrix says something of.
    """

    errors: tuple[Finding, ...]
    any_error: bool
    mended: tuple[str, ...]
    gpu: frozenset[str]
    stack: frozenset[str]
    judged: frozenset[str]


def words_of(error: Finding) -> str:
    """Return an error as a lock records it: the same words on every machine, so that no folder is in them."""
    name = clean(error.subject.name.replace("\\", "/").rpartition("/")[2])
    return f"{error.rule} {name} {error.cause or error.name}"


def errors_of(snapshot: Snapshot, matrix: Matrix) -> tuple[Finding, ...]:
    """Return what the rules say is wrong with a state's environment, whatever the machine is."""
    found = judge(snapshot, matrix).findings
    return tuple(f for f in found if f.level == "error" and f.subject.kind in _OF_THE_ENVIRONMENT)


def judged_packages(matrix: Matrix) -> frozenset[str]:
    """Return the packages that a fact of the matrix is about, or speaks of."""
    facts = matrix.data.facts
    return frozenset({f.subject for f in facts} | {getattr(f.claim, "package", None) or f.subject for f in facts})


def speaks_of(error: Finding, distribution: str) -> bool:
    """Tell whether an error is about a distribution, or names it."""
    named = re.compile(rf"(?<![\w.-]){re.escape(distribution)}(?![\w-])")
    return error.subject.name == distribution or named.search(error.message) is not None


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
    harmless = not about and finding.rule == DISTRIBUTION_DRIFT.id and (patch or _is_beside(finding, scale))
    mends = finding.level == "warning" and (finding.subject.kind != "distribution" or bool(finding.consequences))
    level: Level = "warning" if harmless else "error" if mends and about else finding.level
    evidence = (*finding.evidence, Evidence(label=_MATTERS, value=_told(about, scale, mends=mends)))
    return Fail(msgspec.structs.replace(finding, level=level, evidence=evidence))


def _is_beside(finding: Finding, scale: _Scale) -> bool:
    """Tell whether a distribution is none of the GPU stack, none that a fact speaks of, and nothing came of it."""
    name = finding.subject.name
    return is_beside(name, scale.stack, scale.judged) and not finding.consequences


def is_beside(name: str, gpu: frozenset[str], judged: frozenset[str]) -> bool:
    """Tell whether a distribution is neither of the GPU stack nor one that a fact speaks of: tqdm, not numpy."""
    return name not in gpu and name not in judged and not name.startswith("nvidia-")


def _told(about: tuple[Finding, ...], scale: _Scale, *, mends: bool) -> str:
    if about:
        return "; ".join(f"{f.rule} {f.message}" for f in about[:_MOST])
    if mends and scale.mended:
        return f"by the rules, what was wrong when it was locked is mended: {'; '.join(scale.mended[:_MOST])}"
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
        return tuple(f for f in scale.errors if speaks_of(f, name))
    return scale.errors
