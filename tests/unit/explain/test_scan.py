"""The stream: pieces of any size, line numbers, long lines, binary, bounded memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.explain import scan
from gpudoctor.explain.rank import explain_stream
from gpudoctor.explain.scan import Contained, Literals, Scanner, Window

MESSAGE = b"RuntimeError: CUDA failed with error out of memory"


def windows(data: bytes, size: int, sieve: tuple[str, ...] = ("needle",)) -> list[Window]:
    found: list[Window] = []
    scanner = Scanner(sieve, sieve, found.append)
    for start in range(0, len(data), size):
        scanner.feed(data[start : start + size])
    scanner.close()
    return found


@given(
    st.lists(st.sampled_from([b"", b"needle", b"x needle y", b"hay", b"\xff\x00", b"ned needle needle"]), max_size=60)
)
def test_each_line_is_shown_once_with_its_number(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    wanted = [(n, line) for n, line in enumerate(data.split(b"\n"), 1) if b"needle" in line]
    for size in (1, 7, 1 << 20):
        assert [(w.number, w.raw) for w in windows(data, size)] == wanted


def test_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "BLOCK_BYTES", 64)
    data = b"".join(b"line %d needle\n" % n if n % 50 == 0 else b"line %d\n" % n for n in range(1, 20_000))
    found = windows(data, 33)
    assert [w.number for w in found] == list(range(50, 20_000, 50))
    assert all(w.raw == b"line %d needle" % w.number for w in found)
    assert found[3].before[-1] == b"line 199"
    assert found[3].after[0] == b"line 201"


def test_the_same_finds_without_the_compiled_library(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("abc", "bcd", "needle")
    block = b"xabcd needle abc bcd"
    fast = list(Literals(words).starts(block))
    monkeypatch.setitem(sys.modules, "ahocorasick_rs", None)
    scan._compiled.cache_clear()
    slow = list(Literals(words).starts(block))
    scan._compiled.cache_clear()
    assert slow == fast


def test_which_a_text_holds_overlapping_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    words, text = ("CUDA error", "error: out", "out of memory", "absent"), "ä CUDA error: out of memory"
    wanted = {"CUDA error", "error: out", "out of memory"}
    assert Contained(words).of(text) == wanted
    monkeypatch.setitem(sys.modules, "ahocorasick_rs", None)
    assert Contained(words).of(text) == wanted


def test_a_flood_of_one_literal_is_cut_short_within_a_block() -> None:
    assert 2000 < len(windows(b"needle\n" * 20_000, 1 << 20)) < 2100
    assert len(windows(b"needle " * 1_000_000, 1 << 20)) < 300


def test_a_message_is_found_after_a_flood_of_literals() -> None:
    flood = b"".join(b"loading on cuda:0 GPU memory %d torch CUDA error nothing\n" % n for n in range(60_000))
    found = explain_stream([flood, MESSAGE, b"\n"])
    assert (found.causes[0].cause, found.causes[0].line) == ("gpu-oom", 60_001)


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 4000,
        b"\x00" * 3_000_000,
        b"\xff\xfe" + b"\x00\xd8" * 100_000,
        b"{" * 200_000,
        b"\x1b[" * 99_999,
    ],
    ids=["binary", "zeros", "broken utf-16", "braces", "escapes"],
)
def test_any_bytes_end_and_say_nothing(data: bytes) -> None:
    assert explain_stream([data]).causes == ()


def test_a_line_of_100_megabytes_in_bounded_memory() -> None:
    program = (
        "from gpudoctor.explain.rank import explain_stream\n"
        "def pieces():\n"
        "    for _ in range(100): yield b'CUDA error libcudnn ' * 50_000\n"
        f"    yield {MESSAGE!r}\n"
        "found = explain_stream(pieces())\n"
        # Not ru_maxrss: that counts what the parent had before exec.
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print([c.cause for c in found.causes][:1], peak)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.startswith("['gpu-oom']"), done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) < 200_000


def test_hostile_lines_end_in_time() -> None:
    started = time.process_time()
    for filler in (b"libcudnn", b"lib" * 3, b"a.", b"((", b"undefined symbol: ", b"version `GLIBC_", b"C:\\Users\\"):
        explain_stream([(filler * 400 + b"\n") * 40])
    assert time.process_time() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
