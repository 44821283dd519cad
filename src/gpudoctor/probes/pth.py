r"""`.pth` files, as site.py reads them, with their import lines understood instead of executed.

Source: https://docs.python.org/3/library/site.html (2026-11-20).
"""

from __future__ import annotations

import ast
import re
from typing import Literal

import msgspec

from gpudoctor.probes.source import literal, parse_source

PTH_LIMIT_BYTES = 64 << 10
PTH_LIMIT_LINES = 1000

ImportKind = Literal["harmless", "site-dirs", "finder", "other"]

_SETUPTOOLS = (
    "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, '{}') == 'local'; "
    "enabled and __import__('_distutils_hack')"
)
# Lines that bring no other folder of distributions: these exactly, or these patterns in full. (Plain strings before
# patterns, which are compiled only when met: nearly every environment has the line of setuptools.)
_HARMLESS_LINES = frozenset(
    (
        *(_SETUPTOOLS.format(d) + end for d in ("local", "stdlib") for end in (".add_shim();", ".add_shim()", ";", "")),
        "import _virtualenv",
        "import coverage; coverage.process_startup()",
        "import pywin32_bootstrap",
        "import sys; sys.__plen = len(sys.path)",
    )
)
_HARMLESS_PATTERNS = (
    # easy_install: only reorders what the same file listed.
    r"import sys; ?new ?= ?sys\.path\[sys\.__plen:\]; ?del sys\.path\[sys\.__plen:\]; ?"
    r"p ?= ?getattr\(sys, ?'__egginsert', ?0\); ?sys\.path\[p:p\] ?= ?new; ?sys\.__egginsert ?= ?p ?\+ ?len\(new\)",
    r"import _gpudoctor_\w+(; _gpudoctor_\w+\.install\(\))?",
)
# Longer forms that change from release to release, by what starts them and a word that names their author.
_EXEC = r"import (os, ?)?(sys|os); ?exec\((['\"]).*\3\)"
_HARMLESS_LONG = (
    ("COVERAGE_PROCESS_START", _EXEC),
    ("coverage.process_startup", _EXEC),
    ("COV_CORE_SOURCE", _EXEC),
    ("COLOREDLOGS_AUTO_INSTALL", _EXEC),
    # setuptools' namespace packages bind a module and leave the search path alone.
    ("sys._getframe(1).f_locals['sitedir']", r"import sys, ?types, ?os; ?.*"),
)
_TOUCHES_SEARCH_PATH = ("sys.path", "addsitedir", "meta_path", "path_hooks")
_SETUPTOOLS_FINDER = r"import (__editable___\w+_finder); ?\1\.install\(\);?"
# scikit-build-core and meson-python: import hooks that serve the one package in their name.
_OTHER_FINDER = r"import (_\w+_editable(_loader)?)"


class ImportLine(msgspec.Struct, frozen=True):
    """What an import line of a `.pth` file will do.

    Attributes:
        kind: `harmless`, `site-dirs` (adds folders), `finder` (an editable install's hook), or `other`.
        values: The folders, or the hook's module.
    """

    kind: ImportKind
    values: tuple[str, ...] = ()


class PthLine(msgspec.Struct, frozen=True):
    """One line that counts.

    Attributes:
        number: Line number, from 1.
        text: The line, right-hand blanks removed.
        is_import: True when the interpreter would execute it.
    """

    number: int
    text: str
    is_import: bool


def parse_pth(raw: bytes) -> tuple[PthLine, ...]:
    """Return the lines of a `.pth` file that site.py acts on; undecodable bytes kept as surrogates."""
    text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = text.splitlines()[:PTH_LIMIT_LINES]
    return tuple(
        PthLine(number, line.rstrip(), line.startswith(("import ", "import\t")))
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    )


def is_complete(raw: bytes) -> bool:
    """Tell whether all of a `.pth` file, read up to the limit, is understood."""
    return len(raw) < PTH_LIMIT_BYTES and raw.count(b"\n") < PTH_LIMIT_LINES


def understand_import(line: str) -> ImportLine:
    """Return what an import line does, as far as its text alone tells. Nothing is executed."""
    if _is_harmless(line):
        return ImportLine("harmless")
    if match := re.fullmatch(_SETUPTOOLS_FINDER, line) or re.fullmatch(_OTHER_FINDER, line):
        return ImportLine("finder", (match.group(1),))
    dirs = _site_dirs(line) if "addsitedir" in line else None
    return ImportLine("site-dirs", dirs) if dirs else ImportLine("other")


def _is_harmless(line: str) -> bool:
    if line in _HARMLESS_LINES or any(re.fullmatch(pattern, line) for pattern in _HARMLESS_PATTERNS):
        return True
    if any(word in line for word in _TOUCHES_SEARCH_PATH):
        return False
    return any(word in line and re.fullmatch(pattern, line) for word, pattern in _HARMLESS_LONG)


def _site_dirs(line: str) -> tuple[str, ...] | None:
    """Return the folders of `import site; site.addsitedir(…); …`, the form of `uv run --with`; None for any other."""
    tree = parse_source(line)
    if tree is None:
        return None
    dirs = []
    for statement in tree.body:
        match statement:
            case ast.Import(names=[ast.alias(name="site", asname=None)]):
                pass
            case ast.Expr(
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name(id="site"), attr="addsitedir"), args=[argument], keywords=[]
                )
            ):
                path = _path_literal(argument)
                if path is None:
                    return None
                dirs.append(path)
            case _:
                return None
    return tuple(dirs)


def _path_literal(node: ast.expr) -> str | None:
    """Return the path in `"…"` or in `__import__("os").fsdecode(b"…")`."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Call(
            func=ast.Attribute(
                value=ast.Call(func=ast.Name(id="__import__"), args=[ast.Constant(value="os")], keywords=[]),
                attr="fsdecode",
            ),
            args=[argument],
            keywords=[],
        ):
            value = literal(argument)
            return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else None
        case _:
            return None
