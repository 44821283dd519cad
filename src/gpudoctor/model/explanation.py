"""What `explain` answers: the true causes behind a log, best first; the document of `explain --format json`."""

from __future__ import annotations

import msgspec

from gpudoctor.model.base import Frozen
from gpudoctor.model.finding import Fix

EXPLANATION_SCHEMA_VERSION = 1


class RankedCause(Frozen, frozen=True, kw_only=True):
    """One cause that the log speaks for.

    Attributes:
        cause: Cause id, as `check` names it.
        confidence: How sure, from 0 to 1. Two causes that one text cannot tell apart share it.
        line: First line of the log that speaks for it, from 1; None when only the way the process ended does.
        excerpt: That line, cut, with secrets and home folders masked. Not escaped.
        explanation: What it means, in plain words.
        not_this: The wrong belief that this message provokes; None where it provokes none.
        fixes: Ways out, best first, with the versions that the log names.
        rules: Rules of `check` that can decide it on the machine.
        parts: What the message names: library, version, major, wanted, found, device.
        signatures: Ids of the signatures that matched, in order of the log.
        decided: What this machine says of it, with `--check`; None without.
    """

    cause: str
    confidence: float
    line: int | None
    excerpt: str
    explanation: str
    not_this: str | None = None
    fixes: tuple[Fix, ...] = ()
    rules: tuple[str, ...] = ()
    parts: dict[str, str] = msgspec.field(default_factory=dict)
    signatures: tuple[str, ...] = ()
    decided: str | None = None


class Harmless(Frozen, frozen=True, kw_only=True):
    """A line that looks like the cause and is not.

    Attributes:
        line: Line of the log, from 1.
        excerpt: That line, cut and masked.
        explanation: Why it is not the cause.
    """

    line: int
    excerpt: str
    explanation: str


class Ending(Frozen, frozen=True, kw_only=True):
    """How a command that `explain -- CMD` ran came to its end.

    Attributes:
        status: Its exit status; None when a signal ended it.
        signal: The signal's name, such as `SIGABRT`; None when it exited.
        explanation: What that alone says.
    """

    status: int | None
    signal: str | None
    explanation: str


class Explanation(Frozen, frozen=True, kw_only=True):
    """The document of `explain`.

    Attributes:
        schema_version: Version of this document's shape.
        causes: Best first; empty when nothing is recognised.
        harmless: Lines that people take for the cause.
        lines: Lines read.
        advice: What to do or send when nothing is recognised, or when the causes could not be told apart.
        decided_by: What the log was joined with (`this machine`, a snapshot file); None for the log alone.
        ending: How the command ended, for `explain -- CMD`.
    """

    schema_version: int
    causes: tuple[RankedCause, ...]
    harmless: tuple[Harmless, ...] = ()
    lines: int = 0
    advice: str | None = None
    decided_by: str | None = None
    ending: Ending | None = None
