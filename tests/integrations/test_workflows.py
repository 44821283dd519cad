"""The project's own workflows: they run every step that there is, and trust no more than they must."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}
WRITING = "refresh.yml"


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]


def test_ci_runs_every_step_of_the_check() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "check.py"))
    runs = [step["run"].split() for step in steps("check.yml") if step.get("run", "").startswith("scripts/test ")]
    assert sorted(name for words in runs for name in words[1:]) == sorted(step.name for step in script["STEPS"])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_trusts_no_more_than_it_must(name: str) -> None:
    for step in steps(name):
        assert "${{" not in step.get("run", ""), "an expression would become a part of the script"
        uses = step.get("uses", "./")
        assert uses.startswith("./") or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", uses)
        if uses.startswith("actions/checkout@") and name != WRITING:
            assert step["with"]["persist-credentials"] is False
    expected = {"contents": "write", "pull-requests": "write"} if name == WRITING else {"contents": "read"}
    assert WORKFLOWS[name]["permissions"] == expected
