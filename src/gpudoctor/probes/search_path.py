"""Probe: LD_LIBRARY_PATH taken apart, as the loader reads it."""

from __future__ import annotations

import posixpath
import re
from typing import Literal

from gpudoctor.loader.search import expand_tokens
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import SearchElement
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, encodable

State = Literal["directory", "missing", "not-a-directory", "unreadable"]
SearchState = Literal["directory", "missing", "not-a-directory", "unreadable", "empty", "relative"]

MAX_LIBRARIES = 64
_SEPARATORS = re.compile("[:;]")


def probe_search_path(
    system: ReadSystem,
    value: str | None,
    matrix: Matrix,
    *,
    cwd: str,
    origin: str | None = None,
    lib: str | None = None,
    platform: str | None = None,
) -> tuple[SearchElement, ...]:
    """Take LD_LIBRARY_PATH apart.

    Args:
        system: The machine.
        value: The variable's value in the judged environment; None and empty both mean that there is none.
        matrix: Says which file names are GPU libraries.
        cwd: Working directory of the judged process.
        origin: Folder of the real file behind the target's executable: what `$ORIGIN` means here.
        lib: What this loader puts for `$LIB` (`lib64`, `lib/x86_64-linux-gnu`); it differs between distributions.
        platform: What it puts for `$PLATFORM`.

    Source: https://man7.org/linux/man-pages/man8/ld.so.8.html (2026-11-20)
    """
    if not value:
        return ()
    tokens = {"ORIGIN": origin, "LIB": lib, "PLATFORM": platform}
    return tuple(
        _element(system, matrix, index, raw, cwd, tokens) for index, raw in enumerate(_SEPARATORS.split(value))
    )


def _element(
    system: ReadSystem, matrix: Matrix, index: int, raw: str, cwd: str, tokens: dict[str, str | None]
) -> SearchElement:
    expanded = expand_tokens(raw, tokens)
    if expanded is None:
        return SearchElement(index=index, raw=encodable(raw), directory=None, state="unreadable")
    directory = posixpath.join(cwd, expanded) if expanded else cwd
    state: SearchState
    state, libraries = _look(system, matrix, directory)
    if not raw:
        state = "empty"
    elif not expanded.startswith("/"):
        state = "relative"
    return SearchElement(
        index=index, raw=encodable(raw), directory=encodable(directory), state=state, libraries=libraries
    )


def _look(system: ReadSystem, matrix: Matrix, directory: str) -> tuple[State, tuple[str, ...]]:
    try:
        names = system.listdir(directory)
    except NotThere:
        return "missing", ()
    except CannotLook as error:
        return ("not-a-directory" if error.errno_name == "ENOTDIR" else "unreadable"), ()
    found = (name for name in names if ".so" in name and matrix.family_of(name) is not None)
    return "directory", tuple(name for name, _ in zip(found, range(MAX_LIBRARIES), strict=False))
