"""Text: hostile names end as escapes of bounded length, in a time that their length does not decide."""

from __future__ import annotations

import msgspec
import pytest

from gpudoctor.model.finding import Fix
from gpudoctor.report.text import render_check
from support.reports import HOSTILE, hostile


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.timeout(120)
def test_hostile_text_is_text(text: str) -> None:
    for width in (40, 10_000):
        shown = render_check(*hostile(text), verbose=True, quiet=False, colored=False, width=width, ascii_only=False)
        assert shown.replace("\n", "").isprintable()
        assert len(shown) < 5_000_000  # of a narrow terminal: eight characters a line, each behind its label
        assert "GPD201" in shown


def test_the_commands_of_a_fix_are_said_once() -> None:
    report, snapshot = hostile("x")
    fix = Fix(title="Install it", applicability="unsafe", commands=("uv pip install ctranslate2",))
    finding = msgspec.structs.replace(report.findings[0], fixes=(fix,))
    twice = msgspec.structs.replace(report, findings=(finding, finding))
    shown = render_check(twice, snapshot, verbose=False, quiet=True, colored=False, width=200, ascii_only=False)
    assert shown.count("uv pip install") == 1
    assert shown.count("Install it") == 2
    assert shown.count("As above: Install it") == 1
