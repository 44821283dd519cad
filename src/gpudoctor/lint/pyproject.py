"""pyproject.toml: PEP 621, dependency groups (PEP 735), uv's sources and indexes, Poetry's own tables."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from gpudoctor.lint.requirements import Options, read_requirement
from gpudoctor.lint.tomlfile import TomlFile, items, table
from gpudoctor.lint.types import TORCH_INDEX, Parts, Puzzle, Requirement
from gpudoctor.model.finding import Location


def parse_pyproject(text: str, file: str) -> tuple[Parts, ...]:
    """Return the parts of a pyproject.toml: without extras (groups and Poetry's tables included), then with each extra.

    Extras are one environment each: nothing says that they are installed together.

    Raises:
        InputFileError: It is no TOML.
    """
    toml = TomlFile(text, file)
    extras = dict.fromkeys(table(toml.data, "project", "optional-dependencies"))
    extras |= dict.fromkeys(table(toml.data, "tool", "poetry", "extras"))
    return tuple(_read(toml, extra) for extra in (None, *extras))


def _read(toml: TomlFile, extra: str | None) -> Parts:
    parts = Parts(extra=extra)
    if isinstance(wanted := table(toml.data, "project").get("requires-python"), str):
        parts.python_ranges.append(wanted)
    excluded = _excluded(toml, parts)
    for text_, section in _dependencies(toml, excluded, extra):
        if isinstance(text_, str):
            place = toml.place(f'"{text_}"', section=section)
            if toml.lines and f'"{text_}"' not in toml.lines[(place.line or 1) - 1]:
                place = toml.place(text_, section=section)
            read_requirement(text_, place, Options(installer="uv" if table(toml.data, "tool", "uv") else "pip"), parts)
    _constraints(toml, parts)
    parts.requirements = [_sourced(toml, r, extra) for r in parts.requirements]
    _poetry(toml, parts, extra)
    parts.requirements = [_with_pages(toml, r) if "+" in r.specifier else r for r in parts.requirements]
    return parts


def _dependencies(toml: TomlFile, excluded: set[str], extra: str | None) -> list[tuple[Any, str]]:
    found: list[tuple[Any, str]] = [(d, "project") for d in items(toml.data, "project", "dependencies")]
    for name, group in table(toml.data, "project", "optional-dependencies").items():
        if name == extra and isinstance(group, list):
            found += [(d, "project") for d in group]
    for name, group in table(toml.data, "dependency-groups").items():
        if name not in excluded and isinstance(group, list):
            found += [(d, "dependency-groups") for d in group]
    found += [(d, "tool.uv") for d in items(toml.data, "tool", "uv", "dev-dependencies")]
    for group in table(toml.data, "tool", "pdm", "dev-dependencies").values():
        found += [(d, "tool.pdm.dev-dependencies") for d in items(group)]
    return found


def _excluded(toml: TomlFile, parts: Parts) -> set[str]:
    names: set[str] = set()
    for pair in items(toml.data, "tool", "uv", "conflicts"):
        for member in pair if isinstance(pair, list) else []:
            if isinstance(member, dict):
                # Each extra is judged by itself anyway.
                names.update(str(v) for k, v in member.items() if k == "group")
    if names:
        listed = ", ".join(sorted(names))
        parts.puzzles.append(
            Puzzle(
                place=toml.place("conflicts", section="tool.uv"),
                text=f"conflicts: {listed}",
                reason="these groups exclude each other, so which of them is installed is not known",
            )
        )
    return names


def _constraints(toml: TomlFile, parts: Parts) -> None:
    for key in ("constraint-dependencies", "override-dependencies"):
        for text in items(toml.data, "tool", "uv", key):
            if isinstance(text, str):
                place = toml.place(text, section="tool.uv")
                read_requirement(text, place, Options(installer="uv", constraint=True), parts)


def _sourced(toml: TomlFile, requirement: Requirement, extra: str | None) -> Requirement:
    """Give a requirement the index that uv's or PDM's tables name for it."""
    for pdm in items(toml.data, "tool", "pdm", "source"):
        if isinstance(pdm, dict) and _includes(pdm.get("include_packages"), requirement.name):
            url = pdm.get("url")
            return msgspec.structs.replace(requirement, index=url if isinstance(url, str) else None)
    urls = {i.get("name"): i.get("url") for i in items(toml.data, "tool", "uv", "index") if isinstance(i, dict)}
    default = next(
        (i.get("url") for i in items(toml.data, "tool", "uv", "index") if isinstance(i, dict) and i.get("default")),
        None,
    )
    default = default or table(toml.data, "tool", "uv").get("index-url")
    open_urls = [
        i.get("url")
        for i in items(toml.data, "tool", "uv", "index")
        if isinstance(i, dict) and not i.get("explicit") and not i.get("default")
    ]
    open_urls += items(toml.data, "tool", "uv", "extra-index-url")
    sources = {re.sub(r"[-_.]+", "-", k).lower(): v for k, v in table(toml.data, "tool", "uv", "sources").items()}
    source = sources.get(requirement.name)
    for entry in source if isinstance(source, list) else [source]:
        if not isinstance(entry, dict) or entry.get("extra", extra) != extra or "group" in entry:
            continue
        if "index" in entry and _marker_says_linux(entry.get("marker")):
            return msgspec.structs.replace(requirement, index=urls.get(entry["index"]), installer="uv")
        if "git" in entry or "url" in entry or "path" in entry:
            return msgspec.structs.replace(requirement, url=str(entry.get("git") or entry.get("url") or entry["path"]))
    further = tuple(u for u in open_urls if isinstance(u, str))
    return msgspec.structs.replace(
        requirement,
        index=default if isinstance(default, str) else requirement.index,
        extra_indexes=(*requirement.extra_indexes, *further),
    )


def _includes(patterns: object, name: str) -> bool:
    found = patterns if isinstance(patterns, list) else []
    return any(isinstance(p, str) and fnmatchcase(name, p) for p in found)


def _marker_says_linux(marker: object) -> bool:
    """Tell whether a source holds for Linux: `sys_platform == 'linux' or …`; one without a marker does."""
    if not isinstance(marker, str):
        return True
    from packaging.markers import InvalidMarker, Marker

    try:
        return Marker(marker).evaluate(
            {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
        )
    except (InvalidMarker, ValueError):
        return True


def _poetry(toml: TomlFile, parts: Parts, extra: str | None) -> None:
    poetry = table(toml.data, "tool", "poetry")
    asked = {str(n).lower() for n in items(poetry, "extras", extra or "")}
    if isinstance(python := table(poetry, "dependencies").get("python"), str) and (ranges := poetry_specifier(python)):
        parts.python_ranges.append(ranges)
    urls = {s.get("name"): s.get("url") for s in items(poetry, "source") if isinstance(s, dict)}
    groups = [("tool.poetry.dependencies", table(poetry, "dependencies"))]
    groups.append(("tool.poetry.dev-dependencies", table(poetry, "dev-dependencies")))
    for name, group in table(poetry, "group").items():
        groups.append((f"tool.poetry.group.{name}.dependencies", table(group, "dependencies")))
    for section, entries in groups:
        for name, value in entries.items():
            for entry in value if isinstance(value, list) else [value]:
                if isinstance(entry, dict) and entry.get("optional") and name.lower() not in asked:
                    continue
                _poetry_entry(name, entry, toml.place(name, section=section), urls, parts)


def _with_pages(toml: TomlFile, requirement: Requirement) -> Requirement:
    """Add where a build with a label may come from besides: pages of links, uv's choice, Poetry's other sources."""
    found: list[object] = [*items(toml.data, "tool", "uv", "find-links")]
    for name in ("extra-index-url", "find-links"):
        found += items(toml.data, "tool", "uv", "pip", name)
    if isinstance(backend := table(toml.data, "tool", "uv", "pip").get("torch-backend"), str):
        found.append(TORCH_INDEX if backend == "auto" else f"{TORCH_INDEX}/{backend}")
    sources = [s for s in items(toml.data, "tool", "poetry", "source") if isinstance(s, dict)]
    found += [s.get("url") for s in sources if s.get("priority") != "explicit"]
    further = tuple(url for url in found if isinstance(url, str))
    return msgspec.structs.replace(requirement, extra_indexes=(*requirement.extra_indexes, *further))


def _poetry_entry(name: str, entry: object, place: Location, urls: dict[Any, Any], parts: Parts) -> None:
    details = entry if isinstance(entry, dict) else {}
    version = details.get("version", "") if details else entry
    if name.lower() == "python" or not isinstance(version, str):
        return
    url = details.get("git") or details.get("url") or details.get("path")
    specifier = poetry_specifier(version)
    if specifier is None:
        parts.puzzles.append(
            Puzzle(place=place, text=f"{name} = {version}", reason="it is no version that Poetry reads")
        )
        specifier = ""
    marker = details.get("markers")
    parts.requirements.append(
        Requirement(
            place=place,
            name=re.sub(r"[-_.]+", "-", name).lower(),
            specifier=specifier,
            marker=marker if isinstance(marker, str) else None,
            index=urls.get(details.get("source")),
            installer="poetry",
            url=str(url) if url else None,
        )
    )


def poetry_specifier(text: str) -> str | None:
    """Return a Poetry version constraint as a PEP 440 specifier set; None for one that cannot be said so.

    Source: https://python-poetry.org/docs/dependency-specification/ (2026-11-21)
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    texts = [_poetry_part(part.strip()) for part in text.split(",")]
    joined = ",".join(t for t in texts if t)
    try:
        SpecifierSet(joined)
    except InvalidSpecifier:
        return None
    return joined


def _poetry_part(part: str) -> str:
    if part in ("", "*"):
        return ""
    match = re.fullmatch(r"([\^~])\s*(\d+(?:\.\d+)*)(.*)", part)
    if match:
        numbers = [int(n) for n in match[2].split(".")]
        if match[1] == "~":
            keep = min(len(numbers), 2)
        else:
            keep = next((i for i, n in enumerate(numbers) if n), len(numbers) - 1) + 1
        upper = [*numbers[: keep - 1], numbers[keep - 1] + 1]
        return f">={match[2]}{match[3]},<{'.'.join(map(str, upper))}"
    if re.fullmatch(r"\d[\w.+*-]*", part):
        return f"=={part}"
    return part.replace(" ", "")
