"""Where an entry of the matrix comes from, and how well it is known."""

from __future__ import annotations

from typing import Literal

from gpudoctor.matrix.claims import Strict

Status = Literal["verified", "reported", "inferred"]
SourceKind = Literal["wheel", "doc", "release-notes", "source-code", "issue", "measured"]


class Source(Strict, frozen=True, kw_only=True):
    """Where a fact comes from.

    Attributes:
        kind: Sort of source.
        ref: `package==version: file` for a wheel, a URL for a document, `repository#number` for an issue.
        date: Day it was read, ISO 8601.
        sha256: Digest of the published file, for a wheel. Published files never change: another one is an alarm.
    """

    kind: SourceKind
    ref: str
    date: str | None = None
    sha256: str | None = None
