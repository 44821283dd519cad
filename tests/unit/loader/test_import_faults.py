"""Imports that fail for want of something that is no GPU library, checked against the real loader where it can say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gpudoctor.loader.binary import resolve_binary
from gpudoctor.loader.consumers import resolve_consumers
from gpudoctor.loader.elf import read_elf
from gpudoctor.loader.elftypes import ElfObject
from gpudoctor.loader.stack import refuses_executable_stack
from gpudoctor.loader.target import LoaderAnswer, Target
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.loading import ImportFault
from gpudoctor.system.protocol import CannotLook, RandomReader
from gpudoctor.system.real import RealSystem

SYSTEM = RealSystem()


class Site:
    """A site directory for the interpreter that runs the tests, filled with compiled libraries."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "site"
        self.folder.mkdir()

    def library(self, at: str, *flags: str, source: str = "int here(void) { return 1; }", **maps: str) -> Path:
        out = self.folder / at
        out.parent.mkdir(parents=True, exist_ok=True)
        code = self.root / "x.c"
        code.write_text(source)
        for name, text in maps.items():
            (self.root / f"{name}.map").write_text(text)
        command = ["gcc", "-shared", "-fPIC", "-nostdlib", str(code), "-o", str(out), *flags]
        subprocess.run(command, check=True, cwd=self.root)
        return out

    def package(self, name: str, version: str) -> None:
        (self.folder / f"{name}-{version}.dist-info").mkdir()

    def answer(self, **environment: str) -> LoaderAnswer:
        python = os.path.realpath(sys.executable)
        target = Target(python, sys.prefix, (str(self.folder),), environment, str(self.root))
        return resolve_consumers(SYSTEM, load_matrix(), target)

    def fault(self, consumer: str, **environment: str) -> ImportFault:
        found = [
            f for f in self.answer(**environment).import_faults if f.consumer == consumer and f.scenario == "alone"
        ]
        assert len(found) == 1, found
        return found[0]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_version_that_the_cxx_library_lacks(site: Site) -> None:
    """Linked against one libstdc++, given another: the loader's own words."""
    site.package("ctranslate2", "4.8.5")
    new = site.library(
        "new/libstdc++.so.6",
        "-Wl,-soname,libstdc++.so.6,--version-script=new.map",
        source="int cxx(void) { return 1; }",
        new="GLIBCXX_9.9.99 { cxx; };",
    )
    old = site.library(
        "old/libstdc++.so.6",
        "-Wl,-soname,libstdc++.so.6,--version-script=old.map",
        source="int cxx(void) { return 1; }",
        old="GLIBCXX_3.4 { cxx; };",
    )
    user = "extern int cxx(void); int use(void) { return cxx(); }"
    extension = site.library("ctranslate2/_ext.x.so", str(new), source=user)
    found = site.fault("ctranslate2", LD_LIBRARY_PATH=str(old.parent))
    assert (found.failure, found.culprit, found.group) == ("symbol-version", "libstdc++.so.6", None)
    assert found.file == str(extension)
    code = f"import ctypes; ctypes.CDLL({str(extension)!r})"
    real = subprocess.run(
        [sys.executable, "-c", code],
        env={"LD_LIBRARY_PATH": str(old.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "version `GLIBCXX_9.9.99' not found" in real.stderr
    assert "version `GLIBCXX_9.9.99' not found" in found.reason
    assert not site.answer(LD_LIBRARY_PATH=str(new.parent)).import_faults


def codec(site: Site, *majors: int) -> None:
    site.package("torchcodec", "0.7.0")
    for major in majors:
        name = f"libavutil.so.{52 + major}"
        stub = site.library(f"stubs/{name}", f"-Wl,-soname,{name}")
        site.library(f"torchcodec/libtorchcodec_core{major}.so", "-Wl,--no-as-needed", str(stub))


def test_none_of_the_alternatives_loads(site: Site) -> None:
    codec(site, 4, 6, 7)
    found = site.fault("torchcodec")
    assert (found.group, found.failure) == ("ffmpeg", "missing")
    assert found.culprit.startswith("libavutil.so.")
    assert found.searched


def test_one_of_the_alternatives_is_enough(site: Site) -> None:
    codec(site, 4, 6, 7)
    for stub in (site.folder / "stubs").glob("*.56"):
        stub.unlink()
    answer = site.answer(LD_LIBRARY_PATH=str(site.folder / "stubs"))
    assert not answer.import_faults


def test_the_alternative_that_got_furthest_is_blamed(site: Site) -> None:
    codec(site, 4, 6, 7)
    gone = site.library("stubs/libgone.so.1", "-Wl,-soname,libgone.so.1")
    name = "libavutil.so.58"
    site.library(f"stubs/{name}", f"-Wl,-soname,{name},--no-as-needed", str(gone))
    for file in (site.folder / "stubs").iterdir():
        if file.name != name:
            file.unlink()
    assert site.fault("torchcodec", LD_LIBRARY_PATH=str(site.folder / "stubs")).culprit == "libgone.so.1"


def test_a_place_that_cannot_be_searched_is_a_doubt(site: Site) -> None:
    codec(site, 7)
    assert "LD_AUDIT" in (site.fault("torchcodec", LD_AUDIT="/x/audit.so").doubt or "")


class TestExecutableStack:
    @pytest.mark.parametrize(("flag", "wanted"), [("-Wl,-z,execstack", True), ("-Wl,-z,noexecstack", False)])
    def test_the_flag_is_read(self, site: Site, flag: str, wanted: bool) -> None:
        assert read_elf(SYSTEM, str(site.library("x.so", flag))).executable_stack is wanted

    def test_it_is_refused_by_a_new_c_library_alone(self) -> None:
        plain = ElfObject(64, "x86_64", 3, (0, 0), 0)
        old = msgspec.structs.replace(plain, defines_versions=frozenset({"GLIBC_2.2.5", "GLIBC_2.40", "GLIBC_PRIVATE"}))
        new = msgspec.structs.replace(plain, defines_versions=frozenset({"GLIBC_2.2.5", "GLIBC_2.41"}))
        mapped = (plain, new)
        assert refuses_executable_stack(new, "", mapped)
        assert not refuses_executable_stack(old, "", mapped)
        assert not refuses_executable_stack(None, "", mapped)
        assert not refuses_executable_stack(new, "glibc.malloc.check=1:glibc.rtld.execstack=2", mapped)
        assert refuses_executable_stack(new, "glibc.rtld.execstack=21", mapped)
        assert not refuses_executable_stack(new, "", (msgspec.structs.replace(plain, executable_stack=True),))

    def test_an_import_under_a_new_c_library(self, site: Site) -> None:
        """A libc.so.6 that defines GLIBC_2.41 stands in for the system's, which is older on most machines."""
        site.package("ctranslate2", "4.4.0")
        site.library("ctranslate2/_ext.x.so", "-Wl,-z,execstack")
        assert not [f for f in site.answer().import_faults if f.failure == "exec-stack"] or _glibc() >= (2, 41)
        versions = sorted(read_elf(SYSTEM, _libc()).defines_versions or (), key=lambda v: (v == "GLIBC_PRIVATE", v))
        script = "\n".join(f"{v} {{}};" for v in (*versions, "GLIBC_2.41") if not v.startswith("libc"))
        libc = site.library("libc/libc.so.6", "-Wl,-soname,libc.so.6,--version-script=libc.map", libc=script)
        found = site.fault("ctranslate2", LD_LIBRARY_PATH=str(libc.parent))
        assert (found.failure, found.culprit) == ("exec-stack", "_ext.x.so")
        allowed = {"LD_LIBRARY_PATH": str(libc.parent), "GLIBC_TUNABLES": "glibc.rtld.execstack=2"}
        assert not site.answer(**allowed).import_faults


def _libc() -> str:
    return next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc.so.6" in line)


def _glibc() -> tuple[int, ...]:
    return tuple(map(int, os.confstr("CS_GNU_LIBC_VERSION").split()[1].split(".")))  # type: ignore[union-attr]


class Guarded(RealSystem):
    """A machine on which two paths belong to somebody else; to root, who may run the tests, no mode bits matter."""

    def listdir(self, path: str) -> tuple[str, ...]:
        if path.endswith("/lib"):
            raise CannotLook("permission denied", "EACCES")
        return super().listdir(path)

    def open(self, path: str) -> RandomReader:
        if path.endswith("/secret.so"):
            raise CannotLook("permission denied", "EACCES")
        return super().open(path)


class TestFolders:
    """`--binary FOLDER`: what was not looked at is said."""

    def target(self, site: Site) -> Target:
        return Target(os.path.realpath(sys.executable), sys.prefix, (), {}, str(site.root))

    def answer(self, site: Site, system: RealSystem = SYSTEM) -> LoaderAnswer:
        site.library(
            "engine.so", "-Wl,--no-as-needed", str(site.library("b/libcublas.so.12", "-Wl,-soname,libcublas.so.12"))
        )
        return resolve_binary(system, load_matrix(), self.target(site), str(site.folder))

    def test_a_folder_that_was_read_whole(self, site: Site) -> None:
        answer = self.answer(site)
        assert (answer.unread, [r.soname for r in answer.resolutions]) == ((), ["libcublas.so.12"])

    def test_more_entries_than_are_looked_at(self, site: Site) -> None:
        (site.folder / "lib").mkdir()
        for number in range(4100):
            (site.folder / "lib" / f"n{number:04}").touch()
        (told,) = self.answer(site).unread
        assert "4100 entries" in told

    def test_what_cannot_be_read(self, site: Site) -> None:
        (site.folder / "lib").mkdir()
        site.library("secret.so")
        told = " ".join(self.answer(site, Guarded()).unread)
        assert "/lib cannot be listed (permission denied)" in told
        assert "/secret.so cannot be read (permission denied)" in told

    def test_a_program_that_cannot_be_loaded(self, site: Site) -> None:
        gone = site.library("stubs/libgone.so.1", "-Wl,-soname,libgone.so.1")
        cublas = site.library("b/libcublas.so.12", "-Wl,-soname,libcublas.so.12")
        plugin = site.library("plugin.so", "-Wl,--no-as-needed", str(gone), str(cublas))
        answer = resolve_binary(SYSTEM, load_matrix(), self.target(site), str(plugin))
        (found,) = answer.import_faults
        assert (found.consumer, found.culprit) == ("plugin.so", "libgone.so.1")
