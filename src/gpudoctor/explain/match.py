"""Lines -> hits: which signature matches where, and what its named parts are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from gpudoctor.explain.catalogue import Catalogue, Context, HarmlessMessage, Signature
from gpudoctor.explain.lines import clean_line, strip_prefixes
from gpudoctor.explain.scan import REACH_BYTES, Contained, Window

Message = TypeVar("Message", Signature, Context, HarmlessMessage)

# What one log can make us remember.
_HITS_EACH = 4
_PLACES_EACH = 400
_MOST_HARMLESS = 20
_PART_CHARS = 200
# A shorter line was not cut by a terminal; the kernel's own continuation lines are an exception.
_LEAST_WRAPPED = 38
_MOST_JOINED = 3


class Hit(msgspec.Struct, frozen=True):
    """A signature found.

    Attributes:
        signature: Which.
        line: Where, from 1.
        text: The line.
        parts: What it names.
    """

    signature: Signature
    line: int
    text: str
    parts: dict[str, str]


class Collected(msgspec.Struct):
    """All that one log gave, in bounded memory.

    Attributes:
        hits: The first few of each signature, in order.
        contexts: Context id -> lines on which it stands.
        named: Context id -> parts of its finds.
        harmless: Harmless message -> its first line and text.
    """

    hits: list[Hit] = []
    contexts: dict[str, list[int]] = {}
    named: dict[str, list[dict[str, str]]] = {}
    harmless: dict[str, tuple[int, str]] = {}


class Matcher:
    """Holds the patterns, each compiled when its literal is first seen, and collects what they match."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._compiled: dict[str, re.Pattern[str]] = {}
        self._last_context = 0
        self._signatures = _by_anchor(catalogue.signatures)
        self._contexts = _by_anchor(catalogue.contexts)
        self._harmless = _by_anchor(catalogue.harmless)
        self._contained = Contained(sorted({*self._signatures, *self._contexts, *self._harmless}))
        self._hits_of: Counter[str] = Counter()
        self.collected = Collected()

    def show(self, window: Window) -> None:
        """Take a line in which a literal was found."""
        text = clean_line(window.raw, window.at)
        hidden = self._note_harmless(text, window.number)
        found = self._note_hits(text, window.number, hidden, None)
        if not found and "*" not in hidden:
            found = self._try_wrapped(window, text, hidden)
        if found:
            self._look_around(window)

    def show_head(self, block: bytes) -> None:
        """Take the beginning of the log: it shows the command, the versions and where it ran."""
        for number, raw in enumerate(block.split(b"\n"), 1):
            self._look(number, raw[:REACH_BYTES])

    def _look_around(self, window: Window) -> None:
        """Note the contexts on the lines around a hit."""
        first = window.number - len(window.before)
        for number, raw in enumerate((*window.before, window.raw, *window.after), first):
            if number > self._last_context:
                self._last_context = number
                self._look(number, raw)

    def _look(self, number: int, raw: bytes) -> None:
        text = clean_line(raw)
        self._note_contexts(text, number)
        self._note_harmless(text, number)

    def _note_harmless(self, text: str, number: int) -> frozenset[str]:
        hides: set[str] = set()
        for message, _ in self._matches(text, self._harmless):
            hides.update(message.hides)
            if len(self.collected.harmless) < _MOST_HARMLESS:
                self.collected.harmless.setdefault(message.id, (number, text))
        return frozenset(hides)

    def _note_contexts(self, text: str, number: int) -> None:
        for message, match in self._matches(text, self._contexts):
            places = self.collected.contexts.setdefault(message.id, [])
            if len(places) < _PLACES_EACH and number not in places[-1:]:
                places.append(number)
                self.collected.named.setdefault(message.id, []).append(_parts(match))

    def _note_hits(self, text: str, number: int, hidden: frozenset[str], boundary: int | None) -> bool:
        """Collect the signatures of a line.

        Args:
            text: The line, or two joined.
            number: Of the (first) line.
            hidden: Ids that do not count here.
            boundary: Where the two were joined: only a match across it is of them both.
        """
        if "*" in hidden:
            return False
        found = False
        for signature, match in self._matches(text, self._signatures):
            if signature.id in hidden or (boundary is not None and not match.start() < boundary < match.end()):
                continue
            found = True
            self._hits_of[signature.id] += 1
            if self._hits_of[signature.id] <= _HITS_EACH:
                self.collected.hits.append(Hit(signature, number, text, {**signature.parts, **_parts(match)}))
        return found

    def _try_wrapped(self, window: Window, text: str, hidden: frozenset[str]) -> bool:
        """Look for a message that a terminal's width, or the program itself, broke over lines."""
        head = strip_prefixes(text)
        rest = [strip_prefixes(clean_line(raw)) for raw in window.after[:_MOST_JOINED]]
        ahead = [strip_prefixes(clean_line(raw)) for raw in window.before[-1:]]
        if rest and (len(head) >= _LEAST_WRAPPED or "NVRM" in head):
            whole = " ".join((head, *(_continued(line) for line in rest)))
            for joined in (head + rest[0], whole):
                if self._note_hits(joined, window.number, hidden, len(head)):
                    return True
        if ahead and len(ahead[0]) >= _LEAST_WRAPPED:
            for glue in ("", " "):
                joined = ahead[0] + glue + head.lstrip()
                if self._note_hits(joined, window.number - 1, hidden, len(ahead[0])):
                    return True
        return False

    def _matches(
        self, text: str, by_anchor: Mapping[str, Sequence[tuple[int, Message]]]
    ) -> Iterable[tuple[Message, re.Match[str]]]:
        worth = {
            number: message for anchor in self._contained.of(text) for number, message in by_anchor.get(anchor, ())
        }
        for number in sorted(worth):
            match = self._pattern(worth[number]).search(text)
            if match is not None:
                yield worth[number], match

    def _pattern(self, message: Signature | Context | HarmlessMessage) -> re.Pattern[str]:
        found = self._compiled.get(message.id)
        if found is None:
            found = self._compiled[message.id] = re.compile(message.pattern)
        return found


def _by_anchor(messages: Iterable[Message]) -> dict[str, list[tuple[int, Message]]]:
    found: dict[str, list[tuple[int, Message]]] = {}
    for number, message in enumerate(messages):
        for anchor in message.anchors:
            found.setdefault(anchor, []).append((number, message))
    return found


def _continued(line: str) -> str:
    """Return a continuation line of the kernel's without the driver's name, which it repeats."""
    return line.strip().removeprefix("NVRM: ").strip()


def _parts(match: re.Match[str]) -> dict[str, str]:
    """Return the named parts, and the major version that a library's name tells."""
    parts = {name: value[:_PART_CHARS] for name, value in match.groupdict().items() if value}
    if "major" not in parts:
        major = _major(parts)
        if major is not None:
            parts["major"] = major
    return parts


def _major(parts: dict[str, str]) -> str | None:
    if dll := parts.get("dll"):
        # cudart64_110.dll is of 11.0, cublas64_12.dll of 12: three digits hold a minor version.
        return dll[:2] if len(dll) == 3 else dll
    version = parts.get("version") or parts.get("wanted")
    return version.partition(".")[0] if version else None
