"""Package changes on a machine that refuses: disks that are full or another's, folders that may not be written to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.types import Plan
from gpudoctor.system.changes import CannotChange
from support.smallwheels import NAME, Lacking, small_wheel
from support.treestate import changed, tree_state

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of little room."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=False).returncode:
        pytest.skip("this root may not mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def planned(patient: Lacking) -> Plan:
    plan = patient.plan_packages()
    assert isinstance(plan, Plan), plan
    return plan


def enlarge(patient: Lacking) -> None:
    """Let the newest release be larger than any small disk."""
    small_wheel(patient.index, NAME, "9.3.0", {"nvidia/cudnn/lib/large.so": os.urandom(4 << 20)})


@needs_root
def test_copies_do_where_the_journal_is_on_another_disk(tmp_path: Path, small_disk: Path) -> None:
    patient = Lacking(tmp_path)
    patient.system.environ()["XDG_STATE_HOME"] = str(small_disk / "state")
    patient.uv("install", f"{NAME}==8.9.2")
    module = patient.env.site / "nvidia/cudnn/__init__.py"
    module.chmod(0o640)
    before = tree_state(patient.env.root)
    assert patient.carry_out(planned(patient)).status == "applied"
    assert patient.installed() == {NAME: "9.2.0"}
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


@needs_root
def test_no_room_for_what_is_fetched(tmp_path: Path, small_disk: Path) -> None:
    patient = Lacking(tmp_path)
    patient.system.environ()["XDG_STATE_HOME"] = str(small_disk / "state")
    patient.uv("install", f"{NAME}==8.9.2")
    enlarge(patient)
    before = tree_state(patient.env.root)
    with pytest.raises(CannotChange, match=r"nothing of the environment was touched: uv: .*No space left"):
        patient.carry_out(planned(patient))
    assert changed(before, tree_state(patient.env.root)) == []


@needs_root
def test_no_room_in_the_environment(tmp_path: Path, small_disk: Path) -> None:
    patient = Lacking(tmp_path, env=small_disk / "env")
    patient.uv("install", f"{NAME}==8.9.2")
    enlarge(patient)
    before = tree_state(patient.env.root)
    with pytest.raises(CannotChange, match=r"could not be changed: uv: .*No space left.*what was done was taken back$"):
        patient.carry_out(planned(patient))
    assert changed(before, tree_state(patient.env.root)) == []
    assert patient.installed() == {NAME: "8.9.2"}


@needs_root
def test_an_environment_that_is_mounted_read_only(tmp_path: Path, small_disk: Path) -> None:
    patient = Lacking(tmp_path, env=small_disk / "env")
    (patient.env.root / ".lock").touch()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused = patient.plan_packages()
    assert isinstance(refused, Refusal)
    assert "read-only" in refused.reason.lower()
    assert "\n" not in refused.reason
