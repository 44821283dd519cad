"""The matrix in an installed wheel: an empty environment, no repository beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.wheels


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scripts folder of an environment that holds the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = (sys.executable, "-m", "uv", "--quiet")
    run(*uv, "build", "--wheel", "--out-dir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(*uv, "venv", "--python", sys.executable, folder / "venv", cwd=folder)
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    run(*uv, "pip", "install", "--python", scripts / "python", wheel, cwd=folder)
    return scripts


def test_matrix_is_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    program = "import gpudoctor, gpudoctor.matrix.load as l; print(gpudoctor.__file__); print(len(l.load_data().facts))"
    place, count = run(installed / "python", "-I", "-c", program, cwd=tmp_path).split()
    assert Path(place).is_relative_to(installed.parent)
    assert int(count) > 50


def test_commands_need_no_repository(installed: Path, tmp_path: Path) -> None:
    assert "ctranslate2-cudnn9" in run(installed / "gpudoctor", "matrix", "list", cwd=tmp_path)
    assert "libcudnn_graph.so" in run(installed / "gpudoctor", "matrix", "show", "ctranslate2-cudnn9", cwd=tmp_path)
    (tmp_path / "ours.yaml").write_text("facts: []\n")
    assert "ours.yaml: valid" in run(installed / "gpudoctor", "matrix", "validate", "ours.yaml", cwd=tmp_path)
