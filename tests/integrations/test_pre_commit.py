"""The pre-commit hooks, by pre-commit itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pre_commit.clientlib import load_manifest

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / ".pre-commit-hooks.yaml"
HOOKS = {hook["id"]: hook for hook in yaml.safe_load(MANIFEST.read_text())}


def test_the_manifest_is_valid() -> None:
    assert {hook["id"] for hook in load_manifest(str(MANIFEST))} == {"gpudoctor-lint", "gpudoctor-check"}


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("requirements.txt", True),
        ("deploy/requirements-cuda.txt", True),
        ("requirements/gpu.txt", True),
        ("docker/Dockerfile-gpu", True),
        ("Dockerfile.dockerignore", False),
        ("k8s/environment-prod.yaml", False),
        ("pyproject.toml", True),
        ("pylock.gpu.toml", True),
        ("uv.lock", True),
        ("environment.yml", True),
        ("Dockerfile", True),
        ("docker/Dockerfile.gpu", True),
        ("gpu.Dockerfile", True),
        ("compose.yaml", True),
        ("docker-compose.prod.yml", True),
        ("README.md", False),
        ("src/app.py", False),
        ("package-lock.json", False),
    ],
)
def test_which_files_are_linted(file: str, wanted: bool) -> None:
    assert bool(re.search(HOOKS["gpudoctor-lint"]["files"], file)) is wanted


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *identity, *arguments], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.mark.wheels
@pytest.mark.skipif(shutil.which("git") is None, reason="pre-commit needs git")
def test_pre_commit_installs_and_runs_the_hook(tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("src", "compat", "README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", ".pre-commit-hooks.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, hooks / name)
    project = tmp_path / "project"
    project.mkdir()
    (project / "requirements.txt").write_text("ctranslate2==4.6.0\nnvidia-cudnn-cu12==8.9.2.26\n")
    for folder in (hooks, project):
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", "all")
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "try-repo", str(hooks), "gpudoctor-lint", "--all-files", "--verbose"],
        cwd=project,
        env={**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "gpudoctor lint" in done.stdout, done.stdout + done.stderr
    assert "exit code: 1" in done.stdout
    assert "requirements.txt:2" in done.stdout or "requirements.txt:1" in done.stdout
