"""Locks: pylock.toml (PEP 751), poetry.lock, and what uv.lock shares with them. Release and index are decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpudoctor.lint.pyproject import poetry_specifier
from gpudoctor.lint.requirements import pinned_to
from gpudoctor.lint.tomlfile import TomlFile, items, table
from gpudoctor.lint.types import Parts, Puzzle, Requirement
from gpudoctor.model.errors import InputFileError
from gpudoctor.model.finding import Location


def parse_poetry_lock(text: str, file: str) -> Parts:
    """Return the parts of a poetry.lock.

    Raises:
        InputFileError: It is no poetry.lock.
    """
    toml = TomlFile(text, file)
    parts = Parts()
    if isinstance(wanted := table(toml.data, "metadata").get("python-versions"), str):
        parts.python_ranges += [r for r in [poetry_specifier(wanted)] if r]
    for place, package in packages(toml, "package"):
        source = table(package, "source")
        url = source.get("url") if source.get("type") == "legacy" else None
        marker = package.get("markers")
        add(
            parts,
            place,
            package,
            "poetry",
            marker=marker if isinstance(marker, str) else None,
            index=url if isinstance(url, str) else None,
        )
        if source.get("type") in ("git", "directory", "file"):
            from_source(parts, place, package)
    return parts


def parse_pylock(text: str, file: str) -> Parts:
    """Return the parts of a pylock.toml, checked by `packaging`'s own reader.

    Raises:
        InputFileError: It is no pylock.toml.
    """
    toml = TomlFile(text, file)
    _validate_pylock(toml)
    parts = Parts()
    if isinstance(wanted := toml.data.get("requires-python"), str):
        parts.python_ranges.append(wanted)
    for place, package in packages(toml, "packages"):
        marker, index = package.get("marker"), package.get("index")
        add(
            parts,
            place,
            package,
            "uv",
            marker=marker if isinstance(marker, str) else None,
            index=index if isinstance(index, str) else None,
        )
    return parts


def _validate_pylock(toml: TomlFile) -> None:
    try:
        from packaging.pylock import Pylock, PylockValidationError
    except ImportError:  # an older release of packaging, which has no reader of these
        if "lock-version" not in toml.data:
            raise InputFileError(f"{toml.file}:1: no lock-version: it is no pylock.toml") from None
        return
    try:
        Pylock.from_dict(toml.data)
    except PylockValidationError as error:
        raise InputFileError(f"{toml.file}:1: it is no valid pylock.toml: {error}") from error


def packages(toml: TomlFile, name: str) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Yield each package of a lock with its line."""
    heads = toml.heads(name)
    for number, package in enumerate(items(toml.data, name)):
        if isinstance(package, dict) and isinstance(package.get("name"), str):
            line = heads[number] if number < len(heads) else None
            yield Location(file=toml.file, line=line + 1 if line else None), package


def add(
    parts: Parts, place: Location, package: dict[str, Any], installer: str, *, marker: str | None, index: str | None
) -> None:
    """Add a locked package."""
    from packaging.utils import canonicalize_name

    version = package.get("version")
    parts.requirements.append(
        Requirement(
            place=place,
            name=canonicalize_name(package["name"]),
            specifier=pinned_to(version) if isinstance(version, str) else "",
            marker=marker,
            index=index,
            installer=installer,
            locked=True,
        )
    )


def from_source(parts: Parts, place: Location, package: dict[str, Any]) -> None:
    """Note a package that is built from source."""
    parts.puzzles.append(
        Puzzle(place=place, text=str(package["name"]), reason="it is built from source, which the matrix does not know")
    )
