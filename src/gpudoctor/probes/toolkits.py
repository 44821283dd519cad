"""Probe: CUDA toolkits installed on the system, under /usr/local, /opt and in ld.so.cache."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator

import msgspec

from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.machine import Toolkit
from gpudoctor.probes.paths import is_dir, is_file
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, encodable

_PARENTS = ("/usr/local", "/opt")
_FOLDER = re.compile(r"cuda(?:-(\d+(?:\.\d+)?))?")
_VERSION_TXT = re.compile(rb"CUDA Version (\d+(?:\.\d+)+)")
_CUDART = re.compile(r"libcudart\.so\.(\d+(?:\.\d+)*)$")
# `targets/x86_64-linux/lib`, `lib64`, Debian's `lib/x86_64-linux-gnu`.
_LIBRARY_DIR = re.compile(r"/(?:targets/[^/]+/lib|lib64|lib(?:/[^/]+-linux-gnu)?)$")
_SMALL_BYTES = 256 << 10


class _Component(msgspec.Struct, frozen=True):
    version: str


class _VersionJson(msgspec.Struct, frozen=True):
    """A toolkit's version.json: one entry a component."""

    cuda: _Component


def probe_toolkits(system: ReadSystem, cache_entries: Iterable[tuple[str, str]] = ()) -> Fact[tuple[Toolkit, ...]]:
    """Find the CUDA toolkits of the system.

    Args:
        system: The machine.
        cache_entries: (SONAME, path) of ld.so.cache.
    """
    if system.os_name != "linux":
        return Unknown(f"not looked for on {system.os_name}")
    found: dict[str, Toolkit] = {}
    problems: list[str] = []
    for directory in _toolkit_dirs(system, problems):
        real = system.realpath(directory)
        if real not in found:
            found[real] = Toolkit(directory=encodable(real), version=_version(system, real), found_via="directory")
    for soname, path in cache_entries:
        if _CUDART.match(soname):
            _add_cached(system, path, found)
    if found:
        return Present(tuple(found[directory] for directory in sorted(found)))
    return Unknown("; ".join(problems)) if problems else Absent((*(f"{p}/cuda*" for p in _PARENTS), "ld.so.cache"))


def _toolkit_dirs(system: ReadSystem, problems: list[str]) -> Iterator[str]:
    for parent in _PARENTS:
        try:
            names = system.listdir(parent)
        except NotThere:
            continue
        except CannotLook as error:
            problems.append(error.reason)
            continue
        for name in names:
            path = posixpath.join(parent, name)
            if _FOLDER.fullmatch(name) and is_dir(system, path):
                yield path


def _add_cached(system: ReadSystem, path: str, found: dict[str, Toolkit]) -> None:
    real = system.realpath(path)
    root = _LIBRARY_DIR.sub("", posixpath.dirname(real)) or "/"
    if root in found or not is_file(system, real):  # the cache outlives what it names
        return
    version = _version(system, root)
    named = _CUDART.search(posixpath.basename(real))
    if not isinstance(version, Present) and named:
        version = Present(named.group(1))
    found[root] = Toolkit(directory=encodable(root), version=version, found_via="ld-cache")


def _version(system: ReadSystem, directory: str) -> Fact[str]:
    """Read version.json (since 11.1), version.txt (before), or the folder's name."""
    try:
        content = system.read_bytes(f"{directory}/version.json", _SMALL_BYTES)
        return Present(msgspec.json.decode(content, type=_VersionJson).cuda.version)
    except (NotThere, CannotLook, msgspec.MsgspecError, UnicodeDecodeError):
        pass
    try:
        match = _VERSION_TXT.search(system.read_bytes(f"{directory}/version.txt", _SMALL_BYTES))
        if match:
            return Present(match.group(1).decode())
    except (NotThere, CannotLook):
        pass
    named = _FOLDER.fullmatch(posixpath.basename(directory))
    if named and named.group(1):
        return Present(named.group(1))
    return Unknown(f"{directory}: nothing there tells its version")
