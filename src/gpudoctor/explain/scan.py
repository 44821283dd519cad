"""A log as a stream: lines worth a look, found in one fast pass over big blocks, in constant memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

BLOCK_BYTES = 1 << 20
# How much of a line is looked at on either side of what was found: a message is never longer.
REACH_BYTES = 4 << 10
# What is kept before and after a place for the lines around it.
_MARGIN_BYTES = 16 << 10
_BEFORE = 40
_AFTER = 12
# The line's end within a literal that it broke.
_BREAK_BYTES = 2
# From so many finds in a block on, the short literals are noise: the full ones are looked for instead.
_DENSE = 512
# The vectorised search takes so many literals at once; beyond so many searches one automaton is faster.
_TOGETHER = 64
_MOST_FINDERS = 4
# From so many bytes on, the passes are shared among threads.
_SHARED_BYTES = 128 << 10
# A literal that was found so often has told what it can; in a long line each find counts for more, as it costs more.
_ENOUGH = 2000
_COST_BYTES = 512


class Window(msgspec.Struct, frozen=True):
    """A line in which a literal was found, with its neighbours.

    Attributes:
        number: Of the line, from 1.
        raw: The line, cut to the reach around the find.
        at: Where in it the find begins.
        before: Lines before it, nearest last.
        after: Lines after it, nearest first.
    """

    number: int
    raw: bytes
    at: int
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]


class Literals:
    """Many literals, found in one pass."""

    def __init__(self, literals: Sequence[str]) -> None:
        self._words = tuple(word.encode() for word in sorted(literals))
        self._find = _compiled(self._words)

    def starts(self, block: bytes) -> Iterator[tuple[int, int]]:
        """Yield where one begins, and which: the leftmost ones that do not overlap."""
        return self._find(block) if self._words else iter(())

    def without(self, number: int) -> Literals:
        """Return all but one."""
        return Literals([word.decode() for place, word in enumerate(self._words) if place != number])

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, number: int) -> bytes:
        return self._words[number]


class Contained:
    """Which of many literals a text holds, overlapping ones too."""

    def __init__(self, literals: Sequence[str]) -> None:
        self._words = tuple(literals)
        try:
            from ahocorasick_rs import BytesAhoCorasick
        except ImportError:
            self._find = None
        else:
            self._find = BytesAhoCorasick([word.encode() for word in self._words])

    def of(self, text: str) -> set[str]:
        """Return those that a text holds."""
        if self._find is None:
            return {word for word in self._words if word in text}
        data = text.encode("utf-8", "replace")
        return {self._words[number] for number, _, _ in self._find.find_matches_as_indexes(data, overlapping=True)}


@lru_cache(maxsize=4)
def _compiled(words: tuple[bytes, ...]) -> Callable[[bytes], Iterator[tuple[int, int]]]:
    if not words:
        return lambda _: iter(())
    try:
        from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind
    except ImportError:  # no wheel for this platform: slower, the same answers
        return _by_expression(words)
    # LeftmostFirst, not Standard, and few at a time: only that uses the vectorised search, several times as fast.
    finders = [
        (first, BytesAhoCorasick(list(words[first : first + _TOGETHER]), matchkind=MatchKind.LeftmostFirst))
        for first in range(0, len(words), _TOGETHER)
    ]
    if len(finders) > _MOST_FINDERS:
        finders = [(0, BytesAhoCorasick(list(words), implementation=Implementation.DFA))]

    def find(block: bytes) -> Iterator[tuple[int, int]]:
        each = [finder for _, finder in finders]
        if len(block) < _SHARED_BYTES:
            lists = [finder.find_matches_as_indexes(block) for finder in each]
        else:  # the library lets go of Python's lock
            lists = list(_threads().map(lambda finder: finder.find_matches_as_indexes(block), each))
        found = [
            (start, first + word) for (first, _), found in zip(finders, lists, strict=True) for word, start, _ in found
        ]
        return iter(sorted(found))

    return find


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(_MOST_FINDERS, "gpudoctor-explain")


def _by_expression(words: tuple[bytes, ...]) -> Callable[[bytes], Iterator[tuple[int, int]]]:
    expression = re.compile(b"|".join(re.escape(word) for word in words))
    number = {word: place for place, word in enumerate(words)}
    return lambda block: ((match.start(), number[match[0]]) for match in expression.finditer(block))


class Scanner:
    """Takes a log in pieces of any size and shows each line that holds a literal."""

    def __init__(self, sieve: Sequence[str], anchors: Sequence[str], show: Callable[[Window], None]) -> None:
        """Make a scanner.

        Args:
            sieve: Short literals, of which each anchor holds one.
            anchors: The full literals.
            show: Is given each line that holds one of either.
        """
        self._literals = Literals(sieve)
        self._anchors: Literals | None = Literals(anchors)
        self._around = max((len(anchor.encode()) for anchor in anchors), default=0) + _BREAK_BYTES
        self._show = show
        self._found: Counter[bytes] = Counter()
        self._buffer = b""
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._done = 0
        self._counted = 0
        self.lines = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= BLOCK_BYTES:
            self._take()
            self._scan(_settled(self._buffer))

    def close(self) -> None:
        """Look at what is left."""
        self._take()
        unended = bool(self._buffer) and not self._buffer.endswith(b"\n")
        self._scan(len(self._buffer))
        self.lines += unended

    def _take(self) -> None:
        self._buffer = b"".join((self._buffer, *self._pending))
        self._pending.clear()
        self._pending_bytes = 0

    def _scan(self, end: int) -> None:
        """Look at all that begins before `end`, then forget what no later line needs."""
        shown = self._done
        finds = list(self._literals.starts(self._buffer))
        for start, word in finds:
            if start >= end:
                break
            if start >= shown and (anchor := self._anchor_at(start, word)) is not None:
                shown = self._show_line(start)
                self._found[anchor] += 1 + (shown - start) // _COST_BYTES
        self._count(end)
        self._done = max(end, shown)
        self._drop(max(0, min(end, len(self._buffer)) - _MARGIN_BYTES))
        self._settle_literals(len(finds))

    def _anchor_at(self, start: int, word: int) -> bytes | None:
        """Return the full literal around a find, be it broken by a line's end; None if all there have told enough."""
        anchors = self._anchors
        if anchors is None:
            found = iter((self._literals[word],))
        else:
            around = self._buffer[max(0, start - self._around) : start + self._around].replace(b"\r", b"")
            # A terminal breaks a line within a word, a mail or a chat between two.
            whole = b"\n".join((around.replace(b"\n", b""), around.replace(b"\n", b" ")))
            found = (anchors[number] for _, number in anchors.starts(whole))
        return next((anchor for anchor in found if self._found[anchor] <= _ENOUGH), None)

    def _show_line(self, start: int) -> int:
        """Show the line around a place; return where the looking goes on."""
        block = self._buffer
        low = max(block.rfind(b"\n", max(0, start - REACH_BYTES), start) + 1, start - REACH_BYTES, 0)
        high = block.find(b"\n", start, start + REACH_BYTES)
        high = min(start + REACH_BYTES, len(block)) if high < 0 else high
        self._count(low)
        window = Window(
            self.lines + 1, block[low:high], start - low, _lines_before(block, low), _lines_after(block, high)
        )
        self._show(window)
        return high

    def _count(self, to: int) -> None:
        if to > self._counted:
            self.lines += self._buffer.count(b"\n", self._counted, to)
            self._counted = to

    def _drop(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self._done = max(0, self._done - size)
        self._counted = max(0, self._counted - size)

    def _settle_literals(self, finds: int) -> None:
        """Change to the full literals where the short ones are everywhere; drop those that have told enough."""
        if self._anchors is not None and finds > _DENSE:
            self._literals, self._anchors = self._anchors, None
        if self._anchors is not None:
            return
        for number in range(len(self._literals) - 1, -1, -1):
            if self._found[self._literals[number]] > _ENOUGH:
                self._literals = self._literals.without(number)


def _settled(block: bytes) -> int:
    """Return where the lines end that have all of their neighbours."""
    end = len(block)
    floor = max(0, end - _MARGIN_BYTES)
    for _ in range(_AFTER + 1):
        found = block.rfind(b"\n", floor, end)
        if found < 0:
            return floor
        end = found
    return end + 1


def _lines_before(block: bytes, low: int) -> tuple[bytes, ...]:
    if low == 0 or block[low - 1 : low] != b"\n":
        return ()
    lines = block[max(0, low - 1 - REACH_BYTES) : low - 1].split(b"\n")
    return tuple(lines[-_BEFORE:])


def _lines_after(block: bytes, high: int) -> tuple[bytes, ...]:
    if block[high : high + 1] != b"\n":
        return ()
    lines = block[high + 1 : high + 1 + REACH_BYTES].split(b"\n")
    return tuple(lines[:_AFTER])
