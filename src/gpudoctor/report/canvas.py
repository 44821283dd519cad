"""A sheet of styled lines: rich does colour, wrapping and widths; everything from outside is escaped first."""

from __future__ import annotations

import io

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gpudoctor.report.escape import visible

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green", "open": "magenta", "skip": "dim"}


class Canvas:
    """Collects lines and gives them back as one string."""

    def __init__(self, *, colored: bool, width: int, ascii_only: bool) -> None:
        self._ascii_only = ascii_only
        self._console = Console(
            file=io.StringIO(),
            force_terminal=colored,
            color_system="standard" if colored else None,
            no_color=not colored,
            width=max(width, 40),
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    def line(self, *parts: str | tuple[str, str], indent: int = 0) -> None:
        """Add one line, wrapped at the width.

        Args:
            parts: Plain strings, or (string, style) pairs.
            indent: Columns before it.
        """
        self._console.print(Padding(_styled(parts), (0, 0, 0, indent)))

    def row(self, *cells: tuple[str, str, int], value: str | tuple[str, str], indent: int = 0) -> None:
        """Add cells of fixed width (text, style, columns), then a value that wraps in the columns left."""
        grid = Table.grid(expand=False)
        for _ in range(indent > 0):
            grid.add_column(width=indent)
        for _, _, columns in cells:
            grid.add_column(width=columns, no_wrap=True)
        grid.add_column(overflow="fold")
        head = [Text("")] * (indent > 0)
        grid.add_row(*head, *(Text(visible(text), style) for text, style, _ in cells), _styled((value,)))
        self._console.print(grid)

    def verbatim(self, text: str, indent: int = 0, style: str = "") -> None:
        """Add one line that is never wrapped: a command or a path to be copied."""
        self._console.print(Text(" " * indent + visible(text), style), soft_wrap=True)

    def blank(self) -> None:
        """Add an empty line."""
        self._console.print()

    def text(self) -> str:
        """Return all lines, without trailing blanks."""
        file = self._console.file
        assert isinstance(file, io.StringIO)  # noqa: S101 - set in the constructor
        body = "\n".join(line.rstrip() for line in file.getvalue().splitlines())
        if self._ascii_only:
            body = body.encode("ascii", "backslashreplace").decode()
        return body + "\n" if body else ""


def _styled(parts: tuple[str | tuple[str, str], ...]) -> Text:
    text = Text()
    for part in parts:
        content, style = (part, "") if isinstance(part, str) else part
        text.append(visible(content), style)
    return text
