"""From what the emulated loader did to what a snapshot records."""

from __future__ import annotations

from collections.abc import Container, Iterable

import msgspec

from gpudoctor.loader.mapped import Mapped, Request
from gpudoctor.loader.process import Process
from gpudoctor.loader.search import LoadError
from gpudoctor.matrix.index import Matrix, stem_of
from gpudoctor.matrix.types import Family
from gpudoctor.model.loading import NOT_REACHED, FoundVia, Link, Resolution, Scenario, SearchStep

_MAX_SEARCHED = 400


class Asking(msgspec.Struct, frozen=True):
    """Who asks for what.

    Attributes:
        consumer: Name of the consumer.
        scenario: Alone or after torch.
        requester: File name of the object on whose behalf.
        names: Names tried, in order.
        family: Library family.
        role: Stable name within the consumer.
        link: Linked or opened.
        when: In words.
        fact: Id of the matrix fact, if one says so.
        assumed: Whether only a name in a file says that it is asked for.
    """

    consumer: str
    scenario: Scenario
    requester: str
    names: tuple[str, ...]
    family: str
    role: str
    link: Link
    when: str
    fact: str | None = None
    assumed: bool = False


def role_of(family: Family, soname: str) -> str:
    """Return the stable role of a linked library: `cublasLt`; `driver_libcuda` for one that the driver brings."""
    stem = stem_of(soname) or soname
    return f"driver_{stem}" if family.from_driver else stem.removeprefix("lib")


def unknown(asking: Asking, reason: str, searched: tuple[SearchStep, ...] = ()) -> Resolution:
    """Return the answer for something that could not be asked."""
    return Resolution(
        consumer=asking.consumer,
        scenario=asking.scenario,
        requester=asking.requester,
        soname=asking.names[0],
        names=asking.names,
        family=asking.family,
        role=asking.role,
        link=asking.link,
        when=asking.when,
        fact=asking.fact,
        assumed=asking.assumed,
        outcome="unknown",
        reason=reason,
        searched=searched,
    )


def unreached(asking: Asking, why: str, searched: tuple[SearchStep, ...] = ()) -> Resolution:
    """Return the answer for what is never asked for, because what would ask for it is not loaded."""
    return unknown(asking, f"{NOT_REACHED}: {why}", searched)


def present(
    asking: Asking, soname: str, mapped: Mapped, found_via: FoundVia, searched: tuple[SearchStep, ...]
) -> Resolution:
    """Return the answer for a file that will be loaded."""
    return msgspec.structs.replace(
        unknown(asking, "", searched),
        soname=soname,
        outcome="present",
        reason=None,
        path=mapped.path,
        found_via=found_via,
    )


def absent(
    asking: Asking, error: LoadError, searched: tuple[SearchStep, ...], unknowns: Iterable[str] = ()
) -> Resolution:
    """Return the answer for something that will not load; unknown where a place could not be searched."""
    doubts = tuple(unknowns)
    if doubts and error.failure == "missing":
        return unknown(asking, "; ".join(doubts), searched)
    return msgspec.structs.replace(
        unknown(asking, _reason(asking, error, searched), searched),
        outcome="absent",
        failure=error.failure,
        culprit=error.culprit,
    )


def _reason(asking: Asking, error: LoadError, searched: tuple[SearchStep, ...]) -> str:
    if error.failure != "missing":
        return error.reason
    if error.culprit not in asking.names:
        return f"{error.culprit}, which it needs, is not found"
    if len(asking.names) == 1:
        return f"{asking.names[0]} is in none of the {len(searched)} places searched"
    return f"none of {', '.join(asking.names)} is in any of the {len(searched)} places searched"


def steps_of(requests: Iterable[Request]) -> tuple[SearchStep, ...]:
    """Return every place that requests tried, in order."""
    steps = tuple(step for request in requests for step in request.searched)
    return steps[:_MAX_SEARCHED]


def request_for(process: Process, name: str, first: int = 0) -> Request | None:
    """Return the request that first asked for a name, at or after a position of the log."""
    return next((r for r in process.log[first:] if r.name == name), None)


