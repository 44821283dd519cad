"""`gpudoctor lock` and `check --against` on environments made from real wheels."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from fakehw.unprivileged import unprivileged_prefix
from support.command import GPUDOCTOR, gpudoctor
from support.wheels import nvidia_dirs, wheel_env

pytestmark = pytest.mark.wheels

GOOD, NEWER = "ct2-460-cudnn91", "ct2-460-cudnn910"
DRIFT_RULES = ("GPD151", "GPD251", "GPD252", "GPD451", "GPD452", "GPD551")


def search_path(env: Path) -> str:
    return ":".join(nvidia_dirs(env))


def drift(lock: Path, env: Path, **environment: str) -> tuple[int, list[dict]]:
    done = gpudoctor("check", "--python", env, "--against", lock, "--format", "json", **environment)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert [q for q in report["open"] if q["rule"] == "GPD251"] == []
    return done.returncode, [f for f in report["findings"] if f["rule"] in DRIFT_RULES]


@pytest.fixture(scope="module")
def good() -> Path:
    return wheel_env(GOOD)


@pytest.fixture(scope="module")
def lock(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("lock") / "gpudoctor.lock"
    done = gpudoctor("lock", "--python", good, "-o", file, LD_LIBRARY_PATH=search_path(good))
    assert (done.returncode, done.stdout) == (0, "")
    return file


def linked_copy(env: Path, to: Path) -> Path:
    shutil.copytree(env, to, symlinks=True, copy_function=os.link)
    return to


def test_the_lock_names_no_folder_of_this_machine(lock: Path, good: Path) -> None:
    text = lock.read_text()
    assert 'path = "{site}/nvidia/cudnn/lib/libcudnn_ops.so.9"' in text
    assert str(good) not in text
    assert os.path.expanduser("~") not in text
    assert '"/' not in text


def test_the_same_environment_has_no_drift(lock: Path, good: Path) -> None:
    assert drift(lock, good, LD_LIBRARY_PATH=search_path(good)) == (0, [])


def test_the_same_environment_in_another_folder_has_no_drift(lock: Path, good: Path) -> None:
    moved = good.with_name("moved-for-drift")
    shutil.rmtree(moved, ignore_errors=True)
    try:
        linked_copy(good, moved)
        assert drift(lock, moved, LD_LIBRARY_PATH=search_path(moved)) == (0, [])
    finally:
        shutil.rmtree(moved, ignore_errors=True)


def test_the_same_environment_of_another_user_in_another_folder_has_no_drift(lock: Path, good: Path) -> None:
    """Another user id, home folder and working directory; root's own files are not to be read."""
    moved = good.with_name("moved-for-another user")
    shutil.rmtree(moved, ignore_errors=True)
    try:
        linked_copy(good, moved)
        done = gpudoctor(
            *("check", "--python", moved, "--against", lock, "--select", "GPD45", "--select", "GPD25"),
            *("--select", "GPD55", "--format", "json", "--strict"),
            wrapper=unprivileged_prefix((GPUDOCTOR, lock, moved / "pyvenv.cfg")),
            cwd=Path("/"),
            HOME="/nonexistent",
            USER="nobody",
            LD_LIBRARY_PATH=search_path(moved),
        )
        report = json.loads(done.stdout)
        assert (done.returncode, report["findings"], report["open"]) == (0, [], []), done.stderr
    finally:
        shutil.rmtree(moved, ignore_errors=True)


