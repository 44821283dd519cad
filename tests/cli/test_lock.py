"""`gpudoctor lock` and `check --against`, as a user and a CI job run them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from support.command import gpudoctor
from unit.drift.builders import PACKAGES, environment
from unit.rules import builders as b


def record(folder: Path, name: str, *, root: str = "/home/alice/speech", **options: object) -> Path:
    file = folder / name
    file.write_bytes(msgspec.json.encode(environment(root=root, **options)))  # type: ignore[arg-type]
    return file


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    done = gpudoctor("lock", "--snapshot", record(tmp_path, "good.json"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "gpudoctor: wrote gpudoctor.lock: 5 distributions, 3 native libraries, 3 resolutions\n"
    return tmp_path / "gpudoctor.lock"


def test_a_broken_state_and_one_without_consumers_are_doubtful_ones(tmp_path: Path) -> None:
    done = gpudoctor("lock", "--snapshot", record(tmp_path, "bad.json", search_path=None), cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: by the rules, this state is not a good one (GPD201 ctranslate2" in done.stderr
    assert 'errors = [\n    "GPD201 ctranslate2' in (tmp_path / "gpudoctor.lock").read_text()
    (tmp_path / "none.json").write_bytes(msgspec.json.encode(b.machine(builds=())))
    done = gpudoctor("lock", "--snapshot", tmp_path / "none.json", "-o", "none.lock", cwd=tmp_path)
    assert "warning: nothing in this environment uses a GPU" in done.stderr


def test_replacing_a_lock_says_what_changed(locked: Path, tmp_path: Path) -> None:
    again = gpudoctor("lock", "--snapshot", tmp_path / "good.json", cwd=tmp_path)
    assert again.stderr.startswith("gpudoctor: gpudoctor.lock says this already: 5 dist")
    newer = {**PACKAGES, "nvidia-cudnn-cu12": "9.10.2.21", "x": "1"}
    done = gpudoctor("lock", "--snapshot", record(tmp_path, "newer.json", packages=newer), cwd=tmp_path)
    assert done.stderr.startswith("gpudoctor: replaced gpudoctor.lock (distributions: 1 added, 1 changed): 6 dist")


def test_the_lock_of_another_environment_is_not_replaced(locked: Path, tmp_path: Path) -> None:
    before = locked.read_text()
    (tmp_path / "none.json").write_bytes(msgspec.json.encode(b.machine(builds=())))
    done = gpudoctor("lock", "--snapshot", tmp_path / "none.json", cwd=tmp_path)
    assert (done.returncode, done.stdout, locked.read_text()) == (2, "", before)
    assert "is the lock of an environment with ctranslate2, none of which is in this one" in done.stderr


def drift(lock: Path, snapshot: Path, *arguments: str) -> tuple[int, dict[str, list[Mapping[str, object]]]]:
    selected = ("--select", "GPD151", "--select", "GPD25", "--select", "GPD45", "--select", "GPD55")
    done = gpudoctor("check", "--snapshot", snapshot, "--against", lock, "--format", "json", *selected, *arguments)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_the_same_state_elsewhere_is_no_drift(locked: Path, tmp_path: Path) -> None:
    status, report = drift(locked, record(tmp_path, "moved.json", root="/srv/bob"), "--strict")
    assert (status, report["findings"], report["open"]) == (0, [], [])


def test_drift_is_a_finding_and_status_1(locked: Path, tmp_path: Path) -> None:
    newer = {**PACKAGES, "nvidia-cudnn-cu12": "9.10.2.21"}
    status, report = drift(locked, record(tmp_path, "newer.json", packages=newer))
    (finding,) = report["findings"]
    assert (status, finding["rule"], finding["name"]) == (1, "GPD451", "distribution-drift")
    assert finding["cause"] is None
    assert finding["reason"] == "drift from a lock has no cause of its own"


def test_the_text_report_names_the_drift(locked: Path, tmp_path: Path) -> None:
    done = gpudoctor("check", "--snapshot", record(tmp_path, "x.json", search_path=None), "--against", locked)
    assert done.returncode == 1
    assert "LD_LIBRARY_PATH was {site}/nvidia/cudnn/lib" in " ".join(done.stdout.split())


def test_the_lock_goes_to_standard_output(tmp_path: Path) -> None:
    done = gpudoctor("lock", "--snapshot", record(tmp_path, "s.json"), "-o", "-")
    assert done.returncode == 0
    assert done.stdout.startswith("# A known-good state")
    assert "alice" not in done.stdout
    assert done.stderr == ""


def test_a_refresh_keeps_the_driver_policy(tmp_path: Path) -> None:
    from gpudoctor.model.fact import Present

    file = record(tmp_path, "s.json", driver=Present("550.54.15"))
    for arguments in (("--driver", "exact"), ()):
        assert gpudoctor("lock", "--snapshot", file, *arguments, cwd=tmp_path).returncode == 0
    assert 'policy = "exact"\nrelease = "550.54.15"' in (tmp_path / "gpudoctor.lock").read_text()


def test_another_file_is_never_replaced(tmp_path: Path) -> None:
    other = tmp_path / "pyproject.toml"
    other.write_text("[project]\nname = 'mine'\n")
    done = gpudoctor("lock", "--snapshot", record(tmp_path, "s.json"), "-o", other)
    assert done.returncode == 2
    assert "not replaced" in done.stderr
    assert other.read_text() == "[project]\nname = 'mine'\n"


@pytest.mark.parametrize("content", [None, b"", b"<<<<<<< ours\n", b"\xff\xfe\x00", b"schema_version = 9\n", b"a=" * 9])
def test_a_bad_lock_is_one_sentence_and_status_2(tmp_path: Path, content: bytes | None) -> None:
    lock = tmp_path / "bad.lock"
    if content is not None:
        lock.write_bytes(content)
    done = gpudoctor("check", "--snapshot", record(tmp_path, "s.json"), "--against", lock)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "bad.lock" in done.stderr


def test_a_folder_that_cannot_be_written_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    done = gpudoctor("lock", "--snapshot", record(tmp_path, "s.json"), "-o", tmp_path / "no" / "such" / "x.lock")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot write" in done.stderr


def test_exact_driver_without_a_driver_is_one_sentence(tmp_path: Path) -> None:
    done = gpudoctor("lock", "--snapshot", record(tmp_path, "s.json"), "--driver", "exact", "-o", "-")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--driver exact" in done.stderr
