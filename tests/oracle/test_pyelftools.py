"""The ELF reader against pyelftools on every shared object at hand: the system's, this interpreter's, the wheels'."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection

from gpudoctor.loader.elf import ElfObject, SkippedElf, read_elf
from gpudoctor.loader.symbols import read_symbols
from gpudoctor.system.real import RealSystem
from support.wheels import site_packages, wheel_env

_FOLDERS = (
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/cuda/lib64",
    str(Path(sys.base_prefix) / "lib"),
    sys.prefix,
)


def objects(*folders: str) -> list[Path]:
    """Return every ELF shared object below folders, each file once."""
    seen: set[tuple[int, int]] = set()
    found: list[Path] = []
    for path in (Path(root) / name for folder in folders for root, _, names in os.walk(folder) for name in names):
        if ".so" not in path.name or not path.is_file():
            continue
        status = path.stat()
        with path.open("rb") as file:
            magic = file.read(4)
        if (status.st_dev, status.st_ino) not in seen and magic == b"\x7fELF":
            seen.add((status.st_dev, status.st_ino))
            found.append(path)
    return found


def told_by_pyelftools(elf: ELFFile) -> tuple[object, ...]:
    dynamic = next(s for s in elf.iter_segments() if isinstance(s, DynamicSegment))
    text: dict[str, list[str]] = {"DT_NEEDED": [], "DT_SONAME": [], "DT_RPATH": [], "DT_RUNPATH": []}
    flags = 0
    for tag in dynamic.iter_tags():
        name = tag.entry.d_tag
        if name in text:
            text[name].append(getattr(tag, name[3:].lower()))
        elif name == "DT_FLAGS_1":
            flags = tag.entry.d_val
    last = [(text[name] or [None])[-1] for name in ("DT_SONAME", "DT_RPATH", "DT_RUNPATH")]
    interpreter = next((s.get_interp_name() for s in elf.iter_segments() if s.header.p_type == "PT_INTERP"), None)
    return tuple(text["DT_NEEDED"]), *last, flags, interpreter


def versions_by_pyelftools(elf: ELFFile) -> tuple[dict[str, list[tuple[str, bool]]], set[str] | None]:
    needs: dict[str, list[tuple[str, bool]]] = {}
    defines: set[str] | None = None
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for entry, names in section.iter_versions():
                needs[entry.name] = [(n.name, bool(n.entry.vna_flags & 2)) for n in names]
        elif isinstance(section, GNUVerDefSection):
            defines = {next(iter(names)).name for _, names in section.iter_versions()}
    return needs, defines


def build_id(elf: ELFFile) -> str | None:
    for segment in elf.iter_segments():
        if segment.header.p_type == "PT_NOTE":
            for note in segment.iter_notes():
                if note["n_type"] == "NT_GNU_BUILD_ID":
                    return str(note["n_desc"])
    return None


def compare(path: Path) -> None:
    ours = read_elf(RealSystem(), str(path))
    with path.open("rb") as file:
        elf = ELFFile(file)
        told = told_by_pyelftools(elf)
        assert (ours.needed, ours.soname, ours.rpath, ours.runpath, ours.flags_1, ours.interpreter) == told, path
        assert ours.build_id == build_id(elf), path
        assert ours.elf_class == elf.elfclass
        if elf.num_sections():
            needs, defines = versions_by_pyelftools(elf)
            assert {n.file: list(n.versions) for n in ours.needs_versions} == needs, path
            assert (set(ours.defines_versions) if ours.defines_versions is not None else None) == defines, path


def compare_symbols(path: Path) -> None:
    system = RealSystem()
    ours = read_elf(system, str(path))
    symbols = read_symbols(system, str(path), ours)
    assert symbols is not None
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".dynsym")
        defined = {s.name for s in table.iter_symbols() if s.entry.st_shndx != "SHN_UNDEF"}
        undefined = {
            s.name
            for s in table.iter_symbols()
            if s.entry.st_shndx == "SHN_UNDEF" and s.entry.st_info.bind != "STB_WEAK"
        }
    assert {n.decode() for n in symbols.defined} == defined, path
    assert {n.decode() for names in symbols.wanted.values() for n in names} <= undefined, path


def readable(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        try:
            found = read_elf(RealSystem(), str(path))
        except SkippedElf:
            continue
        assert isinstance(found, ElfObject)
        yield path


def test_every_library_of_the_system() -> None:
    paths = objects(*_FOLDERS)
    checked = 0
    for path in readable(paths):
        compare(path)
        checked += 1
    assert checked > 50
    assert checked > len(paths) * 0.8


def test_symbols_of_the_c_library_and_others() -> None:
    libc = Path("/proc/self/maps").read_text().split("libc.so.6")[0].split()[-1] + "libc.so.6"
    compare_symbols(Path(libc))
    for path in list(readable(objects(sys.prefix)))[:40]:
        compare_symbols(path)


@pytest.mark.wheels
def test_every_library_of_the_wheels() -> None:
    environments = [wheel_env(slug) for slug in ("torch-251-ct2-460", "ct2-440-cudnn91", "ort-1202-cuda12")]
    paths = objects(*(str(site_packages(environment)) for environment in environments))
    checked = 0
    for path in readable(paths):
        try:
            compare(path)
        except (ELFError, UnicodeDecodeError):  # pyelftools' own limits
            continue
        checked += 1
    assert checked > 50
