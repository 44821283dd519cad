"""Where an interpreter's folders are: prefix, base prefix and version, worked out as CPython's getpath does.

Source: https://github.com/python/cpython/blob/main/Modules/getpath.py (2026-11-20).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

import msgspec

from gpudoctor.model.fact import Fact, Present, Unknown
from gpudoctor.probes.paths import absolute, is_dir, is_file, names_in, native
from gpudoctor.probes.text import shown
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, read_text

_CFG_LIMIT_BYTES = 64 << 10
_MINOR = re.compile(r"(\d+\.\d+)")
_EXE_VERSION = re.compile(r"(?:python|pypy)(\d+\.\d+)t?(?:\.exe)?$")
_LIB_FOLDER = re.compile(r"python(\d+\.\d+)t?$")
_NUMBERS = re.compile(r"\d+(?:\.\d+){1,2}")
_PY_VERSION = re.compile(r'#define\s+PY_VERSION\s+"(\d+\.\d+\.\d+)')
_CONDA_PYTHON = re.compile(r"python-(\d+\.\d+\.\d+)-[^-]+\.json$")
_LIB_DIRS = ("lib", "lib64")


class Layout(msgspec.Struct, frozen=True):
    """The folders that an interpreter starts from.

    Attributes:
        executable: The path that starts it.
        real_executable: The file behind its links.
        prefix: The environment's root.
        base_prefix: The installation that it was made from.
        is_venv: True when a pyvenv.cfg governs it.
        config: The keys of pyvenv.cfg, in lower case.
        minor: `3.11`, when known.
        version: As much of the version as is known.
        lib_names: Folders that hold `pythonX.Y`: `lib`, or `lib64` and `lib` where this build has its own lib64.
        doubts: Why the layout may be another one.
    """

    executable: str
    real_executable: str
    prefix: str
    base_prefix: str
    is_venv: bool
    config: Mapping[str, str]
    minor: str | None
    version: Fact[str]
    lib_names: tuple[str, ...] = ("lib",)
    doubts: tuple[str, ...] = ()

    @property
    def patch(self) -> tuple[int, ...]:
        """The version as integers, empty when unknown."""
        return tuple(int(n) for n in self.version.value.split(".")) if isinstance(self.version, Present) else ()


def find_layout(system: ReadSystem, executable: str) -> Layout:
    """Return the layout of an interpreter, from its path and the files around it."""
    executable = absolute(system, executable, system.cwd())
    real = native(system, system.realpath(executable))
    folder, config, doubts = _find_config(system, posixpath.dirname(executable))
    home = config.get("home")
    if folder is None or not home:  # CPython takes no notice of a pyvenv.cfg that names no home
        doubts += (f"{shown(folder)}/pyvenv.cfg: names no home, so it makes no environment",) if folder else ()
        folder, config = _find_prefix(system, executable, real), {}
    minor = _find_minor(system, real, config, folder)
    base = _find_base(system, absolute(system, home, folder), real, minor) if config and home else folder
    return Layout(
        executable=executable,
        real_executable=real,
        prefix=folder,
        base_prefix=base,
        is_venv=bool(config),
        config=config,
        minor=minor,
        version=_find_version(system, minor, config, base),
        lib_names=_lib_names(system, base, minor),
        doubts=doubts,
    )


def lib_folders(
    system: ReadSystem, prefix: str, minor: str | None, lib_names: tuple[str, ...] = _LIB_DIRS
) -> tuple[str, ...]:
    """Return the `lib/pythonX.Y` folders that may exist under a prefix; of every version there when none is known."""
    if system.os_name == "windows":
        return (posixpath.join(prefix, "Lib"),)
    if minor is not None:
        return tuple(posixpath.join(prefix, lib, f"python{minor}{t}") for lib in lib_names for t in ("", "t"))
    return tuple(
        posixpath.join(prefix, lib, name)
        for lib in lib_names
        for name in names_in(system, posixpath.join(prefix, lib))
        if _LIB_FOLDER.match(name)
    )


def _lib_names(system: ReadSystem, base: str, minor: str | None) -> tuple[str, ...]:
    """Return the build's library folders (sys.platlibdir first): Fedora and SUSE keep the standard library in lib64.

    Not to be confused with: the link `lib64 -> lib` in a venv, which is on no search path of other builds.
    """
    lib64 = posixpath.join(base, "lib64")
    own = system.os_name != "windows" and system.readlink(lib64) is None
    folders = lib_folders(system, base, minor, ("lib64",)) if own else ()
    return ("lib64", "lib") if any(is_file(system, posixpath.join(f, "os.py")) for f in folders) else ("lib",)


def parse_config(text: str) -> dict[str, str]:
    """Return the keys of a pyvenv.cfg in lower case; lines that are none are passed over."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _find_config(system: ReadSystem, executable_dir: str) -> tuple[str | None, dict[str, str], tuple[str, ...]]:
    """Return the prefix of a venv, its pyvenv.cfg, and what could not be read; (None, {}, …) outside a venv."""
    parent = posixpath.dirname(executable_dir)
    doubts: tuple[str, ...] = ()
    for folder in (executable_dir, parent):
        try:
            text = read_text(system, posixpath.join(folder, "pyvenv.cfg"), _CFG_LIMIT_BYTES)
        except NotThere:
            continue
        except CannotLook as error:
            doubts += (f"cannot be read: {shown(error.reason)}",)
            continue
        return parent, parse_config(text), doubts
    return None, {}, doubts


