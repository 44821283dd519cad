"""Shell scripts, and the shell lines of Dockerfiles and workflows: read by tree-sitter's grammar, never run."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import msgspec

from gpudoctor.lint.commands import Word, read_command
from gpudoctor.lint.types import LOADER_CONF, Parts, Puzzle, Reference, Requirement, Setting
from gpudoctor.model.finding import Location

if TYPE_CHECKING:
    from collections.abc import Callable

    from tree_sitter import Node, Parser

Installed = TypeVar("Installed", Requirement, Reference)
Variables = dict[str, tuple[Word, ...]]

WATCHED = ("LD_LIBRARY_PATH", "LD_PRELOAD")
_DEEPEST = 8
# What Linux hands to a program: one word, and all of them (execve(2), "Limits on size of arguments and environment",
# read 2026-11-21). Variables that double themselves grow beyond any memory; nothing that is meant comes near.
LONGEST_WORD = 128 << 10
_LONGEST_COMMAND = 2 << 20
# Text of loops' bodies that is read again: loops within loops multiply.
_MOST_REPEATED = 256 << 10
_LEAST_BODY = 100
# The grammar loses what follows a second plain `$NAME` of an unquoted word: with braces it does not.
_PLAIN_NAME = re.compile(r"(?<=[^\s\"'\\$=(])\$([A-Za-z_]\w*)")
_SETS_PATH = re.compile(r"^\s*(?:Environment=|ENV\s+)\"?(LD_LIBRARY_PATH)[= ]([^\"\n]*)", re.MULTILINE)


@lru_cache(maxsize=2)
def parser_for(language: str) -> Parser:
    """Return tree-sitter's parser of a language: `bash` or `dockerfile`."""
    from importlib import import_module

    import tree_sitter

    grammar = import_module(f"tree_sitter_{language}")
    with warnings.catch_warnings():
        # Grammars built for older releases of tree-sitter hand their pointer over as a number.
        warnings.simplefilter("ignore", DeprecationWarning)
        return tree_sitter.Parser(tree_sitter.Language(grammar.language()))


def parse_shell(text: str, file: str) -> Parts:
    """Return the parts of a shell script."""
    parts = Parts()
    ShellReader(file, parts).read(text)
    return parts


