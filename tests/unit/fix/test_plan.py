"""Plans: which strategy, with what actions, and when none."""

from __future__ import annotations

import posixpath
import shutil
import subprocess
from pathlib import Path

import pytest

from gpudoctor.fix.plan import NothingToDo
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.render_env import render_env
from gpudoctor.fix.render_plan import describe, render_fix
from gpudoctor.fix.types import MakeLink, Plan, WriteFile
from gpudoctor.report.canvas import UNWRAPPED_WIDTH, Canvas
from support.gpuenvs import LIB
from support.repairs import CNN, CUDNN, OPS, Patient
from support.treestate import changed, tree_state


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def plan(patient: Patient, strategy: str | None = None) -> Plan:
    found = patient.plan(strategy)
    assert isinstance(found, Plan), found
    return found


def test_planning_changes_nothing_and_is_repeatable(patient: Patient, tmp_path: Path) -> None:
    before = tree_state(tmp_path)
    assert plan(patient) == plan(patient)
    assert changed(before, tree_state(tmp_path)) == []


def test_the_default_is_the_hook_and_says_why(patient: Patient) -> None:
    found = plan(patient)
    assert (found.strategy, found.applicability, found.consumers) == ("hook", "safe", ("ctspeech",))
    assert "however the interpreter is started" in found.why
    assert {(rule, subject) for rule, subject, _ in found.targets} == {("GPD201", "ctspeech")}
    hook, start = found.actions
    assert isinstance(hook, WriteFile)
    assert isinstance(start, WriteFile)
    assert (hook.mode, start.mode) == (0o644, 0o644)
    assert start.content == b"import _gpudoctor_preload\n"
    text = hook.content.decode()
    assert text.index(OPS) < text.index(CNN)
    assert str(patient.env.root) not in text


def test_a_hook_from_before_is_extended_not_replaced(patient: Patient) -> None:
    assert patient.apply().status == "applied"
    patient.env.library("nvidia/cublas/lib", "libcublas.so.12", "12.4.5")
    patient.env.consumer("ctother", opens=("libcublas.so.12",))
    patient.matrix = patient.env.matrix
    found = plan(patient)
    (action,) = found.actions
    assert isinstance(action, WriteFile)
    assert b"'ctother'" in action.content
    assert b"'ctspeech'" in action.content
    assert action.former is not None
    assert b"ctother" not in action.former
    first = tree_state(patient.env.root)
    assert patient.apply().status == "applied"
    assert isinstance(patient.plan(), NothingToDo)
    assert patient.undo() == ()
    assert changed(first, tree_state(patient.env.root)) == []
    assert patient.undo() == ()


def test_nothing_to_do_where_nothing_is_missing(patient: Patient) -> None:
    patient.apply()
    assert isinstance(patient.plan(), NothingToDo)
    assert isinstance(patient.plan("links"), NothingToDo)


def test_a_library_that_is_nowhere_is_named(patient: Patient) -> None:
    for path in (patient.env.site / CUDNN).iterdir():
        path.unlink()
    found = patient.plan()
    assert isinstance(found, Refusal)
    assert (found.kind, found.library) == ("not-installed", OPS)


def test_links_lead_from_the_consumers_own_folder(patient: Patient) -> None:
    found = plan(patient, "links")
    assert all(isinstance(a, MakeLink) for a in found.actions)
    assert {posixpath.basename(a.path) for a in found.actions} == {OPS, CNN}
    assert {posixpath.dirname(a.path) for a in found.actions} == {str(patient.env.site / "ctspeech.libs")}
    assert patient.apply("links").status == "applied"
    link = patient.env.site / "ctspeech.libs" / OPS
    assert link.resolve() == (patient.env.site / CUDNN / OPS).resolve()
    assert not link.readlink().is_absolute()


def test_links_do_not_replace_a_file_of_that_name(patient: Patient) -> None:
    (patient.env.site / "ctspeech.libs" / CNN).symlink_to("nowhere")
    found = patient.plan("links")
    assert isinstance(found, Refusal)
    assert "is there already" in found.reason


def test_an_edited_hook_is_nobodys_to_overwrite(patient: Patient) -> None:
    (patient.env.site / "_gpudoctor_preload.py").write_text("print('mine')\n")
    found = plan(patient)
    assert found.strategy == "links"
    assert "was edited" in found.why
    refused = patient.plan("hook")
    assert isinstance(refused, Refusal)


