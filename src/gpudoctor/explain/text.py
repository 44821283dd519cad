"""Bytes in, excerpts out: encodings of log files, and the stretch of a line that is shown."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

from gpudoctor.explain.mask import mask

_EXCERPT_CHARS = 300
_LEAD_CHARS = 60
# PowerShell's `>` writes UTF-16; most bytes at odd places are then zero.
_PROBE_BYTES = 4096


def log_bytes(pieces: Iterable[bytes], block_bytes: int) -> Iterator[bytes]:
    """Yield the pieces as UTF-8, whatever they were written in."""
    decoder: codecs.IncrementalDecoder | None = None
    first = True
    for piece in pieces:
        if first and piece:
            decoder = _decoder_for(piece[:_PROBE_BYTES])
            first = False
        if decoder is None:
            yield piece
            continue
        for start in range(0, len(piece), block_bytes):
            yield decoder.decode(piece[start : start + block_bytes]).encode("utf-8", "replace")


def _decoder_for(head: bytes) -> codecs.IncrementalDecoder | None:
    encoding = None
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif len(head) >= 8:
        odd, even = head[1::2].count(0), head[0::2].count(0)
        half = len(head) // 2
        if odd > half * 0.6 and even < half * 0.1:
            encoding = "utf-16-le"
        elif even > half * 0.6 and odd < half * 0.1:
            encoding = "utf-16-be"
    return codecs.getincrementaldecoder(encoding)("replace") if encoding else None


def printable(text: str) -> str:
    """Return a text whose control, invisible and bidirectional characters are written as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def excerpt_of(text: str, pattern: str | None) -> str:
    """Return what is shown of a line: the stretch around the match, masked.

    Args:
        text: The line.
        pattern: What matched in it; None shows its beginning.
    """
    match = re.search(pattern, text) if pattern and len(text) > _EXCERPT_CHARS else None
    # Masked before it is cut: half a token would not be known as one.
    start = max(0, match.start() - _LEAD_CHARS) if match else 0
    masked = printable(mask(text).expandtabs(1).strip())
    if masked != text and start:
        match = re.search(pattern, masked) if pattern else None
        start = max(0, match.start() - _LEAD_CHARS) if match else 0
    shown = masked[start : start + _EXCERPT_CHARS].strip()
    return f"{'…' if start else ''}{shown}{'…' if len(masked) > start + _EXCERPT_CHARS else ''}"
