"""Three-valued facts: what was read, what is not there, and what could not be looked at."""

from __future__ import annotations

from typing import Generic, TypeVar, Union

import msgspec

T = TypeVar("T")


class Present(msgspec.Struct, Generic[T], frozen=True, tag="present", tag_field="state"):
    """The thing was looked for and found.

    Attributes:
        value: What was found.
    """

    value: T


class Absent(msgspec.Struct, frozen=True, tag="absent", tag_field="state", omit_defaults=True):
    """The thing was looked for, everywhere it can be, and is not there.

    Attributes:
        searched: The places looked at, in order.
    """

    searched: tuple[str, ...] = ()


class Unknown(msgspec.Struct, frozen=True, tag="unknown", tag_field="state"):
    """Nobody could look. Never to be read as absent, and never as fine.

    Attributes:
        reason: One clause that says why not.
    """

    reason: str


Fact = Union[Present[T], Absent, Unknown]  # noqa: UP007 - subscriptable on Python 3.10


def value_of(fact: Fact[T]) -> T | None:
    """Return the value of a present fact, else None.

    For display and for joins only; a rule must match all three states.
    """
    return fact.value if isinstance(fact, Present) else None
