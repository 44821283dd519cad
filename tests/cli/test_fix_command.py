"""`gpudoctor fix` as a user types it, where there is nothing to repair, or what is typed is wrong."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import gpudoctor
from support.gpuenvs import compile_library
from support.treestate import tree_state


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fix") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def test_nothing_to_do(env: Path, tmp_path: Path) -> None:
    before = tree_state(tmp_path)
    for arguments in ((), ("--apply", "--yes"), ("--apply",)):
        done = gpudoctor("fix", "--python", env, *arguments, XDG_STATE_HOME=str(tmp_path / "state"))
        assert (done.returncode, done.stderr) == (0, "")
        told, end = done.stdout.splitlines()
        # Who forgot --python judges gpudoctor's own environment, and must not believe that all is well with his.
        assert f"no package in {env} opens GPU libraries; --python names another environment" in told
        assert end == "nothing to do: every library that can be found here is found"
    assert tree_state(tmp_path) == before


def test_nothing_on_record(env: Path, tmp_path: Path) -> None:
    listed = gpudoctor("fix", "--python", env, "--list", XDG_STATE_HOME=str(tmp_path))
    assert (listed.returncode, listed.stdout) == (0, f"no run is on record for {env}\n")
    as_json = gpudoctor("fix", "--python", env, "--list", "--format", "json", XDG_STATE_HOME=str(tmp_path))
    assert json.loads(as_json.stdout) == {"schema_version": 1, "runs": []}
    forgotten = gpudoctor("fix", "--python", env, "--forget", XDG_STATE_HOME=str(tmp_path))
    assert (forgotten.returncode, forgotten.stderr) == (0, "gpudoctor: there is no undone run to forget\n")
    undone = gpudoctor("fix", "--python", env, "--undo", XDG_STATE_HOME=str(tmp_path))
    assert (undone.returncode, undone.stdout) == (2, "")
    assert undone.stderr == f"gpudoctor: there is no run to undo for {env}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--apply", "--undo"),
        ("--apply", "--list"),
        ("--forget", "--undo"),
        ("--forget", "20260101T000000Z-1"),
        ("--list", "--undo"),
        ("20260101T000000Z-1",),
        ("--apply", "20260101T000000Z-1"),
        ("--undo", "../../../etc"),
        ("--undo", "20260101T000000Z-1"),
        ("--strategy", "magic"),
        ("--for", "nosuch"),
        ("--env", "novalue"),
    ],
)
def test_wrong_usage(env: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = gpudoctor("fix", "--python", env, *arguments, XDG_STATE_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("python", ["/nonexistent", "/etc/passwd", "/tmp", ""])
def test_no_environment(python: str, tmp_path: Path) -> None:
    for arguments in ((), ("--apply", "--yes"), ("--undo",), ("--list",)):
        done = gpudoctor("fix", "--python", python, *arguments, XDG_STATE_HOME=str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("gpudoctor: ")
        assert "Traceback" not in done.stderr


def test_no_place_for_the_journal(env: Path, tmp_path: Path) -> None:
    done = gpudoctor("fix", "--python", env, "--undo", HOME="", XDG_STATE_HOME="relative")
    assert done.returncode == 2
    assert "set HOME or XDG_STATE_HOME" in done.stderr
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = gpudoctor("fix", "--python", env, "--undo", XDG_STATE_HOME=str(blocked))
    assert done.returncode == 1
    assert "cannot be made" in done.stderr


def test_what_to_type_next_names_target_and_strategy(tmp_path: Path) -> None:
    """A command that is copied at night must not mean the default environment, or another plan."""
    (tmp_path / "a b/lib").mkdir(parents=True)
    library = tmp_path / "a b/lib/libcublas.so.12"
    compile_library(tmp_path / "build", library, library.name)
    program = tmp_path / "a b/daemon"
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 7; }\n")
    command = ["gcc", "-Wl,--no-as-needed", str(source), str(library), "-o", str(program), "-Wl,-rpath,/build"]
    subprocess.run(command, check=True)
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    planned = gpudoctor("fix", "--binary", program, "--strategy", "env-file", "--env", "A=b c", **state)
    last = planned.stdout.splitlines()[-1]
    target = f"--binary '{program}'"
    assert last.endswith(f"gpudoctor fix {target} --env 'A=b c' --strategy env-file --apply")
    typed = shlex.split(last.partition("gpudoctor ")[2])
    done = gpudoctor(*typed, "--yes", **state)
    assert (done.returncode, (tmp_path / "a b/daemon.gpudoctor.env").exists()) == (0, True)
    *_, applied, _, caution = done.stdout.splitlines()
    undo = applied.partition("to take it back: gpudoctor ")[2]
    assert undo == f"fix {target} --undo"
    variables = shlex.quote(f"{program}.gpudoctor.env")
    assert caution.endswith(f": gpudoctor check {target} --env 'A=b c' --env-file {variables}")
    assert gpudoctor(*shlex.split(undo), **state).returncode == 0
    assert not (tmp_path / "a b/daemon.gpudoctor.env").exists()