def test_a_hook_that_would_give_another_consumer_another_build_is_refused(tmp_path: Path) -> None:
    """torch finds its own build by its RPATH, whatever is set; a library that is loaded already comes before that."""
    patient = Patient(tmp_path)
    private = patient.env.site / "torch.libs"
    patient.env.library(private, OPS, "9.0.0")
    patient.env.consumer("torch", opens=(OPS,), flags=("-Wl,--disable-new-dtags,-rpath,$ORIGIN/../torch.libs",))
    patient.matrix = patient.env.matrix
    before = tree_state(patient.env.root)
    refused = patient.plan("hook")
    assert isinstance(refused, Refusal)
    assert refused.kind == "breaks-another"
    assert "torch" in refused.reason
    assert "9.1.0" in refused.reason or CUDNN in refused.reason
    assert changed(before, tree_state(patient.env.root)) == []
    # Links that only ctspeech looks at hurt nobody in a process of its own.
    instead = patient.plan()
    assert isinstance(instead, (Plan, Refusal))
    assert not (isinstance(instead, Plan) and instead.strategy == "hook")


@pytest.mark.parametrize("strategy", ["activate", "env-file", "wrapper"])
def test_strategies_that_set_the_variable(patient: Patient, strategy: str) -> None:
    before = tree_state(patient.env.root)
    found = plan(patient, strategy)
    assert found.environment == (("LD_LIBRARY_PATH", str(patient.env.site / CUDNN)),)
    outcome = patient.apply(strategy)
    assert outcome.status == "applied", outcome
    assert isinstance(patient.plan(strategy), NothingToDo)
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_conda_gets_its_folders_and_loses_them_again(patient: Patient) -> None:
    (patient.env.root / "pyvenv.cfg").unlink()
    (patient.env.root / "conda-meta").mkdir()
    (patient.env.root / LIB / "os.py").write_text("")
    real = patient.env.python.resolve()
    patient.env.python.unlink()
    shutil.copy2(real, patient.env.python)
    before = tree_state(patient.env.root)
    assert patient.see().interpreter.kind == "conda"
    assert patient.apply("conda").status == "applied"
    assert (patient.env.root / "etc/conda/activate.d/gpudoctor.sh").exists()
    assert patient.undo() == ()
    assert changed(before, tree_state(patient.env.root)) == []


def test_what_is_only_shown_cannot_be_applied_by_accident(patient: Patient) -> None:
    found = plan(patient, "show")
    assert (found.applicability, found.actions) == ("display-only", ())
    assert any("ldconfig" in command for command in found.commands)


def test_what_is_only_shown_can_be_pasted(tmp_path: Path) -> None:
    """A unit file and a Dockerfile know no comment behind a setting: systemd ignores its words, docker refuses them."""
    patient = Patient(tmp_path / 'it is $HOME "50%"')
    found = plan(patient, "show")
    folder = str(patient.env.site / CUDNN)
    sheet = Canvas(colored=False, width=UNWRAPPED_WIDTH, ascii_only=False)
    shown = [line.strip() for line in render_fix(describe(found), sheet).splitlines()]
    for form, place in (("systemd", "# in the unit, under [Service]:"), ("docker", "# in the Dockerfile:")):
        assert shown[shown.index(place) + 1] == render_env(form, "LD_LIBRARY_PATH", folder).strip()
    every = next(line for line in shown if "ldconfig" in line and line.startswith("printf"))
    text = subprocess.run(["sh", "-c", every.partition(" | ")[0]], capture_output=True, check=True).stdout
    assert (text.decode(), every.endswith("&& sudo ldconfig")) == (f"{folder}\n", True)


class TestAFolderThatTheVariableCannotName:
    """The hook opens by path, and a link has a name of its own: neither needs LD_LIBRARY_PATH."""

    @pytest.mark.parametrize("name", ["a:b", "a;b"])
    @pytest.mark.parametrize("strategy", [None, "hook", "links"])
    def test_hook_and_links_serve_it(self, tmp_path: Path, name: str, strategy: str | None) -> None:
        patient = Patient(tmp_path / name)
        before = tree_state(patient.env.root)
        found = plan(patient, strategy)
        assert found.strategy == strategy or (found.strategy, strategy) == ("hook", None)
        assert not any("gpudoctor-0" in str(action) for action in found.actions)
        assert patient.apply(strategy).status == "applied"
        rows = patient.see().snapshot.resolutions
        assert {r.outcome for r in rows} == {"present"}
        assert isinstance(patient.plan(strategy), NothingToDo)
        assert patient.undo() == ()
        assert changed(before, tree_state(patient.env.root)) == []

    @pytest.mark.parametrize("strategy", ["activate", "env-file", "wrapper", "show"])
    def test_what_sets_the_variable_is_refused(self, tmp_path: Path, strategy: str) -> None:
        found = Patient(tmp_path / "a:b").plan(strategy)
        assert isinstance(found, Refusal)
        assert found.kind == "inexpressible"

    def test_a_token_that_the_loader_replaces_everywhere(self, tmp_path: Path) -> None:
        """In a path that is opened, too, that of the consumer included: there is no way to name it."""
        assert isinstance(Patient(tmp_path / "a$LIB").plan("hook"), Refusal)
