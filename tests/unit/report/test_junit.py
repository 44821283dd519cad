"""JUnit: of the schema that Jenkins validates with, and red exactly when the exit status is."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

import msgspec
import pytest
import xmlschema

from gpudoctor.model.finding import Report
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.junit import render_junit
from gpudoctor.rules.registry import RULES
from support.reports import HOSTILE, SCHEMAS, hostile, real

SCHEMA = xmlschema.XMLSchema(str(SCHEMAS / "junit-10.xsd"))


def rendered(report: Report, snapshot: Snapshot | None, fail_on: str = "error") -> ElementTree.Element:
    text = render_junit(report, snapshot, command="check", fail_on=fail_on)
    root = ElementTree.fromstring(text.encode())
    SCHEMA.validate(root)
    suite = root[0]
    counts = Counter(child.tag for case in suite.iter("testcase") for child in case)
    assert int(suite.get("tests", "")) == len(list(suite.iter("testcase")))
    assert int(suite.get("failures", "")) == counts["failure"] == int(root.get("failures", ""))
    assert int(suite.get("skipped", "")) == counts["skipped"]
    names = [(case.get("classname"), case.get("name")) for case in suite.iter("testcase")]
    assert len(set(names)) == len(names)
    return root


@pytest.mark.parametrize(("fail_on", "failures"), [("error", 1), ("warning", 2), ("never", 0)])
def test_what_fails_the_process_is_a_failure(fail_on: str, failures: int) -> None:
    root = rendered(*hostile("x"), fail_on=fail_on)
    assert len(list(root.iter("failure"))) == failures
    told = [case for case in root.iter("testcase") if case.get("classname") == "gpudoctor.GPD201"]
    assert len(told) == 3  # error, warning and the ignored one


def test_open_questions_are_skipped_and_properties_tell_the_rest() -> None:
    root = rendered(*hostile("why"))
    assert [s.get("message") for s in root.iter("skipped")][:2] == ["why", "why"]
    known = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert (known["exit_status"], known["open"], known["matrix_version"]) == ("1", "2", "why")


def test_a_real_report_lists_what_is_fine_too() -> None:
    report, snapshot = real()
    root = rendered(report, snapshot)
    fine = [case.get("name") for case in root.iter("testcase") if case.get("classname") == "gpudoctor.fine"]
    assert "torch" in fine
    assert "ctranslate2" not in fine
    (failure,) = root.iter("failure")
    assert "gpudoctor fix --python" in (failure.text or "")


def test_clean_files_are_one_test_that_passed() -> None:
    report = msgspec.structs.replace(real()[0], findings=(), open=())
    root = rendered(report, None)
    assert [len(case) for case in root.iter("testcase")] == [1]
    assert not list(root.iter("failure"))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_text(text: str) -> None:
    root = rendered(*hostile(text))
    assert {element.tag for element in root.iter()} == {
        "testsuites",
        "testsuite",
        "properties",
        "property",
        "testcase",
        "failure",
        "skipped",
        "system-out",
    }
    whole = ElementTree.tostring(root, encoding="unicode")
    assert len(whole) < 1_000_000
    if len(text) > 100_000:
        assert "more characters)" in whole


def test_where_hardly_a_rule_was_asked_nothing_passed_but_the_file_has_a_test() -> None:
    report, snapshot = real("host-rtx-4090-faster-whisper-ok")
    asked = msgspec.structs.replace(report, not_asked=tuple(r.id for r in RULES if r.id != "GPD401"))
    root = rendered(asked, snapshot)
    assert [case.get("classname") for case in root.iter("testcase")] == ["gpudoctor.fine"]
    assert "ctranslate2" not in {case.get("name") for case in root.iter("testcase")}
