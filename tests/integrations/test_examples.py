"""The examples of other CI systems and containers: their files are well-formed, and their command lines run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from gpudoctor import __version__
from support.command import GPUDOCTOR, clean_environment
from support.treestate import hard_copy
from support.wheels import wheel_env

EXAMPLES = Path(__file__).parents[2] / ".github" / "examples"


def dockerfile() -> list[str]:
    """Return the instructions, continued lines joined and comments left out."""
    text = re.sub(r"^#.*\n", "", (EXAMPLES / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line]


def sh(line: str, env: Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of an example with this checkout's gpudoctor on an environment of ours."""
    line = line.replace("/opt/gpudoctor/bin/gpudoctor", str(GPUDOCTOR)).replace("/srv/app/.venv", str(env))
    return subprocess.run(
        ["/bin/sh", "-c", line],
        env=clean_environment(XDG_STATE_HOME=str(cwd / "state"), **variables),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def env(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def test_every_example_installs_the_current_release() -> None:
    pins = {f.name: re.findall(r"gpudoctor-cli==([\w.]+)", f.read_text()) for f in EXAMPLES.iterdir()}
    assert {name: found for name, found in pins.items() if found} == {
        "Dockerfile": [__version__],
        "gitlab-ci.yml": [__version__],
    }


def test_the_dockerfile_lints_clean() -> None:
    done = subprocess.run(
        [str(GPUDOCTOR), "lint", "--no-config", "-q", str(EXAMPLES / "Dockerfile")],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_gitlab(env: Path, tmp_path: Path) -> None:
    job = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())["gpudoctor"]
    variables = {**job["variables"], "GPUDOCTOR": str(GPUDOCTOR)}
    variables["JUDGED"] = variables["JUDGED"].replace("/srv/app/.venv", str(env))
    for line in job["script"]:
        done = sh(line, env, tmp_path, **variables)
        assert done.returncode == 0, done.stderr
    suite = ElementTree.parse(tmp_path / job["artifacts"]["reports"]["junit"]).getroot()[0]
    assert suite.get("failures") == "0"
    assert (tmp_path / job["artifacts"]["paths"][0]).read_text().startswith("<!doctype html>")


def healthcheck() -> str:
    (line,) = (i for i in dockerfile() if i.startswith("HEALTHCHECK "))
    return line.partition(" CMD ")[2]


def test_healthcheck(env: Path, tmp_path: Path) -> None:
    assert sh(healthcheck(), env, tmp_path).returncode == 0
    # Whatever is wrong, and be it the check itself, Docker gets the one status that it knows.
    assert sh(healthcheck(), tmp_path / "absent", tmp_path).returncode == 1


def test_kubernetes(env: Path, tmp_path: Path) -> None:
    deployment = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    pod = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    first, app = *pod["spec"]["initContainers"], *pod["spec"]["containers"]
    assert first["image"] == app["image"]
    assert first["resources"]["limits"]["nvidia.com/gpu"] == 1
    done = sh(" ".join(first["command"]), env, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")  # an environment without a consumer needs no driver
    assert "driver" in done.stdout


@pytest.mark.wheels
def test_the_image_is_repaired_checked_and_healthy(tmp_path: Path) -> None:
    env = hard_copy(wheel_env("ct2-460-cudnn91"), tmp_path / "app")
    fix, check = (i.removeprefix("RUN ") for i in dockerfile() if i.startswith("RUN /opt/gpudoctor/bin/gpudoctor "))
    assert sh(check, env, tmp_path).returncode == 1
    assert sh(healthcheck(), env, tmp_path).returncode == 1
    repaired = sh(fix, env, tmp_path)
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    for line in (check, healthcheck()):
        done = sh(line, env, tmp_path)
        assert done.returncode == 0, done.stdout
    deployment = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    (first,) = deployment["spec"]["template"]["spec"]["initContainers"]
    started = sh(" ".join(first["command"]), env, tmp_path)
    # Without a driver nobody can say that it will serve ctranslate2: with --strict the pod must not start.
    assert started.returncode == (0 if Path("/proc/driver/nvidia/version").exists() else 3), started.stdout
