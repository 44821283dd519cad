from __future__ import annotations

import os
from pathlib import Path

from gpudoctor.drift.identity import END_BYTES, digest_libraries
from gpudoctor.model.fact import Unknown
from gpudoctor.system.real import RealSystem
from unit.drift.builders import change, environment, library, resolution


def digest(path: Path, *, build_id: str | None = None) -> str | None:
    file = library(str(path), "cudnn", build_id=build_id)
    snapshot = change(environment(), libraries=(file,), resolutions=(resolution("cudnn", "r", str(path)),))
    return digest_libraries(RealSystem(), snapshot).get(str(path))


def test_either_end_and_the_size_decide(tmp_path: Path) -> None:
    body = bytearray(os.urandom(4 * END_BYTES))
    seen = set()
    for change_at in (None, 0, END_BYTES - 1, len(body) - 1, len(body) - END_BYTES):
        content = bytearray(body)
        if change_at is not None:
            content[change_at] ^= 1
        file = tmp_path / "lib.so"
        file.write_bytes(content)
        seen.add(digest(file))
    (tmp_path / "longer.so").write_bytes(body[:END_BYTES] + b"x" + body[END_BYTES:])
    seen.add(digest(tmp_path / "longer.so"))
    assert len(seen) == 6
    assert all(value is not None and value.startswith("sha256-ends:") for value in seen)


def test_every_byte_of_a_small_file_counts(tmp_path: Path) -> None:
    seen = set()
    for size in (0, 1, END_BYTES, END_BYTES + 1, 2 * END_BYTES):
        for last in (b"a", b"b"):
            file = tmp_path / "lib.so"
            file.write_bytes((b"x" * size)[:-1] + last if size else b"")
            seen.add(digest(file))
    assert len(seen) == 9  # the empty file is the same twice


def test_a_copy_has_the_same_digest(tmp_path: Path) -> None:
    for name in ("a.so", "b.so"):
        (tmp_path / name).write_bytes(b"content" * 100_000)
    assert digest(tmp_path / "a.so") == digest(tmp_path / "b.so")


def test_a_file_with_a_build_id_is_not_read(tmp_path: Path) -> None:
    assert digest(tmp_path / "not-there.so", build_id="ab") is None


def test_what_cannot_be_read_has_no_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.so")
    (tmp_path / "folder.so").mkdir()
    for name in ("fifo.so", "folder.so", "not-there.so"):
        assert digest(tmp_path / name) is None


def test_a_huge_sparse_file_is_read_at_its_ends_only(tmp_path: Path) -> None:
    file = tmp_path / "huge.so"
    with file.open("wb") as stream:
        stream.truncate(10 << 30)
    assert digest(file) is not None


def test_libraries_that_nobody_loads_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "idle.so").write_bytes(b"x")
    idle = change(library(str(tmp_path / "idle.so"), "cudnn"), elf=Unknown("x"))
    snapshot = change(environment(), libraries=(idle,), resolutions=())
    assert digest_libraries(RealSystem(), snapshot) == {}
