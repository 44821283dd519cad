"""Text from outside, made safe to show: paths, package names and messages may hold terminal escapes."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return text with every control, format (bidirectional, invisible) and surrogate character written as an escape.

    Newlines and tabs count as control characters: a value is one line. Blanks other than the plain one are written out,
    too: in a command to be copied they would not be what they seem.

    Source: Unicode TR 36 (spoofing), https://www.unicode.org/reports/tr36/ (2026-11-20).
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
