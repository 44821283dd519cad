"""Names of libraries among the constants of real objects, and of spoiled ones."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest

from gpudoctor.loader import names as module
from gpudoctor.loader.elf import ElfError, read_elf
from gpudoctor.loader.names import OpenedNames
from gpudoctor.system.real import RealSystem

SYSTEM = RealSystem()


def compiled(folder: Path, source: str, *flags: str) -> Path:
    (folder / "main.c").write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", folder / "main.c", "-o", folder / "lib.so", *flags], check=True)
    return folder / "lib.so"


def names_of(path: Path) -> tuple[str, ...]:
    return OpenedNames(SYSTEM).of(str(path), read_elf(SYSTEM, str(path)))


def holding(folder: Path, *texts: str) -> Path:
    lines = "".join(f'const char *t{i}(void) {{ return "{text}"; }}\n' for i, text in enumerate(texts))
    return compiled(folder, lines)


def test_a_name_that_stands_alone(tmp_path: Path) -> None:
    found = names_of(holding(tmp_path, "libcudnn.so.9", "libcublas.so", "/usr/local/cuda/lib64/libcufft.so.11"))
    assert found == ("libcudnn.so.9", "libcublas.so", "/usr/local/cuda/lib64/libcufft.so.11")


@pytest.mark.parametrize(
    "text",
    [
        "cannot find libcudnn.so.9",
        "libcudnn.so.9: not found",
        "libcudnn.so.%d",
        "relative/libcudnn.so.9",
        "xlibcudnn.so.9",
        "libcudnn.so.9 ",
        "libcudnn_é.so.9",
        "lib.so",
        "libcudnn.dll",
    ],
)
def test_other_text_around_it_is_a_message(tmp_path: Path, text: str) -> None:
    assert names_of(holding(tmp_path, text)) == ()


def test_what_it_links_and_what_it_is_called_are_no_news(tmp_path: Path) -> None:
    compiled(tmp_path, "int work(void) { return 1; }", "-Wl,-soname,libcublas.so.12")
    linked = tmp_path / "libcublas.so.12"
    (tmp_path / "lib.so").rename(linked)
    source = 'int work(void); const char *f(int i) { work(); return i ? "libcublas.so.12" : "libown.so.1"; }'
    assert names_of(compiled(tmp_path, source, str(linked), "-Wl,-soname,libown.so.1")) == ()


def test_writable_data_and_instructions_are_not_constants(tmp_path: Path) -> None:
    assert names_of(compiled(tmp_path, 'char text[] = "libcudnn.so.9";')) == ()


def test_without_section_headers_the_whole_file_is_searched(tmp_path: Path) -> None:
    path = holding(tmp_path, "libcudnn.so.9")
    data = bytearray(path.read_bytes())
    data[40:48] = bytes(8)
    path.write_bytes(data)
    assert "libcudnn.so.9" in names_of(path)


@pytest.mark.parametrize("moved", range(-40, 40, 7))
def test_a_name_across_the_end_of_a_chunk(tmp_path: Path, moved: int) -> None:
    size = module._CHUNK_BYTES + module._MAX_PATH_BYTES + moved
    source = f'const struct {{ char a[{size}]; char b[16]; }} big = {{{{1}}, "libcudnn.so.9"}};'
    assert names_of(compiled(tmp_path, source)) == ("libcudnn.so.9",)


def test_a_file_is_read_once_and_no_more_than_is_granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = holding(tmp_path, "libcudnn.so.9")
    names, elf = OpenedNames(SYSTEM), read_elf(SYSTEM, str(path))
    assert names.of(str(path), elf) == ("libcudnn.so.9",)
    path.unlink()
    assert names.of(str(path), elf) == ("libcudnn.so.9",)
    assert names.unread == []
    monkeypatch.setattr(module, "_MAX_ALL_BYTES", 4)
    path = holding(tmp_path, "libcudnn.so.9")
    short = OpenedNames(SYSTEM)
    assert short.of(str(path), read_elf(SYSTEM, str(path))) == ()
    assert short.unread == [f"only a part of the constants of {path} was searched for names of libraries"]


def test_names_without_end_are_cut(tmp_path: Path) -> None:
    texts = (f"libcudnn_{'a' * (n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676)}.so.9" for n in range(1200))
    path = holding(tmp_path, *dict.fromkeys(texts))
    names = OpenedNames(SYSTEM)
    assert len(names.of(str(path), read_elf(SYSTEM, str(path)))) == 1000
    assert len(names.unread) == 1


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = holding(tmp_path, "libcudnn.so.9")
    elf = read_elf(SYSTEM, str(path))
    path.unlink()
    names = OpenedNames(SYSTEM)
    assert (names.of(str(path), elf), len(names.unread)) == ((), 1)


@pytest.mark.parametrize("seed", range(20))
def test_spoiled_headers_neither_raise_nor_take_long(tmp_path: Path, seed: int) -> None:
    path = holding(tmp_path, "libcudnn.so.9")
    data = bytearray(path.read_bytes())
    chosen = random.Random(seed)
    (table_at,) = struct.unpack_from("<Q", data, 40)
    for _ in range(chosen.randrange(1, 30)):
        area = chosen.choice([(40, 48), (58, 64), (table_at, len(data))])
        data[chosen.randrange(*area)] = chosen.choice([0, 1, 0x7F, 0xFF])
    path.write_bytes(data)
    try:
        elf = read_elf(SYSTEM, str(path))
    except ElfError:
        return
    OpenedNames(SYSTEM).of(str(path), elf)
