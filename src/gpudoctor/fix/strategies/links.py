"""Symbolic links beside a consumer, in a folder that its own search path names.

A library that is opened through a link looks for its own dependencies beside the link, not beside the file: the loader
resolves nothing in $ORIGIN. So all that is needed is linked, and not only what is asked for first.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.strategies.base import Proposal, Situation, outside, refused
from gpudoctor.fix.strategies.closure import missing_libraries
from gpudoctor.fix.types import MakeLink
from gpudoctor.model.loading import Resolution
from gpudoctor.system.changes import CannotChange, LinkState, Nothing
from gpudoctor.system.overlay import LinkedSystem
from gpudoctor.system.protocol import CannotLook, NotThere

_NAME = "links"
_SCOPE = "every process that loads the consumer, `python -S` and embedded interpreters too"
_RISK = (
    "no package manager knows the links: they stay when the packages are removed, and lead to what lies there then; "
    "under an LD_LIBRARY_PATH that holds another build, cuDNN's engines come from there"
)


def propose_links(situation: Situation) -> Proposal | Refusal:
    """Propose the links, or say why they have no place here."""
    if situation.native and situation.native.is_managed:
        return refused(_NAME, f"{situation.native.root} belongs to the operating system's package manager")
    links: dict[str, str] = {}
    for consumer in situation.consumers:
        folder = _folder(situation, consumer)
        if folder is None:
            return refused(_NAME, f"{consumer} looks into no folder of its own, so that a link would not be found")
        reason = outside(situation, posixpath.join(folder, "link")) or situation.changes.writable(folder)
        if reason is not None:
            return refused(_NAME, f"{folder} cannot take a link: {reason}")
        here = situation.system.realpath(folder)
        for path in missing_libraries(situation, consumer):
            links[posixpath.join(here, posixpath.basename(path))] = posixpath.relpath(path, here)
    try:
        taken = tuple(_taken(situation, links))
    except CannotChange as error:
        return refused(_NAME, error.reason)
    if taken:
        return refused(_NAME, f"{taken[0]} is there already and is another file")
    return Proposal(
        strategy="links",
        scope=_SCOPE,
        risk=_RISK,
        actions=tuple(MakeLink(p, t, "leads to the library") for p, t in links.items() if not _is_there(situation, p)),
        system=LinkedSystem(situation.system, links),
        target=situation.target,
    )


def _folder(situation: Situation, consumer: str) -> str | None:
    """Return the first folder inside the environment that a consumer's own search path names."""
    for row in situation.snapshot.resolutions:
        if row.consumer == consumer and row.outcome != "present":
            folder = next(_own_folders(situation, row), None)
            if folder is not None:
                return folder
    return None


def _own_folders(situation: Situation, row: Resolution) -> Iterator[str]:
    for step in row.searched:
        folder = posixpath.dirname(step.path)
        if step.rule.startswith(("rpath", "runpath")) and outside(situation, step.path) is None:
            try:
                kind = situation.system.stat(folder).kind
            except (NotThere, CannotLook):
                continue
            if kind == "directory":
                yield folder


def _taken(situation: Situation, links: dict[str, str]) -> Iterable[str]:
    for path, text in links.items():
        if situation.changes.state(path) not in (Nothing(), LinkState(text)):
            yield path


def _is_there(situation: Situation, path: str) -> bool:
    return not isinstance(situation.changes.state(path), Nothing)
