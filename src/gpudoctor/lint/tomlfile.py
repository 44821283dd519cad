"""TOML with the lines that things stand on: the standard reader for the values, a search for the lines."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from typing import Any

from gpudoctor.model.errors import InputFileError
from gpudoctor.model.finding import Location

# Python 3.10 has the same reader as a package.
_TOML = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

_WHERE = re.compile(r"\(at line (\d+)")


class TomlFile:
    """One TOML file.

    Args:
        text: Its text.
        file: Its name, for places.

    Raises:
        InputFileError: It is no TOML.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.lines = text.splitlines()
        try:
            self.data: dict[str, Any] = _TOML.loads(text)
        except (ValueError, RecursionError) as error:
            line = _WHERE.search(str(error))
            where = f"{file}:{line[1]}" if line else file
            raise InputFileError(f"{where}: cannot be read as TOML: {error}") from error

    def place(self, *texts: str, section: str | None = None) -> Location:
        """Return where the texts first stand together on a line, after a section's head where one is given."""
        start = 0
        if section is not None:
            head = re.compile(rf"\s*\[+\s*{re.escape(section)}\b")
            start = next((n for n, line in enumerate(self.lines) if head.match(line)), 0)
        for number in range(start, len(self.lines)):
            if all(text in self.lines[number] for text in texts):
                return Location(file=self.file, line=number + 1)
        return Location(file=self.file, line=start + 1)

    def heads(self, name: str) -> list[int]:
        """Return the lines of `[[name]]`, in order."""
        head = re.compile(rf"\s*\[\[\s*{re.escape(name)}\s*\]\]")
        return [number for number, line in enumerate(self.lines, 1) if head.match(line)]


def table(value: object, *path: str) -> dict[str, Any]:
    """Return the table at a path; an empty one where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def items(value: object, *path: str) -> list[Any]:
    """Return the array at a path; an empty one where there is none."""
    last = table(value, *path[:-1]).get(path[-1]) if path else value
    return last if isinstance(last, list) else []
