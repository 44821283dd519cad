"""The summary's lines: what could not be judged never reads as ok."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.finding import OpenQuestion
from gpudoctor.report.areas import summarize
from gpudoctor.report.build import build_report
from gpudoctor.rules.engine import Verdict
from unit.rules.builders import machine


def verdicts(*open_rules: str) -> dict[str, str]:
    snapshot = machine()
    questions = tuple(OpenQuestion(rule=rule, reason="could not look") for rule in open_rules)
    verdict = Verdict(findings=(), open=questions, evaluations={})
    report = build_report(verdict, snapshot, load_matrix(), fail_on="error", strict=False)
    return {area.name: area.verdict for area in summarize(report, snapshot)}


def test_all_is_well() -> None:
    assert set(verdicts().values()) == {"ok"}


@pytest.mark.parametrize(
    ("rule", "area"),
    [
        ("GPD106", "driver"),
        ("GPD601", "driver"),
        ("GPD301", "packages"),
        ("GPD401", "packages"),
        ("GPD504", "variables"),
    ],
)
def test_an_open_rule_makes_its_area_open(rule: str, area: str) -> None:
    assert [name for name, verdict in verdicts(rule).items() if verdict == "open"] == [area]