def test_another_copy_beside_the_consumer_is_the_only_finding(lock: Path, good: Path) -> None:
    """The same packages and the same LD_LIBRARY_PATH; RPATH comes before it, and finds a copy that no package owns."""
    moved = good.with_name("moved-for-another-copy")
    shutil.rmtree(moved, ignore_errors=True)
    try:
        linked_copy(good, moved)
        site = next(moved.glob("lib/python3*/site-packages"))
        os.link(site / "nvidia/cublas/lib/libcublas.so.12", site / "ctranslate2.libs/libcublas.so.12")
        status, (finding,) = drift(lock, moved, LD_LIBRARY_PATH=search_path(moved))
        assert (status, finding["rule"], finding["subject"]["name"]) == (1, "GPD252", "ctranslate2")
        assert "{site}/ctranslate2.libs (rpath) now" in finding["message"]
        assert {"label": "matters", "value": "by the rules, no consumer has an error now"} in finding["evidence"]
    finally:
        shutil.rmtree(moved, ignore_errors=True)


def test_another_cudnn_release_is_the_only_finding(lock: Path) -> None:
    newer = wheel_env(NEWER)
    status, (finding,) = drift(lock, newer, LD_LIBRARY_PATH=search_path(newer))
    assert (status, finding["rule"]) == (1, "GPD451")
    assert finding["message"] == "nvidia-cudnn-cu12 was 9.1.0.70 when locked and is 9.10.2.21 now."
    assert any("libcudnn_ops.so.9" in line for line in finding["consequences"])


def test_an_unset_search_path_is_the_only_finding(lock: Path, good: Path) -> None:
    status, (finding,) = drift(lock, good)
    assert (status, finding["rule"]) == (1, "GPD551")
    assert any("cudnn_ops" in line and "not found now" in line for line in finding["consequences"])


def test_another_copy_by_the_search_path_is_the_only_finding(lock: Path, good: Path) -> None:
    newer = wheel_env(NEWER)
    status, (finding,) = drift(lock, good, LD_LIBRARY_PATH=f"{search_path(newer)}:{search_path(good)}")
    assert (status, finding["rule"]) == (1, "GPD551")
    assert any("another place" in line for line in finding["consequences"])


def test_a_file_replaced_behind_pips_back_is_the_only_finding(lock: Path, good: Path) -> None:
    patched = good.with_name("patched-for-drift")
    shutil.rmtree(patched, ignore_errors=True)
    try:
        linked_copy(good, patched)
        file = next(patched.glob("lib/python3*/site-packages/nvidia/cudnn/lib/libcudnn_graph.so.9"))
        content = bytearray(file.read_bytes())
        content[-1] ^= 1  # within .dynstr: a symbol is missing now, and the loader refuses what needs it
        file.unlink()  # a hard link: the original must not change
        file.write_bytes(content)
        status, (finding,) = drift(lock, patched, LD_LIBRARY_PATH=search_path(patched))
        assert (status, finding["rule"]) == (1, "GPD251"), finding
        assert finding["message"].startswith("libcudnn_graph.so.9 in {site}/nvidia/cudnn/lib: was content sha256-ends:")
    finally:
        shutil.rmtree(patched, ignore_errors=True)


def test_diff_of_two_environments_agrees_with_the_lock(lock: Path, good: Path) -> None:
    newer = wheel_env(NEWER)
    path = f"{search_path(good)}:{search_path(newer)}"
    for left in (lock, good):
        done = gpudoctor("diff", left, newer, "--format", "json", "--env", f"LD_LIBRARY_PATH={path}")
        subjects = [d["subject"] for d in json.loads(done.stdout)["differences"]]
        assert done.returncode == 1
        assert "nvidia-cudnn-cu12" in subjects
    assert gpudoctor("diff", good, good).returncode == 0
    assert gpudoctor("diff", lock, good, LD_LIBRARY_PATH=search_path(good)).returncode == 0


def test_diff_puts_the_consumer_that_breaks_first(lock: Path, good: Path) -> None:
    document = json.loads(gpudoctor("diff", lock, good, "--format", "json").stdout)
    (outcome,) = (o for o in document["outcomes"] if o["changed"])
    assert outcome["consumer"] == "ctranslate2"
    assert outcome["right"].startswith("misses ")
    assert (document["differences"][0]["subject"], document["differences"][0]["matters"]) == ("LD_LIBRARY_PATH", True)
