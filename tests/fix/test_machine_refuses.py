"""A machine that refuses: full disks, read-only trees, missing rights, two at once. A clear error, all or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakehw.unprivileged import NOBODY
from gpudoctor.fix.apply import Stale, apply_plan
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.types import Plan
from gpudoctor.system.changes import Busy, CannotChange, RealChanges
from support.repairs import CUDNN, OPS, Patient, in_child
from support.treestate import changed, tree_state

# begin, one before and one after each of two files, applied
LINES = 6
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def planned(patient: Patient) -> Plan:
    plan = patient.plan()
    assert isinstance(plan, Plan)
    return plan


def fill(folder: Path) -> None:
    """Write until nothing more fits, not even a name with a byte."""
    for size in (1 << 16, 1 << 12, 1):
        number = 0
        while True:
            try:
                (folder / f"filler-{size}-{number}").write_bytes(b"x" * size)
                number += 1
            except OSError:
                break


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of little room."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", folder], check=False).returncode:
        pytest.skip("this root may not mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@needs_root
def test_no_room_in_the_environment(tmp_path: Path, small_disk: Path) -> None:
    patient = Patient(small_disk)
    patient.system.environ()["XDG_STATE_HOME"] = str(tmp_path / "state")
    plan = planned(patient)
    fill(small_disk)
    before = tree_state(patient.env.root)
    with pytest.raises(CannotChange, match="No space left"):
        apply_plan(patient.system, RealChanges(), patient.workshop().folder, plan)
    assert changed(before, tree_state(patient.env.root)) == []
    assert patient.workshop().runs()[-1].state == "undone"


@needs_root
def test_no_room_for_the_journal(tmp_path: Path, small_disk: Path) -> None:
    patient = Patient(tmp_path)
    patient.system.environ()["XDG_STATE_HOME"] = str(small_disk / "state")
    plan = planned(patient)
    patient.workshop().lock()
    fill(small_disk)
    before = tree_state(patient.env.root)
    with pytest.raises(CannotChange, match="No space left"):
        apply_plan(patient.system, RealChanges(), patient.workshop().folder, plan)
    assert changed(before, tree_state(patient.env.root)) == []


@pytest.mark.parametrize("room", range(LINES + 1))
def test_the_journal_runs_out_of_room_on_the_way(tmp_path: Path, room: int) -> None:
    """The disk fills up at each line of the journal in turn: what was done by then is taken back."""
    patient = Patient(tmp_path)
    plan = planned(patient)

    class Filling(RealChanges):
        lines = 0

        def append(self, path: str, line: bytes) -> None:
            self.lines += 1
            if self.lines > room:
                raise CannotChange(f"{path} cannot be written: No space left on device")
            super().append(path, line)

    before = tree_state(patient.env.root)
    if room < LINES:
        with pytest.raises(CannotChange, match="No space left"):
            apply_plan(patient.system, Filling(), patient.workshop().folder, plan)
        assert changed(before, tree_state(patient.env.root)) == []
        patient.workshop().settle()
    else:
        apply_plan(patient.system, Filling(), patient.workshop().folder, plan)
        assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


@needs_root
def test_read_only_tree(tmp_path: Path, small_disk: Path) -> None:
    patient = Patient(small_disk)
    patient.system.environ()["XDG_STATE_HOME"] = str(tmp_path / "state")
    plan = planned(patient)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    before = tree_state(patient.env.root)
    with pytest.raises(CannotChange, match="read-only"):
        apply_plan(patient.system, RealChanges(), patient.workshop().folder, plan)
    instead = planned(patient)
    assert (instead.strategy, instead.applicability, instead.actions) == ("show", "display-only", ())
    assert "read-only" in instead.why
    assert changed(before, tree_state(patient.env.root)) == []
    assert patient.workshop().runs() == ()


@needs_root
def test_missing_permission(capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="gpudoctor-"))  # pytest's own folders are closed to other users
    folder.chmod(0o755)
    try:
        patient = Patient(folder)
        plan = planned(patient)
        (folder / "state").mkdir(mode=0o777)
        (folder / "state").chmod(0o777)
        before = tree_state(patient.env.root)

        def as_nobody() -> None:
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setgroups([])
            os.setresuid(NOBODY, NOBODY, NOBODY)
            apply_plan(patient.system, RealChanges(), patient.workshop().folder, plan)

        assert os.WEXITSTATUS(in_child(as_nobody)) == 9
        assert "this user may not write there; nothing was changed" in capfd.readouterr().err
        assert changed(before, tree_state(patient.env.root)) == []
    finally:
        shutil.rmtree(folder)


def test_two_at_once(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    before = tree_state(patient.env.root)
    with patient.workshop().lock():
        assert os.WEXITSTATUS(in_child(patient.apply)) == 9
        with pytest.raises(Busy, match="another gpudoctor is changing this environment"), patient.workshop().lock():
            pass
    assert changed(before, tree_state(patient.env.root)) == []
    assert patient.apply().status == "applied"


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    patient = Patient(tmp_path)

    def die_locked() -> None:
        with patient.workshop().lock():
            os._exit(0)

    assert in_child(die_locked) == 0
    assert patient.apply().status == "applied"


def test_a_path_that_changed_since_the_plan(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    plan = planned(patient)
    stranger = Path(plan.actions[0].path)
    stranger.write_text("mine\n")
    with pytest.raises(Stale, match="has changed since the plan was made"):
        apply_plan(patient.system, RealChanges(), patient.workshop().folder, plan)
    assert stranger.read_text() == "mine\n"
    assert patient.workshop().runs() == ()


def test_an_environment_that_changed_since_the_plan(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    plan = planned(patient)
    (patient.env.site / CUDNN / OPS).unlink()
    before = tree_state(patient.env.root)
    with pytest.raises(Stale, match="the environment has changed"), patient.workshop().lock():
        patient.workshop().carry_out(patient.matrix, patient.request, plan)
    assert changed(before, tree_state(patient.env.root)) == []


def test_a_site_folder_that_leads_elsewhere(tmp_path: Path) -> None:
    """What lies outside the environment is somebody else's, whatever links lead there."""
    patient = Patient(tmp_path)
    shutil.move(patient.env.site, tmp_path / "shared")
    patient.env.site.symlink_to(tmp_path / "shared")
    before = tree_state(tmp_path / "shared")
    instead = planned(patient)
    assert instead.applicability == "display-only"
    assert "outside the environment" in instead.why
    assert changed(before, tree_state(tmp_path / "shared")) == []


