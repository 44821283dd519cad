"""Constants read out of Python source: parsed as a syntax tree, never executed."""

from __future__ import annotations

import ast
import warnings

from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

SOURCE_LIMIT_BYTES = 256 << 10
# Deeper source is no version file, and some parsers die of it.
_NESTING_LIMIT = 200


def parse_source(text: str) -> ast.Module | None:
    """Return the syntax tree, or None for what is no Python source."""
    if _too_deep(text):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's source is not our user's concern
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _too_deep(text: str) -> bool:
    """Tell whether a line could nest deeper than the compiler's C stack likes (`-----…1`, `((((…`)."""
    return any(
        sum(map(line.count, "([{-+~.")) > _NESTING_LIMIT or line.count("not ") > _NESTING_LIMIT
        for line in text.splitlines()
        if len(line) > _NESTING_LIMIT
    )


def literal(node: ast.expr | None) -> object:
    """Return the value of a literal, or None for anything that would have to be computed."""
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def assigned_literals(tree: ast.Module) -> dict[str, object]:
    """Return the names that a module's top level binds to literals; the last binding wins."""
    found: dict[str, object] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found[name] = literal(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
                found[name] = literal(value)
    return found


def read_constants(system: ReadSystem, path: str) -> dict[str, object] | str:
    """Return the constants of a source file, or one clause that says why they cannot be read.

    Raises:
        NotThere: There is no such file.
    """
    try:
        raw = system.read_bytes(path, SOURCE_LIMIT_BYTES)
    except CannotLook as error:
        return error.reason
    tree = parse_source(raw.decode("utf-8", "replace"))
    return f"{path}: not readable as Python source" if tree is None else assigned_literals(tree)


def constants_or_none(system: ReadSystem, path: str) -> dict[str, object]:
    """Return the constants of a source file, none when there is no such file or it cannot be read."""
    try:
        found = read_constants(system, path)
    except NotThere:
        return {}
    return found if isinstance(found, dict) else {}
