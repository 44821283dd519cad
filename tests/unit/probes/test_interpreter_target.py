from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpudoctor.model.errors import UsageError
from gpudoctor.probes.interpreter import find_target
from gpudoctor.system.memory import MemorySystem
from support.envtrees import OtherSystem, installation, program, venv, write


def refusal(requested: str | None, environment: dict[str, str] | None = None, cwd: Path | str = "/") -> str:
    with pytest.raises(UsageError) as caught:
        find_target(OtherSystem(environment, cwd=cwd), requested, current="/nowhere/python")
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_default_is_virtual_env_then_conda_then_current(tmp_path: Path) -> None:
    installation(tmp_path / "base")
    venv(tmp_path / "v", tmp_path / "base")
    installation(tmp_path / "conda")
    both = {"VIRTUAL_ENV": str(tmp_path / "v"), "CONDA_PREFIX": str(tmp_path / "conda")}
    assert find_target(OtherSystem(both), None) == f"{tmp_path}/v/bin/python"
    both["VIRTUAL_ENV"] = ""
    assert find_target(OtherSystem(both), None) == f"{tmp_path}/conda/bin/python"
    assert find_target(OtherSystem(), None) == sys.executable
    assert find_target(OtherSystem(), None, current="/x/python") == "/x/python"


def test_a_stale_virtual_env_is_named() -> None:
    sentence = refusal(None, {"VIRTUAL_ENV": "/nowhere/venv"})
    assert "VIRTUAL_ENV is set" in sentence
    assert "/nowhere/venv" in sentence


@pytest.mark.parametrize("form", ["{}/v", "{}/v/bin/python", "{}/v/bin/../bin/python"])
def test_interpreter_or_folder(tmp_path: Path, form: str) -> None:
    installation(tmp_path / "base")
    venv(tmp_path / "v", tmp_path / "base")
    found = find_target(OtherSystem(), form.format(tmp_path))
    assert os.path.samefile(found, tmp_path / "v/bin/python")


def test_relative_path_and_bare_name(tmp_path: Path) -> None:
    installation(tmp_path / "base")
    assert find_target(OtherSystem(cwd=tmp_path), "base/bin/python") == f"{tmp_path}/base/bin/python"
    system = OtherSystem({"PATH": f"/nowhere:{tmp_path}/base/bin"}, cwd="/")
    assert find_target(system, "python3.11") == f"{tmp_path}/base/bin/python3.11"


def test_no_such_path() -> None:
    assert "no such file or folder" in refusal("/nowhere/python")
    assert "names nothing" in refusal(" ")


def test_folder_that_is_no_environment(tmp_path: Path) -> None:
    assert "no Python environment (it has no bin/python)" in refusal(str(tmp_path))


def test_project_folder_points_to_its_environment(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    assert f"give {tmp_path}/.venv" in refusal(str(tmp_path))


def test_bin_folder_points_to_the_folder_above(tmp_path: Path) -> None:
    installation(tmp_path)
    (tmp_path / "bin/python").unlink()
    assert "the folder above" in refusal(str(tmp_path / "bin"))


def test_venv_whose_interpreter_is_gone(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/nowhere/python3.11")
    assert "a link to /nowhere/python3.11, which is not there" in refusal(str(tmp_path))


def test_pyenv_shim(tmp_path: Path) -> None:
    shim = write(tmp_path / "python3", '#!/usr/bin/env bash\nexec "/opt/pyenv/libexec/pyenv" exec "$program" "$@"\n')
    sentence = refusal(str(shim))
    assert "pyenv shim" in sentence
    assert "`pyenv which python3`" in sentence


def test_wrapper_script_names_its_neighbour(tmp_path: Path) -> None:
    installation(tmp_path)
    (tmp_path / "bin/python").unlink()
    write(tmp_path / "bin/python", '#!/bin/sh\nexec -a "$0" /usr/bin/python3.11 "$@"\n')
    assert f"give {tmp_path}/bin/python3" in refusal(str(tmp_path))


@pytest.mark.parametrize("path", ["/bin/ls", "/etc/passwd", "/dev/null"])
def test_file_that_is_no_interpreter(path: str) -> None:
    assert path in refusal(path)


def test_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "python")
    assert "not a regular file" in refusal(str(tmp_path / "python"))


def test_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert str(tmp_path / "a") in refusal(str(tmp_path / "a"))


def test_unreadable_folder_as_an_unprivileged_user(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    installation(closed / "env")
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    closed.chmod(0o700 if os.geteuid() == 0 else 0o000)
    code = (
        "import os, sys\n"
        "from gpudoctor.probes.interpreter import find_target\n"
        "from gpudoctor.system.real import RealSystem\n"
        "from gpudoctor.model.errors import UsageError\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "try: print('found', find_target(RealSystem(), sys.argv[1]))\n"
        "except UsageError as error: print('refused', error)\n"
    )
    try:
        argv = [sys.executable, "-c", code, str(closed / "env")]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    finally:
        closed.chmod(0o700)
    assert done.stdout.startswith("refused")
    assert "Permission denied" in done.stdout


def test_an_interpreter_behind_a_closed_folder_is_named_with_what_to_do() -> None:
    system = MemorySystem(
        {"/root/pyenv/bin/python3.11": b"\x7fELF", "/srv/env/pyvenv.cfg": b"home = /root/pyenv/bin\n"},
        links={"/srv/env/bin/python": "/root/pyenv/bin/python3.11"},
        unreadable=("/root",),
    )
    with pytest.raises(UsageError, match=r"leads to /root/pyenv/bin/python3.11.*run gpudoctor as a user who may"):
        find_target(system, "/srv/env")


def test_terminal_escapes_do_not_reach_the_message() -> None:
    assert "\x1b" not in refusal("/nowhere/\x1b[31mred\nline")


def test_windows_launcher_is_accepted(tmp_path: Path) -> None:
    write(tmp_path / "Scripts/python.exe", b"MZ\x90\0launcher")
    found = find_target(OtherSystem(os_name="windows"), str(tmp_path))
    assert found == f"{tmp_path}/Scripts/python.exe"


def test_elf_of_another_name_in_a_venv_is_accepted(tmp_path: Path) -> None:
    write(tmp_path / "pyvenv.cfg", "home = /usr/bin\n")
    path = program(tmp_path / "bin/worker")
    assert find_target(OtherSystem(), str(path)) == str(path)
