"""What a project may settle, as it is written in a file and as it is used."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

import msgspec

NonEmpty = Annotated[str, msgspec.Meta(min_length=1, pattern=r"\S")]


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Base of what is read from a file: strict, names with hyphens."""


class Ignore(_Written, frozen=True, kw_only=True):
    """A finding that a project sets aside, and why.

    Attributes:
        rule: Id or name of the rule, in full.
        reason: Why; nothing is ignored without one.
        until: Last day on which it is; None for no end.
        subject: Only findings on this subject: a consumer's or a distribution's name.
        file: Only findings in this file: a path, or the end of one.
    """

    rule: NonEmpty
    reason: NonEmpty
    until: datetime.date | None = None
    subject: NonEmpty | None = None
    file: NonEmpty | None = None


class Assume(_Written, frozen=True, kw_only=True):
    """The machine to judge for.

    Attributes:
        driver: Driver release, as in `--assume-driver`.
        gpus: Names or compute capabilities, as in `--assume-gpu`.
    """

    driver: NonEmpty | None = None
    gpus: tuple[NonEmpty, ...] = ()


class Settled(_Written, frozen=True, kw_only=True):
    """The table `[tool.gpudoctor]`, or the whole of gpudoctor.toml.

    Attributes:
        select: Only these rules, as in `--select`.
        ignore: Findings that are set aside.
        assume: The machine to judge for.
        fail_on: As `--fail-on`.
        strict: As `--strict`.
        env: Variables to judge with, as in `--env`.
        env_file: As `--env-file`; relative to the file that says so.
        consumers: As `--for`.
        matrix: As `--matrix`; relative to the file that says so.
    """

    select: tuple[NonEmpty, ...] = ()
    ignore: tuple[Ignore, ...] = ()
    assume: Assume = Assume()
    fail_on: Literal["error", "warning", "never"] | None = None
    strict: bool | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict)
    env_file: NonEmpty | None = None
    consumers: tuple[NonEmpty, ...] = msgspec.field(default=(), name="for")
    matrix: NonEmpty | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a project.

    Attributes:
        file: The file, as a person would name it from the current folder.
        folder: Its folder, absolute.
        text: Its content, to tell where something stands in it.
        table: The keys that lead to the settings: `("tool", "gpudoctor")`, or none.
        settled: What it says.
    """

    file: str
    folder: str
    text: str
    table: tuple[str, ...]
    settled: Settled
