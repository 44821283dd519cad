"""Facts of the matrix as plain text."""

from __future__ import annotations

import msgspec

from gpudoctor.matrix.claims import HasGpuCode
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Fact, MatrixFile
from gpudoctor.report.escape import visible


def render_fact_list(matrix: Matrix, subject: str | None = None, kind: str | None = None) -> str:
    """Return one line a fact: id, subject, releases, kind and status, in columns."""
    facts = [f for f in matrix.data.facts if subject in (None, f.subject) and kind in (None, _kind(f))]
    rows = [("ID", "SUBJECT", "RELEASES", "KIND", "STATUS"), *(_row(fact) for fact in facts)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4])) for row in rows
    ]
    lines.append(f"{len(facts)} facts, matrix {visible(matrix.version)}")
    return "\n".join(lines) + "\n"


def _row(fact: Fact) -> tuple[str, str, str, str, str]:
    return visible(fact.id), visible(fact.subject), visible(_releases(fact)), _kind(fact), fact.status


def _releases(fact: Fact) -> str:
    builds = f" [{', '.join(label or 'no label' for label in fact.when.builds)}]" if fact.when.builds else ""
    return (fact.when.versions or "all") + builds


def _kind(fact: Fact) -> str:
    return str(type(fact.claim).__struct_config__.tag)


def render_fact(fact: Fact) -> str:
    """Return a fact with its claim, releases, status and sources."""
    lines = [f"{visible(fact.id)}: {_kind(fact)}"]
    if fact.note:
        lines.append(visible(fact.note))
    lines += ["", f"subject    {visible(fact.subject)}", f"releases   {visible(fact.when.versions or 'all')}"]
    if fact.when.builds:
        lines.append(f"builds     {visible(', '.join(label or 'without a label' for label in fact.when.builds))}")
    if fact.when.platforms:
        lines.append(f"platforms  {visible(', '.join(fact.when.platforms))}")
    if fact.when.python:
        lines.append(f"python     {visible(fact.when.python)}")
    lines += [f"status     {fact.status}", "claim"]
    claim = msgspec.to_builtins(fact.claim)
    fields = [line for name, value in claim.items() if name != "kind" for line in _field(str(name), value, 1)]
    lines += fields or ["  none: a build without GPU code" if isinstance(fact.claim, HasGpuCode) else "  nothing more"]
    lines.append("sources")
    for source in fact.sources:
        read = f" (read {visible(source.date)})" if source.date else ""
        lines.append(f"  {source.kind}: {visible(source.ref)}{read}")
        if source.sha256:
            lines.append(f"    sha256 {visible(source.sha256)}")
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
    """Return one line that says what a valid file, or the matrix itself, holds."""
    parts = {
        "fact": content.facts,
        "consumer": content.consumers,
        "family": content.families,
        "cause": content.causes,
        "driver branch": content.driver_branches,
        "GPU model": content.gpus,
        "Whisper model": content.models,
        "container image": content.images,
        "table of releases": content.releases,
    }
    counts = ", ".join(_counted(len(entries), name) for name, entries in parts.items() if entries)
    return f"{visible(file)}: valid ({counts or 'empty'})\n"


def _counted(count: int, name: str) -> str:
    irregular = {
        "family": "families",
        "driver branch": "driver branches",
        "table of releases": "tables of releases",
    }
    return f"{count} {name if count == 1 else irregular.get(name, f'{name}s')}"
