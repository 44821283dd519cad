"""Each shell form, read by the real shell, which then starts a real program that prints its environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpudoctor.fix.render_env import render_env
from support.shells import need_program, printed_variable, printing
from support.values import DIRECTORIES

NAME = "LD_LIBRARY_PATH"
VALUES = {**DIRECTORIES, "not utf-8": b"/srv/\xff\xfe/caf\xe9/lib".decode("utf-8", "surrogateescape")}


def shell(name: str) -> str:
    return need_program(name, name)


def script(tmp_path: Path, form: str, value: str) -> Path:
    file = tmp_path / "script"
    text = render_env(form, NAME, value) + printing(NAME)
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return file


@pytest.fixture(params=VALUES)
def value(request: pytest.FixtureRequest) -> str:
    return VALUES[request.param]


@pytest.mark.parametrize(
    ("form", "program", "options"),
    [
        ("bash", "bash", ["--norc"]),
        ("sh", "dash", []),
        ("dash", "dash", []),
        ("bash", "zsh", ["-f"]),
        ("zsh", "zsh", ["-f"]),
        ("fish", "fish", ["--no-config"]),
        ("csh", "tcsh", ["-f"]),
        ("tcsh", "tcsh", ["-f"]),
    ],
)
def test_a_script_sets_exactly_the_value(
    tmp_path: Path, form: str, program: str, options: list[str], value: str
) -> None:
    file = script(tmp_path, form, value)
    assert printed_variable([shell(program), *options, str(file)]) == os.fsencode(value)


@pytest.mark.parametrize(
    ("form", "program", "line"),
    [
        ("bash", "bash", 'eval "$(cat settings)"\n'),
        ("sh", "dash", 'eval "$(cat settings)"\n'),
        ("zsh", "zsh", 'eval "$(cat settings)"\n'),
        ("fish", "fish", "cat settings | source\n"),
        ("csh", "tcsh", "source settings\n"),
    ],
)
def test_the_documented_way_to_apply_it(tmp_path: Path, form: str, program: str, line: str, value: str) -> None:
    text = render_env(form, NAME, value).encode("utf-8", "surrogateescape")
    (tmp_path / "settings").write_bytes(text)
    (tmp_path / "script").write_text(f"cd '{tmp_path}'\n{line}{printing(NAME)}")
    options = {"fish": ["--no-config"], "tcsh": ["-f"], "zsh": ["-f"]}.get(program, [])
    assert printed_variable([shell(program), *options, str(tmp_path / "script")]) == os.fsencode(value)


@pytest.mark.parametrize(
    ("program", "options", "before"),
    [("bash", ["--norc", "-i"], "set -o history -o histexpand;"), ("zsh", ["-f", "-i"], "setopt banghist;")],
)
def test_an_interactive_shell_asks_for_no_history(
    tmp_path: Path, program: str, options: list[str], before: str, value: str
) -> None:
    (tmp_path / "settings").write_bytes(render_env("bash", NAME, value).encode("utf-8", "surrogateescape"))
    line = f"{before} cd '{tmp_path}'; eval \"$(cat settings)\"; {printing(NAME)}"
    assert printed_variable([shell(program), *options, "-c", line]) == os.fsencode(value)


@pytest.mark.parametrize("program", ["bash", "dash", "zsh", "fish", "tcsh"])
def test_it_replaces_what_was_there(tmp_path: Path, program: str) -> None:
    form = {"tcsh": "csh"}.get(program, program)
    file = script(tmp_path, form, "/new:/old")
    options = {"fish": ["--no-config"], "tcsh": ["-f"], "zsh": ["-f"]}.get(program, [])
    printed = printed_variable([shell(program), *options, str(file)], LD_LIBRARY_PATH="/old")
    assert printed == b"/new:/old"
