"""Files made to hurt a reader: each ends quickly, with one of its own errors."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from pathlib import Path

import pytest

from gpudoctor.loader.elf import ElfError, FatalElf, SkippedElf, read_elf
from gpudoctor.system.protocol import CannotLook, NotThere
from gpudoctor.system.real import RealSystem


def header(*, phoff: int = 64, phnum: int = 1, machine: int = 62, elf_class: int = 2) -> bytes:
    ident = b"\x7fELF" + bytes([elf_class, 1, 1]) + bytes(9)
    return ident + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, phoff, 0, 0, 64, 56, phnum, 64, 0, 0)


def segment(kind: int, offset: int, size: int, address: int = 0) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, 5, offset, address, address, size, size, 4096)


def dynamic(*entries: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<QQ", *e) for e in (*entries, (0, 0)))


def library(*entries: tuple[int, int], tail: bytes = b"\0" * 64) -> bytes:
    table = dynamic(*entries)
    body = header(phnum=2) + segment(1, 0, 176 + len(table) + len(tail)) + segment(2, 176, len(table))
    return body + table + tail


def refuse(path: Path) -> ElfError:
    started = time.monotonic()
    with pytest.raises(ElfError) as caught:
        read_elf(RealSystem(), str(path), "x86_64")
    assert time.monotonic() - started < 1.0
    return caught.value


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "not-elf"),
        (b"#!/bin/sh\n" * 20, "not-elf"),
        (b"\x7fELF", "not-elf"),
        (header(phnum=65535), "unloadable"),
        (header(phoff=2**64 - 1), "unloadable"),
        (header(phoff=2**40), "unloadable"),
        (header(phnum=0), "unloadable"),
        (library((5, 176), *((1, 0),) * 3000), "unloadable"),
        (library((5, 2**63), (14, 1)), "unloadable"),
        (library((5, 176), (14, 2**40)), "unloadable"),
        (library((1, 0)), "unloadable"),
        (library((5, 224), (14, 0), tail=b"\xff" * 9000), "unloadable"),
        (library((5, 176), (0x6FFFFFFE, 2**50), (0x6FFFFFFF, 2**60)), "unloadable"),
    ],
)
def test_refused(tmp_path: Path, data: bytes, fault: str) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(data)
    error = refuse(path)
    assert isinstance(error, FatalElf)
    assert error.fault == fault


@pytest.mark.parametrize(
    ("data", "fault"), [(header(elf_class=1), "wrong-class"), (header(machine=183), "wrong-machine")]
)
def test_skipped(tmp_path: Path, data: bytes, fault: str) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(data)
    error = refuse(path)
    assert isinstance(error, SkippedElf)
    assert error.fault == fault


def test_version_tables_that_loop(tmp_path: Path) -> None:
    entry = struct.pack("<HHIII", 1, 65535, 0, 0, 0xFFFFFFF0)
    path = tmp_path / "x.so"
    tail = entry + bytes(4000)
    path.write_bytes(library((5, 256), (0x6FFFFFFE, 176 + 64), (0x6FFFFFFF, 2**60), tail=tail))
    started = time.monotonic()
    with contextlib.suppress(ElfError):
        read_elf(RealSystem(), str(path))
    assert time.monotonic() - started < 1.0


def test_a_sparse_file_of_ten_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "x.so"
    with path.open("wb") as file:
        file.write(header(phoff=9 * 2**30, phnum=1000))
        file.truncate(10 * 2**30)
    assert refuse(path).fault == "unloadable"


def test_no_regular_files(tmp_path: Path) -> None:
    (tmp_path / "folder.so").mkdir()
    os.mkfifo(tmp_path / "fifo.so")
    for name in ("folder.so", "fifo.so", "/dev/null"):
        assert refuse(tmp_path / name).fault == "not-regular"
    (tmp_path / "loop.so").symlink_to("loop.so")
    with pytest.raises(CannotLook) as caught:
        read_elf(RealSystem(), str(tmp_path / "loop.so"))
    assert caught.value.errno_name == "ELOOP"
    with pytest.raises(NotThere):
        read_elf(RealSystem(), str(tmp_path / "none.so"))


def test_a_file_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(library((5, 176))[:200])
    assert read_elf(RealSystem(), str(path)).truncated
