"""What is wrong with a set of answers of the loader, and with what a setting makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from gpudoctor.fix.candidates import Candidates, Scene
from gpudoctor.matrix.index import Matrix, stem_of
from gpudoctor.model.loading import Resolution
from gpudoctor.rules.misses import deciding_scenario, is_optional, is_unreached
from gpudoctor.rules.reading import belongs_to_driver, numbers, plain_name, same_release

Key = tuple[str, str, str, str]
Group = tuple[str, str, str]
ProblemKind = Literal["missing", "outdated", "mixed", "changed"]


class Problem(msgspec.Struct, frozen=True):
    """One answer that will not do.

    Attributes:
        kind: Missing; older than cuDNN's dispatch library, which aborts; of another build than its fellows, which
            works more often than not; or of another build than without the setting.
        resolution: The answer.
        library: The file name at fault.
        before: The file that was found without the setting, where it is another one now.
    """

    kind: ProblemKind
    resolution: Resolution
    library: str
    before: str | None = None

    @property
    def consumer(self) -> str:
        """Return who has the problem."""
        return self.resolution.consumer

    @property
    def blamed(self) -> tuple[str, ...]:
        """Return the names of the library at fault, any of which will do."""
        return self.resolution.names if self.library in self.resolution.names else (self.library,)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the file names any of which may help: the one at fault, and the library that needs it."""
        return tuple(dict.fromkeys((*self.blamed, *self.resolution.names)))

    @property
    def plain(self) -> str:
        """Return the name that people know the library at fault by."""
        return plain_name(self.resolution) if self.library in self.resolution.names else self.library


class Trial(msgspec.Struct, frozen=True):
    """What the loader would answer under some directories.

    Attributes:
        directories: The directories, in order.
        resolutions: The answers.
        problems: What is wrong with them.
    """

    directories: tuple[str, ...]
    resolutions: tuple[Resolution, ...]
    problems: tuple[Problem, ...]


def key_of(row: Resolution) -> Key:
    """Return what makes an answer the same question in two emulations."""
    return row.consumer, row.scenario, row.role, row.link


def group_of(row: Resolution) -> Group:
    """Return the set of libraries that must fit together."""
    return row.consumer, row.scenario, row.family


class Bench:
    """Judges answers against those without any setting."""

    def __init__(self, matrix: Matrix, candidates: Candidates, scene: Scene) -> None:
        self._matrix = matrix
        self._candidates = candidates
        self._scene = scene
        self._deciding: dict[str, str] = {}
        self.faults = self._faults(scene.resolutions)
        self._sick = {group_of(p.resolution) for p in self.faults.values()}
        self._mixed = {group_of(p.resolution) for p in self.faults.values() if p.kind == "mixed"}
        self._before: Mapping[Key, Resolution] = {
            key_of(r): r for r in scene.resolutions if r.outcome == "present" and key_of(r) not in self.faults
        }

    def decides(self, row: Resolution) -> bool:
        """Tell whether a row belongs to the scenario that its consumer really has."""
        if row.consumer not in self._deciding:
            self._deciding[row.consumer] = deciding_scenario(self._scene, self._matrix, row.consumer)
        return row.scenario == self._deciding[row.consumer]

    def problems(self, rows: tuple[Resolution, ...]) -> tuple[Problem, ...]:
        """Return what a setting leaves wrong, and what it makes wrong."""
        found = self._faults(rows)
        return (*found.values(), *(p for p in self._changes(rows) if key_of(p.resolution) not in found))

    def was_mixed(self, problem: Problem) -> bool:
        """Tell whether a family of a consumer was of several builds before any setting."""
        return group_of(problem.resolution) in self._mixed

    def _faults(self, rows: tuple[Resolution, ...]) -> dict[Key, Problem]:
        faults: dict[Key, Problem] = {}
        for row in rows:
            if self._counts(row) and _is_missing(row):
                faults[key_of(row)] = Problem("missing", row, row.culprit or row.soname)
        for family, members in self._families(rows):
            kind = self._misfit(family, members)
            for row in members if kind else ():
                faults.setdefault(key_of(row), Problem(kind or "mixed", row, row.soname))
        return faults

    def _counts(self, row: Resolution) -> bool:
        if any(belongs_to_driver(self._matrix, name) for name in (row.culprit, row.soname)):
            return False
        return not is_optional(self._matrix, row)

    def _changes(self, rows: tuple[Resolution, ...]) -> Iterable[Problem]:
        """Yield what was found before and now is not, or is another build, where nothing needed repair."""
        for row in rows:
            before = self._before.get(key_of(row))
            if before is None or before.path is None or row.path == before.path:
                continue
            if row.path is None:
                yield Problem("changed", row, row.culprit or row.soname, before.path)
            elif group_of(row) not in self._sick and not self._candidates.same_build(before.path, row.path):
                yield Problem("changed", row, row.soname, before.path)

    def _families(self, rows: tuple[Resolution, ...]) -> Iterable[tuple[str, tuple[Resolution, ...]]]:
        groups: dict[Group, list[Resolution]] = {}
        for row in rows:
            if row.outcome == "present" and not belongs_to_driver(self._matrix, row.soname):
                groups.setdefault(group_of(row), []).append(row)
        for (_, _, family), members in groups.items():
            yield family, tuple(members)

    def _misfit(self, family: str, rows: tuple[Resolution, ...]) -> ProblemKind | None:
        """Return how libraries of one family do not fit together, None when they do."""
        known = self._matrix.families.get(family)
        parts: list[str] = []
        others: list[str] = []
        for row in rows:
            version = self._candidates.version(row.path)
            if version is not None and known is not None:
                (parts if stem_of(row.soname) in known.parts else others).append(version)
        # A dispatch library works with a complete set of newer parts, and aborts on an older one.
        if family == "cudnn" and any(_is_older(part, other) for part in parts for other in others):
            return "outdated"
        return "mixed" if any(not same_release(parts[0], version) for version in parts[1:]) else None


def _is_missing(row: Resolution) -> bool:
    """Tell whether a library is not there, or not surely: a place that could not be searched may hold it."""
    if row.outcome == "unknown":
        return bool(row.searched) and not is_unreached(row)
    return row.outcome == "absent"


def _is_older(part: str, dispatcher: str) -> bool:
    one, other = numbers(part), numbers(dispatcher)
    return len(one) > 1 and len(other) > 1 and one[0] == other[0] and one[:2] < other[:2]
