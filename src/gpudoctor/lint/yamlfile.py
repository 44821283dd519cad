"""YAML with lines: PyYAML's nodes, made into values that know where they stand. Tags are never constructed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Union

import msgspec

from gpudoctor.model.errors import InputFileError
from gpudoctor.model.finding import Location

_MOST_NODES = 200_000
_DEEPEST = 100


class Scalar(msgspec.Struct, frozen=True):
    """A text (or number, as written) with its line, and the line its text begins on (a block starts one later)."""

    text: str
    line: int
    first_line: int


class Sequence(msgspec.Struct, frozen=True):
    """A list with its line."""

    items: tuple[Value, ...]
    line: int


class Mapping(msgspec.Struct, frozen=True):
    """A mapping with its line; keys as text."""

    pairs: tuple[tuple[Scalar, Value], ...]
    line: int

    def get(self, key: str) -> Value | None:
        """Return a value, or None."""
        return next((value for name, value in self.pairs if name.text == key), None)


Value = Union[Scalar, Sequence, Mapping]  # noqa: UP007 - named before it is defined above


def parse_yaml(text: str, file: str) -> Value | None:
    """Return the first document of a YAML file; None for an empty one.

    Raises:
        InputFileError: It is no YAML.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_depth(yaml.parse(text, Loader=loader), file)
        node = next(iter(yaml.compose_all(text, Loader=loader)), None)
        return _Builder(file).value(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        raise InputFileError(f"{where}: cannot be read as YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InputFileError(f"{file}: cannot be read as YAML: {error}") from error


def _check_depth(events: Iterator[object], file: str) -> None:
    """Refuse what nests deeper than anybody writes: the C library composes nodes by recursion, and dies of it.

    Raises:
        InputFileError: It does.
    """
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            line = getattr(event, "start_mark", None)
            where = f"{file}:{line.line + 1}" if line else file
            raise InputFileError(f"{where}: the YAML nests more than {_DEEPEST} levels deep")


class _Builder:
    """Makes values of nodes; aliases may repeat a node, so their number is bounded."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0

    def value(self, node: object) -> Value:
        import yaml

        self.count += 1
        if self.count > _MOST_NODES:
            raise InputFileError(f"{self.file}: the YAML repeats itself through aliases beyond all measure")
        assert isinstance(node, yaml.Node)  # noqa: S101 - PyYAML composes nothing else
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            pairs = [(k, v) for k, v in node.value if isinstance(k, yaml.ScalarNode)]
            return Mapping(tuple((self._scalar(k), self.value(v)) for k, v in pairs), line)
        if isinstance(node, yaml.SequenceNode):
            return Sequence(tuple(self.value(v) for v in node.value), line)
        return self._scalar(node)

    def _scalar(self, node: object) -> Scalar:
        import yaml

        assert isinstance(node, yaml.ScalarNode)  # noqa: S101 - the callers looked
        line = node.start_mark.line + 1
        return Scalar(str(node.value), line, line + 1 if node.style in ("|", ">") else line)


def at(file: str, value: Scalar | Sequence | Mapping) -> Location:
    """Return the place of a value."""
    return Location(file=file, line=value.line)


def text_of(value: Value | None) -> str | None:
    """Return a scalar's text; None for anything else."""
    return value.text if isinstance(value, Scalar) else None


def each(value: Value | None) -> Iterator[Value]:
    """Yield the items of a list, or a single value; nothing for None."""
    if isinstance(value, Sequence):
        yield from value.items
    elif value is not None:
        yield value


def pairs(value: Value | None) -> tuple[tuple[Scalar, Value], ...]:
    """Return the pairs of a mapping; none for anything else."""
    return value.pairs if isinstance(value, Mapping) else ()
