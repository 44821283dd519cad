"""Snapshot + matrix -> verdict: runs the rules, folds symptoms under their causes, sorts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.model.finding import Evaluation, Fail, Finding, Ignored, Open, OpenQuestion
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.folding import fold
from gpudoctor.rules.internal import rule_failed
from gpudoctor.rules.registry import RULES

_RANK = {"error": 0, "warning": 1, "note": 2}
# Rules that need more than a snapshot (a lock file, a deep check, files) and so are no part of the registry: their ids
# and names are good in `--select` and `--ignore` all the same.
ELSEWHERE = {
    "GPD151": "driver-drift",
    "GPD152": "gpu-drift",
    "GPD211": "canary-failed",
    "GPD212": "version-disagrees",
    "GPD213": "emulator-disagrees",
    "GPD251": "library-drift",
    "GPD252": "resolution-drift",
    "GPD451": "distribution-drift",
    "GPD452": "interpreter-drift",
    "GPD471": "unpinned-coupled-package",
    "GPD472": "requirements-disagree",
    "GPD473": "yanked-release",
    "GPD474": "no-such-release",
    "GPD479": "line-not-understood",
    "GPD551": "search-path-drift",
    "GPD561": "links-beside-consumer",
    "GPD651": "gpu-not-reserved",
    "GPD902": "interrupted-repair",
    "GPD911": "unused-ignore",
    "GPD912": "expired-ignore",
}


class Verdict(msgspec.Struct, frozen=True):
    """What all rules answered.

    Attributes:
        findings: The headlines: worst first, then by rule id, then by subject.
        open: What could not be judged.
        evaluations: Every answer, by rule id.
        required_open: Whether a rule that `--strict` insists on is open.
        config: The file of the project's settings that were applied; None without one.
        ignored: Findings that these settings set aside.
    """

    findings: tuple[Finding, ...]
    open: tuple[OpenQuestion, ...]
    evaluations: Mapping[str, tuple[Evaluation, ...]]
    required_open: bool = False
    config: str | None = None
    ignored: tuple[Ignored, ...] = ()


def judge(
    snapshot: Snapshot,
    matrix: Matrix,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    rules: Sequence[Rule] = RULES,
) -> Verdict:
    """Judge a snapshot by the matrix.

    Args:
        snapshot: What the probes learnt.
        matrix: The facts.
        select: Rule ids, names or beginnings of ids (`GPD2`); only these run. Empty means all.
        ignore: The same; these do not run.
        rules: The registry.

    Returns:
        The verdict.

    Raises:
        UsageError: A selection names no rule.
    """
    check_names((*select, *ignore), rules)
    chosen = [r for r in rules if is_asked(r.id, r.name, select, ignore)]
    evaluations = {rule.id: _run(rule, snapshot, matrix) for rule in chosen}
    findings = tuple(e.finding for answers in evaluations.values() for e in answers if isinstance(e, Fail))
    questions = dict.fromkeys(
        OpenQuestion(rule=rule, reason=e.reason)
        for rule, answers in evaluations.items()
        for e in answers
        if isinstance(e, Open)
    )
    required = {r.id for r in chosen if r.required}
    return Verdict(
        findings=sort_findings(fold(findings)),
        open=tuple(questions),
        evaluations=evaluations,
        required_open=any(q.rule in required for q in questions),
    )


def is_selected(finding: Finding, select: Sequence[str], ignore: Sequence[str]) -> bool:
    """Tell whether a finding of a rule outside the registry is wanted; see judge."""
    return is_asked(finding.rule, finding.name, select, ignore)


def is_asked(rule_id: str, name: str, select: Sequence[str], ignore: Sequence[str]) -> bool:
    """Tell whether a rule is to run; see judge."""
    return (not select or _is_named(rule_id, name, select)) and not _is_named(rule_id, name, ignore)


def sort_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings worst first, then by rule id, then by subject."""
    return tuple(sorted(findings, key=lambda f: (_RANK[f.level], f.rule, f.subject.kind, f.subject.name, f.message)))


def _run(rule: Rule, snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    try:
        answers = rule.evaluate(snapshot, matrix)
    except Exception as error:  # noqa: BLE001 - the one place where a rule's crash becomes an answer, never a pass
        where = _place(error)
        return _failed(rule, f"{type(error).__name__}: {error}{where}")
    return answers or _failed(rule, "it answered nothing")


def _failed(rule: Rule, why: str) -> tuple[Evaluation, ...]:
    return (Open(f"the rule itself failed: {why}"), rule_failed(rule, why))


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({trace.tb_frame.f_code.co_name}, line {trace.tb_lineno})" if trace else ""


def _is_named(rule_id: str, name: str, names: Sequence[str]) -> bool:
    return any(name == n.strip().lower() or rule_id.startswith(n.strip().upper()) for n in names if n.strip())


def check_names(names: Sequence[str], rules: Sequence[Rule] = RULES) -> None:
    """Refuse names that mean no rule at all, of the registry or elsewhere.

    Raises:
        UsageError: There is one.
    """
    for name in names:
        elsewhere = any(_is_named(rule_id, other, (name,)) for rule_id, other in ELSEWHERE.items())
        if not elsewhere and not any(_is_named(rule.id, rule.name, (name,)) for rule in rules):
            raise UsageError(f"no rule is called {name!r}, and no rule id begins with it; `gpudoctor rule` lists them")
