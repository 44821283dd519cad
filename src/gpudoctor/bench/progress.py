"""Progress, as the benchmark tells of it; how it is shown is the command line's business."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Somebody who wants to know how far it is."""

    def step(self, text: str) -> None:
        """Tell what is being done now."""

    def result(self, text: str) -> None:
        """Tell what came out of a step, to be kept in view."""


class Silence:
    """Nobody."""

    def step(self, text: str) -> None:
        """Say nothing."""

    def result(self, text: str) -> None:
        """Say nothing."""
