"""Words for a cause: what the message means, what it does not, and the fixes with the versions that the log names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from gpudoctor.explain.catalogue import Catalogue, CauseAdvice, CauseFix, Platform
from gpudoctor.explain.mask import mask
from gpudoctor.explain.match import Hit
from gpudoctor.explain.text import printable
from gpudoctor.model.explanation import RankedCause
from gpudoctor.model.finding import Fix

# `{library}`, `{library|the library}` with words for when it is not named, `{dispatchers:version}` from a table.
_PLACE = re.compile(r"\{(?:(?P<table>[a-z_-]{1,40}):)?(?P<part>[a-z_]{1,40})(?:\|(?P<instead>[^{}]{0,200}))?\}")
# What may stand in a command that somebody copies.
_PLAIN_PART = re.compile(r"[\w.+~/:=@-]{1,120}\Z")
# The two first causes are told apart by so little that the log does not decide.
_CLOSE = 0.75
_OR = "Or "
_NOTHING = (
    "Nothing in {lines} is a message of the GPU stack that gpudoctor knows. If it should be one, send the "
    "whole output from the start of the program to the first error, what you ran, and the output of "
    "`gpudoctor snapshot` (it masks names): a log often begins too late."
)
_EMPTY = (
    "The log is empty. Send standard error too: `COMMAND > run.log 2>&1`, or run it as `gpudoctor explain -- COMMAND`."
)
_UNDECIDED = (
    "The log alone does not tell {first} from {second}; `gpudoctor explain --check` on the machine where it happened "
    "lets the rules decide."
)


class Advice(msgspec.Struct, frozen=True):
    """What is said of one cause in one log.

    Attributes:
        explanation: What it means.
        not_this: The wrong belief.
        fixes: Ways out.
        rules: Rules that can decide it.
        parts: What the message names, masked.
    """

    explanation: str
    not_this: str | None
    fixes: tuple[Fix, ...]
    rules: tuple[str, ...]
    parts: dict[str, str]


class Adviser:
    """Fills the catalogue's texts with what a log names."""

    def __init__(self, catalogue: Catalogue, platform: Platform | None) -> None:
        self._tables = catalogue.tables
        self._causes = {cause.id: cause for cause in catalogue.causes}
        self._platform = platform

    def on(self, cause: str, hit: Hit) -> Advice:
        """Return the words for a cause that a hit speaks for."""
        parts = {name: printable(mask(value)) for name, value in hit.parts.items()}
        own = self._causes.get(cause) or CauseAdvice(id=cause, explanation=hit.signature.explanation)
        first = max(hit.signature.causes, key=lambda name: hit.signature.causes[name])
        meaning = self._fill(hit.signature.explanation, parts)
        if cause != first:
            meaning = f"{self._fill(own.explanation, parts)} The message: {meaning}"
        not_this = hit.signature.not_this
        return Advice(
            meaning,
            self._fill(not_this, parts) if not_this else None,
            self._fixes(own, parts),
            own.rules,
            parts,
        )

    def meaning(self, cause: str) -> str | None:
        """Return what a cause is in words, for no log in particular; None for an unknown one."""
        known = self._causes.get(cause)
        return self._fill(known.explanation, {}) if known else None

    def advice(self, causes: tuple[RankedCause, ...], lines: int) -> str | None:
        """Return what to do next, where the log is not enough."""
        if not causes:
            read = "this line" if lines == 1 else f"these {lines} lines"
            return _NOTHING.format(lines=read) if lines else _EMPTY
        if len(causes) > 1 and causes[1].confidence >= causes[0].confidence * _CLOSE:
            return _UNDECIDED.format(first=causes[0].cause, second=causes[1].cause)
        return None

    def _fixes(self, own: CauseAdvice, parts: Mapping[str, str]) -> tuple[Fix, ...]:
        fixes = [fix for way in own.fixes if (fix := self._fix(way, parts)) is not None]
        if fixes and fixes[0].title.startswith(_OR):
            # Those before it were for another system or another message.
            title = fixes[0].title.removeprefix(_OR)
            fixes[0] = msgspec.structs.replace(fixes[0], title=title[0].upper() + title[1:])
        return tuple(fixes)

    def _fix(self, way: CauseFix, parts: Mapping[str, str]) -> Fix | None:
        if way.platforms and self._platform is not None and self._platform not in way.platforms:
            return None
        if any(not re.fullmatch(value, parts.get(name, "")) for name, value in way.when.items()):
            return None
        commands = tuple(c for command in way.commands if (c := self._command(command, parts)) is not None)
        return way.fix(self._fill(way.title, parts), commands)

    def _command(self, command: str, parts: Mapping[str, str]) -> str | None:
        for place in _PLACE.finditer(command):
            value = self._value(place, parts)
            # A table's value is the catalogue's own; a part is whatever the log holds.
            if not value or not (place["table"] or _PLAIN_PART.match(value)):
                return None
        return self._fill(command, parts)

    def _fill(self, text: str, parts: Mapping[str, str]) -> str:
        return _PLACE.sub(lambda place: self._value(place, parts) or "", text)

    def _value(self, place: re.Match[str], parts: Mapping[str, str]) -> str | None:
        value = parts.get(place["part"])
        if place["table"]:
            value = self._tables.get(place["table"], {}).get(value) if value else None
        return value or place["instead"]
