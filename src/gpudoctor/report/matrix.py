"""Facts of the matrix as plain text."""

from __future__ import annotations

import posixpath

import msgspec

from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Fact, MatrixFile
from gpudoctor.report.escape import visible


def render_fact_list(matrix: Matrix, subject: str | None = None) -> str:
    """Return one line a fact: id, subject, releases, kind and status, in columns."""
    facts = [fact for fact in matrix.data.facts if subject in (None, fact.subject)]
    rows = [("ID", "SUBJECT", "RELEASES", "KIND", "STATUS"), *(_row(fact) for fact in facts)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4])) for row in rows
    ]
    lines.append(f"{len(facts)} facts, matrix {visible(matrix.version)}")
    return "\n".join(lines) + "\n"


def _row(fact: Fact) -> tuple[str, str, str, str, str]:
    return visible(fact.id), visible(fact.subject), visible(fact.when.versions or "all"), _kind(fact), fact.status


def _kind(fact: Fact) -> str:
    return str(type(fact.claim).__struct_config__.tag)


def render_fact(fact: Fact) -> str:
    """Return a fact with its claim, releases, status and sources."""
    lines = [f"{visible(fact.id)}: {_kind(fact)}"]
    if fact.note:
        lines.append(visible(fact.note))
    lines += ["", f"subject    {visible(fact.subject)}", f"releases   {visible(fact.when.versions or 'all')}"]
    if fact.when.platforms:
        lines.append(f"platforms  {visible(', '.join(fact.when.platforms))}")
    lines += [f"status     {fact.status}", "claim"]
    claim = msgspec.to_builtins(fact.claim)
    lines += [line for name, value in claim.items() if name != "kind" for line in _field(str(name), value, 1)]
    lines.append("sources")
    for source in fact.sources:
        read = f" (read {visible(source.date)})" if source.date else ""
        lines.append(f"  {source.kind}: {visible(source.ref)}{read}")
    return "\n".join(lines) + "\n"


def _field(name: str, value: object, depth: int) -> list[str]:
    indent = "  " * depth
    if isinstance(value, dict):
        return [
            f"{indent}{name}:",
            *(line for key, item in value.items() for line in _field(str(key), item, depth + 1)),
        ]
    if isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        return [f"{indent}{name}:", *(f"{indent}  {_inline(item)}" for item in value)]
    return [f"{indent}{name}: {_inline(value)}"]


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{visible(str(key))} {_inline(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_inline(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return visible(str(value))


def render_validated(file: str, content: MatrixFile) -> str:
    """Return one line that says what a valid file adds."""
    parts = {
        "fact": content.facts,
        "consumer": content.consumers,
        "family": content.families,
        "cause": content.causes,
        "driver branch": content.driver_branches,
        "GPU model": content.gpus,
    }
    counts = ", ".join(_counted(len(entries), name) for name, entries in parts.items() if entries)
    return f"{visible(posixpath.normpath(file))}: valid ({counts or 'empty'})\n"


def _counted(count: int, name: str) -> str:
    plural = {"family": "families", "driver branch": "driver branches"}.get(name, f"{name}s")
    return f"{count} {name if count == 1 else plural}"
