"""Hits -> causes, best first: the first failure outranks its echoes, the specific message the generic one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from gpudoctor.explain.advice import Adviser
from gpudoctor.explain.catalogue import Catalogue, Context, Platform, load_catalogue
from gpudoctor.explain.majors import Majors
from gpudoctor.explain.match import Collected, Hit, Matcher
from gpudoctor.explain.scan import BLOCK_BYTES, Scanner
from gpudoctor.explain.text import excerpt_of, log_bytes
from gpudoctor.model.explanation import EXPLANATION_SCHEMA_VERSION, Explanation, Harmless, RankedCause

_TIERS = {"specific": 2, "plain": 1, "generic": 0}
# A message that follows one that says as much is its echo; one that a later, plainer message explains was its herald.
_ECHO = 0.5
_HERALD = 0.8
_WARNING = 0.35
_MOST = 0.98
# A cause that so little speaks for is not worth naming.
LEAST_CONFIDENCE = 0.1
_MOST_CAUSES = 6
NEAR_LINES = 40
_HEAD_BYTES = 64 << 10


class Reading:
    """Reads one log, in pieces of any size, and then explains it."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self._catalogue = load_catalogue() if catalogue is None else catalogue
        self._matcher = Matcher(self._catalogue)
        anchors = tuple({a for signature in self._catalogue.signatures for a in signature.anchors})
        self._scanner = Scanner(self._catalogue.sieve or anchors, anchors, self._matcher.show)
        self._head = b""
        self._head_shown = False

    def feed(self, data: bytes) -> None:
        """Take the next piece of the log."""
        if not self._head_shown:
            self._head += data[: _HEAD_BYTES - len(self._head)]
            if len(self._head) >= _HEAD_BYTES:
                self._show_head()
        self._scanner.feed(data)

    def _show_head(self) -> None:
        self._matcher.show_head(self._head)
        self._head, self._head_shown = b"", True

    def explain(self, platform: Platform | None = None) -> Explanation:
        """Return what the log says, once all of it was given.

        Args:
            platform: Where the fixes are to be typed, unless the log shows another system.
        """
        if not self._head_shown:
            self._show_head()
        self._scanner.close()
        return explain_collected(self._matcher.collected, self._catalogue, self._scanner.lines, platform)


def explain_lines(lines: Iterable[bytes], signatures: Catalogue | None = None) -> Explanation:
    """Return the true causes behind a log.

    Args:
        lines: Its lines, or pieces of any size of it; a newline is added to a line that has none.
        signatures: The catalogue; the one of the package by default.
    """
    return explain_stream((line if line.endswith(b"\n") else line + b"\n" for line in lines), signatures)


def explain_stream(
    pieces: Iterable[bytes], signatures: Catalogue | None = None, platform: Platform | None = None
) -> Explanation:
    """Return the true causes behind a log that comes in pieces of any size; see Reading."""
    reading = Reading(signatures)
    for piece in log_bytes(pieces, BLOCK_BYTES):
        reading.feed(piece)
    return reading.explain(platform)


class _Score(msgspec.Struct):
    """What speaks for one cause.

    Attributes:
        doubt: Product of what each hit leaves in doubt.
        best: Weight of the hit that speaks loudest.
        hit: That hit; its words are used.
        signatures: Ids of all that speak for it.
    """

    doubt: float
    best: float
    hit: Hit
    signatures: list[str]


def explain_collected(
    collected: Collected, catalogue: Catalogue, lines: int, platform: Platform | None = None
) -> Explanation:
    """Return the explanation of what a log gave."""
    hits = _valid(collected)
    contexts = tuple(c for c in catalogue.contexts if c.id in collected.contexts)
    majors = Majors.of(collected)
    scores = _scores(hits, contexts, majors)
    shown = next((c.platform for c in contexts if c.platform), None) or platform
    adviser = Adviser(catalogue, shown)
    ranked = sorted(scores.items(), key=lambda item: (-round(1 - item[1].doubt, 4), item[1].hit.line))
    causes = tuple(_ranked(cause, score, adviser) for cause, score in ranked[:_MOST_CAUSES])
    causes = tuple(cause for cause in causes if cause.confidence >= LEAST_CONFIDENCE)
    return Explanation(
        schema_version=EXPLANATION_SCHEMA_VERSION,
        causes=causes,
        harmless=_harmless(collected, catalogue),
        lines=lines,
        advice=adviser.advice(causes, lines),
    )


