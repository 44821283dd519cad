"""GPD901: a rule of gpudoctor itself failed."""

from __future__ import annotations

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, Evidence, Fail, Fix, NotApplicable, Subject
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.pages import environment as pages


def _evaluate(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del snapshot, matrix
    return (NotApplicable("the engine itself raises this one, when a rule fails"),)


def rule_failed(rule: Rule, why: str) -> Fail:
    """Return the finding on a rule that crashed or answered nothing."""
    return internal_error.fail(
        Subject(kind="target", name=rule.id),
        f"Rule {rule.id} ({rule.name}) failed inside gpudoctor, so what it looks for was not judged; this is a defect "
        "of gpudoctor, not of your machine: please report it with the snapshot.",
        cause=None,
        reason="a defect of gpudoctor itself",
        evidence=(Evidence(label="error", value=why),),
        fixes=(
            Fix(
                title="Attach the snapshot (home folders and names are masked) to a report",
                applicability="display-only",
                commands=("gpudoctor snapshot > snapshot.json",),
            ),
        ),
    )


internal_error = Rule(
    id="GPD901",
    name="internal-error",
    title="A rule of gpudoctor itself failed",
    level="error",
    causes=(),
    page=pages.GPD901,
    evaluate=_evaluate,
)
