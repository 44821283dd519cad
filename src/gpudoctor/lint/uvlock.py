"""uv.lock: one environment without extras, and one with each; the lock holds the packages of all of them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gpudoctor.lint.locks import add, from_source, packages
from gpudoctor.lint.tomlfile import TomlFile, items, table
from gpudoctor.lint.types import Parts
from gpudoctor.model.finding import Location

_OWN = ("editable", "virtual", "directory")
# How uv writes into a marker which of conflicting extras and groups it is for.
_CONFLICT = re.compile(
    r"extra\s*(?P<sign>==|!=)\s*(?P<quote>['\"])(?P<kind>extra|group)-\d+-(?P<rest>[^'\"]*)(?P=quote)"
)
_TRUE, _FALSE = "python_version >= '3'", "python_version < '3'"


class _Package(msgspec.Struct):
    """One entry of the lock.

    Attributes:
        place: Its line.
        entry: What stands there.
    """

    place: Location
    entry: dict[str, Any]

    @property
    def is_own(self) -> bool:
        """Tell whether it is a project of the workspace itself."""
        return any(kind in table(self.entry, "source") for kind in _OWN)


def parse_uv_lock(text: str, file: str) -> tuple[Parts, ...]:
    """Return the parts of a uv.lock: without extras (its groups included), then with each extra.

    Raises:
        InputFileError: It is no uv.lock.
    """
    toml = TomlFile(text, file)
    found = [_Package(place, entry) for place, entry in packages(toml, "package")]
    roots = [p for p in found if p.is_own]
    extras = dict.fromkeys(e for p in roots for e in table(p.entry, "optional-dependencies"))
    return tuple(_Walk(toml, found, extra).parts(roots) for extra in (None, *extras))


class _Walk:
    """Follows what the projects of a workspace depend on, with one extra or none."""

    def __init__(self, toml: TomlFile, found: list[_Package], extra: str | None) -> None:
        self.toml = toml
        self.extra = extra
        self.by_name: dict[str, list[_Package]] = {}
        for package in found:
            self.by_name.setdefault(package.entry["name"], []).append(package)
        # Of each package that is reached (by its line): the markers it is reached under, None for always.
        self.markers: dict[int | None, list[str | None]] = {}
        self.waiting: list[_Package] = []
        self.seen: set[tuple[int | None, str]] = set()

    def parts(self, roots: list[_Package]) -> Parts:
        """Return what is reached from the projects; everything in a lock without one."""
        parts = Parts(extra=self.extra)
        if isinstance(wanted := self.toml.data.get("requires-python"), str):
            parts.python_ranges.append(wanted)
        every = [p for same in self.by_name.values() for p in same]
        for root in roots:
            self._follow(root.entry.get("dependencies"))
            for group in table(root.entry, "dev-dependencies").values():
                self._follow(group)
            self._follow(table(root.entry, "optional-dependencies").get(self.extra or ""))
        while self.waiting:
            self._follow(self.waiting.pop().entry.get("dependencies"))
        for package in sorted(every, key=lambda p: p.place.line or 0):
            if not package.is_own and (not roots or package.place.line in self.markers):
                self._add(package, parts)
        return parts

    def _follow(self, dependencies: object) -> None:
        for dependency in items(dependencies):
            for package in self._meant(dependency) if isinstance(dependency, dict) else ():
                marker = dependency.get("marker")
                marker = self._decided(marker) if isinstance(marker, str) else None
                if marker == _FALSE:
                    continue
                if package.place.line not in self.markers:
                    self.waiting.append(package)
                self.markers.setdefault(package.place.line, []).append(marker)
                for extra in items(dependency, "extra"):
                    if (package.place.line, str(extra)) not in self.seen:
                        self.seen.add((package.place.line, str(extra)))
                        self._follow(table(package.entry, "optional-dependencies").get(str(extra)))

    def _meant(self, dependency: dict[str, Any]) -> list[_Package]:
        """Return the entries that a dependency may mean: a name alone does when the lock has it once."""
        same = self.by_name.get(str(dependency.get("name")), [])
        for key in ("version", "source"):
            if key in dependency:
                same = [p for p in same if p.entry.get(key) == dependency[key]]
        return same

    def _decided(self, marker: str) -> str:
        """Fill in whether the extra of this environment is on, in a marker of uv's for conflicting extras."""

        def answer(match: re.Match[str]) -> str:
            is_on = match["kind"] == "extra" and self.extra is not None and match["rest"].endswith(f"-{self.extra}")
            return _TRUE if is_on == (match["sign"] == "==") else _FALSE

        decided = _CONFLICT.sub(answer, marker)
        return _FALSE if decided != marker and re.fullmatch(rf"\(*{re.escape(_FALSE)}\)*", decided) else decided

    def _add(self, package: _Package, parts: Parts) -> None:
        source = table(package.entry, "source")
        registry = source.get("registry")
        reached = self.markers.get(package.place.line, [None])
        forks = [self._decided(m) for m in items(package.entry, "resolution-markers") if isinstance(m, str)]
        ways = None if None in reached else _any([m for m in reached if m])
        both = " and ".join(f"({m})" for m in (_any(forks), ways) if m)
        add(
            parts,
            package.place,
            package.entry,
            "uv",
            marker=both or None,
            index=registry if isinstance(registry, str) else None,
        )
        if "git" in source or "path" in source:
            from_source(parts, package.place, package.entry)


def _any(markers: list[str]) -> str | None:
    return " or ".join(f"({m})" for m in dict.fromkeys(markers)) if markers else None
