"""The text of a file of settings -> what it settles, or one sentence that names the file, the line and the key."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgspec

from gpudoctor.config.find import PROJECT_FILE, SIZE_LIMIT_BYTES
from gpudoctor.config.lines import line_of_key, line_of_rule
from gpudoctor.config.types import Assume, Config, Ignore, Settled
from gpudoctor.model.errors import InputFileError
from gpudoctor.system.protocol import encodable

_LINE = re.compile(r"\(at line (\d{1,9}), ")
_AT = re.compile(r" - at `\$(.*)`$")
_STEP = re.compile(r"\.([\w-]+)|\[(\d+)\]|\[(?:\.\.\.)?\]")
_WANTED = {
    "until": "it wants a day, such as 2027-01-31",
    "fail-on": 'it wants "error", "warning" or "never"',
}
_FIELD = re.compile(r"unknown field `(.*?)`", re.DOTALL)


def parse_config(data: bytes, file: str, folder: str) -> Config | None:
    """Read a file of settings.

    Args:
        data: Its content.
        file: How messages name it.
        folder: Where it lies, absolute.

    Returns:
        The settings; None for a pyproject.toml without `[tool.gpudoctor]`.

    Raises:
        InputFileError: It is no TOML, or holds something that it should not.
    """
    file = encodable(file)
    if len(data) > SIZE_LIMIT_BYTES:
        raise InputFileError(f"{file}: larger than {SIZE_LIMIT_BYTES >> 20} MiB, so no file of settings")
    text = _decoded(data, file)
    plain = _toml(text, file)
    table: tuple[str, ...] = ("tool", "gpudoctor") if posixpath.basename(file) == PROJECT_FILE else ()
    for key in table:
        if not isinstance(plain, dict) or key not in plain:
            return None
        plain = plain[key]
    return Config(file=file, folder=folder, text=text, table=table, settled=_settled(plain, file, text, table))


def _decoded(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputFileError(f"{file}: line {line}: not UTF-8 text") from error


def _toml(text: str, file: str) -> Any:
    loads: Callable[[str], Any] = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads
    try:
        return loads(text)
    except RecursionError as error:
        raise InputFileError(f"{file}: nested too deeply to be a file of settings") from error
    except ValueError as error:  # TOMLDecodeError, and an integer of more digits than Python converts
        found = _LINE.search(str(error))
        at_end = "at end of document" in str(error)
        where = f"line {found[1]}: " if found else f"line {text.count(chr(10)) + 1}: " if at_end else ""
        raise InputFileError(f"{file}: {where}not TOML: {_one_line(str(error))}") from error


def _settled(plain: Any, file: str, text: str, table: tuple[str, ...]) -> Settled:
    try:
        found = msgspec.convert(plain, Settled)
    except msgspec.ValidationError as error:
        message = str(error)
        at = _AT.search(message)
        path = _path(at[1]) if at else ()
        line = _line(text, table, path, _FIELD.search(message), plain)
        where = f"line {line}: " if line else ""
        raise InputFileError(f"{file}: {where}{_told(message, path)}") from error
    for name in found.env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            line = line_of_key(text, (*table, "env"), name)
            where = f"line {line}: " if line else ""
            raise InputFileError(f"{file}: {where}{_one_line(repr(name))} in env is no name of a variable")
    return found


def _path(text: str) -> tuple[str | int, ...]:
    """Return the steps of msgspec's path: `.ignore[1].rule` is `("ignore", 1, "rule")`."""
    return tuple(int(m[2]) if m[2] else m[1] for m in _STEP.finditer(text) if m[1] or m[2])


def _line(
    text: str, table: tuple[str, ...], path: tuple[str | int, ...], field: re.Match[str] | None, plain: Any
) -> int | None:
    if len(path) > 1 and path[0] == "ignore" and isinstance(path[1], int):
        return _line_of_entry(text, plain, path[1]) or line_of_key(text, table, "ignore")
    names = tuple(step for step in path if isinstance(step, str))
    keys = (*names, field[1]) if field else names
    return line_of_key(text, (*table, *keys[:-1]), keys[-1]) if keys else None


def _line_of_entry(text: str, plain: Any, index: int) -> int | None:
    entries = plain.get("ignore", ()) if isinstance(plain, dict) else ()
    rules = [entry.get("rule") if isinstance(entry, dict) else None for entry in entries]
    rule = rules[index]
    return line_of_rule(text, rule, rules[:index].count(rule)) if isinstance(rule, str) else None


def _told(message: str, path: tuple[str | int, ...]) -> str:
    """Return a validation error in the reader's words."""
    where, kind = _table(path)
    field = _FIELD.search(message)
    if field:
        known = ", ".join(f.encode_name for f in msgspec.structs.fields(kind))
        return _one_line(f"unknown key {field[1]!r} in {where}; there are: {known}")
    if "missing required field" in message:
        missing = "reason" if "`reason`" in message else "rule"
        needs = 'every ignore needs a rule and a reason: {rule = "GPD301", reason = "…"}'
        return f"{where} has no {missing}; {needs}"
    key = ".".join(step for step in path if isinstance(step, str)) or "the table"
    if "matching regex" in message or "length >= 1" in message:
        return _one_line(f"{key} must not be empty")
    wanted = next((text for end, text in _WANTED.items() if key.endswith(end)), _AT.sub("", message))
    return _one_line(f"{key}: {wanted}")


def _table(path: tuple[str | int, ...]) -> tuple[str, type[msgspec.Struct]]:
    if path[:1] == ("ignore",):
        number = path[1] if len(path) > 1 and isinstance(path[1], int) else 0
        return f"ignore number {number + 1}", Ignore
    return ("assume", Assume) if path[:1] == ("assume",) else ("the settings", Settled)


def _one_line(text: str) -> str:
    """Return a parser's message as one bounded line: it may quote the file's own bytes."""
    line = "".join(character if character.isprintable() else "?" for character in text)
    return line if len(line) <= 300 else line[:300] + "…"
