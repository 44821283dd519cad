"""Wheels of a few kilobytes in a folder that stands for the package index."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gpudoctor.fix.package_plan import Wanted, plan_packages
from gpudoctor.fix.plan import NothingToDo
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.repair import Outcome
from gpudoctor.fix.types import Plan
from gpudoctor.matrix.claims import Conflicts
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Fact, Provider
from gpudoctor.probes.take import SnapshotRequest
from gpudoctor.system.changes import RealChanges
from support.gpuenvs import SOURCE, GpuEnv, compile_library
from support.repairs import CNN, CUDNN, OPS, HomedSystem, Patient

NAME = "nvidia-cudnn-cu12"


def small_wheel(
    folder: Path, name: str, version: str, files: Mapping[str, bytes], requires: tuple[str, ...] = ()
) -> Path:
    """Write a wheel."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    lines = "".join(f"Requires-Dist: {r}\n" for r in requires)
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_digest(data)},{len(data)}\n" for path, data in contents.items())
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in contents.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return wheel


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def cudnn_wheel(folder: Path, version: str, build: Path) -> Path:
    """Write a wheel of the libraries that the small consumer opens, of one version."""
    major = version.partition(".")[0]
    files = {"nvidia/__init__.py": b"", "nvidia/cudnn/__init__.py": f"# {version}\n".encode()}
    for name in (OPS, CNN):
        soname = name.rpartition(".")[0] + "." + major
        compile_library(build, build.parent / soname, soname)
        files[f"{CUDNN}/{soname}"] = (build.parent / soname).read_bytes()
    return small_wheel(folder, NAME, version, files)


def _with_versions(matrix: Matrix) -> Matrix:
    """Let the matrix say which releases bring cuDNN 9."""
    provider = Provider(distribution=NAME, major="9", versions=">=9,<10", directory=CUDNN)
    families = (
        msgspec.structs.replace(f, providers=(provider,)) if f.name == "cudnn" else f for f in matrix.data.families
    )
    return Matrix(msgspec.structs.replace(matrix.data, families=tuple(families)))


class Lacking(Patient):
    """An environment whose consumer misses libraries that an index has.

    Attributes:
        index: The folder that stands for the index.
    """

    def __init__(self, folder: Path, *, env: Path | None = None, **more: str) -> None:
        self.env = GpuEnv(env or folder / "env")
        (self.env.root / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
        self.index = folder / "index"
        for version in ("8.9.2", "9.1.0", "9.2.0"):
            cudnn_wheel(self.index, version, folder / "build")
        (folder / "uv.toml").write_text(f'no-index = true\nfind-links = ["{self.index}"]\n')
        self.env.consumer("ctspeech", opens=(OPS, CNN))
        self.variables = {
            "UV_CONFIG_FILE": str(folder / "uv.toml"),
            "UV_CACHE_DIR": str(folder / "cache"),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "HOME": str(folder),
            **more,
        }
        self.system = HomedSystem(folder / "state", **self.variables)
        self.matrix = _with_versions(self.env.matrix)
        self.request = SnapshotRequest(python=str(self.env.python), own_python=sys.executable)

    def knows_conflict(self, name: str, keep: str) -> None:
        """Let the matrix know that two distributions write the same files."""
        claim = Conflicts(package=keep, shares_files=True, keep=keep)
        fact = Fact(id=f"{name}-{keep}", subject=name, claim=claim, status="verified", sources=SOURCE)
        self.matrix = Matrix(msgspec.structs.replace(self.matrix.data, facts=(*self.matrix.data.facts, fact)))

    def uv(self, *arguments: str) -> None:
        """Run uv as the user would."""
        uv = Path(sys.executable).with_name("uv")
        command = [uv, "--quiet", "pip", *arguments[:1], "--python", self.env.python, *arguments[1:]]
        subprocess.run(command, env={"PATH": os.environ["PATH"], **self.variables}, check=True, timeout=120)

    def installed(self) -> dict[str, str]:
        infos = (p.name.removesuffix(".dist-info") for p in self.env.site.glob("nvidia*.dist-info"))
        return {n.replace("_", "-"): v for n, _, v in (i.partition("-") for i in infos)}

    def plan_packages(self, wanted: Mapping[str, str] | None = None) -> Plan | NothingToDo | Refusal:
        to = Wanted("elsewhere", wanted) if wanted is not None else None
        return plan_packages(self.system, RealChanges(), self.matrix, self.see(), to)

    def carry_out(self, plan: Plan, changes: RealChanges | None = None) -> Outcome:
        workshop = self.workshop(changes)
        with workshop.lock():
            return workshop.carry_out(self.matrix, self.request, plan)