def tell_error(errors: Iterable[LoadError], names: tuple[str, ...]) -> LoadError:
    """Return the error that explains most: a file that is there and fails, before one that is nowhere."""
    told = tuple(errors)
    return next((e for e in told if e.failure != "missing" or e.culprit not in names), told[0])


def opened_answer(
    process: Process, asking: Asking, requester: Mapped, unknowns: Iterable[str], preloaded: Container[int] = ()
) -> Resolution:
    """Open a library by its names, in order, and return the answer; the first that loads ends it.

    Args:
        process: The process, which has the library afterwards.
        asking: Who asks, and for which names.
        requester: The object on whose behalf.
        unknowns: What could not be searched.
        preloaded: The `id` of each object that an import hook opened.
    """
    first = len(process.log)
    errors: list[LoadError] = []
    for name in asking.names:
        was_there = process.find_loaded(name)
        try:
            mapped = process.dlopen(name, requester)
        except LoadError as error:
            errors.append(error)
            continue
        request = request_for(process, name, first)
        via = request.found_via if request is not None and was_there is None else None
        via = "preload" if id(mapped) in preloaded else via
        own = [r for r in process.log[first:] if r.name in asking.names]
        return present(asking, name, mapped, via or "already-loaded", steps_of(own))
    failed = [r for r in process.log[first:] if r.name in asking.names or r.error is not None]
    return absent(asking, tell_error(errors, asking.names), steps_of(failed), unknowns)


def linked_families(matrix: Matrix, roots: Iterable[Mapped], process: Process) -> Iterable[tuple[Mapped, str, Family]]:
    """Yield every family library that objects link, directly or through others, with the first object that does."""
    queue = list(roots)
    known = set(map(id, queue))
    told: set[str] = set()
    for mapped in queue:
        for name in mapped.elf.needed:
            family = matrix.family_of(name)
            if family is not None and name not in told:
                told.add(name)
                yield mapped, name, family
            needed = process.find_loaded(name)
            if needed is not None and id(needed) not in known:
                known.add(id(needed))
                queue.append(needed)


def missing_below(mapped: Mapped, process: Process, spare: set[str]) -> Mapped | None:
    """Return a library that an object needs, at any depth, and that no file was found for."""
    queue = [mapped]
    known = {id(mapped)}
    for current in queue:
        if current.phantom and not spare & current.names:
            return current
        for name in current.elf.needed:
            needed = process.find_loaded(name)
            if needed is not None and id(needed) not in known:
                known.add(id(needed))
                queue.append(needed)
    return None


def linked_answer(
    matrix: Matrix, process: Process, asking: Asking, unknowns: Iterable[str], first: int = 0
) -> Resolution:
    """Return the answer for a linked library after the emulation went on past whatever was missing.

    Args:
        matrix: Families.
        process: The process.
        asking: Who asks, for one name.
        unknowns: What could not be searched.
        first: Position in the log where this consumer's requests begin.
    """
    name = asking.names[0]
    mapped = process.find_loaded(name)
    if mapped is None:
        return unreached(asking, "an earlier library cannot be loaded")
    request = request_for(process, name, first)
    searched = steps_of((request,) if request else ())
    if mapped.phantom and request is not None and request.error is not None:
        return absent(asking, request.error, searched, unknowns)
    missing = missing_below(mapped, process, _driver_names(matrix, process))
    if missing is not None:
        below = request_for(process, missing.path)
        error = below.error if below and below.error else LoadError("missing", missing.path, "not found")
        return absent(asking, error, searched + steps_of((below,) if below else ()), unknowns)
    via = request.found_via if request is not None and request.found_via else "already-loaded"
    return present(asking, name, mapped, via, searched)


def _driver_names(matrix: Matrix, process: Process) -> set[str]:
    """Return the names that stand for missing libraries of the driver: those are the driver's fault alone."""
    names = (name for mapped in process.maps if mapped.phantom for name in mapped.names)
    return {name for name in names if (family := matrix.family_of(name)) is not None and family.from_driver}
