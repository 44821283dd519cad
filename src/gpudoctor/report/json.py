"""Documents as JSON: exactly one, indented, with a final newline."""

from __future__ import annotations

from typing import Any

import msgspec

from gpudoctor.model.finding import Report
from gpudoctor.model.libs import libs_document
from gpudoctor.model.snapshot import Snapshot


def render_document(document: Any) -> str:
    """Return any of our documents as JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def render_json(report: Report) -> str:
    """Return the report of `check` as JSON."""
    return render_document(report)


def render_libs_json(snapshot: Snapshot) -> str:
    """Return the loader's answers as JSON."""
    return render_document(libs_document(snapshot))