def _find_prefix(system: ReadSystem, executable: str, real: str) -> str:
    """Return the root of an installation: the first folder above the program that holds the standard library."""
    for program in (real, executable):
        folder = posixpath.dirname(program)
        found = _search_up(system, folder, None)
        if found:
            return found
    folder = posixpath.dirname(real)
    return posixpath.dirname(folder) if posixpath.basename(folder) in ("bin", "Scripts") else folder


def _find_base(system: ReadSystem, home: str, real: str, minor: str | None) -> str:
    """Return the installation behind a venv, from `home`, the folder of the program that made it."""
    starts = (home, posixpath.dirname(real))
    found = next((base for start in starts if (base := _search_up(system, start, minor))), None)
    if found:
        return found
    return posixpath.dirname(home) if posixpath.basename(home) in ("bin", "Scripts") else home


def _search_up(system: ReadSystem, folder: str, minor: str | None) -> str | None:
    """Return the first folder, upwards, in which CPython finds its landmark `os.py`."""
    for _ in range(64):
        for lib in lib_folders(system, folder, minor):
            if is_file(system, posixpath.join(lib, "os.py")):
                return folder
        parent = posixpath.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    return None


def _find_minor(system: ReadSystem, real: str, config: Mapping[str, str], prefix: str) -> str | None:
    """Return `X.Y`: from the program's name, then pyvenv.cfg, then the only `lib/pythonX.Y` folder."""
    if match := _EXE_VERSION.search(posixpath.basename(real)):
        return match.group(1)
    if match := _MINOR.match(_config_version(config) or ""):
        return match.group(1)
    folders = {
        match.group(1)
        for lib in _LIB_DIRS
        for name in names_in(system, posixpath.join(prefix, lib))
        if (match := _LIB_FOLDER.match(name)) and is_dir(system, posixpath.join(prefix, lib, name))
    }
    if system.os_name == "windows":
        dlls = (re.match(r"python(\d)(\d+)\.dll$", name, re.IGNORECASE) for name in names_in(system, prefix))
        folders |= {f"{m.group(1)}.{m.group(2)}" for m in dlls if m}
    return folders.pop() if len(folders) == 1 else None


def _config_version(config: Mapping[str, str]) -> str | None:
    """Return the version in a pyvenv.cfg: `version` (venv), `version_info` (uv, virtualenv)."""
    match = _NUMBERS.match(config.get("version_info") or config.get("version") or "")
    return match.group() if match else None


def _find_version(system: ReadSystem, minor: str | None, config: Mapping[str, str], base: str) -> Fact[str]:
    """Return the full version where a file tells it, else `X.Y`.

    The installation's own header goes before pyvenv.cfg, which keeps the version that it was made with.
    """
    if minor is None:
        return Unknown("no file tells the interpreter's version")
    configured = _config_version(config) or ""
    for candidate in (_header_version(system, base, minor), _conda_version(system, base), configured):
        if candidate and candidate.startswith(f"{minor}."):
            return Present(candidate)
    return Present(minor)


def _header_version(system: ReadSystem, base: str, minor: str) -> str | None:
    folder = "include" if system.os_name == "windows" else f"include/python{minor}"
    try:
        match = _PY_VERSION.search(read_text(system, posixpath.join(base, folder, "patchlevel.h"), 16 << 10))
    except (NotThere, CannotLook):
        return None
    return match.group(1) if match else None


def _conda_version(system: ReadSystem, base: str) -> str | None:
    matches = (_CONDA_PYTHON.match(name) for name in names_in(system, posixpath.join(base, "conda-meta")))
    return next((m.group(1) for m in matches if m), None)