class Swapping(RealChanges):
    """Changes during which somebody puts a link in a folder's place, at one moment.

    Attributes:
        site: The folder.
        away: Where the link leads.
    """

    def __init__(self, patient: Patient, away: Path, moment: int) -> None:
        super().__init__((str(patient.env.root), patient.workshop().folder))
        self.site, self.away, self._left = patient.env.site, away, moment

    def _swap(self) -> None:
        if self._left == 0:
            self.site.rename(self.site.with_name("before"))
            self.site.symlink_to(self.away)
        self._left -= 1

    def write_file(self, path: str, content: bytes, **options: object) -> None:  # type: ignore[override]
        self._swap()
        super().write_file(path, content, **options)  # type: ignore[arg-type]

    def make_link(self, path: str, text: str) -> None:
        self._swap()
        super().make_link(path, text)

    def remove(self, path: str) -> None:
        self._swap()
        super().remove(path)


@pytest.mark.parametrize("strategy", ["hook", "links"])
@pytest.mark.parametrize("moment", range(1, 5))
def test_a_folder_exchanged_for_a_link_on_the_way_leads_nowhere(tmp_path: Path, strategy: str, moment: int) -> None:
    """The owner of an environment that somebody else repairs must not choose what else is written, or removed."""
    patient = Patient(tmp_path)
    away = tmp_path / "away"
    shutil.copytree(patient.env.site, away, symlinks=True)
    before, plan = tree_state(away), patient.plan(strategy)
    assert isinstance(plan, Plan)
    swapping = Swapping(patient, away, moment)

    def apply_and_undo() -> None:  # the later moments come with undoing
        apply_plan(patient.system, swapping, patient.workshop().folder, plan)
        patient.undo(swapping)

    with pytest.raises(CannotChange, match="outside of"):
        apply_and_undo()
    assert changed(before, tree_state(away)) == []


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_stands_where_a_file_is_to_go_is_left_alone(tmp_path: Path, kind: str) -> None:
    """A pipe is not waited for, a link not followed."""
    patient = Patient(tmp_path)
    plan = planned(patient)
    path, other = Path(plan.actions[0].path), tmp_path / "other"
    other.write_text("somebody else's\n")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(other)
    else:
        path.mkdir()
    before = (path.lstat().st_ino, path.lstat().st_mtime_ns, sorted(patient.env.site.iterdir()))
    for strategy in (None, "hook"):
        answer = patient.plan(strategy)
        assert isinstance(answer, Refusal) or (isinstance(answer, Plan) and answer.strategy != "hook"), answer
    with pytest.raises(Stale):
        apply_plan(patient.system, RealChanges(), patient.workshop().folder, plan)
    assert before == (path.lstat().st_ino, path.lstat().st_mtime_ns, sorted(patient.env.site.iterdir()))
    assert other.read_text() == "somebody else's\n"
