"""The programs that the target's interpreter runs: old syntax, standard library, no import of ours."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from gpudoctor.system import children

PROGRAMS = ("canary_steps.py", "canary_calls.py")


@pytest.mark.parametrize("name", PROGRAMS)
def test_python_3_8_can_read_it(name: str) -> None:
    ast.parse((Path(children.__file__).parent / name).read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("name", PROGRAMS)
def test_annotations_are_never_evaluated(name: str) -> None:
    # `dict[str, str]` and `X | None` would fail on Python 3.8 if they were.
    tree = ast.parse((Path(children.__file__).parent / name).read_text())
    first = next(n for n in tree.body if isinstance(n, ast.ImportFrom))
    assert (first.module, [a.name for a in first.names]) == ("__future__", ["annotations"])


@pytest.mark.parametrize("name", PROGRAMS)
def test_only_the_standard_library_is_imported(name: str) -> None:
    tree = ast.parse((Path(children.__file__).parent / name).read_text())
    tree.body = [n for n in tree.body if not (isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING")]
    imported = {a.name.partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {(n.module or "").partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names
