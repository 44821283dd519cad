from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Family, MatrixData
from gpudoctor.model.environment import SearchElement
from gpudoctor.probes.search_path import MAX_LIBRARIES, probe_search_path
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.real import RealSystem

MATRIX = Matrix(
    MatrixData(
        version="1",
        families=(Family(name="cudnn", title="cuDNN", sonames=("libcudnn(_[a-z_]+)?",)),),
        consumers=(),
        facts=(),
    )
)


# What the loader tries inside each folder first, and the emulator knows.
_HARDWARE_DIR = re.compile(r"/(?:glibc-hwcaps/[^/]+|tls|haswell|x86_64|aarch64|atomics|avx512_1|xeon_phi)$")


def probe(system: MemorySystem | RealSystem, value: str | None, **more: str) -> tuple[SearchElement, ...]:
    return probe_search_path(system, value, MATRIX, **{"cwd": "/work", **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, ""])
def test_unset_and_empty_are_no_search_path(value: str | None) -> None:
    assert probe(MemorySystem(), value) == ()


def test_every_state_of_an_element() -> None:
    system = MemorySystem(
        {"/lib/libcudnn.so.9": "", "/lib/libcudnn_ops.so.9": "", "/lib/libz.so.1": "", "/lib/libcudnn.txt": "",
         "/file": "", "/work/libcudnn.so.8": "", "/work/rel/libcudnn.so.7": "", "/shut/x": ""},
        unreadable=["/shut"],
        links={"/loop": "loop"},
    )  # fmt: skip

    found = probe(system, "/lib::/none:/file;/shut:rel:/file/x:/loop:")

    assert [(e.index, e.raw, e.directory, e.state) for e in found] == [
        (0, "/lib", "/lib", "directory"),
        (1, "", "/work", "empty"),
        (2, "/none", "/none", "missing"),
        (3, "/file", "/file", "not-a-directory"),
        (4, "/shut", "/shut", "unreadable"),
        (5, "rel", "/work/rel", "relative"),
        (6, "/file/x", "/file/x", "not-a-directory"),
        (7, "/loop", "/loop", "unreadable"),
        (8, "", "/work", "empty"),
    ]
    assert found[0].libraries == ("libcudnn.so.9", "libcudnn_ops.so.9")
    assert found[1].libraries == ("libcudnn.so.8",)
    assert found[5].libraries == ("libcudnn.so.7",)


def test_tokens_are_replaced_where_they_are_known() -> None:
    found = probe(
        MemorySystem(), "$ORIGIN/../lib:${ORIGIN}:/x/$LIB:/y/${PLATFORM}:$OTHER", origin="/opt/bin", lib="lib64"
    )

    assert [e.directory for e in found] == ["/opt/bin/../lib", "/opt/bin", "/x/lib64", None, "/work/$OTHER"]
    assert found[3].state == "unreadable"
    assert found[4].state == "relative"


def test_a_crowded_folder_is_cut_short() -> None:
    system = MemorySystem({f"/lib/libcudnn.so.{n}": "" for n in range(1000)})

    assert len(probe(system, "/lib")[0].libraries) == MAX_LIBRARIES


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"\xff")
    os.mkdir(folder)

    (element,) = probe(RealSystem(), os.fsdecode(folder))

    assert element.state == "directory"
    assert (element.directory or "").endswith("\\udcff")


def test_the_real_loader_reads_it_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "none.c").write_text("int main(void) { return 0; }")
    (tmp_path / "lib.c").write_text("int answer(void) { return 42; }")
    binary, library = tmp_path / "bin" / "program", tmp_path / "libgpudoctor_absent.so"
    binary.parent.mkdir()
    subprocess.run(
        ["gcc", "-shared", f"-Wl,-soname,{library.name}", "-o", library, tmp_path / "lib.c"], check=True, timeout=120
    )
    subprocess.run(["gcc", "-o", binary, tmp_path / "none.c", "-Wl,--no-as-needed", library], check=True, timeout=120)
    os.rename(library, tmp_path / "elsewhere")
    value = "/one:/two/;;rel/x:.:$ORIGIN:${ORIGIN}/up:$ORIGINAL/z:$ORIGIN_x:${ORIGIN/y:$HOME/a:~/b: /c:/one"
    traced = subprocess.run(
        [binary],
        env={"LD_LIBRARY_PATH": value, "LD_DEBUG": "libs"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stderr

    tried = [
        os.path.normpath(tmp_path / line.split("trying file=")[1].rpartition("/")[0])
        for line in traced.splitlines()
        if "trying file=" in line
    ]
    found = probe_search_path(RealSystem(), value, MATRIX, cwd=str(tmp_path), origin=str(binary.parent))
    ours = list(dict.fromkeys(os.path.normpath(e.directory or "?") for e in found))
    theirs = list(dict.fromkeys(path for path in tried if not _HARDWARE_DIR.search(path)))

    assert theirs[: len(ours)] == ours
