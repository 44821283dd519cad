"""Text from outside, made safe to show: paths, package names and messages may hold terminal escapes."""

from __future__ import annotations

_BIDI = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def visible(text: str) -> str:
    """Return text with every control, bidirectional-override and surrogate character written out as an escape.

    Newlines and tabs count as control characters: a value is one line.

    Source: Unicode TR 36 (spoofing), https://www.unicode.org/reports/tr36/ (2026-11-20).
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible_char(char) for char in text)


def _visible_char(char: str) -> str:
    code = ord(char)
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"\\x{code:02x}"
    if char in _BIDI or 0xD800 <= code < 0xE000 or code in (0x2028, 0x2029):
        return f"\\u{code:04x}"
    return char
