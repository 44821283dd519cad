"""Where plain dlopen calls of a target would find single libraries: for probes that ask the driver."""

from __future__ import annotations

import msgspec

from gpudoctor.loader.answers import request_for, steps_of
from gpudoctor.loader.emulation import CannotEmulate, Emulation
from gpudoctor.loader.search import LoadError
from gpudoctor.loader.target import Target
from gpudoctor.model.loading import SearchStep
from gpudoctor.system.protocol import ReadSystem


class LibraryAnswer(msgspec.Struct, frozen=True):
    """Where a plain dlopen of the target finds a library.

    Attributes:
        path: The file; None when there is none that loads.
        searched: Every place tried.
        reason: Why there is no path.
        unknown: True when it could not be searched, which is not the same as not there.
    """

    path: str | None
    searched: tuple[SearchStep, ...] = ()
    reason: str | None = None
    unknown: bool = False


def find_libraries(
    system: ReadSystem, target: Target, sonames: tuple[str, ...], emulation: Emulation | None = None
) -> dict[str, LibraryAnswer]:
    """Find libraries as plain dlopen calls from the target's executable would, each in a process of its own.

    Args:
        system: The machine to look at.
        target: The process to emulate.
        sonames: What it opens.
        emulation: The target's loader, where the caller started it already.
    """
    try:
        emulation = emulation or Emulation(system, target)
    except CannotEmulate as error:
        return dict.fromkeys(sonames, LibraryAnswer(None, reason=error.reason, unknown=True))
    return {soname: _find(emulation, soname) for soname in sonames}


def _find(emulation: Emulation, soname: str) -> LibraryAnswer:
    process = emulation.process()
    try:
        process.start()
        mapped = process.dlopen(soname, process.main)
    except LoadError as error:
        request = request_for(process, soname)
        searched = steps_of((request,) if request else ())
        doubts = "; ".join(emulation.unknowns)
        return LibraryAnswer(
            None, searched, doubts or error.reason, unknown=bool(doubts) and error.failure == "missing"
        )
    request = request_for(process, soname)
    return LibraryAnswer(mapped.path, steps_of((request,) if request else ()))
