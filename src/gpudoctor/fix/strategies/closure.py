"""All that a consumer needs and the loader misses, with everything below it, dependencies first."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from gpudoctor.fix.strategies.base import Situation
from gpudoctor.model.loading import ElfFacts
from gpudoctor.system.overlay import own_name


def missing_libraries(situation: Situation, consumer: str) -> tuple[str, ...]:
    """Return the files that a consumer needs and does not get, each after all that it links itself."""
    order: dict[str, None] = {}
    for row in situation.needed:
        if row.consumer == consumer and row.path is not None:
            _visit(situation, row.path, order, frozenset())
    return tuple(dict.fromkeys(_spelled(situation, path) for path in order))


def _visit(situation: Situation, path: str, order: dict[str, None], above: frozenset[str]) -> None:
    elf = situation.solved.elf.get(path)
    if path in order or path in above or elf is None:
        return
    for name in elf.needed:
        family = situation.matrix.family_of(name)
        if family is not None and not family.from_driver:
            for below in _providers(situation, path, name):
                _visit(situation, below, order, above | {path})
    order[path] = None


def _providers(situation: Situation, path: str, name: str) -> Iterable[str]:
    """Return the file that a library's dependency is, as the loader found it: beside it where there is one."""
    beside = posixpath.join(posixpath.dirname(path), name)
    if beside in situation.solved.elf:
        return (beside,)
    found = (p for p, elf in situation.solved.elf.items() if _is_called(p, elf, name))
    return tuple(found)[:1]


def _is_called(path: str, elf: ElfFacts, name: str) -> bool:
    return elf.soname == name or posixpath.basename(path) == name


def _spelled(situation: Situation, path: str) -> str:
    """Return a path without the detours of an RPATH, where that names the same file."""
    path = own_name(path, situation.second_names)
    plain = posixpath.normpath(path)
    return plain if situation.system.realpath(plain) == situation.system.realpath(path) else path
