"""The summary's lines: what could not be judged, or was not asked, never reads as ok."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Absent, Present
from gpudoctor.model.finding import OpenQuestion, Pass
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.areas import Area, summarize
from gpudoctor.report.build import build_report
from gpudoctor.report.canvas import Canvas
from gpudoctor.rules.engine import Verdict, judge
from gpudoctor.rules.registry import RULES
from unit.rules.builders import (
    CUBLAS,
    assumed_driver,
    ct2_cublas,
    ctranslate2,
    cublas12,
    gpu,
    machine,
    replace,
    torch,
    with_,
)

MATRIX = load_matrix()
HEALTHY = with_(machine(), ctranslate2("4.8.5"), cublas12(), ct2_cublas(CUBLAS))
HUNGRY = with_(machine(), ctranslate2("4.8.5"), ct2_cublas(None))
ASKED = {rule.id: (Pass(),) for rule in RULES}


def verdicts(*open_rules: str) -> dict[str, str]:
    questions = tuple(OpenQuestion(rule=rule, reason="could not look") for rule in open_rules)
    verdict = Verdict(findings=(), open=questions, evaluations=ASKED)
    report = build_report(verdict, HEALTHY, MATRIX, fail_on="error", strict=False)
    return {area.name: area.verdict for area in summarize(report, HEALTHY)}


def areas(snapshot: Snapshot, *, select: tuple[str, ...] = (), ignore: tuple[str, ...] = ()) -> dict[str, Area]:
    verdict = judge(snapshot, MATRIX, select, ignore)
    report = build_report(verdict, snapshot, MATRIX, fail_on="error", strict=False)
    return {area.name: area for area in summarize(report, snapshot)}


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


def test_what_was_not_asked_is_not_ok() -> None:
    ignored = areas(HUNGRY, ignore=("GPD201",))["ctranslate2"]
    assert ignored.verdict == "open"
    assert ignored.text.endswith("not asked: GPD201")
    chosen = areas(HUNGRY, select=("GPD4",))
    assert {name for name, area in chosen.items() if area.verdict == "ok"} == set()
    assert "GPD201, GPD202 and" in chosen["ctranslate2"].text


def test_what_was_asked_is_ok_all_the_same() -> None:
    chosen = areas(HEALTHY, ignore=("GPD4", "GPD5"))
    assert chosen["ctranslate2"].verdict == "ok"
    assert "not asked" not in chosen["driver"].text


def test_a_fault_outranks_what_was_not_asked() -> None:
    area = areas(HUNGRY, ignore=("GPD206",))["ctranslate2"]
    assert (area.verdict, "not asked" in area.text) == ("error", False)


def test_where_nothing_is_to_be_judged_the_summary_says_so() -> None:
    area = areas(machine())["consumers"]
    assert area.verdict == "skip"
    assert "--python" in area.text
    assert "consumers" not in areas(HEALTHY)
    assert "consumers" not in areas(with_(machine(), torch()))


def test_no_python_environment_is_not_an_environment_that_is_fine() -> None:
    assert areas(machine(interpreter=Absent(), distributions=()))["packages"].verdict == "skip"


def test_a_gpu_that_is_named_by_its_compute_capability_says_it_once() -> None:
    named = gpu(name=Present("compute capability 8.6"), memory_total_bytes=Absent(), assumed=True)
    text = areas(replace(HEALTHY, driver=assumed_driver("580.95.05"), gpus=Present((named,))))["driver"].text
    assert text.count("8.6") == 1


def test_a_library_that_torch_loads_first_is_told_as_what_the_user_meets() -> None:
    lucky = with_(
        machine(),
        ctranslate2("4.8.5"),
        torch(),
        cublas12(),
        ct2_cublas(None),
        ct2_cublas(CUBLAS, "after-torch", found_via="already-loaded"),
    )
    assert areas(lucky)["ctranslate2"].text == "4.8.5: finds libcublas.so.12 only after torch was imported"


def test_quotation_marks_are_readable_in_ascii() -> None:
    canvas = Canvas(colored=False, width=10_000, ascii_only=True)
    canvas.line("it stops with “Library x is not found” … é")
    assert canvas.text() == 'it stops with "Library x is not found" ... \\xe9\n'
