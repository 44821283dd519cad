from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.system.writing import write_atomically


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(str(tmp_path / "x"), b"abc")
    finally:
        os.umask(before)
    assert (tmp_path / "x").read_bytes() == b"abc"
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640
    assert names(tmp_path) == ["x"]


def test_an_existing_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"old")
    file.chmod(0o604)
    with file.open("rb") as reader:
        write_atomically(str(file), b"new" * 100_000)
        assert reader.read() == b"old"  # a reader of the old file keeps it whole
    assert file.read_bytes() == b"new" * 100_000
    assert stat.S_IMODE(file.stat().st_mode) == 0o604


def test_a_relative_name_is_written_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("x", b"1")
    assert names(tmp_path) == ["x"]


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(str(tmp_path / "link"), b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_fifo_is_written_to_and_stays(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    write_atomically(str(fifo), b"data")
    reader.join(10)
    assert got == [b"data"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize("name", ["no/such/folder/x", "folder", "file/x", "nul\0", "loop/x", "n" * 300])
def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    with pytest.raises(GpuDoctorError, match=r"^cannot write ") as caught:
        write_atomically(str(tmp_path / name), b"x")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == before
    assert names(tmp_path / "folder") == []
