"""A sheet of styled lines: rich does colour, wrapping and widths; everything from outside is escaped first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpudoctor.report.details import MOST_CHARACTERS, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green", "open": "magenta", "skip": "dim"}
Part = str | tuple[str, str]

# From this width on nothing is wrapped: a pipe has no width, and grep wants a path in one piece.
UNWRAPPED_WIDTH = 10_000
_LEAST_WIDTH = 40


# Wrapping a megabyte takes minutes, and such a name is broken or hostile. A command to be copied may be longer.
_MOST_LABEL = 40
_MOST_VERBATIM = 16_000
# What gpudoctor's own sentences hold, for a terminal that has ASCII alone.
_PLAIN = str.maketrans({"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2026": "...", "\u2013": "-"})


class Canvas:
    """Collects lines and gives them back as one string."""

    def __init__(self, *, colored: bool, width: int, ascii_only: bool) -> None:
        self._ascii_only = ascii_only
        self._colored = colored
        self._width = max(width, _LEAST_WIDTH)
        # Into a pipe there is nothing for rich to do, and its import costs as much as all of the judging.
        self._console = _console(colored, self._width) if colored or width < UNWRAPPED_WIDTH else None
        self._lines: list[str] = []

    def line(self, *parts: Part, indent: int = 0) -> None:
        """Add one line, wrapped at the width.

        Args:
            parts: Plain strings, or (string, style) pairs.
            indent: Columns before it.
        """
        self._add((), parts, indent)

    def row(self, *cells: tuple[str, str, int], value: Part, indent: int = 0) -> None:
        """Add cells of fixed width (text, style, columns), then a value that wraps in the columns left."""
        padded = tuple(
            (f"{shown(text, _MOST_LABEL):<{min(columns, _MOST_LABEL + 2)}}", style) for text, style, columns in cells
        )
        self._add(padded, (value,), indent)

    def verbatim(self, text: str, indent: int = 0, style: str = "") -> None:
        """Add one line that is never wrapped: a command or a path to be copied."""
        line = " " * min(indent, 2 * _MOST_LABEL) + shown(text, _MOST_VERBATIM)
        if self._console is None:
            self._lines.append(line)
        else:
            self._render(self._console, _styled(((line, style),), _MOST_VERBATIM))

    def blank(self) -> None:
        """Add an empty line."""
        self._lines.append("")

    def text(self) -> str:
        """Return all lines, without trailing blanks."""
        body = "\n".join(line.rstrip() for line in self._lines).rstrip("\n")
        if self._ascii_only:
            body = body.translate(_PLAIN).encode("ascii", "backslashreplace").decode()
        return body + "\n" if body else ""

    def _add(self, head: tuple[Part, ...], parts: tuple[Part, ...], indent: int) -> None:
        before = " " * indent
        if self._console is None:
            self._lines.append(before + "".join(shown(_content(p)) for p in (*head, *parts)))
            return
        prefix = _styled((before, *head))
        value = _styled(tuple((shown(_content(p)), "" if isinstance(p, str) else p[1]) for p in parts))
        for wrapped in value.wrap(self._console, max(self._width - len(prefix), 8), overflow="fold"):
            self._render(self._console, prefix + wrapped)
            prefix = _styled((" " * len(prefix),))

    def _render(self, console: Console, text: Text) -> None:
        with console.capture() as captured:
            console.print(text, soft_wrap=True)
        self._lines.append(captured.get().rstrip("\n"))


def _console(colored: bool, width: int) -> Console:
    from io import StringIO

    from rich.console import Console

    return Console(
        file=StringIO(),  # what is captured must not reach standard output, not even to find out that it is full
        force_terminal=colored,
        color_system="standard" if colored else None,
        no_color=not colored,
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def _content(part: Part) -> str:
    return part if isinstance(part, str) else part[0]


def _styled(parts: tuple[Part, ...], most: int = MOST_CHARACTERS) -> Text:
    from rich.text import Text

    text = Text()
    for part in parts:
        text.append(shown(_content(part), 5 * most), "" if isinstance(part, str) else part[1])
    return text
