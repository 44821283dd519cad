from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.protocol import CannotLook, ChildResult, NotThere, ReadSystem, encodable, read_text
from gpudoctor.system.real import RealSystem


def machines(tmp_path: Path) -> tuple[tuple[ReadSystem, str], tuple[ReadSystem, str]]:
    """Return one machine twice, in memory and on disk, with its root."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"content")
    (tmp_path / "empty").mkdir()
    links = {"to_file": "a/b/file", "to_dir": "a", "loop": "loop", "dangling": "none", "up": "a/b/../b", "abs": ""}
    links["abs"] = str(tmp_path / "to_dir/b")
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    os.mkfifo(tmp_path / "fifo")
    root = str(tmp_path)
    memory = MemorySystem(
        {f"{root}/a/b/file": "content"},
        links={f"{root}/{name}": target for name, target in links.items()},
        directories=[f"{root}/empty"],
        fifos=[f"{root}/fifo"],
    )
    return (memory, root), (RealSystem(), root)


def outcome(call: object, *args: object) -> object:
    assert callable(call)
    try:
        return call(*args)
    except NotThere:
        return "not there"
    except CannotLook as error:
        return f"cannot look: {error.errno_name}"


PATHS = (
    "", "a", "a/b", "a/b/file", "empty", "to_file", "to_dir", "to_dir/b/file", "loop", "loop/x", "dangling", "up",
    "up/file", "abs/file", "fifo", "none", "a/b/file/x", "a/../empty", "abs/../../empty",
)  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
def test_memory_answers_as_a_disk_does(tmp_path: Path, name: str) -> None:
    (memory, root), (disk, _) = machines(tmp_path)
    path = os.path.join(root, name) if name else root

    for method in ("listdir", "read_bytes", "readlink", "realpath"):
        ours, theirs = outcome(getattr(memory, method), path), outcome(getattr(disk, method), path)
        assert ours == theirs, method
    ours_stat, theirs_stat = outcome(memory.stat, path), outcome(disk.stat, path)
    assert getattr(ours_stat, "kind", ours_stat) == getattr(theirs_stat, "kind", theirs_stat)


def test_positional_reads() -> None:
    with MemorySystem({"/f": "0123456789"}).open("/f") as reader:
        assert reader.stat.size_bytes == 10
        assert reader.pread(3, 8) == b"89"
        assert reader.pread(3, 20) == b""


def test_what_may_not_be_read() -> None:
    system = MemorySystem({"/shut/f": "x", "/g": "x"}, unreadable=["/shut", "/g"])

    for call in (system.listdir, system.stat):
        with pytest.raises(CannotLook):
            call("/shut/f")
    with pytest.raises(CannotLook, match="Permission"):
        system.read_bytes("/g")
    assert system.stat("/g").kind == "file"


def test_children_are_answered_from_the_table() -> None:
    answer = ChildResult(3, b"out", b"", False)
    system = MemorySystem(children={"probe.py": answer}, environ={"A": "b"}, uid=1000, cwd="/w")

    assert system.start(("/usr/bin/python3", "/x/probe.py"), {"E": "1"}, 2.0).result() == answer
    assert system.started == [(("/usr/bin/python3", "/x/probe.py"), {"E": "1"}, 2.0)]
    with pytest.raises(CannotLook):
        system.start(("/bin/other",), {}, 1.0)
    assert (system.environ(), system.effective_uid(), system.cwd()) == ({"A": "b"}, 1000, "/w")


def test_text_is_read_whatever_its_bytes() -> None:
    assert read_text(MemorySystem({"/f": b"a\xffb"}), "/f") == "a\ufffdb"


@pytest.mark.parametrize(
    ("text", "expected"), [("plain", "plain"), ("grün", "grün"), (os.fsdecode(b"/\xff"), "/\\udcff")]
)
def test_any_path_can_be_written_to_a_document(text: str, expected: str) -> None:
    assert encodable(text) == expected
    assert encodable(text).encode("utf-8")
