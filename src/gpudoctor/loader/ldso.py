"""What is built into the target's ELF interpreter: its directories, subdirectories, cache and tokens.

They differ by distribution, by glibc release and by processor, and no file holds them. So the ELF interpreter itself
is asked, in one child: with LD_DEBUG=libs it prints every list that it would search for a library that cannot exist.
`--list` maps the C library that lies beside it and runs nothing of it. This works for every glibc, whereas
`--list-diagnostics` came with 2.33 and leaves the subdirectories of releases before 2.37 out.

Source: man 8 ld.so (LD_DEBUG, --list), read 2026-11-20.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

import msgspec

from gpudoctor.loader.cache import DEFAULT_PATH
from gpudoctor.loader.elf import ElfError, read_interpreter
from gpudoctor.system.protocol import CannotLook, Child, NotThere, ReadSystem

_TIME_LIMIT_S = 5.0
_BASE = "/.gpudoctor"
_PROBE_ENVIRONMENT: Mapping[str, str] = {
    "LD_DEBUG": "libs",
    "LD_LIBRARY_PATH": f"{_BASE}:{_BASE}-lib/$LIB:{_BASE}-platform/$PLATFORM",
    "LD_PRELOAD": "libgpudoctor-none.so.0",
}
_HWCAPS_PREFIX = "glibc-hwcaps/"
# Prefixes that hold the system's own files beside a Python: what lies below is not the environment's.
SYSTEM_PREFIXES = ("/", "/usr", "/usr/local")
# Where distributions keep their ELF interpreters. A program can name any file as its own: one that lies elsewhere is as
# much a part of the target as the program is.
_SYSTEM_ROOTS = ("/lib/", "/lib32/", "/lib64/", "/libx32/", "/usr/", "/nix/store/", "/gnu/store/")
_LOADER_NAME = r"ld[A-Za-z0-9_.-]*\.so(\.[0-9]+)*"


class LdSo(msgspec.Struct, frozen=True):
    """The built-in settings of an ELF interpreter.

    Attributes:
        path: PT_INTERP.
        subdirs: Subdirectories tried in each directory, best first, each with its slash; the last is empty.
        system_dirs: Default directories, each with its slash.
        lib: What $LIB stands for.
        platform: What $PLATFORM stands for.
        cache_path: Where its cache is.
        unknown: Why these are general defaults and not its own answer; None when it answered.
    """

    path: str
    subdirs: tuple[str, ...]
    system_dirs: tuple[str, ...]
    lib: str
    platform: str
    cache_path: str = DEFAULT_PATH
    unknown: str | None = None

    @property
    def hwcaps(self) -> tuple[str, ...]:
        """Names of the glibc-hwcaps subdirectories that this processor may use, best first."""
        cut = len(_HWCAPS_PREFIX)
        return tuple(s[cut:].rstrip("/") for s in self.subdirs if s.startswith(_HWCAPS_PREFIX))


def is_musl(interpreter: str | None) -> bool:
    """Tell whether PT_INTERP is musl's loader, which searches by rules of its own."""
    return interpreter is not None and posixpath.basename(interpreter).startswith("ld-musl")


class LdSoQuestion:
    """A question put to an ELF interpreter; it answers while other work goes on.

    Attributes:
        unknown: Why it was not asked, if it was not.
    """

    def __init__(
        self, system: ReadSystem, interpreter: str, machine: str, prefix: str, environment: Mapping[str, str]
    ) -> None:
        self._interpreter = interpreter
        self._machine = machine
        self._system = system
        self.unknown: str | None = None
        self._child: Child | None = None
        if not may_be_asked(system, interpreter, prefix):
            self.unknown = f"{interpreter} is not an ELF interpreter of the system and is not started"
            return
        try:
            self._child = _ask(system, interpreter, environment)
        except CannotLook as error:
            self.unknown = error.reason

    def answer(self) -> LdSo:
        """Return the settings: its own, or the general defaults with the reason."""
        if self._child is not None:
            result = self._child.result()
            if result.timed_out:
                self.unknown = f"{self._interpreter} did not answer within {_TIME_LIMIT_S:.0f} s"
            else:
                found = parse_answer(self._interpreter, result.stderr.decode("utf-8", "replace"))
                if found is not None:
                    return found
                self.unknown = f"{self._interpreter} gave no search lists (status {result.status})"
        return defaults(self._system, self._interpreter, self._machine, self.unknown or "not asked")


