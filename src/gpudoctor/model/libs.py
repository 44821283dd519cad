"""The document of `libs --format json`."""

from __future__ import annotations

from gpudoctor.model.base import Frozen
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot

LIBS_SCHEMA_VERSION = 1


class LibsDocument(Frozen, frozen=True, kw_only=True):
    """What the loader will answer, per consumer, scenario and library.

    Attributes:
        schema_version: Version of this document's shape.
        resolutions: The answers, in the order in which the consumer asks.
    """

    schema_version: int
    resolutions: tuple[Resolution, ...]


def libs_document(snapshot: Snapshot) -> LibsDocument:
    """Return the loader's answers of a snapshot as a document of their own."""
    return LibsDocument(schema_version=LIBS_SCHEMA_VERSION, resolutions=snapshot.resolutions)
