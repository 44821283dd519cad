"""What every value that a document holds is made of."""

from __future__ import annotations

import msgspec


class Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all snapshot parts: immutable, named fields only, strict when decoded."""
