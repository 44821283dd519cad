"""The GitHub action: its steps, run in bash with the variables that a runner sets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.command import GPUDOCTOR, clean_environment
from support.reports import ENVIRONMENTS
from support.shells import need_program

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "actions" / "check"
ACTION = yaml.safe_load((FOLDER / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
BROKEN = ENVIRONMENTS / "recorded-torch-251-ct2-460" / "snapshot.json"


class Runner:
    """A job's folders and files, and what the steps left in them."""

    def __init__(self, folder: Path) -> None:
        self.workspace, self.temp = folder / "work space", folder / "temp"
        for made in (self.workspace, self.temp):
            made.mkdir()
        self.output, self.summary = folder / "output", folder / "summary"
        self.output.touch()

    def run(self, name: str, path: str | None = None, **inputs: str) -> subprocess.CompletedProcess[str]:
        """Run one step as the runner does: expressions only in `env`, the script in bash that stops at an error."""
        step = STEPS[name]
        given = {key: value.get("default", "") for key, value in ACTION["inputs"].items()}
        given.update({key.replace("_", "-"): value for key, value in inputs.items()})
        variables = {
            key: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda m: given[m[1]], value)
            for key, value in step.get("env", {}).items()
        }
        assert "${{" not in step["run"], "an input would become a part of the script"
        assert step["shell"] == "bash"
        return subprocess.run(
            [need_program("bash", "bash"), "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            env=clean_environment(
                **variables,
                PATH=path or os.environ["PATH"],
                GITHUB_ACTION_PATH=str(FOLDER),
                GITHUB_OUTPUT=str(self.output),
                GITHUB_STEP_SUMMARY=str(self.summary),
                GITHUB_WORKSPACE=str(self.workspace),
                RUNNER_TEMP=str(self.temp),
            ),
            cwd=self.workspace,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def outputs(self) -> dict[str, str]:
        """Return the step's outputs as the runner reads them."""
        found: dict[str, str] = {}
        lines = iter(self.output.read_text().splitlines())
        for line in lines:
            name, equals, value = line.partition("=")
            if equals and "<<" not in name:
                found[name] = value
                continue
            name, _, delimiter = line.partition("<<")
            found[name] = "\n".join(iter(lambda end=delimiter: next(lines), delimiter))
        return found


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture
def installed(runner: Runner) -> Runner:
    """A runner with gpudoctor where the first step puts it, without that step's minute of installing."""
    folder = runner.temp / "gpudoctor" / "bin"
    folder.mkdir(parents=True)
    for name in ("gpudoctor", "python"):
        (folder / name).symlink_to(GPUDOCTOR.with_name(name))
    return runner


def bare_env(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def broken_env(folder: Path) -> Path:
    """An environment with LD_LIBRARY_PATH trouble is easiest to make: two distributions that own the same files."""
    env = bare_env(folder)
    site = next((env / "lib").glob("python3*")) / "site-packages"
    (site / "onnxruntime").mkdir()
    (site / "onnxruntime" / "__init__.py").write_text("")
    for name in ("onnxruntime", "onnxruntime_gpu"):
        info = site / f"{name}-1.20.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.20.1\n")
        (info / "RECORD").write_text(f"onnxruntime/__init__.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    return env


def test_it_is_a_composite_action_that_uses_no_other() -> None:
    assert ACTION["runs"]["using"] == "composite"
    assert not [step for step in STEPS.values() if "uses" in step]
    assert {"python", "args", "assume-driver", "assume-gpu", "fail-on", "lock", "sarif-file"} <= set(ACTION["inputs"])
    assert set(ACTION["outputs"]) == {"exit-status", "errors", "warnings", "sarif"}
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.judge.outputs.{name} }}}}"


def test_every_input_is_described_and_passed_on() -> None:
    passed = " ".join(STEPS["Judge"]["env"].values())
    for name, described in ACTION["inputs"].items():
        assert described["description"]
        assert f"inputs.{name} " in passed


