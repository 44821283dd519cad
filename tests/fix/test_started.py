"""Repairs that reach only what is started through them: the next step is said, and `check` knows of them."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gpudoctor.fix.started import next_steps, with_repairs
from gpudoctor.model.finding import Finding
from gpudoctor.rules.engine import judge
from support.command import clean_environment, gpudoctor
from support.gpuenvs import compile_library
from support.repairs import Patient

CUBLAS = "libcublas.so.12"
Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def typed(tmp_path: Path) -> Typed:
    return lambda *arguments: gpudoctor(*arguments, XDG_STATE_HOME=str(tmp_path / "state"))


@pytest.fixture
def daemon(tmp_path: Path) -> Path:
    """Make a program, in a folder with a blank, that links cuBLAS from a build machine's folder."""
    (tmp_path / "my app").mkdir()
    library = tmp_path / "my app" / CUBLAS
    compile_library(tmp_path / "build", library, CUBLAS)
    (tmp_path / "main.c").write_text("int main(void) { return 7; }\n")
    command = ["gcc", "-Wl,--no-as-needed", tmp_path / "main.c", library, "-o", tmp_path / "my app/daemon"]
    subprocess.run([*map(str, command), "-Wl,-rpath,/build"], check=True)
    return tmp_path / "my app/daemon"


def error(typed: Typed, daemon: Path) -> dict[str, Any]:
    document = json.loads(typed("check", "--binary", daemon, "--format", "json").stdout)
    (found,) = (f for f in document["findings"] if f["level"] == "error")
    return found


@pytest.mark.parametrize(("strategy", "file"), [("env-file", "daemon.gpudoctor.env"), ("wrapper", "daemon-gpu")])
def test_said_at_the_end_and_by_check(typed: Typed, daemon: Path, strategy: str, file: str) -> None:
    done = typed("fix", "--binary", daemon, "--strategy", strategy, "--apply", "--yes")
    path = daemon.parent / file
    *_, applied, step, caution = done.stdout.splitlines()
    assert applied.startswith("applied as run ")
    assert (
        step.split()
        == {
            "env-file": f"next let the service read {path}: EnvironmentFile={path} in its unit, or "
            f"`docker run --env-file {path}`",
            "wrapper": f"next start {path} instead of {daemon}",
        }[strategy].split()
    )
    assert "a plain `gpudoctor check` says so" in caution
    checked = caution.rpartition(": gpudoctor ")[2]
    assert typed(*shlex.split(checked)).returncode == 0
    again = typed("fix", "--binary", daemon, "--strategy", strategy)
    assert "every library that can be found here is found" not in again.stdout
    assert again.stdout.startswith("nothing to do: this repair is there already; it reaches ")
    # Who runs check at night and does not know of the repair.
    run = applied.split()[3]
    first = error(typed, daemon)["fixes"][0]
    assert first["title"].startswith(f"Use the repair that is there (run {run}; the line below judges with it): ")
    assert str(path) in first["title"]
    assert first["commands"] == [f"gpudoctor {checked}"]
    # No word of it once it is no longer there, or no longer what it was.
    path.write_text(path.read_text() + "# mine\n")
    assert "repair that is there" not in str(error(typed, daemon))
    path.write_text(path.read_text().removesuffix("# mine\n"))
    assert "repair that is there" in str(error(typed, daemon))
    assert typed("fix", "--binary", daemon, "--undo").returncode == 0
    assert "repair that is there" not in str(error(typed, daemon))


def test_a_repair_that_works_however_it_is_started_needs_no_step(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    for strategy in ("hook", "links"):
        assert next_steps(patient.plan(strategy), "gpudoctor check") == ()


@pytest.mark.parametrize("strategy", ["env-file", "wrapper", "activate"])
def test_a_python_environment(tmp_path: Path, strategy: str) -> None:
    patient = Patient(tmp_path)
    step, _ = next_steps(patient.plan(strategy), "gpudoctor check")
    assert patient.apply(strategy).status == "applied"
    environment = patient.system.environ()

    def told(*assignments: str) -> tuple[Finding, ...]:
        patient.request = type(patient.request)(python=patient.request.python, assignments=assignments)
        snapshot = patient.see().snapshot
        findings = judge(snapshot, patient.matrix).findings
        return with_repairs(findings, patient.system, environment, str(patient.env.root), "gpudoctor check", snapshot)

    (missed,) = (f for f in told() if f.rule == "GPD201")
    assert step in missed.fixes[0].title
    assert sum("repair that is there" in fix.title for f in told() for fix in f.fixes) == 1
    assert not any(f.rule == "GPD201" for f in told(*_given(missed.fixes[0].commands[0])))
    # A process that has the folders already, and misses the same, is not helped by what gives it the folders.
    (run,) = patient.workshop().runs()
    value = f"LD_LIBRARY_PATH=/before:{run.plan.environment[0][1]}"
    patient.request = type(patient.request)(python=patient.request.python, assignments=(value,))
    snapshot = patient.see().snapshot
    still = (msgspec.structs.replace(missed, fixes=()),)
    place = (patient.system, environment, str(patient.env.root), "gpudoctor check")
    assert with_repairs(still, *place, snapshot) == still


def _given(command: str) -> tuple[str, ...]:
    """Return what a command line of check gives to the process."""
    _, _, option, value = shlex.split(command)
    return (value,) if option == "--env" else tuple(Path(value).read_text().splitlines())


def test_the_line_for_a_shell_sets_what_the_program_needs(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "a b")
    step, _ = next_steps(patient.plan("activate"), "gpudoctor check")
    assert patient.apply("activate").status == "applied"
    line = step.partition(": ")[2]
    shown = subprocess.run(
        ["bash", "-c", f"{line}\nprintenv LD_LIBRARY_PATH"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == f"{patient.env.site}/nvidia/cudnn/lib\n"
