"""Modal images: Python files whose `modal.Image…` chains say what is installed. Read as a syntax tree, never run.

Source: https://modal.com/docs/reference/modal.Image (2026-11-21)
"""

from __future__ import annotations

import ast
import re

from gpudoctor.lint.commands import Word, read_command
from gpudoctor.lint.requirements import Options, read_requirement
from gpudoctor.lint.shell import LONGEST_WORD, WATCHED, ShellReader
from gpudoctor.lint.types import Image, Parts, Puzzle, PythonVersion, Reference, Setting
from gpudoctor.model.errors import InputFileError
from gpudoctor.model.finding import Location

_BASES = ("debian_slim", "from_registry", "from_dockerfile", "micromamba", "from_aws_ecr", "from_gcp_artifact_registry")
_IMPORT = re.compile(r"^(import|from) modal\b", re.MULTILINE)
_CALL = re.compile(rf"\bImage\s*\.\s*({'|'.join(_BASES)})\s*\(")
_PIP = ("pip_install", "uv_pip_install")
# Names that stand for other names: how deep, and how often in a file. Beyond that they repeat or contain themselves.
_DEEPEST = 10
_MOST_NAMES = 10_000


def parse_modal(text: str, file: str) -> Parts:
    """Return the parts of the Modal images that a Python file defines.

    Raises:
        InputFileError: It is no Python, or defines no image.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InputFileError(f"{file}:{line}: cannot be read as Python: {error}") from error
    reader = _Reader(file, _constants(tree))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    for call in sorted(calls, key=lambda c: (c.func.end_lineno or 0, c.func.end_col_offset or 0)):
        reader.call(call)
    if not reader.found:
        raise InputFileError(f"{file}:1: it is not a file that defines a Modal image: there is no modal.Image in it")
    return reader.parts


def is_modal(text: str) -> bool:
    """Tell whether a Python file looks as if it defined a Modal image."""
    return bool(_IMPORT.search(text) and _CALL.search(text))


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return what the names of the file's top level were given, where it was once."""
    found: dict[str, ast.expr] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                found[target.id] = statement.value
    return found


class _Reader:
    """Reads the calls of image chains."""

    def __init__(self, file: str, constants: dict[str, ast.expr]) -> None:
        self.file = file
        self.constants = constants
        self.parts = Parts()
        self.found = False
        self.names_left = _MOST_NAMES

    def call(self, call: ast.Call) -> None:
        assert isinstance(call.func, ast.Attribute)  # noqa: S101 - the caller chose them so
        name = call.func.attr
        place = Location(file=self.file, line=call.func.end_lineno)
        if name in _BASES and _is_image(call.func.value):
            self.found = True
            self._base(name, call, place)
        elif name in _PIP:
            self._pip(call, "uv" if name.startswith("uv") else "pip")
        elif name in ("pip_install_from_requirements", "pip_install_from_pyproject"):
            kind = None if name.endswith("pyproject") else "requirements"
            for path in self._texts(call.args[:1]):
                self.parts.references.append(Reference(place=place, path=path[0], kind=kind))  # type: ignore[arg-type]
        elif name in ("poetry_install_from_file", "uv_sync"):
            self.parts.references.append(Reference(place=place, path=".", project=True, installer="uv"))
        elif name == "apt_install":
            for text, line in self._texts(call.args):
                words = (Word("apt-get"), Word("install"), Word(text, line=line))
                read_command(words, place, self.parts)
        elif name in ("run_commands", "dockerfile_commands"):
            for text, line in self._texts(call.args):
                script = text.removeprefix("RUN ") if name == "dockerfile_commands" else text
                ShellReader(self.file, self.parts, {}, line, lasting=False).read(script)
        elif name == "env" and call.args:
            self._env(call.args[0])

    def _base(self, name: str, call: ast.Call, place: Location) -> None:
        if name in ("from_registry", "from_aws_ecr", "from_gcp_artifact_registry"):
            texts = self._texts(call.args[:1])
            if texts:
                self.parts.images.append(Image(place=Location(file=self.file, line=texts[0][1]), reference=texts[0][0]))
        elif name in ("debian_slim", "micromamba"):
            self.parts.images.append(Image(place=place, reference="debian:slim"))
        elif name == "from_dockerfile":
            for text, _ in self._texts(call.args[:1]):
                self.parts.references.append(Reference(place=place, path=text, kind="dockerfile"))
        named = {k.arg: k.value for k in call.keywords}
        version = named.get("add_python") or named.get("python_version")
        if version is None and name in ("debian_slim", "micromamba") and call.args:
            version = call.args[0]
        python = self._text(version) if version is not None else None
        if python:
            self.parts.pythons.append(PythonVersion(place=place, version=".".join(python.split(".")[:2])))

    def _pip(self, call: ast.Call, installer: str) -> None:
        named = {k.arg: k.value for k in call.keywords}
        index = self._text(named["index_url"]) if "index_url" in named else None
        extra = self._text(named["extra_index_url"]) if "extra_index_url" in named else None
        options = Options(index=index, extra_indexes=(extra,) if extra else (), installer=installer)
        for text, line in self._texts(call.args):
            read_requirement(text, Location(file=self.file, line=line), options, self.parts)

    def _env(self, argument: ast.expr) -> None:
        argument = self._resolved(argument)
        if not isinstance(argument, ast.Dict):
            return
        for key, value in zip(argument.keys, argument.values, strict=True):
            name, text = (self._text(key) if key else None), self._text(value)
            if name in WATCHED and name is not None and text is not None:
                place = Location(file=self.file, line=value.lineno)
                # Image.env becomes ENV lines of a Dockerfile, which fill variables in.
                self.parts.settings.append(Setting(place=place, name=name, value=text, raw=text))

    def _texts(self, arguments: list[ast.expr], depth: int = 0) -> list[tuple[str, int]]:
        """Return the texts of arguments: literals, lists of them, names of constants; a puzzle for anything else."""
        found: list[tuple[str, int]] = []
        for argument in arguments:
            inner = self._resolved(argument.value if isinstance(argument, ast.Starred) else argument)
            if isinstance(inner, (ast.List, ast.Tuple)) and depth < _DEEPEST:
                found += self._texts(list(inner.elts), depth + 1)
            elif (text := self._text(inner)) is not None:
                found.append((text, inner.lineno))
            else:
                place = Location(file=self.file, line=argument.lineno)
                self.parts.puzzles.append(
                    Puzzle(place=place, text=ast.unparse(argument), reason="only running the file tells what it is")
                )
        return found

    def _resolved(self, node: ast.expr) -> ast.expr:
        for _ in range(_DEEPEST):
            if not isinstance(node, ast.Name) or node.id not in self.constants or not self.names_left:
                break
            self.names_left -= 1
            node = self.constants[node.id]
        return node

    def _text(self, node: ast.expr, depth: int = 0) -> str | None:
        node = self._resolved(node)
        if depth > _DEEPEST:
            return None
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.JoinedStr):
            inner = (v.value if isinstance(v, ast.FormattedValue) else v for v in node.values)
            text = ""
            for part in inner:
                more = self._text(part, depth + 1)
                if more is None or len(text) + len(more) > LONGEST_WORD:
                    return None
                text += more
            return text
        return None


def _is_image(node: ast.expr) -> bool:
    """Tell whether an expression is `modal.Image`, `Image`, or a chain that begins with it."""
    if isinstance(node, ast.Attribute):
        return node.attr == "Image"
    return isinstance(node, ast.Name) and node.id == "Image"
