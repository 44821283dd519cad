"""A static verdict, deepened by what the canary saw."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gpudoctor.canary.judge import apply_canary
from gpudoctor.canary.rules import canary_failed
from gpudoctor.canary.run import run_canary
from gpudoctor.loader.target import Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import OpenQuestion
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import Verdict, is_asked, is_selected
from gpudoctor.system.protocol import ReadSystem


def deepen(
    system: ReadSystem,
    matrix: Matrix,
    target: Target,
    snapshot: Snapshot,
    verdict: Verdict,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Verdict:
    """Run the canary and return the verdict as it stands afterwards.

    Args:
        system: The machine.
        matrix: The compatibility matrix.
        target: The process as the service will start it. It is run.
        snapshot: What the static check judged.
        verdict: What it answered.
        select: Rules that are wanted, as in `judge`.
        ignore: Rules that are not.
    """
    report = run_canary(system, matrix, target, snapshot.resolutions)
    known = set(verdict.findings)
    findings = apply_canary(verdict.findings, report, snapshot)
    asked = is_asked(canary_failed.id, canary_failed.name, select, ignore)
    problems = tuple(OpenQuestion(rule=canary_failed.id, reason=why) for why in report.problems if asked)
    return msgspec.structs.replace(
        verdict,
        findings=tuple(f for f in findings if f in known or is_selected(f, select, ignore)),
        open=(*verdict.open, *problems),
        required_open=verdict.required_open or bool(problems),
    )