def may_be_asked(system: ReadSystem, interpreter: str, prefix: str) -> bool:
    """Tell whether starting an ELF interpreter runs nothing that the environment could have brought.

    It may when its real file is a loader in a folder of the system and outside of the prefix (or the environment is
    the system itself), and when it is the file that this very process already runs on.
    """
    real = system.realpath(interpreter)
    if interpreter.startswith("/") and real.startswith(_SYSTEM_ROOTS) and _is_named_loader(real):
        root = system.realpath(prefix)
        if root in SYSTEM_PREFIXES or not real.startswith(root.rstrip("/") + "/"):
            return True
    return _runs_this_process(system, interpreter)


def _is_named_loader(path: str) -> bool:
    return re.fullmatch(_LOADER_NAME, posixpath.basename(path)) is not None


def _runs_this_process(system: ReadSystem, interpreter: str) -> bool:
    try:
        own = read_interpreter(system, "/proc/self/exe")
        return own is not None and system.stat(own).identity == system.stat(interpreter).identity
    except (ElfError, NotThere, CannotLook):
        return False


def _ask(system: ReadSystem, interpreter: str, environment: Mapping[str, str]) -> Child:
    beside = posixpath.join(posixpath.dirname(system.realpath(interpreter)), "libc.so.6")
    asked = dict(_PROBE_ENVIRONMENT)
    if "GLIBC_TUNABLES" in environment:  # it can switch subdirectories off
        asked["GLIBC_TUNABLES"] = environment["GLIBC_TUNABLES"]
    return system.start((interpreter, "--list", beside), asked, _TIME_LIMIT_S)


def parse_answer(interpreter: str, text: str) -> LdSo | None:
    """Parse what `LD_DEBUG=libs` printed for the probe environment; None when the lists are not in it."""
    searched = _list(text, "LD_LIBRARY_PATH")
    system_list = _list(text, "system search path")
    if not searched or not system_list:
        return None
    subdirs = tuple(
        d[len(_BASE) + 1 :] + "/" if d != _BASE else "" for d in searched if d == _BASE or d.startswith(_BASE + "/")
    )
    step = len(subdirs)
    if not step or subdirs[-1] or len(system_list) % step:
        return None
    cache = re.search(r"search cache=(\S+)", text)
    return LdSo(
        path=interpreter,
        subdirs=subdirs,
        system_dirs=tuple(d.rstrip("/") + "/" for d in system_list[step - 1 :: step]),
        lib=_token(searched, "lib"),
        platform=_token(searched, "platform"),
        cache_path=cache[1] if cache else DEFAULT_PATH,
    )


def _list(text: str, what: str) -> list[str]:
    found = re.search(rf"search path=(\S*)\s+\({re.escape(what)}\)", text)
    return found[1].split(":") if found else []


def _token(searched: list[str], name: str) -> str:
    """Return what a token became: the last directory of its element is the one without subdirectory."""
    start = f"{_BASE}-{name}/"
    values = [d[len(start) :] for d in searched if d.startswith(start)]
    return values[-1] if values else ""


_MULTIARCH: Mapping[str, str] = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


def defaults(system: ReadSystem, interpreter: str, machine: str, reason: str) -> LdSo:
    """Return what most distributions build in: Debian's directories where they exist, else lib64.

    No subdirectories: which of them this processor may use is just what could not be asked.
    """
    triple = _MULTIARCH.get(machine, f"{machine}-linux-gnu")
    try:
        debian = system.stat(f"/usr/lib/{triple}").kind == "directory"
    except (NotThere, CannotLook):
        debian = False
    dirs = (f"/lib/{triple}/", f"/usr/lib/{triple}/", "/lib/", "/usr/lib/") if debian else ("/lib64/", "/usr/lib64/")
    return LdSo(
        path=interpreter,
        subdirs=("",),
        system_dirs=dirs,
        lib=f"lib/{triple}" if debian else "lib64",
        platform=machine,
        unknown=reason,
    )
