"""The emulator against the real loader on 200 generated trees; every prediction is made before the program runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gpudoctor.system.real import RealSystem
from support.treeprediction import compare_tree
from support.trees import Toolchain, Tree, Workshop, make_tree

TREES = 200
BATCH = 20


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    tools = Toolchain()
    assert not tools.missing(), f"a C compiler and linker are needed: {tools.missing()}"
    return Workshop(tmp_path_factory.mktemp("workshop"), tools)


def run(tree: Tree) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [str(tree.program), *tree.arguments()],
        env={**tree.environment, "LD_DEBUG": "libs,files"},
        cwd=tree.root,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("first", range(0, TREES, BATCH))
def test_every_request_of_every_tree(workshop: Workshop, tmp_path: Path, first: int) -> None:
    requests = 0
    for seed in range(first, first + BATCH):
        tree = make_tree(workshop, tmp_path / str(seed), seed)
        requests += compare_tree(tree, RealSystem(), run, f"seed {seed}")
    assert requests > BATCH * 3
