from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.report.canvas import Canvas
from gpudoctor.report.escape import visible


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("/plain/path", "/plain/path"),
        ("/über/Pfad", "/über/Pfad"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("two\nlines\ttab", "two\\x0alines\\x09tab"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("bad\udce9byte", "bad\\udce9byte"),
        ("\x9b2J", "\\x9b2J"),
        ("line\u2028break", "line\\u2028break"),
        ("pip install\u00a0x", "pip install\\xa0x"),
        ("inv\u200bisible", "inv\\u200bisible"),
        ("mark\u061c", "mark\\u061c"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(raw: str, shown: str) -> None:
    assert visible(raw) == shown


@given(st.text())
def test_nothing_that_moves_the_cursor_survives(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.text(alphabet="[]/=bold red\\\x1b:", max_size=30))
def test_markup_from_outside_is_text(name: str) -> None:
    canvas = Canvas(colored=False, width=200, ascii_only=False)
    canvas.line("name: ", name)
    assert canvas.text().strip("\n") == f"name: {visible(name)}".rstrip()


def test_a_row_wraps_under_its_value() -> None:
    canvas = Canvas(colored=False, width=40, ascii_only=False)
    canvas.row(("label", "", 8), value="word " * 12, indent=2)
    lines = canvas.text().splitlines()
    assert lines[0].startswith("  label   word")
    assert all(line.startswith(" " * 10 + "word") for line in lines[1:])
    assert len(lines) > 1


def test_a_command_is_never_wrapped() -> None:
    canvas = Canvas(colored=False, width=40, ascii_only=False)
    command = "export LD_LIBRARY_PATH=" + "/a/long/folder:" * 10
    canvas.verbatim(command, indent=4)
    assert canvas.text() == f"    {command}\n"
