"""One YAML file of the matrix, strictly: every error names the file, the line and what was expected.

Used by `--matrix FILE`, `gpudoctor matrix validate` and scripts/gen_matrix.py. PyYAML is imported here and nowhere else
in the package, so `check` without an overlay never loads it.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, get_args

import msgspec
import yaml

from gpudoctor.matrix import claims, tables, types
from gpudoctor.matrix.sources import Source, SourceKind, Status
from gpudoctor.matrix.types import MatrixFile
from gpudoctor.model.errors import InputFileError

# A hand-written file of facts is a few KiB; PyYAML reads about 100 KiB a second.
SIZE_LIMIT_BYTES = 1 << 20
# Dates stay text: everybody writes them unquoted, and no field of the matrix is of another type.
_TEXT_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp")
_NULL_TAG = "tag:yaml.org,2002:null"
_BOOL_TAG = "tag:yaml.org,2002:bool"
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_PATH_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
_EXPECTED = re.compile(r"^Expected `([^`]+)`, got `([^`]+)`")
_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `([^`]+)`")
_MISSING_FIELD = re.compile(r"^Object missing required field `([^`]+)`")
_INVALID = re.compile(r"^Invalid (?:enum )?value ('.*')$", re.DOTALL)
# What a field may say, by the end of its path, where its type is a closed set of words.
_CHOICES: dict[tuple[str, str], tuple[str, ...]] = {
    ("claim", "kind"): tuple(claims.KINDS),
    ("claim", "cuda"): ("same-release", "same-major"),
    ("claim", "level"): ("error", "warning"),
    ("", "kind"): get_args(SourceKind),
    ("", "status"): get_args(Status),
}
_FIELDS = sorted(
    {
        field
        for module in (claims, tables, types)
        for kind in (*vars(module).values(), Source)
        if isinstance(kind, type) and issubclass(kind, claims.Strict)
        for field in kind.__struct_fields__
    }
    | {"kind"}
)
_TYPE_NAMES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}

Path = tuple[object, ...]
"""Keys and indexes from the document's root."""


class _NoAliases(yaml.SafeLoader):
    """A loader that refuses aliases: a few of them can stand for gigabytes, and no fact needs one."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (`*name`) are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)


class Lines:
    """Where each value of a file stands.

    Attributes:
        file: The file, as the user named it.
        written: Scalars as they stand in the file, before YAML read them as numbers.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._line: dict[Path, int] = {(): 1}
        self.written: dict[Path, str] = {}

    def add(self, path: Path, node: yaml.Node) -> None:
        """Remember the line of a value."""
        self._line[path] = node.start_mark.line + 1

    def error(self, path: Path, message: str) -> InputFileError:
        """Return an error that points at a value, or at what is nearest above it."""
        where = path
        while where not in self._line:
            where = where[:-1]
        place = f"{_dotted(path)}: " if path else ""
        return InputFileError(f"{self.file}:{self._line[where]}: {place}{message}")


def _dotted(path: Path) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def parse_matrix_file(data: bytes, file: str) -> tuple[MatrixFile, Lines]:
    """Read one YAML file of the matrix.

    Args:
        data: Its content.
        file: Its name, for errors.

    Returns:
        The typed content, and the lines for errors about it.

    Raises:
        InputFileError: It is not YAML, uses what no fact needs (aliases, tags), or is not of the matrix's shape.
    """
    if len(data) > SIZE_LIMIT_BYTES:
        raise InputFileError(f"{file}: larger than {SIZE_LIMIT_BYTES >> 10} KiB; a file of facts is a few KiB")
    lines = Lines(file)
    root = _compose(data, file)
    try:
        plain = {} if root is None else _plain(root, (), lines)
    except RecursionError:
        raise InputFileError(f"{file}: nested too deeply") from None
    return _convert(plain, lines), lines


def _compose(data: bytes, file: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(data.decode("utf-8"), Loader=_NoAliases)
    except UnicodeDecodeError as error:
        raise InputFileError(f"{file}: not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise InputFileError(f"{file}: nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InputFileError(f"{file}:{line}: not readable as YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputFileError(f"{file}: not readable as YAML: {_one_line(error)}") from None
    return node


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _plain(node: yaml.Node, path: Path, lines: Lines) -> object:
    lines.add(path, node)
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        return _plain_mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return [_plain(item, (*path, index), lines) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return _plain_scalar(node, path, lines)
    raise lines.error(path, f"the tag {node.tag!r} is not allowed; write plain YAML")


def _plain_mapping(node: yaml.MappingNode, path: Path, lines: Lines) -> dict[str, object]:
    found: dict[str, object] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise lines.error(path, "a key must be plain text")
        key = key_node.value
        lines.add((*path, key), key_node)
        if key in found:
            raise lines.error((*path, key), "given twice")
        found[key] = _plain(value_node, (*path, key), lines)
    return found


def _plain_scalar(node: yaml.ScalarNode, path: Path, lines: Lines) -> object:
    lines.written[path] = node.value
    if node.tag in _TEXT_TAGS:
        return str(node.value)
    if node.tag == _NULL_TAG:
        return None
    if node.tag == _BOOL_TAG:
        return node.value.lower() in ("yes", "true", "on")
    if node.tag in _NUMBER_TAGS:
        # Only a byte count is a number; all else that looks like one is a version, and 9.10 is not 9.1.
        return int(node.value) if re.fullmatch(r"[0-9]{1,15}", node.value) else 0.5
    raise lines.error(path, f"the tag {node.tag!r} is not allowed; write plain YAML")


def _convert(plain: object, lines: Lines) -> MatrixFile:
    try:
        return msgspec.convert(plain, MatrixFile)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        path = _path_of(place.rstrip("`"))
        raise _explain(message, path, lines) from None


def _path_of(place: str) -> Path:
    return tuple(int(m[2]) if m[2] else m[1] for m in _PATH_STEP.finditer(place) if m[1] or m[2])


def _explain(message: str, path: Path, lines: Lines) -> InputFileError:
    """Turn msgspec's words into the file author's."""
    if match := _UNKNOWN_FIELD.match(message):
        near = get_close_matches(match[1], _FIELDS, n=1)
        return lines.error((*path, match[1]), f"unknown field; did you mean {near[0]!r}?" if near else "unknown field")
    if match := _INVALID.match(message):
        last = tuple(str(step) if isinstance(step, str) else "" for step in ("", *path)[-2:])
        choices = _CHOICES.get((last[0], last[1])) or _CHOICES.get(("", last[1]), ())
        return lines.error(path, f"expected {' or '.join(sorted(choices)) or 'another word'}, got {match[1]}")
    if match := _MISSING_FIELD.match(message):
        return lines.error(path, f"the field {match[1]!r} is missing")
    if match := _EXPECTED.match(message):
        wanted = " or ".join(_TYPE_NAMES.get(name.strip(), name.strip()) for name in match[1].split("|"))
        got = _TYPE_NAMES.get(match[2], match[2])
        quote = ""
        if "str" in match[1] and match[2] in ("int", "float", "bool"):
            got = "true or false" if match[2] == "bool" else "a number"
            quote = f' (quote it: "{lines.written.get(path, "")}")'
        return lines.error(path, f"expected {wanted}, got {got}{quote}")
    return lines.error(path, message[:1].lower() + message[1:])