class ShellReader:
    """Walks a script in its order, with the values of the variables that are known so far.

    Args:
        file: Name of the file, for places.
        parts: Gets what is found.
        variables: Values known before.
        first_line: Line of the file at which the script begins.
        lasting: False where what is exported ends with the script (a RUN line).
        depth: How many scripts it stands in.
        repeated: How much of loops was read again so far, shared by the scripts of a file.
    """

    def __init__(
        self,
        file: str,
        parts: Parts,
        variables: Variables | None = None,
        first_line: int = 1,
        *,
        lasting: bool = True,
        depth: int = 0,
        repeated: list[int] | None = None,
    ) -> None:
        self.file = file
        self.parts = parts
        self.variables: Variables = {} if variables is None else variables
        self.first_line = first_line
        self.lasting = lasting
        self.depth = depth
        self.repeated = [0] if repeated is None else repeated
        self._visits: dict[str, Callable[[Node], None]] = {
            "command": self._command,
            "variable_assignment": self._assignment,
            "declaration_command": self._declaration,
            "for_statement": self._loop,
            "redirected_statement": self._redirected,
            "pipeline": self._pipeline,
            "ERROR": self._error,
        }

    def read(self, text: str) -> None:
        """Read a script."""
        source = _PLAIN_NAME.sub(r"${\1}", text).encode("utf-8", "surrogateescape")
        self._walk(parser_for("bash").parse(source).root_node)

    def _walk(self, top: Node) -> None:
        # Not by recursion: a generated script nests as deep as it likes.
        waiting = [top]
        while waiting:
            node = waiting.pop()
            visit = self._visits.get(node.type)
            if visit is not None:
                visit(node)
            elif node.type != "heredoc_body":
                waiting.extend(reversed(node.named_children))

    def _place(self, node: Node) -> Location:
        return Location(file=self.file, line=self.first_line + node.start_point[0])

    def _error(self, node: Node) -> None:
        text = _source(node)
        if re.search(r"\b(install|LD_LIBRARY_PATH)\b", text):
            self.parts.puzzles.append(
                Puzzle(
                    place=self._place(node), text=text.split("\n")[0], reason="the shell's grammar does not allow it"
                )
            )

    # --- words ---

    def _words(self, node: Node) -> tuple[Word, ...]:
        """Return the words that a node becomes, known variables filled in."""
        if node.type in ("simple_expansion", "expansion"):
            value = self._value(node)
            if value is not None:
                return tuple(Word(part, word.known) for word in value for part in word.text.split() or [""])
            return (Word(_source(node), known=False),)
        if node.type == "string" and node.named_child_count == 1 and "[@]" in _source(node):
            value = self._value(node.named_children[0])
            if value is not None:
                return value
        return (self._word(node),)

    def _value(self, node: Node) -> tuple[Word, ...] | None:
        match = re.fullmatch(r"\$\{?([A-Za-z_]\w*)(\[[@*]\])?\}?", _source(node))
        if match:
            return self.variables.get(match[1])
        default = re.fullmatch(r"\$\{([A-Za-z_]\w*):?[-=]([^{}$]*)\}", _source(node))
        if default:
            return self.variables.get(default[1]) or (Word(default[2]),)
        return None

    def _word(self, node: Node) -> Word:
        if node.type in ("simple_expansion", "expansion"):
            value = self._value(node)
            if value is None:
                return Word(_source(node), known=False)
            return Word(" ".join(w.text for w in value), all(w.known for w in value))
        if node.type in ("command_substitution", "process_substitution", "arithmetic_expansion"):
            return Word(_source(node), known=False)
        if node.type == "raw_string":
            return Word(_source(node)[1:-1])
        if node.type in ("string", "concatenation", "command_name", "translated_string"):
            return self._joined(node)
        text = _source(node)
        return Word(re.sub(r"\\\n|\\(.)", lambda m: m[1] or "", text))

    def _joined(self, node: Node) -> Word:
        """Join the parts of a string or concatenation, keeping the text between them."""
        quotes = 1 if node.type == "string" else 0
        source = node.text or b""
        texts, known, at, length = [], True, quotes, 0
        for child in node.named_children:
            start, end = child.start_byte - node.start_byte, child.end_byte - node.start_byte
            texts.append(source[at:start].decode("utf-8", "surrogateescape"))
            word = self._word(child) if child.type != "string_content" else Word(_source(child))
            texts.append(word.text)
            known = known and word.known
            at = end
            length += len(word.text)
            if length > LONGEST_WORD:
                return Word(_source(node), known=False)
        texts.append(source[at : len(source) - quotes].decode("utf-8", "surrogateescape"))
        return Word("".join(texts).replace("\\\n", ""), known)

    # --- statements ---

    def _command(self, node: Node) -> None:
        outer = dict(self.variables)
        for child in node.named_children:
            if child.type == "variable_assignment":
                self._assignment(child)  # NAME=VALUE before a command: for that command alone
        self._run(node)
        self.variables.clear()
        self.variables.update(outer)

    def _run(self, node: Node) -> None:
        words: list[Word] = []
        length = 0
        for child in node.named_children:
            if child.type in ("variable_assignment", "file_redirect", "herestring_redirect"):
                continue
            line = self._place(child).line
            found = self._words(child)
            length += sum(len(w.text) for w in found)
            if length > _LONGEST_COMMAND:
                self._too_long(words, node)
                return
            words.extend(msgspec.structs.replace(w, line=line) for w in found)
        # Word splitting of an unquoted name: `$PY -m pip` with PY="python3 -X dev".
        texts = [w.text for w in words]
        if texts[:1] and texts[0].rpartition("/")[2] in ("bash", "sh", "dash") and "-c" in texts[:-1]:
            self._nested(texts[texts.index("-c") + 1], node)
        elif texts[:1] in (["echo"], ["printf"]) and re.match(r"\s*export\s", " ".join(texts[1:])):
            self._nested(" ".join(texts[1:]), node)
        elif texts[:1] != ["echo"]:
            before = len(self.parts.requirements), len(self.parts.references)
            read_command(tuple(words), self._place(node), self.parts)
            self._add_indexes(*before)

    def _too_long(self, words: list[Word], node: Node) -> None:
        if any(word.text == "install" for word in words):
            reason = "with its variables filled in it is longer than any command"
            self.parts.puzzles.append(Puzzle(place=self._place(node), text=_source(node)[:80], reason=reason))

    def _add_indexes(self, requirements: int, references: int) -> None:
        """Give what a command installs the indexes that variables name: PIP_EXTRA_INDEX_URL and the like."""
        wanted, files = self.parts.requirements, self.parts.references
        wanted[requirements:] = [self._indexed(one) for one in wanted[requirements:]]
        files[references:] = [self._indexed(one) for one in files[references:]]

    def _indexed(self, one: Installed) -> Installed:
        prefix: str = "UV" if one.installer == "uv" else "PIP"
        index = [one.index] if one.index else self._plain("UV_DEFAULT_INDEX", f"{prefix}_INDEX_URL")
        further: list[str] = [
            *self._plain("UV_INDEX", f"{prefix}_EXTRA_INDEX_URL"),
            *self._plain("", f"{prefix}_FIND_LINKS"),
        ]
        extra = (*one.extra_indexes, *further)
        return msgspec.structs.replace(one, index=index[0] if index else None, extra_indexes=extra)

    def _plain(self, of_uv: str, name: str) -> list[str]:
        """Return the URLs that a variable holds; the first name is one that only uv reads."""
        names = [name, of_uv] if name.startswith("UV") else [name]
        words = [w for n in names for w in self.variables.get(n, ()) if w.known]
        return [url for word in words for url in word.text.split()]

    def _nested(self, text: str, node: Node) -> None:
        if self.depth < _DEEPEST:
            line = self._place(node).line or 1
            ShellReader(
                self.file,
                self.parts,
                dict(self.variables),
                line,
                lasting=self.lasting,
                depth=self.depth + 1,
                repeated=self.repeated,
            ).read(text)

    def _assignment(self, node: Node) -> None:
        name_node, value_node = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name_node is None:
            return
        name = _source(name_node)
        value: tuple[Word, ...]
        if value_node is None:
            value = (Word(""),)
        elif value_node.type == "array":
            value = tuple(w for child in value_node.named_children for w in self._words(child))
        else:
            value = (self._word(value_node),)
        if sum(len(w.text) for w in value) > LONGEST_WORD:
            value = (Word(f"${name}", known=False),)
        if name in WATCHED and value_node is not None and self.lasting:
            self._set(name, value, _source(value_node), node)
        self.variables[name] = value

    def _set(self, name: str, value: tuple[Word, ...], raw: str, node: Node) -> None:
        quoted = raw[:1] == "'"
        self.parts.settings.append(
            Setting(
                place=self._place(node),
                name=name,
                value=" ".join(w.text for w in value),
                raw=raw.strip("\"'"),
                expanded=not quoted,
                inherited=name in self.variables,
            )
        )

    def _declaration(self, node: Node) -> None:
        for child in node.named_children:
            if child.type == "variable_assignment":
                self._assignment(child)

    def _loop(self, node: Node) -> None:
        """Read a loop's body once: with its only word, else with each of a few known ones."""
        variable, body = node.child_by_field_name("variable"), node.child_by_field_name("body")
        if variable is None or body is None:
            return
        name = _source(variable)
        values = [w for child in node.children_by_field_name("value") for w in self._words(child)]
        if not values or len(values) > 32 or not all(w.known for w in values[1:]):
            values = values[:1] or [Word(f"${name}", known=False)]
        self.repeated[0] += (len(values) - 1) * max(body.end_byte - body.start_byte, _LEAST_BODY)
        if len(values) > 1 and self.repeated[0] > _MOST_REPEATED:
            values = [Word(f"${name}", known=False)]
        for value in values:
            self.variables[name] = (Word(value.text, value.known and "*" not in value.text),)
            self._walk(body)

    def _redirected(self, node: Node) -> None:
        body = node.child_by_field_name("body")
        if body is None:
            return
        self._walk(body)
        words = _source(body).split()
        heredocs = [b for r in node.named_children if r.type == "heredoc_redirect" for b in _below(r, "heredoc_body")]
        if words[:1] in (["bash"], ["sh"]):
            for heredoc in heredocs:
                self._nested(_source(heredoc), heredoc)
        elif any(LOADER_CONF in _source(r) for r in node.named_children if r.type == "file_redirect"):
            self._loader_conf([*heredocs] if heredocs else [body], node)
        else:
            for heredoc in heredocs:
                self._written(heredoc)

    def _written(self, heredoc: Node) -> None:
        """Read what is written to another file (an activate script, a service's unit) for what it sets there."""
        text = _source(heredoc)
        if re.search(r"^\s*(export\s+)?LD_LIBRARY_PATH=", text, re.MULTILINE):
            self._nested(text, heredoc)
        for match in _SETS_PATH.finditer(text):
            self._note(match[1], match[2].strip(), heredoc)

    def _pipeline(self, node: Node) -> None:
        commands = node.named_children
        last = _source(commands[-1]) if commands else ""
        if LOADER_CONF in last and re.search(r"\btee\b", last):
            self._loader_conf(commands[:-1], node)
        for command in commands:
            self._walk(command)

    def _loader_conf(self, writers: list[Node], node: Node) -> None:
        """Note the folders that the loader's configuration gets, from the words of whoever writes them."""
        words = [w.text for n in writers for w in self._texts(n)]
        self._note(LOADER_CONF, ":".join(t for text in words for t in re.split(r"\s+", text) if t), node)

    def _texts(self, node: Node) -> list[Word]:
        if node.type == "command":
            # The command itself may print what nobody knows before it runs.
            known = _source(node).split(None, 1)[0].rpartition("/")[2] in ("echo", "printf")
            words = [w for child in node.named_children[1:] for w in self._words(child)]
            return words if known else [Word(f"$({_source(node)})", known=False)]
        if node.type == "heredoc_body":
            return [Word(_source(node))]
        return [w for child in node.named_children for w in self._texts(child)]

    def _note(self, name: str, value: str, node: Node) -> None:
        setting = Setting(place=self._place(node), name=name, value=value, raw=value, inherited=True)
        self.parts.settings.append(setting)


def _below(node: Node, kind: str) -> list[Node]:
    return [child for child in node.named_children if child.type == kind]


def _source(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "surrogateescape")
