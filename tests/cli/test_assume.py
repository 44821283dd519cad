"""CI without a GPU: `--assume-driver` and `--assume-gpu` judge as that machine would; without them nothing passes."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from support.command import gpudoctor
from unit.rules import builders as b

MACHINE = ("--assume-driver", "550.54.15", "--assume-gpu", "RTX 3090")
# What an environment holds, and whether it works on driver 550.54.15 with an RTX 3090.
STACKS = {
    "cuda 12": (b.ctranslate2("4.6.0"), b.ct2_cudnn9(b.CUDNN), b.ct2_cublas(b.CUBLAS), b.cudnn9(), b.cublas12()),
    "cuda 13": (b.torch("2.11.0+cu130", "13.0"), b.cublas13()),
    "nothing": (),
}


def findings(folder: Path, snapshot: b.Snapshot, *arguments: str) -> tuple[int, list[dict], dict]:
    (folder / "s.json").write_bytes(msgspec.json.encode(snapshot))
    done = gpudoctor("check", "--snapshot", folder / "s.json", "--format", "json", "--no-config", *arguments)
    report = json.loads(done.stdout)
    kept = [
        (f["rule"], f["level"], f["cause"], f["subject"], f["message"].replace("assumed ", ""))
        for f in report["findings"]
    ]
    return done.returncode, kept, report


@pytest.mark.parametrize("stack", STACKS)
def test_the_assumed_machine_is_judged_as_the_real_one(tmp_path: Path, stack: str) -> None:
    real = b.with_(b.machine(), *STACKS[stack])
    here = b.without_gpu(real)
    status, found, report = findings(tmp_path, real)
    assert (status, found) == findings(tmp_path, here, *MACHINE)[:2]
    assert status == (1 if stack == "cuda 13" else 0), found
    open_there = {q["rule"] for q in report["open"]}
    assert {q["rule"] for q in findings(tmp_path, here, *MACHINE)[2]["open"]} >= open_there


def test_without_an_assumption_the_driver_rules_are_open(tmp_path: Path) -> None:
    here = b.without_gpu(b.with_(b.machine(), *STACKS["cuda 13"]))
    status, found, report = findings(tmp_path, here)
    assert (status, [rule for rule, level, *_ in found if level == "error"]) == (0, [])
    assert "GPD104" in {q["rule"] for q in report["open"]}
    assert findings(tmp_path, here, "--strict")[0] == 3
    done = gpudoctor("check", "--snapshot", tmp_path / "s.json", "--no-config")
    (area,) = (line for line in done.stdout.splitlines() if line.startswith("  driver "))
    assert " ok " not in area


def test_the_project_may_settle_the_machine(tmp_path: Path) -> None:
    here = b.without_gpu(b.with_(b.machine(), *STACKS["cuda 13"]))
    (tmp_path / "s.json").write_bytes(msgspec.json.encode(here))
    (tmp_path / "pyproject.toml").write_text(
        '[tool.gpudoctor.assume]\ndriver = "550.54.15"\ngpus = ["RTX 3090"]\n[tool.gpudoctor]\nstrict = true\n'
    )
    done = gpudoctor("check", "--snapshot", "s.json", "--format", "json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["config"]) == (1, "pyproject.toml")
