"""Packages changed in environments made from real wheels: brought, replaced, aligned, refused, and taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import gpudoctor
from support.treestate import changed, hard_copy, tree_state
from support.wheels import site_packages, wheel_env

pytestmark = pytest.mark.wheels

# What the environments hold already, so that no test fetches another gigabyte.
_CONSTRAINTS = (
    "nvidia-cudnn-cu12==9.1.0.70\nnvidia-cublas-cu12==12.4.5.8\nnvidia-cuda-nvrtc-cu12==12.4.127\n"
    "nvidia-cuda-runtime-cu12==12.4.127\n"
)


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "constraints.txt"
    file.write_text(_CONSTRAINTS)
    # How this machine reaches the package index: certificates, proxies, mirrors.
    reach = {k: v for k, v in os.environ.items() if k.startswith(("UV_", "SSL_")) or k.lower().endswith("_proxy")}
    return {**reach, "XDG_STATE_HOME": str(tmp_path / "state"), "UV_CONSTRAINT": str(file)}


def fix(env: Path, *arguments: str | Path, status: int = 0, **environment: str) -> dict:
    done = gpudoctor("fix", "--python", env, "--format", "json", *arguments, **environment)
    assert done.returncode == status, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def errors(env: Path) -> list[tuple[str, str]]:
    done = gpudoctor("check", "--python", env, "--format", "json")
    found = json.loads(done.stdout)["findings"]
    return [(f["rule"], f["cause"]) for f in found if f["level"] == "error" and f["rule"].startswith("GPD2")]


def versions(env: Path) -> dict[str, str]:
    infos = (p.name.removesuffix(".dist-info") for p in site_packages(env).glob("*.dist-info"))
    return dict(name.replace("_", "-").rsplit("-", 1) for name in infos)


def test_what_is_missing_is_installed_found_and_taken_away_again(tmp_path: Path, state: dict[str, str]) -> None:
    original = wheel_env("ct2-460-bare")
    env = hard_copy(original, tmp_path / "env")
    (env / ".lock").unlink(missing_ok=True)  # uv makes one; undoing takes it away too
    before, untouched = tree_state(env), tree_state(original)
    assert [rule for rule, _ in errors(env)] == ["GPD201", "GPD201"]

    plan = fix(env, "--packages", status=1, **state)
    assert (plan["status"], plan["strategy"]) == ("pending", "packages")
    assert "+ nvidia-cudnn-cu12==9.1.0.70\n" in plan["actions"][0]["preview"]
    assert "+ nvidia-cublas-cu12==12.4.5.8\n" in plan["actions"][0]["preview"]
    assert changed(before, tree_state(env)) == []

    applied = fix(env, "--packages", "--apply", "--yes", **state)
    assert (applied["status"], applied["verified_by"]) == ("applied", "canary")
    assert errors(env) == []
    assert versions(env)["nvidia-cudnn-cu12"] == "9.1.0.70"
    assert fix(env, "--packages", "--apply", "--yes", **state)["status"] == "nothing-to-do"

    undone = fix(env, "--undo", **state)
    assert (undone["status"], undone["left"]) == ("undone", [])
    assert changed(before, tree_state(env)) == []
    assert changed(untouched, tree_state(original)) == []


def test_another_major_version_is_replaced_and_comes_back(tmp_path: Path, state: dict[str, str]) -> None:
    original = wheel_env("ct2-460-cudnn8")
    env = hard_copy(original, tmp_path / "env")
    before, untouched = tree_state(env), tree_state(original)
    plan = fix(env, "--packages", status=1, **state)
    assert "- nvidia-cudnn-cu12==8.9.2.26\n+ nvidia-cudnn-cu12==9.1.0.70\n" in plan["actions"][0]["preview"]
    assert fix(env, "--packages", "--apply", "--yes", **state)["status"] == "applied"
    assert errors(env) == []
    assert versions(env)["nvidia-cudnn-cu12"] == "9.1.0.70"
    assert changed(untouched, tree_state(original)) == []

    # The former files come from the journal: no network, and no cache of the installer, is needed.
    offline = {**state, "UV_OFFLINE": "1", "UV_NO_CACHE": "1"}
    assert fix(env, "--undo", **offline)["left"] == []
    assert changed(before, tree_state(env)) == []
    assert changed(untouched, tree_state(original)) == []


def test_an_environment_is_aligned_with_another_and_with_a_lock(tmp_path: Path, state: dict[str, str]) -> None:
    state.pop("UV_CONSTRAINT")
    other = wheel_env("ct2-460-cudnn910")
    env = hard_copy(wheel_env("ct2-460-cudnn91"), tmp_path / "env")
    before = tree_state(env)
    lock = tmp_path / "gpudoctor.lock"
    assert gpudoctor("lock", "--python", other, "-o", lock).returncode == 0
    for to in (other, lock):
        plan = fix(env, "--packages", "--to", to, status=1, **state)
        assert [a["preview"].splitlines()[:2] for a in plan["actions"]] == [
            ["- nvidia-cudnn-cu12==9.1.0.70", "+ nvidia-cudnn-cu12==9.10.2.21"]
        ]
    assert fix(env, "--packages", "--to", lock, "--apply", "--yes", **state)["status"] == "applied"
    assert versions(env)["nvidia-cudnn-cu12"] == "9.10.2.21"
    assert errors(env) == []
    assert fix(env, "--packages", "--to", other, **state)["status"] == "nothing-to-do"
    assert fix(env, "--undo", **state)["left"] == []
    assert changed(before, tree_state(env)) == []


def test_a_release_that_torch_does_not_ask_for_is_refused(tmp_path: Path, state: dict[str, str]) -> None:
    state.pop("UV_CONSTRAINT")
    env = hard_copy(wheel_env("torch-251-ct2-460"), tmp_path / "env")
    before = tree_state(env)
    refused = fix(env, "--packages", "--to", wheel_env("ct2-460-cudnn910"), "--apply", "--yes", status=1, **state)
    assert refused["status"] == "refused"
    assert "torch 2.5.1 asks for nvidia-cudnn-cu12==9.1.0.70" in refused["reason"]
    assert "9.10.2.21" in refused["reason"]
    assert changed(before, tree_state(env)) == []


def test_onnxruntime_for_the_cpu_gives_way_to_the_one_for_the_gpu(tmp_path: Path, state: dict[str, str]) -> None:
    env = hard_copy(wheel_env("ort-1202-cuda12"), tmp_path / "env")
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "--quiet", "pip", "install", "--no-deps", "--python", env / "bin/python", "onnxruntime==1.20.1"]
    subprocess.run(command, check=True, timeout=300)
    before = tree_state(env)
    plan = fix(env, "--packages", status=1, **state)
    assert plan["ends"] == ["GPD401 cpu-only-build (onnxruntime, onnxruntime-gpu)"]
    steps = plan["actions"][0]["preview"].splitlines()[:2]
    assert steps == ["- onnxruntime==1.20.1", "~ onnxruntime-gpu==1.20.2"]
    applied = fix(env, "--packages", "--apply", "--yes", **state)
    assert (applied["status"], applied["verified_by"]) == ("applied", "canary")
    assert "onnxruntime" not in versions(env)
    assert errors(env) == []
    assert fix(env, "--undo", **state)["left"] == []
    assert changed(before, tree_state(env)) == []


@pytest.mark.parametrize("cut", [{"UV_OFFLINE": "1"}, {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"}])
def test_an_installer_that_fails_changes_nothing(tmp_path: Path, state: dict[str, str], cut: dict[str, str]) -> None:
    env = hard_copy(wheel_env("ct2-460-bare"), tmp_path / "env")
    before = tree_state(env)
    more = {"UV_NO_CACHE": "1", "UV_HTTP_RETRIES": "0", **cut}
    refused = fix(env, "--packages", "--apply", "--yes", status=1, **{**state, **more})
    assert refused["status"] == "refused"
    assert "finds no way to install nvidia-cublas-cu12 nvidia-cudnn-cu12>=9.1,<10" in refused["reason"]
    assert "\n" not in refused["reason"]
    assert changed(before, tree_state(env)) == []
