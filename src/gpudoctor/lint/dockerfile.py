"""Dockerfiles: stages, ARG and ENV, and what their RUN lines install. Read by tree-sitter's grammar."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import msgspec

from gpudoctor.lint.commands import Word, read_command
from gpudoctor.lint.shell import LONGEST_WORD, WATCHED, ShellReader, Variables, parser_for
from gpudoctor.lint.start import read_start
from gpudoctor.lint.types import LOADER_CONF, Image, Parts, Puzzle, PythonVersion, Reference, Setting
from gpudoctor.model.finding import Location

if TYPE_CHECKING:
    from tree_sitter import Node

_EXPANSION = re.compile(r"\$(?:\{(?P<braced>\w+)(?::?(?P<sign>[-+])(?P<other>[^}]*))?\}|(?P<plain>\w+))")
_PYTHON_IMAGE = re.compile(r"(?:^|/)python:(3\.\d+)")


class _Stage(msgspec.Struct):
    """One stage of the build."""

    name: str
    base: str
    place: Location
    known: bool
    parts: Parts
    variables: dict[str, str]
    copies_from: list[str] = []
    copied: dict[str, str] = {}
    starts: dict[str, Node] = {}


def parse_dockerfile(text: str, file: str) -> Parts:
    """Return the parts of what the last stage of a Dockerfile becomes.

    A stage that it copies from gives its packages too (a virtual environment that is built and copied), but neither
    its base image nor its variables.
    """
    reader = _Reader(file)
    stages = reader.read(text)
    parts = Parts()
    if not stages:
        parts.puzzles.append(
            Puzzle(place=Location(file=file, line=1), text="", reason="there is no FROM line: it is no Dockerfile")
        )
        return parts
    by_name = {s.name: s for s in stages}
    _take(stages[-1], by_name, parts, set(), whole=True)
    reader.start(stages[-1], by_name, parts)
    return parts


def _take(stage: _Stage, by_name: dict[str, _Stage], parts: Parts, seen: set[str], *, whole: bool) -> None:
    """Add a stage: the one that it builds on first, then those that it copies from, then its own lines."""
    if stage.name in seen:
        return
    seen.add(stage.name)
    base = by_name.get(stage.base)
    if base is not None:
        _take(base, by_name, parts, seen, whole=whole)
    elif whole:
        parts.images.append(Image(place=stage.place, reference=stage.base))
        if not stage.known:
            parts.puzzles.append(
                Puzzle(
                    place=stage.place, text=stage.base, reason="an argument without a default decides the base image"
                )
            )
        if found := _PYTHON_IMAGE.search(stage.base):
            parts.pythons.append(PythonVersion(place=stage.place, version=found[1]))
    for name in stage.copies_from:
        other = by_name.get(name)
        if other is not None:
            _take(other, by_name, parts, seen, whole=False)
    own = stage.parts
    if not whole:
        # What lies in the environment that is built there, and is copied with it.
        own = Parts(
            requirements=own.requirements,
            puzzles=own.puzzles,
            references=own.references,
            links=own.links,
            repairs=own.repairs,
        )
    parts.add(own)


class _Reader:
    """Reads a Dockerfile instruction by instruction."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.global_args: dict[str, str] = {}
        self.repeated = [0]
        self.stages: list[_Stage] = []

    def read(self, text: str) -> list[_Stage]:
        source = text.encode("utf-8", "surrogateescape")
        if not source.endswith(b"\n"):
            source += b"\n"
        for node in parser_for("dockerfile").parse(source).root_node.named_children:
            self._instruction(node)
        return self.stages

    def _instruction(self, node: Node) -> None:
        kind = node.type.removesuffix("_instruction")
        if kind == "arg":
            self._arg(node)
        elif kind == "from":
            self._from(node)
        elif node.type == "ERROR":
            self._error(node)
        elif self.stages:
            stage = self.stages[-1]
            if kind == "env":
                self._env(node, stage)
            elif kind == "run":
                self._run(node, stage)
            elif kind in ("copy", "add"):
                self._copy(node, stage)
            elif kind in ("entrypoint", "cmd"):
                stage.starts[kind] = node

    def _place(self, node: Node) -> Location:
        return Location(file=self.file, line=node.start_point[0] + 1)

    def _error(self, node: Node) -> None:
        text = _source(node).strip()
        parts = self.stages[-1].parts if self.stages else None
        if parts is not None and text:
            parts.puzzles.append(
                Puzzle(place=self._place(node), text=text.split("\n")[0], reason="it is no instruction of a Dockerfile")
            )

    def _variables(self) -> dict[str, str]:
        return self.stages[-1].variables if self.stages else self.global_args

    def _arg(self, node: Node) -> None:
        body = _source(node).split(None, 1)[-1].strip()
        for pair in re.findall(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?", body):
            name, value = pair[0], pair[1].strip("\"'")
            variables = self._variables()
            if "=" in body:
                variables[name] = expand(value, variables)[0]
            elif name in self.global_args:
                variables[name] = self.global_args[name]

    def _from(self, node: Node) -> None:
        words = [w for w in _source(node).split()[1:] if not w.startswith("--")]
        reference, known = expand(words[0] if words else "", self.global_args)
        name = words[2] if len(words) > 2 and words[1].lower() == "as" else str(len(self.stages))
        base = next((s for s in self.stages if s.name == reference), None)
        variables = dict(base.variables) if base else {}
        self.stages.append(_Stage(name, reference, self._place(node), known, Parts(), variables))

    def _env(self, node: Node, stage: _Stage) -> None:
        for pair in node.named_children:
            if pair.type != "env_pair":
                continue
            name, _, raw = _source(pair).partition("=" if "=" in _source(pair) else " ")
            quoted = raw.strip()[:1] == "'"
            raw = raw.strip().strip("\"'")
            value = raw if quoted else expand(raw, stage.variables)[0]
            if name in WATCHED:
                stage.parts.settings.append(
                    Setting(
                        place=self._place(pair),
                        name=name,
                        value=value,
                        raw=raw,
                        expanded=not quoted,
                        inherited=name in stage.variables,
                    )
                )
            stage.variables[name] = value

    def _copy(self, node: Node, stage: _Stage) -> None:
        paths = [_source(c) for c in node.named_children if c.type == "path"]
        for param in node.named_children:
            if param.type == "param" and _source(param).startswith("--from="):
                stage.copies_from.append(expand(_source(param).partition("=")[2], stage.variables)[0])
                return
        if len(paths) > 1 and paths[-1].startswith(LOADER_CONF):
            value = f"$(cat {paths[0]})"
            conf = Setting(place=self._place(node), name=LOADER_CONF, value=value, raw=value, inherited=True)
            stage.parts.settings.append(conf)
        if len(paths) > 1:
            for path in paths[:-1]:
                stage.copied[path.rpartition("/")[2]] = path

    def _run(self, node: Node, stage: _Stage) -> None:
        before = len(stage.parts.references)
        known: Variables = {k: (Word(v, "$" not in v),) for k, v in {**self.global_args, **stage.variables}.items()}
        place = self._place(node)
        for child in node.named_children:
            if child.type == "json_string_array":
                words = tuple(Word(w) for w in _json_words(_source(child)))
                if [w.text for w in words[1:2]] == ["-c"] and len(words) > 2:
                    self._shell(words[2].text, place.line or 1, stage, known)
                else:
                    read_command(words, place, stage.parts)
            elif child.type == "heredoc_block":
                self._shell(_heredoc(child), child.start_point[0] + 2, stage, known)
            elif child.type == "shell_command" and "heredoc_marker" not in {c.type for c in _below(child)}:
                self._shell(_without_comments(child), child.start_point[0] + 1, stage, known)
        # A file that was copied in is found under the path it has beside the Dockerfile.
        stage.parts.references[before:] = [_beside(r, stage.copied) for r in stage.parts.references[before:]]

    def start(self, stage: _Stage, by_name: dict[str, _Stage], parts: Parts) -> None:
        """Add what ENTRYPOINT and CMD set before the program runs; a stage has them from the one it builds on, too."""
        seen: set[str] = set()
        chain = []
        while stage.name not in seen:
            seen.add(stage.name)
            chain.append(stage)
            stage = by_name.get(stage.base, stage)
        copied = {name: path for s in reversed(chain) for name, path in s.copied.items()}
        for kind in ("entrypoint", "cmd"):
            owner = next((s for s in chain if kind in s.starts), None)
            for child in owner.starts[kind].named_children if owner else ():
                place = self._place(child)
                known: Variables = {k: (Word(v, "$" not in v),) for k, v in chain[0].variables.items()}
                if child.type == "json_string_array":
                    read_start(_json_words(_source(child)), place, parts, known, copied)
                else:
                    read_start(_without_comments(child), place, parts, known, copied)

    def _shell(self, text: str, line: int, stage: _Stage, known: Variables) -> None:
        ShellReader(self.file, stage.parts, dict(known), line, lasting=False, repeated=self.repeated).read(text)


def _beside(reference: Reference, copied: dict[str, str]) -> Reference:
    source = copied.get(reference.path.rpartition("/")[2])
    reference = msgspec.structs.replace(reference, starts=False)  # a RUN line's shell ends with it
    return msgspec.structs.replace(reference, path=source) if source and not reference.project else reference


def _json_words(text: str) -> list[str]:
    try:
        words = json.loads(text)
    except ValueError:
        return []
    return [w for w in words if isinstance(w, str)]


def _heredoc(node: Node) -> str:
    lines = [_source(c) for c in node.named_children if c.type == "heredoc_line"]
    return "\n".join(lines)


def _without_comments(node: Node) -> str:
    """Return a shell command with the comment lines between its continuations emptied, line numbers kept."""
    lines = _source(node).split("\n")
    return "\n".join("\\" if n and line.lstrip().startswith("#") else line for n, line in enumerate(lines))


def _below(node: Node) -> list[Node]:
    return [*node.named_children, *(g for c in node.named_children for g in c.named_children)]


def expand(text: str, variables: dict[str, str]) -> tuple[str, bool]:
    """Fill variables in as the builder does; those without a value, or beyond all measure, stay as written.

    Returns:
        The text, and whether every variable had a value.
    """
    known, room = True, LONGEST_WORD

    def value(match: re.Match[str]) -> str:
        nonlocal known, room
        name = match["braced"] or match["plain"]
        if match["sign"] == "+":
            return match["other"] if name in variables else ""
        if name in variables and len(variables[name]) <= room:
            room -= len(variables[name])
            return variables[name]
        if name not in variables and match["sign"] == "-":
            return str(match["other"])
        known = False
        return match[0]

    return _EXPANSION.sub(value, text), known


def _source(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "surrogateescape")
