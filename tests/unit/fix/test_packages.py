"""Packages changed and taken back, with wheels of a few kilobytes and real installers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from gpudoctor.fix.dry_run import dry_run, find_installer
from gpudoctor.fix.package_change import explain_failure
from gpudoctor.fix.package_plan import plan_packages
from gpudoctor.fix.package_types import ChangePackages, Installer
from gpudoctor.fix.plan import NothingToDo
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.render_plan import describe, described, render_fix, with_outcome
from gpudoctor.fix.state import told_of
from gpudoctor.fix.types import Plan
from gpudoctor.model.fact import Present
from gpudoctor.report.canvas import UNWRAPPED_WIDTH, Canvas
from gpudoctor.system.changes import CannotChange, RealChanges
from gpudoctor.system.installer import InstallerResult, find_uv, run_installer
from support.repairs import KilledChanges, in_child
from support.smallwheels import NAME, Lacking, small_wheel
from support.treestate import changed, tree_state

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the loader that is emulated is Linux's")


def planned(patient: Lacking, wanted: dict[str, str] | None = None) -> Plan:
    plan = patient.plan_packages(wanted)
    assert isinstance(plan, Plan), plan
    return plan


def test_missing_libraries_are_installed_and_found(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    before = tree_state(patient.env.root)
    plan = planned(patient)
    (action,) = plan.actions
    assert isinstance(action, ChangePackages)
    assert (action.pins, action.removed) == ((f"{NAME}==9.2.0",), ())
    assert changed(before, tree_state(patient.env.root)) == []
    assert patient.carry_out(plan).status == "applied"
    assert patient.installed() == {NAME: "9.2.0"}
    # In the same run, what makes the loader find them.
    (run,) = patient.workshop().runs()
    assert [type(a).__name__ for a in run.plan.actions] == ["ChangePackages", "WriteFile", "WriteFile"]
    assert isinstance(patient.plan_packages(), NothingToDo)
    assert isinstance(patient.plan(), NothingToDo)
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []
    assert not list(Path(run.folder).glob("packages*"))


def test_another_major_version_is_replaced_and_comes_back(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    patient.uv("install", f"{NAME}==8.9.2")
    cache = patient.env.site / "nvidia/cudnn/__pycache__"
    cache.mkdir()
    (cache / "__init__.cpython-311.pyc").write_bytes(b"compiled")
    module = patient.env.site / "nvidia/cudnn/__init__.py"
    content = module.read_bytes()
    module.unlink()  # a hard link into the cache of uv
    module.write_bytes(content)
    module.chmod(0o640)
    os.utime(module, ns=(1_000_000_007, 1_000_000_007))
    before = tree_state(patient.env.root)
    assert patient.carry_out(planned(patient)).status == "applied"
    assert patient.installed() == {NAME: "9.2.0"}
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_a_damaged_package_is_installed_anew(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    patient.uv("install", f"{NAME}==9.1.0")
    (patient.env.site / "nvidia/cudnn/lib/libcudnn_ops.so.9").unlink()
    before = tree_state(patient.env.root)
    plan = planned(patient)
    assert str(plan.actions[0].steps[0]) == f"~ {NAME}==9.1.0"
    assert patient.carry_out(plan).status == "applied"
    assert (patient.env.site / "nvidia/cudnn/lib/libcudnn_ops.so.9").exists()
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_of_two_packages_that_own_the_same_files_one_goes(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    shared = ("speech/__init__.py", "speech/build.py")
    for name, content in (("speech-gpu", b"GPU = True\n"), ("speech", b"GPU = False\n")):
        small_wheel(patient.index, name, "1.0", dict.fromkeys(shared, content))
        patient.uv("install", f"{name}==1.0")
    patient.knows_conflict("speech", "speech-gpu")
    patient.uv("install", f"{NAME}==9.1.0")
    before = tree_state(patient.env.root)
    plan = planned(patient)
    assert [str(s) for s in plan.actions[0].steps] == ["- speech==1.0", "~ speech-gpu==1.0"]
    assert plan.targets == (("GPD401", "speech, speech-gpu", "cpu-only-build"),)
    assert patient.carry_out(plan).status == "applied"
    assert (patient.env.site / shared[1]).read_text() == "GPU = True\n"
    assert not list(patient.env.site.glob("speech-1.0*"))
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_versions_of_elsewhere_are_taken_over(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    patient.uv("install", f"{NAME}==9.2.0")
    before = tree_state(patient.env.root)
    plan = planned(patient, {NAME: "9.1.0"})
    assert patient.carry_out(plan).status == "applied"
    assert patient.installed() == {NAME: "9.1.0"}
    assert isinstance(patient.plan_packages({NAME: "9.1.0"}), NothingToDo)
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_a_pin_of_an_installed_package_is_respected(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    small_wheel(patient.index, "torch", "2.5.1", {"torch/__init__.py": b""}, requires=(f"{NAME} (==9.1.0)",))
    patient.uv("install", "--no-deps", "torch")
    assert planned(patient).actions[0].pins == (f"{NAME}==9.1.0",)
    refused = patient.plan_packages({NAME: "9.2.0"})
    assert isinstance(refused, Refusal)
    assert f"torch 2.5.1 asks for {NAME}==9.1.0, and {NAME} would become 9.2.0" in refused.reason


@pytest.mark.parametrize(
    ("marker", "protects"),
    [
        ('python_version < "3.10"', True),
        ('python_version >= "3.10"', False),
        ('platform_machine == "s390x"', False),
        ('extra == "gpu"', False),
        ("platform_system == 'Linux'", True),
    ],
)
def test_markers_are_read_for_the_environment_and_not_for_gpudoctor(
    tmp_path: Path, marker: str, protects: bool
) -> None:
    """The environment is of Python 3.9, where no gpudoctor runs."""
    patient = Lacking(tmp_path)
    info = patient.env.site / "torch-2.5.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: torch\nVersion: 2.5.1\nRequires-Dist: {NAME}==9.1.0 ; {marker}\n"
    )
    seen = patient.see()
    old = msgspec.structs.replace(seen.python, version=Present("3.9.18"))
    snapshot = msgspec.structs.replace(seen.snapshot, interpreter=Present(old))
    request = msgspec.structs.replace(seen, interpreter=old, snapshot=snapshot)
    plan = plan_packages(patient.system, RealChanges(), patient.matrix, request)
    assert isinstance(plan, Plan), plan
    (action,) = plan.actions
    assert isinstance(action, ChangePackages)
    assert action.pins == (f"{NAME}=={'9.1.0' if protects else '9.2.0'}",)


def test_a_version_that_does_not_exist_is_said(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    before = tree_state(patient.env.root)
    refused = patient.plan_packages({NAME: "9.99"})
    assert isinstance(refused, Refusal)
    assert f"uv finds no way to install {NAME}==9.99" in refused.reason
    assert "\n" not in refused.reason
    assert changed(before, tree_state(patient.env.root)) == []


def test_a_wheel_that_is_gone_after_the_plan_changes_nothing(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    before = tree_state(patient.env.root)
    plan = planned(patient)
    for wheel in patient.index.iterdir():
        wheel.unlink()
    with pytest.raises(CannotChange, match="nothing of the environment was touched"):
        patient.carry_out(plan)
    assert changed(before, tree_state(patient.env.root)) == []
    (run,) = patient.workshop().runs()
    assert run.state == "undone"


def test_what_the_user_replaced_since_is_left(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    patient.carry_out(planned(patient))
    patient.uv("install", f"{NAME}==9.1.0")
    (left,) = patient.undo()
    assert f"{NAME} was 9.2.0 after this run and is 9.1.0 now" in left
    assert patient.installed() == {NAME: "9.1.0"}


def test_a_file_that_the_user_changed_since_is_left(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    patient.carry_out(planned(patient))
    module = patient.env.site / "nvidia/cudnn/__init__.py"
    module.unlink()
    module.write_text("# mine, and longer\n")
    left = patient.undo()
    assert left[0] == f"{module} was changed since and is left as it is"
    assert module.read_text() == "# mine, and longer\n"
    assert patient.installed() == {}


def test_packages_that_are_not_enough_are_taken_back(tmp_path: Path) -> None:
    """The wheel does not hold what the matrix says it does."""
    patient = Lacking(tmp_path)
    for wheel in patient.index.glob("*-9.*"):
        wheel.unlink()
    small_wheel(patient.index, NAME, "9.3.0", {"nvidia/cudnn/lib/other.so": b""})
    before = tree_state(patient.env.root)
    with pytest.raises(CannotChange, match=r"do not bring libcudnn_ops.so.9.*; what was done was taken back"):
        patient.carry_out(planned(patient))
    assert changed(before, tree_state(patient.env.root)) == []


def test_killed_at_any_moment_it_can_be_taken_back(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    patient.uv("install", f"{NAME}==8.9.2")
    before = tree_state(patient.env.root)
    plan = planned(patient)
    for moment in range(200):
        status = in_child(lambda m=moment: patient.carry_out(plan, KilledChanges(m)))
        workshop = patient.workshop()
        with workshop.lock():
            workshop.settle()
        ended = workshop.runs()[-1:]
        if ended and ended[0].state == "applied":  # its last line was written: nothing is left to take back
            break
        assert changed(before, tree_state(patient.env.root)) == [], moment
    assert moment > 10
    assert status == 0 or ended[0].state == "applied"
    assert patient.installed() == {NAME: "9.2.0"}
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


@pytest.mark.parametrize(
    "crime",
    [
        "",
        "rm -rf $SITE/nvidia_cudnn_cu12-*.dist-info/[MR]*",
        "rm -rf $SITE/nvidia_cudnn_cu12-*.dist-info $SITE/nvidia/cudnn/lib/*ops*",
        "rm -rf $SITE/nvidia $SITE/nvidia_cudnn_cu12-*.dist-info",
    ],
)
def test_killed_while_the_installer_works_it_can_be_taken_back(tmp_path: Path, crime: str) -> None:
    """Whatever the installer got done: the record of what is there and what comes was made before it."""
    patient = Lacking(tmp_path)
    patient.uv("install", f"{NAME}==8.9.2")
    before = tree_state(patient.env.root)
    plan = planned(patient)
    slow = tmp_path / "uv"
    uv = Path(sys.executable).with_name("uv")
    slow.write_text(
        f"#!/bin/sh\nSITE='{patient.env.site}'\n'{uv}' \"$@\"\n"
        f'case "$*" in *--target*) exit 0;; esac\n{crime}\nkill -9 $PPID\nsleep 60\n'
    )
    slow.chmod(0o755)
    action = msgspec.structs.replace(plan.actions[0], installer=Installer("uv", str(slow)))
    plan = msgspec.structs.replace(plan, actions=(action,))
    assert os.WTERMSIG(in_child(lambda: patient.carry_out(plan))) == signal.SIGKILL
    assert changed(before, tree_state(patient.env.root)) != []
    (run,) = patient.workshop().runs()
    assert run.state == "interrupted"
    assert "was killed in its change 1 of 1" in told_of(run)
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_the_installer_dies_with_gpudoctor(tmp_path: Path) -> None:
    """Otherwise it would go on while its work is taken back."""
    note = tmp_path / "note"
    script = f"echo $$ > '{note}'; kill -9 $PPID; sleep 60"
    in_child(lambda: run_installer(["sh", "-c", script], {"PATH": os.environ["PATH"]}, echo=False))
    pid = int(note.read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("it went on")


def test_undoing_that_is_killed_at_any_moment_can_be_repeated(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    patient.uv("install", f"{NAME}==8.9.2")
    before = tree_state(patient.env.root)
    plan = planned(patient)
    for moment in range(0, 200, 3):
        assert patient.carry_out(plan).status == "applied"
        status = in_child(lambda m=moment: patient.undo(KilledChanges(m)))
        workshop = patient.workshop()
        with workshop.lock():
            workshop.settle()
        if any(r.state == "applied" for r in workshop.runs()):
            patient.undo()  # killed before its first line
        assert changed(before, tree_state(patient.env.root)) == [], moment
        if status == 0:
            break
    assert moment > 6


def test_pip_does_it_where_there_is_no_uv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    patient = Lacking(tmp_path, PATH="/usr/bin:/bin")
    subprocess.run([patient.env.python, "-m", "ensurepip", "--default-pip"], check=True, capture_output=True)
    patient.uv("install", f"{NAME}==8.9.2")
    (patient.env.root / ".lock").unlink()
    before = tree_state(patient.env.root)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert find_uv(patient.system.environ()) is None
    said: list[str] = []
    plan = plan_packages(patient.system, RealChanges(), patient.matrix, patient.see(), say=said.append)
    assert isinstance(plan, Plan)
    # Its dry run may take minutes: who waits is told why, before it begins.
    assert len(said) == 1
    assert "it may download whole wheels" in said[0]
    (action,) = plan.actions
    assert isinstance(action, ChangePackages)
    assert (action.installer.kind, action.pins) == ("pip", (f"{NAME}==9.2.0",))
    assert changed(before, tree_state(patient.env.root)) == []
    capfd.readouterr()
    assert patient.carry_out(plan).status == "applied"
    assert capfd.readouterr().err.count("Successfully installed") == 1  # not when it was only unpacked beforehand
    assert patient.installed() == {NAME: "9.2.0"}
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_the_sizes_that_pip_s_dry_run_tells_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip 23.2 prints, who had no metadata apart from the wheels; the last was fetched and then not chosen."""
    patient = Lacking(tmp_path, PATH="/usr/bin:/bin")
    python = tmp_path / "python-with-pip"
    python.write_text(
        "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in --report) report=$2;; esac; shift; done\n"
        'echo \'{"install": [{"metadata": {"name": "nvidia_cudnn_cu12", "version": "9.1.0.70"}}, \'\\\n'
        '\'{"metadata": {"name": "small", "version": "1"}}]}\' > "$report"\n'
        "cat <<END\n"
        "Collecting nvidia-cudnn-cu12==9.1.0.70\n"
        "  Downloading nvidia_cudnn_cu12-9.1.0.70-py3-none-manylinux2014_x86_64.whl.metadata (1.6 kB)\n"
        "  Using cached nvidia_cudnn_cu12-9.1.0.70-py3-none-manylinux2014_x86_64.whl (664.8 MB)\n"
        "  Downloading small-2-py3-none-any.whl (1.2 MB)\n"
        "END\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    installer = find_installer(patient.system, str(python), has_pip=True)
    found = dry_run(patient.system, installer, str(python), str(patient.env.root), ("x",), lambda _: None)
    assert found.versions == {NAME: "9.1.0.70", "small": "1"}
    assert found.sizes == {NAME: "664.8 MB"}


def test_the_plan_says_what_follows_and_the_end_what_did(tmp_path: Path) -> None:
    patient = Lacking(tmp_path)
    plan = planned(patient)
    follows = describe(plan).follows
    assert follows is not None
    assert f"gpudoctor_preload.pth and _gpudoctor_preload.py in {patient.env.site}" in follows
    sheet = Canvas(colored=False, width=UNWRAPPED_WIDTH, ascii_only=False)
    text = render_fix(describe(plan), sheet)
    assert text.index(f"+ {NAME}==9.2.0") < text.index(follows) < text.index("nothing was changed")
    outcome = patient.carry_out(plan)
    assert [Path(a.path).name for a in outcome.followed] == ["_gpudoctor_preload.py", "gpudoctor_preload.pth"]
    done = with_outcome(describe(plan), status="applied", run=outcome.run, followed=described(outcome.followed))
    sheet = Canvas(colored=False, width=UNWRAPPED_WIDTH, ascii_only=False)
    assert f"then     {patient.env.site}/gpudoctor_preload.pth: " in render_fix(done, sheet, brief=True)


@pytest.mark.parametrize(
    ("err", "expected"),
    [
        (
            "Using Python\nerror: Request failed\n  cause: Failed to fetch: x\n  cause: Connection refused\n",
            "Request failed: Connection refused",
        ),
        (
            "ERROR: Could not find a version\nERROR: No matching distribution found for x\n",
            "No matching distribution found for x",
        ),
        ("", "it ended with status 2"),
        ("error: " + "x" * 9000, "x" * 500 + "…"),
    ],
)
def test_a_failure_is_one_clause(err: str, expected: str) -> None:
    assert explain_failure(InstallerResult(2, "", err)) == expected


def test_an_installer_that_hangs_is_ended(tmp_path: Path) -> None:
    result = run_installer(["sleep", "600"], {"PATH": os.environ["PATH"]}, echo=False, timeout_s=0.2)
    assert result.timed_out
    assert explain_failure(result) == "it did not end within the time limit"
    with pytest.raises(CannotChange, match="cannot be started"):
        run_installer([str(tmp_path / "no uv")], {}, echo=False)
