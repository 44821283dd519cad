"""`check --model` and the judgements on GPUs, as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import gpudoctor


@pytest.fixture(scope="module")
def bare_env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def findings(*arguments: str | Path, **env: str) -> list[tuple[str, str]]:
    done = gpudoctor("check", "--format", "json", *arguments, **env)
    assert done.stderr == ""
    return [(f["rule"], f["level"]) for f in json.loads(done.stdout)["findings"]]


def test_models_that_share_a_gpu(bare_env: Path) -> None:
    machine = ("--python", bare_env, "--assume-driver", "580.95.05", "--assume-gpu", "RTX 3060 8GB")
    assert findings(*machine, "--model", "large-v3:float16") == []
    assert findings(*machine, "--model", "large-v3:float16", "--model", "large-v2:float16") == [("GPD701", "error")]


@pytest.mark.parametrize("text", ["huge", "large-v3:fp16", "\x1b[31mx", "large-v3:int8:-1", ""])
def test_a_wrong_model_is_one_sentence(bare_env: Path, text: str) -> None:
    done = gpudoctor("check", "--python", bare_env, "--model", text)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--model" in done.stderr
    assert "\x1b[31m" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_driver_that_does_not_know_the_gpu(bare_env: Path) -> None:
    assert findings("--python", bare_env, "--assume-driver", "550.54.15", "--assume-gpu", "RTX 5090") == [
        ("GPD111", "error")
    ]


def test_only_a_given_variable_counts_for_an_assumed_machine(bare_env: Path) -> None:
    machine = ("--python", bare_env, "--assume-driver", "580.95.05", "--assume-gpu", "RTX 3090")
    assert findings(*machine, CUDA_VISIBLE_DEVICES="4") == []
    assert findings(*machine, "--env", "CUDA_VISIBLE_DEVICES=4") == [("GPD506", "error")]
