"""In which line of a TOML file something stands. The parsers tell only for broken syntax."""

from __future__ import annotations

import re
from collections.abc import Iterator

_HEADER = re.compile(r"\s*\[{1,2}([^\[\]]+)\]{1,2}\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_RULE = re.compile(r"""(?<![\w.-])["']?rule["']?\s*=\s*["']([^"']*)["']""")


def line_of_key(text: str, table: tuple[str, ...], key: str) -> int | None:
    """Return the line, from 1, in which a key is written: below its table's header, or as a header of its own.

    Args:
        text: The file.
        table: Keys that lead to the table.
        key: The key in it.
    """
    wanted = (*table, key)
    for number, keys in _keys(text):
        if keys[: len(wanted)] == wanted:
            return number
    return _inline(text, table, key)


def _inline(text: str, table: tuple[str, ...], key: str) -> int | None:
    """Look for a key in an inline table: first in the line of that table, then in those that follow."""
    start = line_of_key(text, table[:-1], table[-1]) if table else None
    if start is None:
        return None
    pattern = re.compile(rf"""(?<![\w.-])["']?{re.escape(key)}["']?\s*=""")
    for number, line in enumerate(text.splitlines()[start - 1 :], start):
        if pattern.search(_code(line)):
            return number
    return start


def _keys(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield each line that begins with a header or a key, with the full name of what it begins."""
    current: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            current = _parts(header[1])
            yield number, current
        elif key := _KEY.match(line):
            yield number, (*current, *_parts(key[1]))


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in name.split("."))


def line_of_rule(text: str, rule: str, number: int) -> int | None:
    """Return the line of the nth entry, from 0, that ignores a rule."""
    found = (n for n, line in enumerate(text.splitlines(), 1) for r in _RULE.findall(_code(line)) if r == rule)
    return next((n for i, n in enumerate(found) if i == number), None)


def _code(line: str) -> str:
    """Return a line, or nothing when it is a comment."""
    return "" if line.lstrip().startswith("#") else line
