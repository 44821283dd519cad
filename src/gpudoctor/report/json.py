"""Documents as JSON: exactly one, indented, with a final newline."""

from __future__ import annotations

from typing import Any

import msgspec

from gpudoctor.model.finding import Report
from gpudoctor.model.libs import libs_document
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.system.protocol import encodable


def render_document(document: Any) -> str:
    """Return any of our documents as JSON."""
    try:
        encoded = msgspec.json.encode(document)
    except UnicodeEncodeError:  # a name from outside whose bytes are no UTF-8, which JSON cannot hold
        encoded = msgspec.json.encode(_encodable(msgspec.to_builtins(document)))
    return msgspec.json.format(encoded, indent=1).decode() + "\n"


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, (list, tuple)) else value


def render_json(report: Report) -> str:
    """Return the report of `check` as JSON."""
    return render_document(report)


def render_libs_json(snapshot: Snapshot) -> str:
    """Return the loader's answers as JSON."""
    return render_document(libs_document(snapshot))
