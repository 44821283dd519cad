"""Reads a published wheel by range requests and prints facts: digest, requirements, what its ELF files say.

Usage: scripts/inspect_wheel.py NAME==VERSION [--platform linux-x86_64] [--limit-mb 64]

METADATA and the list of members cost some KiB. A shared object is compressed as a whole, so it is fetched as a whole;
those that pass the limit together are named under `not_read`. Nothing of the wheel is executed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Any
from zipfile import ZipInfo

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from remotezip import RemoteIOError, RemoteZip
from requests import RequestException

from gpudoctor.loader.elf import read_elf
from gpudoctor.loader.elftypes import ElfError, ElfObject
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Present
from gpudoctor.probes.gpu_code import read_arch_flags, read_architectures
from gpudoctor.system.real import RealSystem
from published import PLATFORMS, Index, NotPublished, Wheel, pythons_of, read_requirements, requirements_for

LIMIT_MIB = 64
_SHARED_OBJECT = re.compile(r"\.so(\.[0-9.]+)?$")
_OPENED = re.compile(rb"(?<![\w./-])lib[A-Za-z0-9_+-]+\.so(?:\.[0-9]+)*(?=\0)")
_VERSION_OF = {"glibc": "GLIBC_", "libstdcxx": "GLIBCXX_"}


def inspect(index: Index, matrix: Matrix, wheel: Wheel, limit_bytes: int) -> dict[str, Any]:
    """Return what a published wheel says.

    Args:
        index: The package index.
        matrix: Tells which library names belong to GPU families.
        wheel: The wheel.
        limit_bytes: How much of compressed shared objects to fetch at most; the smallest come first.
    """
    with index.open(wheel) as archive:
        requirements = read_requirements(archive)
        chosen, left = _choose(archive.infolist(), limit_bytes)
        libraries = {info.filename: _inspect_member(archive, info, matrix) for info in chosen}
    return {
        "wheel": wheel.file,
        "sha256": wheel.sha256,
        "yanked": wheel.yanked,
        "requires_python": wheel.requires_python,
        "requires": [str(r) for r in requirements if "extra" not in str(r.marker)],
        "extras": [str(r) for r in requirements if "extra" in str(r.marker)],
        "libraries": libraries,
        "not_read": [f"{info.filename} ({info.compress_size >> 20} MiB)" for info in left],
    }


def read_members(index: Index, matrix: Matrix, wheel: Wheel, pattern: str) -> dict[str, dict[str, Any]]:
    """Return what the shared objects of a wheel whose path matches a pattern say."""
    with index.open(wheel) as archive:
        infos = [i for i in archive.infolist() if re.search(pattern, i.filename)]
        return {info.filename: _inspect_member(archive, info, matrix) for info in infos}


def _choose(infos: list[ZipInfo], limit_bytes: int) -> tuple[list[ZipInfo], list[ZipInfo]]:
    chosen: list[ZipInfo] = []
    left: list[ZipInfo] = []
    room = limit_bytes
    for info in sorted(infos, key=lambda i: i.compress_size):
        if _SHARED_OBJECT.search(info.filename):
            (chosen if info.compress_size <= room else left).append(info)
            room -= info.compress_size
    return sorted(chosen, key=lambda i: i.filename), left


def _inspect_member(archive: RemoteZip, info: ZipInfo, matrix: Matrix) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="gpudoctor-wheel-") as folder:
        path = Path(folder, "member.so")
        path.write_bytes(archive.read(info))
        return _inspect_file(path, matrix)


def _inspect_file(path: Path, matrix: Matrix) -> dict[str, Any]:
    system = RealSystem()
    try:
        elf = read_elf(system, str(path))
    except ElfError as error:
        return {"unreadable": str(error)}
    said = {
        "soname": elf.soname,
        "needed": list(elf.needed),
        "rpath": elf.rpath,
        "runpath": elf.runpath,
        "build_id": elf.build_id,
        **{name: _newest(elf, prefix) for name, prefix in _VERSION_OF.items()},
        "names": _names(path, elf, matrix),
        "gpu_code": _gpu_code(system, str(path)),
    }
    return {name: value for name, value in said.items() if value}


def _names(path: Path, elf: ElfObject, matrix: Matrix) -> list[str]:
    """Return the GPU libraries that the file holds the names of and does not link: those that it may open."""
    found = {match.decode("ascii") for match in _OPENED.findall(path.read_bytes())}
    return sorted(n for n in found - set(elf.needed) - {elf.soname} if matrix.family_of(n) is not None)


def _gpu_code(system: RealSystem, path: str) -> list[str]:
    for read in (read_architectures, read_arch_flags):
        found = read(system, path)
        if isinstance(found, Present):
            return list(found.value)
    return []


def _newest(elf: ElfObject, prefix: str) -> str | None:
    """Return the newest version with a prefix that the object wants: the least C library that it starts on."""
    wanted = [
        v.removeprefix(prefix)
        for needed in elf.needs_versions
        for v, weak in needed.versions
        if v.startswith(prefix) and not weak and v.removeprefix(prefix)[:1].isdigit()
    ]
    return max(wanted, key=lambda v: tuple(int(part) for part in v.split(".")), default=None)


def _pinned(text: str) -> tuple[str, str]:
    """Return name and version of `NAME==VERSION`."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME==VERSION") from error
    exact = [s for s in requirement.specifier if s.operator == "=="]
    if len(exact) != 1 or len(requirement.specifier) != 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME==VERSION")
    return requirement.name, exact[0].version


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=_pinned, metavar="NAME==VERSION")
    parser.add_argument("--platform", choices=sorted(PLATFORMS), default="linux-x86_64")
    parser.add_argument(
        "--limit-mb", type=int, default=LIMIT_MIB, help="most MiB of shared objects to fetch (%(default)s)"
    )
    arguments = parser.parse_args()
    name, version = arguments.wheel
    index, matrix = Index(), load_matrix()
    try:
        wheel = index.wheel(name, version, arguments.platform)
        said = inspect(index, matrix, wheel, arguments.limit_mb << 20)
    except NotPublished as error:
        print(f"inspect_wheel: {error}", file=sys.stderr)
        return 2
    except (RemoteIOError, RequestException) as error:
        print(f"inspect_wheel: the package index cannot be read: {error}", file=sys.stderr)
        return 2
    files = index.release(name, version, arguments.platform)
    said["pythons"] = list(pythons_of(files))
    said["requires_here"] = [str(r) for r in requirements_for(map(Requirement, said["requires"]), arguments.platform)]
    yaml.safe_dump({f"{name}=={version}": said}, sys.stdout, sort_keys=False, width=120)
    print(f"inspect_wheel: fetched {index.fetched_bytes / 1e6:.1f} MB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
