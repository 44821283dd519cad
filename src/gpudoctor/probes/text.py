"""Text from outside made safe to store: what JSON cannot carry, and what no message should repeat in full."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from gpudoctor.system.protocol import encodable

T = TypeVar("T")

# Longer than most paths: what went wrong stands after the path.
_SHOWN_LENGTH = 400


def json_safe(value: T) -> T:
    """Return the same value with every string in it safe for JSON; the very same object when all of it already is.

    File names that are not UTF-8 reach Python as lone surrogates (PEP 383). The probes pass them on unchanged, since
    only so can the file still be opened; this is for the finished Snapshot, after all reading.
    """
    return _safe(value)  # type: ignore[return-value]


def _safe(value: object) -> object:
    match value:
        case str():
            return encodable(value)
        case tuple():
            return _safe_tuple(value)
        case msgspec.Struct():
            return _safe_struct(value)
        case _:
            return value


def _safe_tuple(values: tuple[object, ...]) -> tuple[object, ...]:
    safe = tuple(_safe(v) for v in values)
    return safe if any(a is not b for a, b in zip(safe, values, strict=True)) else values


def _safe_struct(struct: msgspec.Struct) -> msgspec.Struct:
    changes = {}
    for name in struct.__struct_fields__:
        old = getattr(struct, name)
        new = _safe(old)
        if new is not old:
            changes[name] = new
    return msgspec.structs.replace(struct, **changes) if changes else struct


def shown(text: str, limit: int = _SHOWN_LENGTH) -> str:
    """Return text from outside fit for a message: control characters escaped, one line, shortened."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in encodable(short))
