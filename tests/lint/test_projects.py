"""Four real projects' files, written anew: every verdict is stated beside its line, and nothing else may be said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.command import gpudoctor

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/expected*.yaml"))


def _line_number(text: str, wanted: str, taken: set[int]) -> int:
    found = [n for n, line in enumerate(text.splitlines(), 1) if wanted in line]
    assert found, f"no line holds {wanted!r}"
    return next((n for n in found if n not in taken), found[0])


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.parent.name}-{c.stem}")
def test_every_line_has_the_verdict_stated_beside_it(case: Path) -> None:
    expected: dict[str, Any] = yaml.safe_load(case.read_text())
    ran = gpudoctor("lint", *expected["arguments"], "--no-config", "--format", "json", cwd=case.parent)
    assert ran.stderr == ""
    report = json.loads(ran.stdout)
    want = []
    for file, lines in expected["lines"].items():
        text, taken = (case.parent / file).read_text(), set()
        for entry in lines:
            assert entry["why"]
            number = _line_number(text, entry["line"], taken)
            if entry["verdict"] != "ok":
                rule, level = entry["verdict"].split()
                want.append((file, number, rule, level))
    have = [(f["location"]["file"], f["location"]["line"], f["rule"], f["level"]) for f in report["findings"]]
    assert sorted(have) == sorted(want)
    assert [q["rule"] for q in report["open"]] == [q["rule"] for q in expected["open"]]
    for question, wanted in zip(report["open"], expected["open"], strict=True):
        assert question["reason"].startswith(wanted["says"])
    assert ran.returncode == expected["exit_status"] == report["summary"]["exit_status"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.parent.name}-{c.stem}")
def test_the_text_names_each_place_and_every_file_that_was_read(case: Path) -> None:
    expected: dict[str, Any] = yaml.safe_load(case.read_text())
    ran = gpudoctor("lint", *expected["arguments"], "--no-config", cwd=case.parent)
    for file in expected["read"]:
        assert file in ran.stdout
    for finding in json.loads(
        gpudoctor("lint", *expected["arguments"], "--no-config", "--format", "json", cwd=case.parent).stdout
    )["findings"]:
        assert f"{finding['location']['file']}:{finding['location']['line']}" in ran.stdout
        assert finding["facts"] or finding["evidence"]
