"""Sets of pins against the package index: an installer accepts them, and once installed they pass `check`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.command import gpudoctor
from support.wheels import site_packages

pytestmark = [pytest.mark.wheels, pytest.mark.xdist_group("published")]

# How this machine reaches the package index.
REACHING = {k: v for k, v in os.environ.items() if k.startswith(("SSL_", "PIP_", "UV_", "HTTP", "NO_PROXY", "http"))}

# Ten situations that people are in. Sets that need PyTorch's own index can only be judged by the matrix: its builds are
# on no index that this test may ask.
SITUATIONS = {
    "faster-whisper on an RTX 3090": (("faster-whisper",), "3.11", "535.104.05", "RTX 3090"),
    "whisperX on an RTX 5090": (("whisperx",), "3.11", "580.65.06", "RTX 5090"),
    "torch beside faster-whisper on a GTX 1080 Ti": (
        ("faster-whisper", "torch", "--package-index"),
        "3.11",
        "550.54.15",
        "GTX 1080 Ti",
    ),
    "ctranslate2 on a driver for CUDA 11": (("ctranslate2",), "3.10", "470.256.02", "RTX 3090"),
    "faster-whisper on Python 3.14": (("faster-whisper",), "3.14", "580.65.06", "RTX 4090"),
    "torch 2.15 kept": (("faster-whisper", "torch==2.15.0"), "3.12", "580.65.06", "RTX 4090"),
    "whisperX with a newer torch on a T4": (("whisperx", "torch>=2.6"), "3.11", "550.54.15", "T4"),
    "pyannote and faster-whisper on an A10G": (
        ("pyannote-audio", "faster-whisper", "--package-index"),
        "3.12",
        "550.54.15",
        "A10G",
    ),
    "ONNX Runtime and Silero VAD on an H100": (("onnxruntime-gpu", "silero-vad"), "3.12", "580.65.06", "H100"),
    "everything on a V100": (
        ("faster-whisper", "whisperx", "--package-index"),
        "3.11",
        "535.104.05",
        "V100",
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_an_installer_accepts_the_set(situation: str) -> None:
    wanted, python, driver, gpu = SITUATIONS[situation]
    machine = ("--python-version", python, "--platform", "linux-x86_64")
    machine += ("--assume-driver", driver, "--assume-gpu", gpu)
    done = gpudoctor("pins", *wanted, *machine, "--verify", "--format", "json", **REACHING)
    document = json.loads(done.stdout)
    assert document["verification"] == {"installer": "uv pip compile", "accepted": True, "message": ""}
    assert (done.returncode, document["findings"]) == (0, [])


def test_a_set_that_cannot_be_installed_is_refused_by_the_installer(tmp_path: Path) -> None:
    """The matrix is made to claim a release that was never published."""
    (tmp_path / "ours.yaml").write_text(
        'replaces: [silero-vad]\nreleases:\n  - package: silero-vad\n    date: "2026-11-21"\n'
        '    versions: {"99.0": ">=3.8,<3.16"}\nfacts:\n  - id: ours\n    subject: silero-vad\n'
        '    when: {versions: ">=99"}\n    claim: {kind: requires, package: torch}\n    status: reported\n'
        '    sources: [{kind: measured, ref: "made up for a test"}]\n'
    )
    ours = ("--matrix", str(tmp_path / "ours.yaml"), "--python-version", "3.11", "--verify", "--format", "json")
    done = gpudoctor("pins", "silero-vad", *ours, **REACHING)
    verification = json.loads(done.stdout)["verification"]
    assert (done.returncode, verification["accepted"]) == (1, False)
    assert "silero-vad" in verification["message"]


@pytest.mark.parametrize("situation", ["faster-whisper on an RTX 3090", "ctranslate2 on a driver for CUDA 11"])
def test_once_installed_the_set_passes_check(situation: str, tmp_path: Path) -> None:
    wanted, _, driver, gpu = SITUATIONS[situation]
    python = f"3.{sys.version_info.minor}"  # the interpreter that is here
    machine = ("--python-version", python, "--assume-driver", driver, "--assume-gpu", gpu)
    done = gpudoctor("pins", *wanted, *machine, "--format", "json")
    document = json.loads(done.stdout)
    env = tmp_path / "env"
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, env], check=True)
    (tmp_path / "requirements.txt").write_text(gpudoctor("pins", *wanted, *machine, "--as", "requirements").stdout)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", env, "-r", tmp_path / "requirements.txt"], check=True)
    folders = ":".join(str(site_packages(env) / folder) for folder in document["library_directories"])
    judged = gpudoctor(
        "check",
        "--python",
        env,
        "--env",
        f"LD_LIBRARY_PATH={folders}",
        *machine[2:],
        "--for",
        "ctranslate2",
        "--strict",
    )
    assert judged.returncode == 0, judged.stdout
    without = gpudoctor("check", "--python", env, *machine[2:], "--for", "ctranslate2")
    assert without.returncode == 1
