"""Text from outside in the HTML report."""

from __future__ import annotations

from html import escape

from gpudoctor.report.details import shown


def outside(text: str) -> str:
    """Return text from outside as HTML that shows it and nothing else."""
    return escape(shown(text))
