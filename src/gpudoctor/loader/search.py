"""Where the loader looks for a bare name, in order: glibc's open_path and the lists that it walks.

Source: glibc 2.36, elf/dl-load.c (open_path, fillin_rpath, _dl_map_object), read 2026-11-20.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from gpudoctor.loader.elf import ElfObject
from gpudoctor.loader.files import Files, Miss
from gpudoctor.loader.ldso import LdSo
from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.model.loading import Failure, SearchStep

# A word that only begins so is none: `$LIBDIR` is taken literally.
TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")
_GOES_ON = ("ENOENT", "EACCES")
_FAILURES: Mapping[str, Failure] = {
    "not-elf": "not-elf",
    "not-regular": "not-regular",
    "unloadable": "unloadable",
}


def inexpressible(directory: str) -> str | None:
    """Return why LD_LIBRARY_PATH cannot name a directory, as a clause; None when it can."""
    for character in ":;":
        if character in directory:
            return f"'{character}' separates directories in LD_LIBRARY_PATH and cannot be escaped"
    # Nothing escapes these. Source: ld.so(8), "Dynamic string tokens".
    token = TOKEN.search(directory)
    if token:
        return f"the loader would replace {token.group()} in LD_LIBRARY_PATH"
    return None if directory.startswith("/") else "it is not an absolute path"


def expand_tokens(text: str, values: Mapping[str, str | None]) -> str | None:
    """Return text with the loader's tokens replaced; None when one has no value here. Other `$` words stay.

    Source: https://man7.org/linux/man-pages/man8/ld.so.8.html (2026-11-20), "Dynamic string tokens".
    """
    if "$" not in text:
        return text
    if any(not values[m[1] or m[2]] for m in TOKEN.finditer(text)):
        return None
    return TOKEN.sub(lambda m: values[m[1] or m[2]] or "", text)


class LoadError(GpuDoctorError):
    """The loader cannot load what was asked for.

    Attributes:
        failure: Kind.
        culprit: The name really at fault: the deepest dependency.
        reason: One clause for people.
    """

    def __init__(self, failure: Failure, culprit: str, reason: str) -> None:
        super().__init__(reason)
        self.failure: Failure = failure
        self.culprit = culprit
        self.reason = reason


class Hit(msgspec.Struct, frozen=True):
    """A usable file.

    Attributes:
        path: The path as the loader spells it.
        elf: What it holds.
    """

    path: str
    elf: ElfObject


class Search:
    """The loader's memory of directories within one process.

    Attributes:
        ldso: Built-in settings.
    """

    def __init__(self, files: Files, ldso: LdSo) -> None:
        self.ldso = ldso
        self._files = files
        self._count = len(ldso.subdirs)
        # Shared by all lists of a process: a directory that was not there once is not tried again, by anybody.
        self._existing: dict[str, list[bool | None]] = {}

    def expand(self, text: str, origin: str) -> str | None:
        """Return text with $ORIGIN, $LIB and $PLATFORM replaced, None when one has no value here."""
        return expand_tokens(text, {"ORIGIN": origin, "LIB": self.ldso.lib, "PLATFORM": self.ldso.platform})

    def split(self, text: str, origin: str, separators: str) -> tuple[str, ...]:
        """Return the directories of a search path, each with its slash; an empty one is the working directory."""
        found: list[str] = []
        for element in re.split(f"[{separators}]", text):
            directory: str | None = element
            if element:
                directory = self.expand(element, origin)
                if not directory:
                    continue
                directory = (directory.rstrip("/") or "") + "/"
            if directory is not None and directory not in found:
                found.append(directory)
        return tuple(found)

    def open_path(self, name: str, directories: tuple[str, ...], rule: str, steps: list[SearchStep]) -> Hit | None:
        """Look for a name in a list of directories; None lets the next rule try.

        Raises:
            LoadError: A file of that name ends the whole search: it is no ELF file, or a directory.
        """
        for directory in directories:
            states = self._existing.get(directory)
            if states is None:
                # A relative directory is never forgotten: the working directory may change.
                states = self._existing[directory] = [None if directory.startswith("/") else True] * self._count
            found, errno_name = self._open_in(name, directory, states, rule, steps)
            if found is not None:
                return found
            if any(states) and errno_name not in _GOES_ON:
                return None
        return None

    def _open_in(
        self, name: str, directory: str, states: list[bool | None], rule: str, steps: list[SearchStep]
    ) -> tuple[Hit | None, str]:
        errno_name = "ENOENT"
        for number, subdir in enumerate(self.ldso.subdirs):
            if states[number] is False:
                continue
            path = directory + subdir + name
            seen = self.try_file(path, rule, steps)
            if isinstance(seen, ElfObject):
                states[number] = True
                return Hit(path, seen), ""
            errno_name = seen.errno_name
            if states[number] is None:
                states[number] = self._files.is_directory((directory + subdir)[:-1])
                errno_name = errno_name if states[number] else "ENOENT"
        return None, errno_name

    def try_file(self, path: str, rule: str, steps: list[SearchStep]) -> ElfObject | Miss:
        """Look at one file and write it down.

        Raises:
            LoadError: The file is there and makes the loader give the name up.
        """
        seen = self._files.look(path)
        if isinstance(seen, ElfObject):
            steps.append(SearchStep(rule=rule, path=path, result="found"))
            return seen
        steps.append(SearchStep(rule=rule, path=path, result=seen.result))
        if seen.fatal:
            raise LoadError(_FAILURES[seen.result], path.rsplit("/", 1)[-1], f"{path}: {seen.reason}")
        return seen
