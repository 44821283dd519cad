"""Patterns that cannot run away: every repeat bounded, no repeat that multiplies another beyond a small number."""

from __future__ import annotations

import sys
import warnings
from typing import Any

MOST_REPEATS = 400
# `(?:\.\d{1,3}){0,3}` is fine; `(\w{1,200}\s){1,200}` tries 40,000 ways to cut a line.
MOST_NESTED = 400


def complaints_of(pattern: str) -> list[str]:
    """Return what makes a regular expression slow on hostile text; empty when nothing does."""
    return list(_walk(parts_of(pattern), 1))


def parts_of(pattern: str) -> Any:
    """Return the parts of a regular expression, as Python's own parser sees them."""
    if sys.version_info >= (3, 11):
        from re import _parser as parser  # type: ignore[attr-defined]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import sre_parse as parser
    return parser.parse(pattern)


def _walk(parsed: Any, outer: int) -> Any:
    for operation, argument in parsed:
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, inner = argument
            yield from _repeat(int(least), int(most), outer)
            yield from _walk(inner, outer * max(int(most), 1))
        elif name == "SUBPATTERN":
            yield from _walk(argument[-1], outer)
        elif name == "BRANCH":
            for branch in argument[1]:
                yield from _walk(branch, outer)
        elif name in ("ASSERT", "ASSERT_NOT"):
            yield from _walk(argument[1], outer)
        elif name == "ATOMIC_GROUP":
            yield from _walk(argument, outer)
        elif name == "GROUPREF_EXISTS":
            yield "has a conditional group"


def _repeat(least: int, most: int, outer: int) -> Any:
    if most > MOST_REPEATS:
        yield f"repeats {'without end' if most > 1 << 20 else most}; the most allowed is {MOST_REPEATS}"
    elif outer > 1 and most != least and outer * most > MOST_NESTED:
        yield f"nests repeats {outer} x {most} times; the most allowed is {MOST_NESTED}"
