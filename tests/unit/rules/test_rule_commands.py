"""Commands to be copied: whatever a snapshot of a stranger holds, none of it acts in the reader's shell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Present
from gpudoctor.probes.replay import parse_snapshot
from gpudoctor.rules.engine import judge
from gpudoctor.rules.remedies import quoted, reinstall_fix
from unit.rules.builders import Parts, dist, interpreter, machine, replace, search_path, with_

ENVIRONMENTS = Path(__file__).parents[2] / "environments"
SLUGS = sorted(p.parent.name for p in ENVIRONMENTS.glob("*/snapshot.json"))
MATRIX = load_matrix()
EVIL = "$(evil)`evil`"


def acts(command: str) -> bool:
    """Tell whether a shell would run what is in a command, which stands in no single quotes and is not escaped."""
    return "evil" in re.sub(r"\\.[^\\$`]*", "", re.sub(r"'[^']*'", "", command))


def strangers(taken: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield snapshots in which versions, or the interpreter's path, hold what a shell would run."""
    text = json.dumps(taken)
    for spoil in (lambda v: v + EVIL, lambda v: v.replace("+", f"{EVIL}+")):
        other = json.loads(text)
        for holder in (*other["distributions"], *other["builds"]):
            version = holder.get("version") or {}
            if isinstance(version.get("value"), str):
                version["value"] = spoil(version["value"])
        yield other
    known = taken["interpreter"].get("value") or {}
    if "prefix" in known:
        yield json.loads(text.replace(json.dumps(known["prefix"])[1:-1], f"{known['prefix']} {EVIL}"))


@pytest.mark.parametrize("slug", SLUGS)
def test_no_command_runs_what_a_snapshot_holds(slug: str) -> None:
    taken = json.loads((ENVIRONMENTS / slug / "snapshot.json").read_text())
    for other in strangers(taken):
        findings = judge(parse_snapshot(json.dumps(other).encode(), slug), MATRIX).findings
        commands = [c for finding in findings for fix in finding.fixes for c in fix.commands]
        assert not [c for c in commands if acts(c)]


def test_a_damaged_package_with_a_strange_version() -> None:
    fix = reinstall_fix(with_(machine(), Parts(distributions=(dist("ctranslate2", f"1{EVIL}"),))), "ctranslate2", "/x")
    assert EVIL in fix.commands[0]
    assert not acts(fix.commands[0])


def test_an_interpreter_with_capabilities_and_a_strange_path() -> None:
    known = interpreter(secure_execution=Present(value=True), real_executable=f"/opt/a {EVIL}/python")
    found = judge(replace(search_path(machine(), "/opt/lib"), interpreter=Present(known)), MATRIX).findings
    commands = [c for f in found for fix in f.fixes for c in fix.commands if "cap" in c]
    assert f"getcap '/opt/a {EVIL}/python'" in commands
    assert not [c for c in commands if acts(c)]


def test_a_requirement_keeps_the_quotes_that_every_shell_knows() -> None:
    assert quoted("torch==2.5.1+cu124") == '"torch==2.5.1+cu124"'
    assert quoted("numpy>=1.26,<2") == '"numpy>=1.26,<2"'
    assert quoted("torch==$(evil)") == "'torch==$(evil)'"
