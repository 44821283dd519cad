"""The check after a repair: what was to go must be gone, and nothing may be worse than before."""

from __future__ import annotations

import msgspec

from gpudoctor.canary.judge import apply_canary
from gpudoctor.canary.run import run_canary
from gpudoctor.fix.plan import finding_key
from gpudoctor.fix.types import Plan
from gpudoctor.loader.target import Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Finding
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from gpudoctor.system.protocol import ReadSystem


class Look(msgspec.Struct, frozen=True):
    """One look at an environment.

    Attributes:
        snapshot: The facts.
        findings: What the rules say, with what the canary saw.
        tried: Whether a canary ran and got an answer.
    """

    snapshot: Snapshot
    findings: tuple[Finding, ...]
    tried: bool


def take_look(system: ReadSystem, matrix: Matrix, target: Target | None, snapshot: Snapshot) -> Look:
    """Judge an environment, and try it in processes of its own interpreter.

    Args:
        system: The machine.
        matrix: The compatibility matrix.
        target: The process as the service will start it; None where nothing must be started.
        snapshot: The facts.
    """
    findings = judge(snapshot, matrix).findings
    if target is None:
        return Look(snapshot, findings, tried=False)
    report = run_canary(system, matrix, target, snapshot.resolutions)
    tried = any(s.outcome != "skipped" for s in report.steps if s.consumer != "driver")
    return Look(snapshot, apply_canary(findings, report, snapshot), tried)


def complaints(plan: Plan, before: Look, after: Look) -> tuple[str, ...]:
    """Return why a repair must be rolled back; empty when it did what it was made for."""
    known = {finding_key(f) for f in before.findings if f.level == "error"}
    found: list[str] = []
    for finding in after.findings:
        if finding_key(finding) in plan.targets and finding.level != "note":
            found.append(f"still there: {finding.rule} {finding.message}")
        elif finding.level == "error" and finding_key(finding) not in known:
            found.append(f"new: {finding.rule} {finding.message}")
    return tuple(found)
