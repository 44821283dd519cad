"""SARIF: of the official schema, with everything that the report holds, and meaning the same to every viewer."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import msgspec
import pytest

from gpudoctor.cli.rule import every_rule
from gpudoctor.model.finding import Location, Report
from gpudoctor.report.places import Places, uri_of
from gpudoctor.report.sarif import render_sarif
from support.reports import HOSTILE, finding, hostile, real, schema

VALIDATOR = jsonschema.Draft4Validator(schema("sarif-2.1.0-rtm.5.json"))
ANCHORED = Places(cwd="/repo", root="/repo", anchor="gpudoctor.lock")


def rendered(report: Report, places: Places = ANCHORED) -> dict[str, Any]:
    log = json.loads(render_sarif(report, every_rule(), places, command="check"))
    VALIDATOR.validate(log)
    return log["runs"][0]


def with_findings(*findings: Any) -> Report:
    return msgspec.structs.replace(real()[0], findings=findings)


def test_findings_open_questions_and_exit_status() -> None:
    report, _ = hostile("x")
    run = rendered(report)
    assert [(r["kind"], r["level"]) for r in run["results"]] == [
        ("fail", "error"),
        ("fail", "warning"),
        ("fail", "note"),
        ("open", "none"),
        ("open", "none"),
    ]
    assert run["invocations"][0]["exitCode"] == 1
    assert (run["properties"]["errors"], run["properties"]["open"], run["properties"]["ignored"]) == (1, 2, 1)


def test_a_real_report_names_target_versions_and_ways_out() -> None:
    report, _ = real()
    run = rendered(report)
    assert run["properties"]["python"] == "/srv/app/.venv/bin/python"
    assert run["tool"]["driver"]["version"] == report.tool.version
    assert run["properties"]["matrix_version"] == report.matrix_version
    assert "gpudoctor fix --python" in run["results"][0]["message"]["text"]
    assert run["results"][0]["properties"]["cause"] == "cudnn-not-loadable"


def test_rules_have_their_pages() -> None:
    run = rendered(real()[0])
    pages = {rule.id: rule.page for rule in every_rule()}
    described = run["tool"]["driver"]["rules"]
    assert {rule["id"] for rule in described} == {result["ruleId"] for result in run["results"]}
    for rule in described:
        assert rule["help"]["markdown"] == pages[rule["id"]].strip()
        assert len(rule["fullDescription"]["text"]) > 40
    for result in run["results"]:
        assert described[result["ruleIndex"]]["id"] == result["ruleId"]


def test_a_result_stands_where_it_was_found_or_at_the_anchor() -> None:
    placed = finding("x", location=Location(file="requirements/gpu.txt", line=7))
    run = rendered(with_findings(placed, finding("y")))
    physical = [r["locations"][0]["physicalLocation"] for r in run["results"][:2]]
    assert physical[0] == {"artifactLocation": {"uri": "requirements/gpu.txt"}, "region": {"startLine": 7}}
    assert physical[1] == {"artifactLocation": {"uri": "gpudoctor.lock"}, "region": {"startLine": 1}}


def test_without_an_anchor_there_is_only_a_logical_place() -> None:
    run = rendered(with_findings(finding("y")), Places(cwd="/repo", root="/repo"))
    (place,) = run["results"][0]["locations"]
    assert set(place) == {"logicalLocations"}
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "consumer/y"


def test_fingerprints_tell_results_apart_and_outlive_a_moved_line() -> None:
    first = finding("x", location=Location(file="a.txt", line=3))
    other = finding("y", location=Location(file="a.txt", line=3))
    moved = finding("x", location=Location(file="a.txt", line=90), message="put otherwise")

    def prints(*findings: Any) -> list[str]:
        results = rendered(with_findings(*findings))["results"]
        return [r["partialFingerprints"]["primaryLocationLineHash"] for r in results[: len(findings)]]

    assert len(set(prints(first, other, first))) == 3
    assert prints(first) == prints(moved)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_a_value_and_nothing_else(text: str) -> None:
    run = rendered(hostile(text)[0])
    assert len(run["results"]) == 5
    for result in run["results"]:
        message = result["message"]["text"]
        assert not re.search(r"(?<!\{)\{(\{\{)*\d", message), "a placeholder"
        assert not re.search(r"(?<!\\)\](?=\()", message), "a link"
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+|file:///[A-Za-z0-9._~/%-]*", uri)
    whole = json.dumps(run, ensure_ascii=False)
    assert whole.replace("\\n", "").isprintable()
    assert len(whole) < 1_000_000


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("a b/c#d?.txt", "a%20b/c%23d%3F.txt"),
        ("c:colon.txt", "c%3Acolon.txt"),
        ("/abs/ü", "file:///abs/%C3%BC"),
        ("C:\\x\\y.txt", "file:///C%3A/x/y.txt"),
        ("100%.txt", "100%25.txt"),
    ],
)
def test_a_path_becomes_a_uri_that_means_it(path: str, uri: str) -> None:
    assert uri_of(path) == uri
    assert unquote(urlsplit(uri).path).lstrip("/") == path.replace("\\", "/").lstrip("/")


@pytest.mark.parametrize(
    ("file", "cwd", "shown"),
    [
        ("requirements.txt", "/repo/service", "service/requirements.txt"),
        ("../pyproject.toml", "/repo/service", "pyproject.toml"),
        ("/repo/x/y.txt", "/repo", "x/y.txt"),
        ("/elsewhere/y.txt", "/repo", "/elsewhere/y.txt"),
        ("../../out.txt", "/repo/service", "/out.txt"),
    ],
)
def test_paths_start_at_the_repository(file: str, cwd: str, shown: str) -> None:
    place = Places(cwd=cwd, root="/repo").of(finding("x", location=Location(file=file)))
    assert place is not None
    assert place.file == shown
