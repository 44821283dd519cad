"""Repairs killed at every moment: whatever was reached, the next command brings the old or the new state, whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from gpudoctor.fix.state import interrupted_runs, told_of
from support.command import gpudoctor
from support.repairs import KilledChanges, Patient, in_child
from support.treestate import changed, tree_state

LANES = 4


def site_files(patient: Patient) -> set[str]:
    return {p.name for p in patient.env.site.iterdir() if "gpudoctor" in p.name}


def killed(status: int) -> bool:
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def told(patient: Patient) -> list[str]:
    runs = interrupted_runs(patient.system, patient.system.environ(), str(patient.env.root))
    return [told_of(run) for run in runs]


@pytest.mark.parametrize("strategy", ["hook", "links", "activate"])
@pytest.mark.parametrize("way", ["undo", "apply"])
@pytest.mark.parametrize("lane", range(LANES))
def test_apply_killed_at_every_moment(tmp_path: Path, strategy: str, way: str, lane: int) -> None:
    patient = Patient(tmp_path)
    before = tree_state(patient.env.root)
    moment, reached = lane, 0
    while killed(in_child(lambda at=moment: patient.apply(strategy, KilledChanges(at)))):  # type: ignore[misc]
        reached += 1
        is_changed = bool(changed(before, tree_state(patient.env.root)))
        stories = told(patient)
        is_whole = [r.state for r in patient.workshop().runs()] == ["applied"]
        assert is_changed <= (bool(stories) or is_whole), f"killed at {moment}: changed, and nothing says so"
        assert len(stories) <= 1
        if is_whole:  # killed after the last line
            assert stories == []
            assert patient.undo() == ()
        elif way == "apply":  # on to the new state
            outcome = patient.apply(strategy)
            assert outcome.status == "applied", (moment, outcome)
            assert told(patient) == []
            assert patient.undo() == ()
        elif stories:  # back to the old one
            assert patient.undo() == ()
        assert changed(before, tree_state(patient.env.root)) == [], f"killed at {moment}"
        assert told(patient) == []
        shutil.rmtree(patient.workshop().folder, ignore_errors=True)
        moment += LANES
    assert reached > 5


@pytest.mark.parametrize("strategy", ["hook", "links", "activate"])
@pytest.mark.parametrize("lane", range(LANES))
def test_undo_killed_at_every_moment(tmp_path: Path, strategy: str, lane: int) -> None:
    patient = Patient(tmp_path)
    before = tree_state(patient.env.root)
    moment, reached = lane, 0
    while True:
        assert patient.apply(strategy).status == "applied"
        if not killed(in_child(lambda at=moment: patient.undo(KilledChanges(at)))):  # type: ignore[misc]
            break
        reached += 1
        run = patient.workshop().runs()[-1]
        if run.state != "undone":
            assert run.state in ("applied", "undo-interrupted")
            assert not changed(before, tree_state(patient.env.root)) or run.state == "applied" or told(patient)
            assert patient.undo() == ()
        assert changed(before, tree_state(patient.env.root)) == [], f"killed at {moment}"
        shutil.rmtree(patient.workshop().folder, ignore_errors=True)
        moment += LANES
    assert reached > 2
    assert changed(before, tree_state(patient.env.root)) == []


def test_check_says_what_a_killed_repair_left(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    state = patient.system.environ()["XDG_STATE_HOME"]
    moment = 0
    while killed(in_child(lambda at=moment: patient.apply("hook", KilledChanges(at)))) and not told(patient):  # type: ignore[misc]
        moment += 1
    assert told(patient)

    def findings() -> list[dict[str, object]]:
        done = gpudoctor("check", "--python", patient.env.python, "--format", "json", XDG_STATE_HOME=state)
        return [f for f in json.loads(done.stdout)["findings"] if f["rule"] == "GPD902"]

    (finding,) = findings()
    assert finding["level"] == "error"
    named = f"gpudoctor fix --python {patient.env.python}"
    assert f"{named} --undo" in json.dumps(finding["fixes"])
    # Whoever reads the sentence alone must not take back what was done to another environment.
    ways = f"`{named} --undo` takes it back, `{named} --apply` makes it anew"
    assert ways in str(finding["message"])
    planned = gpudoctor("fix", "--python", patient.env.python, XDG_STATE_HOME=state)
    assert ways in planned.stderr
    assert gpudoctor("fix", "--python", patient.env.python, "--undo", XDG_STATE_HOME=state).returncode == 0
    assert findings() == []
