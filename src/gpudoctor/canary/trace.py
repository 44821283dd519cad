"""The loader's own account of a step (LD_DEBUG=libs,files), cut to what it tells of one library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gpudoctor.matrix.index import stem_of

TRACE_CHARS = 16_000
# A disagreement is rare, and one trace of an import of torch takes four seconds.
MAX_TRACES = 3
_CONTEXT = ("search path=", "search cache=", "(LD_LIBRARY_PATH)", "(RPATH", "(RUNPATH")


def traced(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which the loader tells what it does, on the error output."""
    return {**environment, "LD_DEBUG": "libs,files"}


def cut_trace(text: str, library: str) -> str | None:
    """Return the lines of a trace that tell of a library; None when there are none.

    Args:
        text: Error output of a traced process.
        library: A SONAME; every version of it counts.
    """
    stem = stem_of(library) or library
    kept = "\n".join(_about(text.splitlines(), stem))
    if len(kept) > TRACE_CHARS:
        kept = kept[:TRACE_CHARS] + "\n…"
    return kept or None


def _about(lines: Iterable[str], stem: str) -> Iterator[str]:
    following = False
    for line in lines:
        # A line without the process id before it is no line of the loader's.
        told = line.lstrip().partition(":\t")[2]
        if f"{stem}." in told:
            following = True
        elif not (following and any(mark in told for mark in _CONTEXT)):
            following = following and not told.strip()
            continue
        yield told.rstrip()
