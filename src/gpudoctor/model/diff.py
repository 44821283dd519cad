"""The document of `diff --format json`."""

from __future__ import annotations

from typing import Literal

from gpudoctor.model.base import Frozen
from gpudoctor.model.finding import Level

DIFF_SCHEMA_VERSION = 1

SideKind = Literal["interpreter", "snapshot", "lock"]
DiffArea = Literal[
    "finding", "distribution", "library", "resolution", "variable", "interpreter", "platform", "driver", "gpu"
]


class DiffSide(Frozen, frozen=True, kw_only=True):
    """One of the two states.

    Attributes:
        name: As the user named it.
        kind: What it is.
    """

    name: str
    kind: SideKind


class ConsumerOutcome(Frozen, frozen=True, kw_only=True):
    """What becomes of one consumer on either side.

    Attributes:
        consumer: Its name.
        scenario: Alone, or after torch was imported.
        left: Whether its libraries load in A, in words.
        right: The same in B.
        changed: Whether that differs.
    """

    consumer: str
    scenario: str
    left: str
    right: str
    changed: bool


class DiffEntry(Frozen, frozen=True, kw_only=True):
    """One difference.

    Attributes:
        area: What sort of thing differs.
        subject: Which one.
        level: How bad a drift from A to B it would be.
        matters: Whether it is behind the change of a consumer's outcome.
        left: What it is in A.
        right: What it is in B.
        message: Both, in one sentence.
        follows: Differences that follow from it.
    """

    area: DiffArea
    subject: str
    level: Level
    matters: bool
    left: str
    right: str
    message: str
    follows: tuple[str, ...] = ()


class DiffEqual(Frozen, frozen=True, kw_only=True):
    """What does not differ.

    Attributes:
        area: What sort of thing.
        count: How many of them are the same.
        items: Which, with `--all`.
    """

    area: Literal["distribution", "library", "resolution", "variable", "interpreter", "driver", "gpu"]
    count: int
    items: tuple[str, ...] = ()


class DiffDocument(Frozen, frozen=True, kw_only=True):
    """Two states side by side.

    Attributes:
        schema_version: Version of this document's shape.
        left: A, which B is compared with.
        right: B.
        outcomes: Every consumer of either.
        differences: Those behind a change of outcome first, then the worst.
        equal: What is the same.
        open: What could not be compared.
        exit_status: What the process returns.
    """

    schema_version: int = DIFF_SCHEMA_VERSION
    left: DiffSide
    right: DiffSide
    outcomes: tuple[ConsumerOutcome, ...]
    differences: tuple[DiffEntry, ...]
    equal: tuple[DiffEqual, ...]
    open: tuple[str, ...]
    exit_status: int
