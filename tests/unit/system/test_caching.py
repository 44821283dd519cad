"""Folders of the cache: whole or not there, also when processes race or are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.system import caching
from gpudoctor.system.caching import cache_home, is_whole, obtain


def _fill(folder: str) -> None:
    Path(folder, "a").write_text("content")
    Path(folder, "b").write_text("more")


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    calls: list[str] = []

    def make(folder: str) -> None:
        calls.append(folder)
        _fill(folder)

    first = obtain(str(tmp_path / "home"), "x", make)
    assert obtain(str(tmp_path / "home"), "x", make) == first
    assert len(calls) == 1
    assert Path(first, "a").read_text() == "content"


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "manifest"])
def test_what_is_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    folder = Path(obtain(str(tmp_path), "x", _fill))
    file = folder / ("gpudoctor.json" if damage == "manifest" else "a")
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(
            {"changed": "CONTENT", "cut": "cont", "manifest": "{}"}[damage] if damage != "manifest" else "["
        )
    assert not is_whole(str(folder))
    obtain(str(tmp_path), "x", _fill)
    assert (folder / "a").read_text() == "content"
    assert is_whole(str(folder))


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fails(folder: str) -> None:
        _fill(folder)
        raise GpuDoctorError("no")

    with pytest.raises(GpuDoctorError, match="no"):
        obtain(str(tmp_path), "x", fails)
    assert [p.name for p in tmp_path.iterdir()] == ["x.lock"]


def _slow(home: str, log: str, seconds: float) -> None:
    def make(folder: str) -> None:
        with open(log, "a", encoding="ascii") as file:
            file.write("made\n")
        _fill(folder)
        time.sleep(seconds)

    obtain(home, "x", make)


def test_two_that_want_the_same_make_it_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_slow, args=(str(tmp_path / "home"), str(log), 0.5)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [p.exitcode for p in both] == [0, 0]
    assert log.read_text() == "made\n"
    assert sorted(p.name for p in (tmp_path / "home").iterdir()) == ["x", "x.lock"]


def test_what_a_killed_one_left_is_cleared_away(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    process = multiprocessing.get_context("fork").Process(target=_slow, args=(str(home), str(log), 60.0))
    process.start()
    until = time.monotonic() + 30
    while not log.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert any(p.name.startswith(".x-") for p in home.iterdir())
    folder = obtain(str(home), "x", _fill)
    assert is_whole(folder)
    assert sorted(p.name for p in home.iterdir()) == ["x", "x.lock"]


def test_no_room_is_said_before_it_is_begun(tmp_path: Path) -> None:
    with pytest.raises(GpuDoctorError, match="are free; make room"):
        obtain(str(tmp_path), "x", _fill, needed_bytes=1 << 60)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GpuDoctorError, match=r"nothing can be kept there .* XDG_CACHE_HOME"):
        obtain(str(tmp_path / "file" / "home"), "x", _fill)


def test_where_the_cache_is(tmp_path: Path) -> None:
    assert cache_home({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == "/c/gpudoctor"
    assert cache_home({"XDG_CACHE_HOME": "relative", "HOME": "/h"}).startswith("/h/")
    with pytest.raises(GpuDoctorError, match="XDG_CACHE_HOME"):
        cache_home({})


def test_one_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "_LOCK_WAIT_S", 0.3)
    waited: list[int] = []

    def make(folder: str) -> None:
        with pytest.raises(GpuDoctorError, match="does not come to an end"):
            obtain(str(tmp_path), "x", _fill, waiting=lambda: waited.append(1))
        _fill(folder)

    obtain(str(tmp_path), "x", make)
    assert waited == [1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize(("mode", "owner", "refused"), [(0o1777, 1234, True), (0o755, 1234, False), (0o1777, 0, False)])
def test_what_another_user_put_where_anybody_may_is_not_loaded(
    tmp_path: Path, mode: int, owner: int, refused: bool
) -> None:
    home = tmp_path / "shared" / "gpudoctor"
    assert obtain(str(home), "thing", lambda folder: None) == str(home / "thing")
    home.parent.chmod(mode)
    os.chown(home, owner, owner)
    if refused:
        with pytest.raises(GpuDoctorError, match="belongs to another user"):
            obtain(str(home), "thing", lambda folder: None)
    else:
        assert obtain(str(home), "thing", lambda folder: None) == str(home / "thing")
