"""Whatever the bytes, the ELF reader and the cache parser answer with a value or one of their own errors, quickly."""

from __future__ import annotations

import io
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpudoctor.loader.cache import Cache, parse_cache
from gpudoctor.loader.elf import ElfError, ElfObject, read_elf
from gpudoctor.loader.symbols import read_symbols
from gpudoctor.model.fact import Present, Unknown
from gpudoctor.system.real import RealSystem

LIMIT_S = 2.0
_QUICK = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elf")
    (folder / "x.c").write_text('#include <stdio.h>\nint f(void) { return puts("x"); }\n')
    (folder / "x.map").write_text("V1 { f; };\n")
    command = ["gcc", "-shared", "-fPIC", "x.c", "-o", "x.so", "-Wl,--version-script=x.map,-soname,x.so,-rpath,$ORIGIN"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "x.so"


def look(path: Path) -> ElfObject | None:
    """Read a file; only the reader's own errors may leave it, and it must not take long."""
    system = RealSystem()
    started = time.monotonic()
    found: ElfObject | None = None
    try:
        found = read_elf(system, str(path))
        read_symbols(system, str(path), found)
    except ElfError:
        pass
    assert time.monotonic() - started < LIMIT_S
    return found


@_QUICK
@given(data=st.binary(max_size=400))
def test_random_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(data)
    assert look(path) is None


@_QUICK
@given(data=st.binary(max_size=300), number=st.sampled_from((62, 183)))
def test_random_bytes_after_a_good_header(tmp_path: Path, data: bytes, number: int) -> None:
    path = tmp_path / "x.so"
    start = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0" + number.to_bytes(2, "little") + b"\x01\0\0\0" + bytes(8)
    path.write_bytes(start + (64).to_bytes(8, "little") + bytes(12) + b"\x40\0\x38\0\x02\0" + bytes(6) + data)
    look(path)


@_QUICK
@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=12))
def test_changed_bytes_near_the_start(tmp_path: Path, library: Path, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(library.read_bytes())
    for at, value in changes:
        changed[at] = value
    path = tmp_path / "x.so"
    path.write_bytes(changed)
    look(path)


_WORDS = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from((0, 1, 5, 6, 0x6FFFFFFE, 2**63, 2**31)))


@_QUICK
@given(changes=st.lists(st.tuples(st.integers(0, 60), _WORDS), min_size=1, max_size=6))
def test_changed_words_of_the_dynamic_section(tmp_path: Path, library: Path, changes: list[tuple[int, int]]) -> None:
    segments = ELFFile(io.BytesIO(library.read_bytes())).iter_segments()
    offset = next(s.header.p_offset for s in segments if s.header.p_type == "PT_DYNAMIC")
    changed = bytearray(library.read_bytes())
    for at, value in changes:
        changed[offset + 8 * at : offset + 8 * at + 8] = value.to_bytes(8, "little")
    path = tmp_path / "x.so"
    path.write_bytes(changed)
    look(path)


@_QUICK
@given(size=st.integers(0, 20_000))
def test_any_truncation(tmp_path: Path, library: Path, size: int) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(library.read_bytes()[:size])
    found = look(path)
    if found is not None and not found.truncated:
        end = max(s.offset + s.size_bytes for s in found.segments)
        assert end <= min(size, library.stat().st_size)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cache written by the real ldconfig."""
    folder = tmp_path_factory.mktemp("cache")
    lib = folder / "lib"
    lib.mkdir()
    for name in ("liba.so.1", "libb.so.2"):
        subprocess.run(["gcc", "-shared", "-o", lib / name, f"-Wl,-soname,{name}", "-x", "c", "/dev/null"], check=True)
    (folder / "conf").write_text(f"{lib}\n")
    ldconfig = shutil.which("ldconfig") or "/sbin/ldconfig"
    command = [ldconfig, "-X", "-f", folder / "conf", "-C", folder / "cache"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cache"


def test_the_cache_is_read(cache: Path) -> None:
    parsed = parse_cache(cache.read_bytes())
    assert isinstance(parsed, Present)
    assert isinstance(parsed.value, Cache)
    assert {"liba.so.1", "libb.so.2"} <= {e.soname for e in parsed.value.entries}


@_QUICK
@given(changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=12))
def test_a_changed_cache(cache: Path, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(cache.read_bytes())
    for at, value in changes:
        changed[at % len(changed)] = value
    assert isinstance(parse_cache(bytes(changed)), (Present, Unknown))


@_QUICK
@given(size=st.integers(0, 4000), data=st.binary(max_size=64))
def test_a_cut_cache_and_random_bytes(cache: Path, size: int, data: bytes) -> None:
    assert isinstance(parse_cache(cache.read_bytes()[:size]), (Present, Unknown))
    assert isinstance(parse_cache(data), Unknown)
    assert isinstance(parse_cache(b"glibc-ld.so.cache1.1" + data), (Present, Unknown))
