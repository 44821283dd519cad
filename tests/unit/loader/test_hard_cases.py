"""The hard cases of library search, one by one, on compiled libraries; the oracle tests check them at large."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from gpudoctor.loader.cache import Cache, CacheEntry, read_cache
from gpudoctor.loader.emulation import CannotEmulate, Emulation
from gpudoctor.loader.ldso import defaults, is_musl, may_be_asked, parse_answer
from gpudoctor.loader.mapped import Mapped
from gpudoctor.loader.process import Process
from gpudoctor.loader.search import LoadError
from gpudoctor.loader.target import Target
from gpudoctor.model.fact import Absent, Unknown
from gpudoctor.system.real import RealSystem
from support.trees import Workshop


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def program(workshop: Workshop, tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "program"
    path.parent.mkdir()
    shutil.copy2(workshop.folder / "program-none", path)
    return path


def process(program: Path, cwd: Path | None = None, *, secure: bool = False, **environment: str) -> Process:
    target = Target(str(program), "/nonexistent", (), environment, str(cwd or program.parent), secure)
    return Emulation(RealSystem(), target).process().start()


def place(made: Path, *parts: object) -> Path:
    path = Path(*map(str, parts))
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made, path)
    return path


def opened(run: Process, name: str, by: Mapped | None = None) -> tuple[str, str]:
    mapped = run.dlopen(name, by or run.main)
    return mapped.path, mapped.found_via


def failure(run: Process, name: str) -> LoadError:
    with pytest.raises(LoadError) as caught:
        run.dlopen(name, run.main)
    return caught.value


def test_1_rpath_of_the_chain_comes_before_ld_library_path(workshop: Workshop, program: Path, tmp_path: Path) -> None:
    leaf = workshop.library(soname="libleaf.so")
    place(leaf, tmp_path, "near", "libleaf.so")
    place(leaf, tmp_path, "far", "libleaf.so")
    place(workshop.library(soname="libmiddle.so", needed=("libleaf.so",)), tmp_path, "near", "libmiddle.so")
    top = workshop.library(soname="libtop.so", needed=("libmiddle.so",), path="$ORIGIN/near")
    path = place(top, tmp_path, "libtop.so")
    run = process(program, LD_LIBRARY_PATH=f"{tmp_path}/far")
    run.dlopen(str(path), run.main)
    leaf_map = run.find_loaded("libleaf.so")
    assert leaf_map is not None
    assert (leaf_map.path, leaf_map.found_via) == (f"{tmp_path}/near/libleaf.so", "rpath")


def test_1_the_chain_stops_at_an_object_that_was_opened(workshop: Workshop, program: Path, tmp_path: Path) -> None:
    place(workshop.library(soname="libleaf.so"), tmp_path, "near", "libleaf.so")
    plugin = place(workshop.library(soname="libplugin.so"), tmp_path, "libplugin.so")
    host = place(workshop.library(soname="libhost.so", path="$ORIGIN/near"), tmp_path, "libhost.so")
    run = process(program)
    opener = run.dlopen(str(host), run.main)
    inner = run.dlopen(str(plugin), opener)
    assert failure(run, "libleaf.so").failure == "missing"
    with pytest.raises(LoadError):
        run.dlopen("libleaf.so", inner)
    assert opened(run, "libleaf.so", opener)[1] == "rpath"


def test_1_rpath_of_the_executable(workshop: Workshop, tmp_path: Path) -> None:
    program = place(workshop.folder / "program-rpath", tmp_path, "bin", "program")
    place(workshop.library(soname="libx.so"), tmp_path, "d3", "libx.so")
    place(workshop.library(soname="libx.so"), tmp_path, "llp", "libx.so")
    run = process(program, LD_LIBRARY_PATH=f"{tmp_path}/llp")
    assert opened(run, "libx.so") == (f"{tmp_path}/bin/../d3/libx.so", "rpath")


def test_2_ld_library_path_comes_before_runpath(workshop: Workshop, program: Path, tmp_path: Path) -> None:
    for folder in ("own", "llp"):
        place(workshop.library(soname="libx.so"), tmp_path, folder, "libx.so")
    opener = place(workshop.library(soname="libo.so", path="$ORIGIN/own", runpath=True), tmp_path, "libo.so")
    run = process(program, LD_LIBRARY_PATH=f"{tmp_path}/llp")
    assert opened(run, "libx.so", run.dlopen(str(opener), run.main))[1] == "ld-library-path"
    run = process(program)
    assert opened(run, "libx.so", run.dlopen(str(opener), run.main)) == (f"{tmp_path}/own/libx.so", "runpath")


def test_2_runpath_is_not_inherited(workshop: Workshop, program: Path, tmp_path: Path) -> None:
    place(workshop.library(soname="libleaf.so"), tmp_path, "libleaf.so")
    place(workshop.library(soname="libmiddle.so", needed=("libleaf.so",)), tmp_path, "libmiddle.so")
    top = workshop.library(soname="libtop.so", needed=("libmiddle.so",), path="$ORIGIN", runpath=True)
    error = failure(process(program), str(place(top, tmp_path, "libtop.so")))
    assert (error.failure, error.culprit) == ("missing", "libleaf.so")


def test_3_soname_and_inode_of_what_is_loaded(workshop: Workshop, program: Path, tmp_path: Path) -> None:
    first = place(workshop.library(soname="libsoname.so.1"), tmp_path, "any-name.so")
    (tmp_path / "other.so").hardlink_to(first)
    run = process(program)
    mapped = run.dlopen(str(first), run.main)
    assert run.dlopen("libsoname.so.1", run.main) is mapped
    assert run.dlopen(str(tmp_path / "other.so"), run.main) is mapped
    assert run.log[-1].found_via == "already-loaded"


def test_3_a_failed_dlopen_leaves_nothing_behind(workshop: Workshop, program: Path, tmp_path: Path) -> None:
    top = workshop.library(soname="libtop.so", needed=("libgood.so", "libbad.so"), path="$ORIGIN")
    place(workshop.library(soname="libgood.so"), tmp_path, "libgood.so")
    run = process(program)
    before = list(run.maps)
    assert failure(run, str(place(top, tmp_path, "libtop.so"))).culprit == "libbad.so"
    assert run.maps == before
    assert run.find_loaded("libgood.so") is None


def test_4_origin_is_the_path_used_not_the_real_one(workshop: Workshop, program: Path, tmp_path: Path) -> None:
    real = place(workshop.library(soname="libtop.so", needed=("libx.so",), path="$ORIGIN"), tmp_path, "real/libtop.so")
    place(workshop.library(soname="libx.so"), tmp_path, "real", "libx.so")
    (tmp_path / "farm").mkdir()
    (tmp_path / "farm" / "libtop.so").symlink_to(real)
    assert failure(process(program), str(tmp_path / "farm" / "libtop.so")).culprit == "libx.so"
    assert process(program).dlopen(str(real), process(program).main)


@pytest.mark.parametrize(
    ("kind", "result", "fatal"),
    [
        ("machine", "wrong-machine", False),
        ("class", "wrong-class", False),
        ("dangling", "missing", False),
        ("loop", "symlink-loop", False),
        ("text", "not-elf", True),
        ("empty", "not-elf", True),
        ("directory", "not-regular", True),
        ("fifo", "not-regular", True),
        ("cut", "found", True),
    ],
)
def test_5_a_bad_file_before_a_good_one(
    workshop: Workshop, program: Path, tmp_path: Path, kind: str, result: str, fatal: bool
) -> None:
    good = place(workshop.library(soname="libx.so"), tmp_path, "good", "libx.so")
    bad = tmp_path / "bad" / "libx.so"
    bad.parent.mkdir()
    whole = good.read_bytes()
    make = {
        "machine": lambda: bad.write_bytes(whole[:18] + b"\xb7\0" + whole[20:]),
        "class": lambda: bad.write_bytes(whole[:4] + b"\x01" + whole[5:]),
        "dangling": lambda: bad.symlink_to("nowhere"),
        "loop": lambda: bad.symlink_to("libx.so"),
        "text": lambda: bad.write_text("version https://git-lfs.github.com/spec/v1\n" * 3),
        "empty": lambda: bad.touch(),
        "directory": lambda: bad.mkdir(),
        "fifo": lambda: os.mkfifo(bad),
        "cut": lambda: bad.write_bytes(whole[:4500]),
    }
    make[kind]()
    run = process(program, LD_LIBRARY_PATH=f"{bad.parent}:{good.parent}")
    if fatal:
        error = failure(run, "libx.so")
        assert error.failure == ("truncated" if kind == "cut" else result)
        assert str(bad) in error.reason
    elif kind == "loop":  # ELOOP ends this list of directories, not the whole search
        assert failure(run, "libx.so").failure == "missing"
    else:
        assert opened(run, "libx.so") == (str(good), "ld-library-path")
    steps = {s.path: s.result for r in run.log for s in r.searched}
    assert steps[str(bad)] == result


def test_6_hwcaps_and_legacy_subdirectories_are_asked_of_the_elf_interpreter(
    workshop: Workshop, program: Path, tmp_path: Path
) -> None:
    emulation = Emulation(RealSystem(), Target(str(program), "/nonexistent", (), {}, "/"))
    emulation.prepare()
    subdirs = emulation.ldso.subdirs
    assert subdirs[-1] == ""
    assert emulation.ldso.unknown is None
    if len(subdirs) > 1:
        place(workshop.library(soname="libx.so"), tmp_path, "llp", subdirs[0] + "libx.so")
        place(workshop.library(soname="libx.so"), tmp_path, "llp", "libx.so")
        run = process(program, LD_LIBRARY_PATH=str(tmp_path / "llp"))
        assert opened(run, "libx.so")[0] == f"{tmp_path}/llp/{subdirs[0]}libx.so"


def test_6_an_elf_interpreter_inside_the_environment_is_not_started(program: Path) -> None:
    interpreter = RealSystem().realpath("/lib64/ld-linux-x86-64.so.2")
    other = str(program.parent / "ld-linux.so.2")
    shutil.copyfile(interpreter, other)
    assert may_be_asked(RealSystem(), interpreter, "/opt/env")
    assert not may_be_asked(RealSystem(), other, str(program.parent))
    told = defaults(RealSystem(), other, "x86_64", "not asked")
    assert told.unknown == "not asked"
    assert told.subdirs == ("",)


def test_6_a_loader_without_lists_is_no_answer() -> None:
    assert parse_answer("/lib/ld.so", "") is None
    assert (
        parse_answer("/lib/ld.so", "search path=/a:/b\t\t(LD_LIBRARY_PATH)\nsearch path=/lib\t\t(system search path)")
        is None
    )


def test_7_a_stale_cache_entry_falls_through_to_the_default_directories() -> None:
    cache = Cache((CacheEntry("libx.so", "/gone/libx.so", 0x303), CacheEntry("liby.so", "/arm/liby.so", 0xA03)))
    assert cache.index("x86_64", ()) == {"libx.so": "/gone/libx.so"}
    assert cache.index("aarch64", ()) == {"liby.so": "/arm/liby.so"}


def test_7_hwcaps_of_the_cache() -> None:
    entries = (
        CacheEntry("libx.so", "/v2/libx.so", 0x303, "x86-64-v2"),
        CacheEntry("libx.so", "/v3/libx.so", 0x303, "x86-64-v3"),
        CacheEntry("libx.so", "/base/libx.so", 0x303),
        CacheEntry("libx.so", "/legacy/libx.so", 0x303, legacy=True),
    )
    assert Cache(entries).index("x86_64", ("x86-64-v3", "x86-64-v2"))["libx.so"] == "/v3/libx.so"
    assert Cache(entries).index("x86_64", ("x86-64-v2",))["libx.so"] == "/v2/libx.so"
    assert Cache(entries).index("x86_64", ())["libx.so"] == "/base/libx.so"


def test_7_a_missing_or_damaged_cache(tmp_path: Path) -> None:
    assert isinstance(read_cache(RealSystem(), str(tmp_path / "none")), Absent)
    (tmp_path / "cache").write_bytes(b"glibc-ld.so.cache1.1" + struct.pack("<II", 1 << 30, 5) + bytes(30))
    damaged = read_cache(RealSystem(), str(tmp_path / "cache"))
    assert isinstance(damaged, Unknown)
    assert "damaged" in damaged.reason


@pytest.mark.parametrize("value", ["/nope:", ":/nope", "/nope;", "..//cwd/"])
def test_8_empty_and_relative_elements_mean_the_working_directory(
    workshop: Workshop, program: Path, tmp_path: Path, value: str
) -> None:
    place(workshop.library(soname="libx.so"), tmp_path, "cwd", "libx.so")
    run = process(program, tmp_path / "cwd", LD_LIBRARY_PATH=value)
    assert opened(run, "libx.so")[1] == "ld-library-path"


@pytest.mark.parametrize(("value", "found"), [("$ORIGIN/../lib", True), ("${ORIGIN}/../lib", True), ("~/lib", False)])
def test_8_tokens_and_literals(workshop: Workshop, program: Path, tmp_path: Path, value: str, found: bool) -> None:
    place(workshop.library(soname="libx.so"), tmp_path, "lib", "libx.so")
    run = process(program, LD_LIBRARY_PATH=value, HOME=str(tmp_path))
    if found:
        assert opened(run, "libx.so")[0] == f"{tmp_path}/bin/../lib/libx.so"
    else:
        assert failure(run, "libx.so").failure == "missing"


def test_8_secure_execution_drops_ld_library_path(workshop: Workshop, program: Path, tmp_path: Path) -> None:
    place(workshop.library(soname="libx.so"), tmp_path, "lib", "libx.so")
    run = process(program, secure=True, LD_LIBRARY_PATH=f"{tmp_path}/lib")
    assert failure(run, "libx.so").failure == "missing"


def test_9_ld_preload(workshop: Workshop, program: Path, tmp_path: Path) -> None:
    path = place(workshop.library(soname="libp.so"), tmp_path, "libp.so")
    run = process(program, LD_PRELOAD=f"libnothere.so {path}")
    assert run.maps[1].path == str(path)
    assert opened(run, "libp.so") == (str(path), "preload")


def test_10_a_version_that_is_not_defined(workshop: Workshop, program: Path, tmp_path: Path) -> None:
    place(workshop.library(soname="libv.so.1", provides="V2"), tmp_path, "libv.so.1")
    user = place(workshop.library(soname="libuser.so", wants=True, path="$ORIGIN"), tmp_path, "libuser.so")
    error = failure(process(program), str(user))
    assert (error.failure, error.culprit) == ("symbol-version", "libv.so.1")
    assert "V1" in error.reason
    place(workshop.library(soname="libv.so.1", provides="V1"), tmp_path, "libv.so.1")
    run = process(program)
    assert run.dlopen(str(user), run.main)


def test_11_musl_is_not_emulated(program: Path) -> None:
    data = program.read_bytes()
    name = b"/lib64/ld-linux-x86-64.so.2\0"
    assert name in data
    program.write_bytes(data.replace(name, b"/lib/ld-musl-x86_64.so.1\0".ljust(len(name), b"\0")))
    with pytest.raises(CannotEmulate, match="musl"):
        Emulation(RealSystem(), Target(str(program), "/nonexistent", (), {}, "/"))
    assert is_musl("/lib/ld-musl-aarch64.so.1")
    assert not is_musl("/lib64/ld-linux-x86-64.so.2")


def test_the_check_of_symbols_within_one_family(tmp_path: Path, program: Path, workshop: Workshop) -> None:
    """As with two builds of cuDNN: the version is defined, a symbol is not."""

    def link(name: str, source: str, *flags: str) -> Path:
        (tmp_path / f"{name}.c").write_text(source)
        out = tmp_path / name
        command = ["gcc", "-shared", "-fPIC", "-nostdlib", str(tmp_path / f"{name}.c"), "-o", str(out), *flags]
        subprocess.run(command, check=True)
        return out

    (tmp_path / "v.map").write_text("libcudnn_graph.so.9 { *; };\n")
    flags = (f"-Wl,--version-script={tmp_path}/v.map", "-Wl,-soname,libcudnn_graph.so.9")
    graph = link("libcudnn_graph.so.9", "int old(void){return 1;} int newer(void){return 2;}\n", *flags)
    ops = link(
        "libcudnn_ops.so.9",
        "int newer(void); int f(void){return newer();}\n",
        str(graph),
        "-Wl,-soname,libcudnn_ops.so.9,--disable-new-dtags,-rpath,$ORIGIN",
    )
    link("libcudnn_graph.so.9", "int old(void){return 1;}\n", *flags)
    target = Target(str(program), "/nonexistent", (), {}, str(tmp_path))
    emulation = Emulation(RealSystem(), target)
    run = emulation.process(family=lambda name: "cudnn" if name.startswith("libcudnn") else None).start()
    error = failure(run, str(ops))
    assert (error.failure, error.culprit) == ("undefined-symbol", "libcudnn_graph.so.9")
    assert "newer" in error.reason
    other = emulation.process().start()
    assert other.dlopen(str(ops), other.main)  # lazy binding: without the family check the loader sees no fault
