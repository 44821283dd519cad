"""Text: hostile names end as escapes of bounded length, in a time that their length does not decide."""

from __future__ import annotations

import pytest

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
