"""Undoing: byte for byte what was there, and hands off what somebody else changed since."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpudoctor.model.errors import UsageError
from support.repairs import Patient
from support.treestate import changed, tree_state


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def hook(patient: Patient) -> Path:
    return patient.env.site / "_gpudoctor_preload.py"


def test_content_mode_and_times_come_back(patient: Patient) -> None:
    script = patient.env.root / "bin/activate"
    before = script.stat()
    assert patient.apply("activate").status == "applied"
    assert b"gpudoctor" in script.read_bytes()
    assert script.stat().st_mode == before.st_mode
    patient.undo()
    after = script.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_mtime_ns, before.st_size)


def test_bytecode_that_the_interpreter_made_of_the_hook_goes_too(patient: Patient) -> None:
    before = tree_state(patient.env.root)
    patient.apply()
    cache = patient.env.site / "__pycache__"
    cache.mkdir()
    (cache / "_gpudoctor_preload.cpython-311.pyc").write_bytes(b"")
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_bytecode_of_others_stays(patient: Patient) -> None:
    cache = patient.env.site / "__pycache__"
    cache.mkdir()
    (cache / "other.cpython-311.pyc").write_bytes(b"")
    before = tree_state(patient.env.root)
    patient.apply()
    (cache / "_gpudoctor_preload.cpython-311.pyc").write_bytes(b"")
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_an_edited_file_is_left_and_named(patient: Patient) -> None:
    patient.apply()
    hook(patient).write_text("mine\n")
    (left,) = patient.undo()
    assert left == f"{hook(patient)} was changed since and is left as it is"
    assert hook(patient).read_text() == "mine\n"
    assert not (patient.env.site / "gpudoctor_preload.pth").exists()


def test_a_file_that_somebody_replaced_by_a_link_is_left(patient: Patient, tmp_path: Path) -> None:
    patient.apply()
    precious = tmp_path / "precious"
    precious.write_bytes(hook(patient).read_bytes())
    hook(patient).unlink()
    hook(patient).symlink_to(precious)
    (left,) = patient.undo()
    assert str(hook(patient)) in left
    assert precious.exists()
    assert hook(patient).is_symlink()


def test_a_file_that_is_gone_already_is_no_matter(patient: Patient) -> None:
    before = tree_state(patient.env.root)
    patient.apply()
    hook(patient).unlink()
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_a_folder_that_others_changed_keeps_its_time(patient: Patient) -> None:
    patient.apply()
    (patient.env.site / "new_package.py").write_text("")
    os.utime(patient.env.site, ns=(10**18, 10**18))
    assert patient.undo() == ()
    assert patient.env.site.stat().st_mtime_ns > 10**18


def test_an_activation_script_that_was_edited_after_is_left(patient: Patient) -> None:
    patient.apply("activate")
    script = patient.env.root / "bin/activate"
    script.write_text(script.read_text() + "export MINE=1\n")
    (left,) = patient.undo()
    assert str(script) in left
    assert "MINE" in script.read_text()
    assert b"gpudoctor" not in (patient.env.root / "bin/activate.fish").read_bytes()


def test_what_cannot_be_undone_is_said(patient: Patient) -> None:
    with pytest.raises(UsageError, match="no run to undo"):
        patient.undo()
    run = patient.apply().run
    with pytest.raises(UsageError, match="no run 'nosuch'"):
        patient.workshop().undo("nosuch")
    patient.workshop().undo(run)
    with pytest.raises(UsageError, match="undone already"):
        patient.workshop().undo(run)


def test_a_damaged_journal_hides_no_other(patient: Patient) -> None:
    first = patient.apply().run
    folder = Path(patient.workshop().folder)
    (folder / "20250101T000000Z-1").mkdir()
    (folder / "20250101T000000Z-1/plan.json").write_text("{")
    (folder / "20250101T000000Z-2").write_text("")
    with (folder / first / "journal").open("ab") as file:
        file.write(b'\xff\xfe{"event":"no such event"}\n{"event":"doi')
    assert [run.id for run in patient.workshop().runs()] == [first]
    assert patient.undo() == ()


def test_a_forgotten_run_leaves_nothing_and_one_that_counts_is_kept(patient: Patient) -> None:
    workshop = patient.workshop()
    first = patient.apply("activate").run
    with pytest.raises(UsageError, match="is not undone"):
        workshop.forget(first)
    assert workshop.forget(None) == ()
    patient.undo()
    second = patient.apply().run
    kept = Path(workshop.folder) / first / "packages-0" / "kept"  # as a change of packages leaves it
    kept.mkdir(parents=True)
    (kept / "0").write_bytes(b"former")
    (kept / "1").symlink_to("nowhere")
    assert [r.id for r in workshop.forget(None)] == [first]
    assert [r.id for r in workshop.runs()] == [second]
    assert not (Path(workshop.folder) / first).exists()
    with pytest.raises(UsageError, match="there is no run"):
        workshop.forget(first)
    patient.undo()
    assert [r.id for r in workshop.forget(second)] == [second]


def test_an_applied_run_is_forgotten_only_when_it_is_meant(patient: Patient) -> None:
    workshop = patient.workshop()
    run = patient.apply().run
    repaired = tree_state(patient.env.root)
    assert workshop.forget(None, for_good=True) == ()  # all that were undone, never an applied one
    with pytest.raises(UsageError, match="with --yes it is forgotten"):
        workshop.forget(run)
    assert [r.id for r in workshop.forget(run, for_good=True)] == [run]
    assert (workshop.runs(), tree_state(patient.env.root)) == ((), repaired)


def test_an_interrupted_run_is_never_forgotten(patient: Patient) -> None:
    run = patient.apply().run
    journal = Path(patient.workshop().folder) / run / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if b"verified" not in line))
    with pytest.raises(UsageError, match="was interrupted"):
        patient.workshop().forget(run, for_good=True)


def test_a_hook_that_names_vanished_files_is_refreshed(patient: Patient) -> None:
    from gpudoctor.loader.preload_hook import PTH_FILE, PTH_TEXT, read_hook, render_hook
    from gpudoctor.loader.target import Preload

    patient.apply()
    site = str(patient.env.site)
    named = read_hook(hook(patient).read_text(), site)
    assert named is not None
    gone = Preload("ctother", (f"{site}/nvidia/gone/lib/libgone.so.9",))
    hook(patient).write_text(render_hook((*named, gone), site, str(patient.env.root)))
    assert (patient.env.site / PTH_FILE).read_text() == PTH_TEXT
    plan = patient.plan()
    assert "names files that are gone" in plan.why
    assert [a.path for a in plan.actions] == [str(hook(patient))]
    assert patient.apply().status == "applied"
    assert "libgone" not in hook(patient).read_text()
    assert not hasattr(patient.plan(), "actions"), "nothing is left to do"
