"""Programs on the PATH of the judged process, found and never started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.probes.programs import probe_program
from gpudoctor.probes.take import SnapshotRequest, take_snapshot
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.real import RealSystem
from support.repairs import HomedSystem

TREE = MemorySystem(
    {"/usr/bin/ffmpeg": b"x", "/data/ffmpeg": b"a file", "/env/bin/ffmpeg": b"x"},
    modes={"/data/ffmpeg": 0o644},
    directories=("/opt/ffmpeg",),
)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/bin:/usr/bin", "/usr/bin/ffmpeg"),
        ("/data:/usr/bin", "/usr/bin/ffmpeg"),
        ("/opt:/usr/bin", "/usr/bin/ffmpeg"),
        ("/bin:/data", None),
        ("", None),
        ("usr/bin:.:", None),
    ],
)
def test_the_first_executable_file_on_the_path(path: str, place: str | None) -> None:
    found = probe_program(TREE, "ffmpeg", {"PATH": path})
    assert found == Present(place) if place else isinstance(found, Absent)


def test_the_environments_own_folder_counts_without_being_on_the_path() -> None:
    assert probe_program(TREE, "ffmpeg", {"PATH": "/bin"}, ("/env/bin",)) == Present("/env/bin/ffmpeg")


def test_a_folder_that_cannot_be_read_leaves_the_question_open() -> None:
    closed = MemorySystem({"/home/x/bin/ffmpeg": b"x"}, unreadable=("/home/x/bin",))
    assert isinstance(probe_program(closed, "ffmpeg", {"PATH": "/usr/bin:/home/x/bin"}), Unknown)


def test_without_a_path_and_on_windows_nobody_can_tell() -> None:
    assert isinstance(probe_program(TREE, "ffmpeg", {}), Unknown)
    windows = MemorySystem({}, os_name="windows")
    assert isinstance(probe_program(windows, "ffmpeg", {"PATH": "C:\\x"}), Unknown)


def test_on_the_real_machine(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexit 1\n")
    environment = {"PATH": f"/nowhere:{tmp_path}"}
    assert isinstance(probe_program(RealSystem(), "ffmpeg", environment), Absent)
    program.chmod(0o755)
    assert probe_program(RealSystem(), "ffmpeg", environment) == Present(str(program))


def test_uv_is_looked_for_beside_gpudoctor_and_where_a_command_is_typed(tmp_path: Path) -> None:
    """Not on the PATH of the judged service: nobody types a command there."""
    own, typed = tmp_path / "own", tmp_path / "typed"
    for folder in (own, typed):
        folder.mkdir()

    def looked() -> object:
        system = HomedSystem(tmp_path / "state", PATH=str(typed))
        service = (f"PATH={tmp_path}/service",)
        request = SnapshotRequest(python=sys.executable, own_python=str(own / "python"), assignments=service)
        return take_snapshot(system, load_matrix(None), request).uv

    assert looked() == Absent((str(own / "uv"), str(typed / "uv")))
    for folder, found in ((tmp_path / "service", None), (typed, typed), (own, own)):
        folder.mkdir(exist_ok=True)
        (folder / "uv").write_text("#!/bin/sh\n")
        (folder / "uv").chmod(0o755)
        assert looked() == Present(str(found / "uv")) if found else isinstance(looked(), Absent)