def _valid(collected: Collected) -> tuple[Hit, ...]:
    """Return the hits whose surroundings allow them, in order of the log, without the echo on the very same line."""
    near = [hit for hit in collected.hits if _allowed(hit, collected)]
    kept = []
    for hit in near:
        plainer = [h for h in near if h.line == hit.line and _tier(h) > _tier(hit)]
        if not plainer:
            kept.append(hit)
    return tuple(sorted(kept, key=lambda hit: hit.line))


def _allowed(hit: Hit, collected: Collected) -> bool:
    def close(context: str) -> bool:
        return any(abs(line - hit.line) <= NEAR_LINES for line in collected.contexts.get(context, ()))

    wanted, forbidden = hit.signature.near, hit.signature.unless
    return (not wanted or any(close(name) for name in wanted)) and not any(close(name) for name in forbidden)


def _tier(hit: Hit) -> int:
    return _TIERS[hit.signature.tier]


def _scores(hits: Sequence[Hit], contexts: Sequence[Context], majors: Majors) -> dict[str, _Score]:
    scores: dict[str, _Score] = {}
    seen: set[str] = set()
    for hit in hits:
        if hit.signature.id in seen:
            continue
        seen.add(hit.signature.id)
        order = _order(hit, hits, frozenset(name for context in contexts for name in context.nonfatal))
        for cause, weight in hit.signature.causes.items():
            factor = majors.factor(cause, hit) * order
            for context in contexts:
                factor *= context.effects.get(cause, 1.0)
            _add(scores, cause, min(weight * factor, _MOST), hit)
    return scores


def _order(hit: Hit, hits: Sequence[Hit], nonfatal: frozenset[str]) -> float:
    """Return the factor of a hit's place among the others."""
    own = _main_causes(hit)
    others = [h for h in hits if h.line != hit.line and not own & _main_causes(h)]
    if own & nonfatal:
        return _WARNING if others else 1.0
    others = [h for h in others if not nonfatal & _main_causes(h)]
    if any(h.line < hit.line and _tier(h) >= _tier(hit) for h in others):
        return _ECHO
    return _HERALD if any(h.line > hit.line and _tier(h) > _tier(hit) for h in others) else 1.0


def _main_causes(hit: Hit) -> set[str]:
    causes = hit.signature.causes
    most = max(causes.values(), default=0.0)
    return {cause for cause, weight in causes.items() if weight >= most - 0.15}


def _add(scores: dict[str, _Score], cause: str, weight: float, hit: Hit) -> None:
    if weight <= 0:
        return
    score = scores.get(cause)
    if score is None:
        scores[cause] = _Score(1 - weight, weight, hit, [hit.signature.id])
        return
    score.doubt *= 1 - weight
    score.signatures.append(hit.signature.id)
    if weight > score.best:
        score.best, score.hit = weight, hit


def _ranked(cause: str, score: _Score, adviser: Adviser) -> RankedCause:
    hit = score.hit
    advice = adviser.on(cause, hit)
    return RankedCause(
        cause=cause,
        confidence=round(min(1 - score.doubt, _MOST), 2),
        line=hit.line,
        excerpt=excerpt_of(hit.text, hit.signature.pattern),
        explanation=advice.explanation,
        not_this=advice.not_this,
        fixes=advice.fixes,
        rules=advice.rules,
        parts=advice.parts,
        signatures=tuple(score.signatures),
    )


def _harmless(collected: Collected, catalogue: Catalogue) -> tuple[Harmless, ...]:
    words = {message.id: message.explanation for message in catalogue.harmless}
    return tuple(
        Harmless(line=line, excerpt=excerpt_of(text, None), explanation=words[name])
        for name, (line, text) in sorted(collected.harmless.items(), key=lambda item: item[1][0])
    )
