"""Activation blocks, sourced by the real shells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpudoctor.fix.strategies.blocks import render_block, with_block
from support.shells import need_program, printed_variable, printing
from support.values import DIRECTORIES

NAME = "LD_LIBRARY_PATH"
SHELLS = [
    ("sh", "bash", ("--norc",), ". "),
    ("sh", "dash", (), ". "),
    ("sh", "zsh", ("-f",), ". "),
    ("fish", "fish", ("--no-config",), "source "),
    ("csh", "tcsh", ("-f",), "source "),
]
PRESENT = {"nothing": None, "empty": "", "something": "/opt/a:/opt/b", "patterns": "/opt/[a]*?", "blanks": "/opt/a b"}


def values() -> dict[str, str]:
    """Return folder names: a colon separates folders, and no activation could name one that holds it."""
    return {name: value.partition(":")[0] for name, value in DIRECTORIES.items()}


def activated(tmp_path: Path, shell: tuple[str, str, tuple[str, ...], str], directory: str, present: str | None) -> str:
    """Return the variable after activating twice in one shell."""
    form, program, options, source = shell
    block = tmp_path / "activate"
    block.write_bytes(render_block(form, (directory, "/second")).encode("utf-8", "surrogateescape"))
    script = tmp_path / "script"
    script.write_text(f"{source}./activate\n{source}./activate\n{printing(NAME)}")
    environment = {} if present is None else {NAME: present}
    cwd = Path.cwd()
    os.chdir(tmp_path)
    try:
        printed = printed_variable([need_program(program, program), *options, str(script)], **environment)
    finally:
        os.chdir(cwd)
    return os.fsdecode(printed)


@pytest.mark.parametrize("shell", SHELLS, ids=[s[1] for s in SHELLS])
@pytest.mark.parametrize("name", values())
def test_every_directory_name_comes_out_as_it_is(
    tmp_path: Path, shell: tuple[str, str, tuple[str, ...], str], name: str
) -> None:
    directory = values()[name]
    assert activated(tmp_path, shell, directory, None) == f"{directory}:/second"


@pytest.mark.parametrize("shell", SHELLS, ids=[s[1] for s in SHELLS])
@pytest.mark.parametrize("present", PRESENT)
def test_what_was_there_stays_behind_it(
    tmp_path: Path, shell: tuple[str, str, tuple[str, ...], str], present: str
) -> None:
    value = PRESENT[present]
    expected = f"/first dir:/second:{value}" if value else "/first dir:/second"
    assert activated(tmp_path, shell, "/first dir", value) == expected


def test_a_block_takes_the_place_of_an_older_one() -> None:
    old, new = render_block("sh", ("/old",)).encode(), render_block("sh", ("/new",)).encode()
    text = b"before\n"
    once = with_block(text, old)
    assert once == text + old
    assert with_block(once + b"after\n", new) == text + new + b"after\n"
    assert with_block(with_block(once, new), new) == text + new
    assert with_block(b"no newline", new) == b"no newline\n" + new
    assert with_block(b"", new) == new