def test_a_healthy_environment(installed: Runner, tmp_path: Path) -> None:
    env = bare_env(tmp_path / "app")
    done = installed.run("Judge", python=str(env), assume_driver="550.54.15", assume_gpu="RTX 3090\n8.9")
    assert done.returncode == 0, done.stdout + done.stderr
    told = installed.outputs()
    assert (told["exit-status"], told["errors"], told["warnings"]) == ("0", "0", "0")
    run = json.loads(Path(told["sarif"]).read_text())["runs"][0]
    assert run["properties"]["python"].startswith(str(env))
    assert "gpudoctor check: 0 errors" in installed.summary.read_text()


def test_findings_fail_the_step_after_the_outputs_are_written(installed: Runner, tmp_path: Path) -> None:
    env = broken_env(tmp_path / "app")
    (installed.workspace / "requirements.txt").write_text("onnxruntime\nonnxruntime-gpu\n")
    done = installed.run("Judge", python=str(env), sarif_file="out dir.sarif")
    assert done.returncode == 1, done.stdout + done.stderr
    told = installed.outputs()
    assert (told["exit-status"], told["sarif"]) == ("1", "out dir.sarif")
    assert int(told["errors"]) >= 1
    assert "::error file=requirements.txt,line=1,title=GPD401 shared-files::" in done.stdout
    (result, *_) = json.loads((installed.workspace / "out dir.sarif").read_text())["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "requirements.txt"
    assert installed.run("Judge", python=str(env), fail_on="never").returncode == 0


def test_drift(installed: Runner, tmp_path: Path) -> None:
    env = bare_env(tmp_path / "app")
    lock = [GPUDOCTOR, "lock", "--python", env, "-o", installed.workspace / "gpudoctor.lock"]
    subprocess.run(lock, env=clean_environment(), check=True, capture_output=True)
    assert installed.run("Judge", python=str(env), lock="gpudoctor.lock").returncode == 0
    drifted = broken_env(tmp_path / "other")
    done = installed.run("Judge", python=str(drifted), lock="gpudoctor.lock", args="--select\nGPD4")
    assert done.returncode == 1
    assert "GPD451" in done.stdout


def test_files_are_linted(installed: Runner) -> None:
    (installed.workspace / "requirements.txt").write_text("torch==2.5.1\ntorchaudio==2.4.0\n")
    done = installed.run("Judge", command="lint", args="requirements.txt")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "file=requirements.txt,line=1,title=GPD472" in done.stdout
    assert "gpudoctor lint" in installed.summary.read_text()
    assert installed.run("Judge", command="lint", args="requirements.txt", lock="x").returncode == 2


def test_nothing_of_an_input_is_executed_or_split(installed: Runner, tmp_path: Path) -> None:
    env = bare_env(tmp_path / "it's $(touch owned) `touch owned`; touch owned; #")
    done = installed.run("Judge", python=str(env), args="--env\nX=$(touch owned) a b")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tmp_path.rglob("owned"))
    assert (
        "touch owned" in json.loads(Path(installed.outputs()["sarif"]).read_text())["runs"][0]["properties"]["python"]
    )


def test_wrong_usage_is_told_and_fails(installed: Runner) -> None:
    done = installed.run("Judge", python="/no/such/python")
    assert (done.returncode, installed.outputs()) == (2, {})
    assert "/no/such/python" in done.stderr


def test_a_python_that_is_too_old_or_missing(runner: Runner, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    # A PATH with bash and no python; `env` is found by the script's first line, whatever PATH is.
    done = runner.run("Install gpudoctor", path=str(programs))
    assert done.returncode == 2
    assert "setup-python" in done.stdout
    (programs / "python3").write_text("#!/bin/sh\nexit 1\n")
    (programs / "python3").chmod(0o755)
    assert "older than 3.10" in runner.run("Install gpudoctor", path=str(programs)).stdout


@pytest.mark.wheels
def test_the_install_step_makes_an_environment_of_its_own(runner: Runner) -> None:
    done = runner.run("Install gpudoctor")
    assert done.returncode == 0, done.stdout + done.stderr
    said = subprocess.run([runner.temp / "gpudoctor/bin/gpudoctor", "--version"], capture_output=True, check=False)
    assert said.stdout.startswith(b"gpudoctor ")
    judged = runner.run("Judge", args=f"--snapshot\n{BROKEN}")
    assert judged.returncode == 2  # --snapshot and --python exclude each other: the step names an environment
    assert runner.run("Judge").returncode == 0
