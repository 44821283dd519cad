"""The emulator against glibc's loader for aarch64, run by qemu-user on generated trees."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from gpudoctor.system.protocol import Child, FileStat, RandomReader
from gpudoctor.system.real import RealSystem
from support.treeprediction import compare_tree
from support.trees import Toolchain, Tree, Workshop, make_tree

SYSROOT = "/usr/aarch64-linux-gnu"
QEMU = "qemu-aarch64"
TREES = 40
BATCH = 10
PACKAGES = ("qemu-user", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross")


class SysrootSystem(RealSystem):
    """The machine that a program under `qemu-aarch64 -L` sees: what is in the sysroot comes before the host's."""

    def _map(self, path: str) -> str:
        inside = SYSROOT + path
        return inside if path.startswith("/") and os.path.lexists(inside) else path

    def stat(self, path: str) -> FileStat:
        return super().stat(self._map(path))

    def open(self, path: str) -> RandomReader:
        return super().open(self._map(path))

    def realpath(self, path: str) -> str:
        return path if self._map(path) != path else super().realpath(path)

    def start(self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Child:
        return super().start(under_qemu((self._map(argv[0]), *argv[1:]), env), {"PATH": os.environ["PATH"]}, timeout_s)


def under_qemu(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    # Variables go through -E (commas separate them there): qemu itself would obey its own environment.
    return [QEMU, "-L", SYSROOT, *(text for k, v in env.items() for text in ("-E", f"{k}={v}")), *argv]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    tools = Toolchain("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ld", other_machine=62)
    if not _complete(tools):
        command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("apt-get") else None
        if not _complete(tools):
            why = f"NOT TESTED on aarch64: cannot install {', '.join(PACKAGES)}: {done.stderr[-300:] if done else ''}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    return Workshop(tmp_path_factory.mktemp("workshop-aarch64"), tools)


def _complete(tools: Toolchain) -> bool:
    return not tools.missing() and shutil.which(QEMU) is not None and Path(SYSROOT, "lib/libc.so.6").exists()


def run(tree: Tree) -> tuple[int, list[str], str]:
    environment = {**tree.environment, "LD_DEBUG": "libs:files"}
    done = subprocess.run(
        under_qemu([str(tree.program), *tree.arguments()], environment),
        env={"PATH": os.environ["PATH"]},
        cwd=tree.root,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("first", range(0, TREES, BATCH))
def test_every_request_of_every_tree(workshop: Workshop, tmp_path: Path, first: int) -> None:
    requests = 0
    for seed in range(10_000 + first, 10_000 + first + BATCH):
        tree = make_tree(workshop, tmp_path / str(seed), seed)
        requests += compare_tree(tree, SysrootSystem(), run, f"seed {seed}")
    assert requests > BATCH * 3
