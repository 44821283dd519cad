"""Each kind of file, read into the same parts, with lines."""

from __future__ import annotations

import pytest

from gpudoctor.lint.kinds import kind_of, parse
from gpudoctor.lint.pyproject import poetry_specifier

PYPROJECT = """\
[project]
name = "x"
dependencies = [
    "torch==2.5.1",
    "numpy<2; sys_platform == 'linux'",
]
[project.optional-dependencies]
asr = ["faster-whisper>=1.1"]
[dependency-groups]
dev = ["pytest", {include-group = "other"}]
[[tool.uv.index]]
name = "cu124"
url = "https://download.pytorch.org/whl/cu124"
explicit = true
[tool.uv.sources]
torch = { index = "cu124" }
[tool.poetry.dependencies]
python = "^3.11"
ctranslate2 = "^4.4"
"""
CONDA = """\
name: x
dependencies:
  - python=3.11
  - pytorch::pytorch=2.5.1=py3.11_cuda12.4
  - cudnn>=9
  - pip:
      - --extra-index-url https://download.pytorch.org/whl/cu124
      - torch==2.5.1
"""
PYLOCK = """\
lock-version = "1.0"
created-by = "x"
[[packages]]
name = "torch"
version = "2.5.1"
index = "https://index.example/simple"
[[packages.wheels]]
name = "torch-2.5.1-cp311-cp311-linux_x86_64.whl"
url = "https://example.com/torch-2.5.1-cp311-cp311-linux_x86_64.whl"
hashes = {sha256 = "aa"}
"""
POETRY_LOCK = '[[package]]\nname = "torch"\nversion = "2.5.1"\n\n[metadata]\nlock-version = "2.1"\n'
WORKFLOW = """\
jobs:
  test:
    container: nvidia/cuda:12.4.1-runtime-ubuntu22.04
    steps:
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: |
          set -e
          pip install torch==2.5.1 ${{ matrix.extra }}
"""


def test_pyproject() -> None:
    base, parts = parse("pyproject", PYPROJECT, "pyproject.toml")
    assert "faster-whisper" not in {r.name for r in base.requirements}
    found = {r.name: (r.specifier, r.index, r.place.line) for r in parts.requirements}
    assert found["torch"] == ("==2.5.1", "https://download.pytorch.org/whl/cu124", 4)
    assert found["numpy"] == ("<2", None, 5)
    assert found["faster-whisper"] == (">=1.1", None, 8)
    assert found["ctranslate2"] == (">=4.4,<5", None, 19)
    assert "pytest" in found


def test_conda() -> None:
    (parts,) = parse("conda", CONDA, "environment.yml")
    found = {(r.installer, r.name): (r.specifier, r.extra_indexes, r.place.line) for r in parts.requirements}
    assert found["conda", "torch"] == ("==2.5.1", (), 4)
    assert found["conda", "cudnn"] == (">=9", (), 5)
    assert found["pip", "torch"] == ("==2.5.1", ("https://download.pytorch.org/whl/cu124",), 8)
    assert [p.version for p in parts.pythons] == ["3.11"]


@pytest.mark.parametrize(("kind", "text", "line"), [("pylock", PYLOCK, 4), ("poetry-lock", POETRY_LOCK, 2)])
def test_locks(kind: str, text: str, line: int) -> None:
    (parts,) = parse(kind, text, "lock")  # type: ignore[arg-type]
    (torch,) = parts.requirements
    assert (torch.name, torch.specifier, torch.locked, torch.place.line) == ("torch", "==2.5.1", True, line)


def test_workflow() -> None:
    (parts,) = parse("workflow", WORKFLOW, ".github/workflows/test.yml")
    assert [(r.name, r.place.line) for r in parts.requirements] == [("torch", 9)]
    assert [i.place.line for i in parts.images] == [3]
    assert [p.place.line for p in parts.puzzles] == [9]
    assert [p.version for p in parts.pythons] == ["3.11"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("^4.4", ">=4.4,<5"), ("^0.2.3", ">=0.2.3,<0.3"), ("~1.2.3", ">=1.2.3,<1.3"), ("*", ""), ("2.5.1", "==2.5.1")],
)
def test_poetry_versions(written: str, meant: str) -> None:
    assert poetry_specifier(written) == meant


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("requirements/gpu.txt", "", "requirements"),
        ("requirements-cuda.txt", "", "requirements"),
        ("docker/Dockerfile.gpu", "", "dockerfile"),
        ("docker-compose.gpu.yml", "", "compose"),
        (".github/workflows/ci.yml", "", "workflow"),
        ("install", "#!/usr/bin/env bash\n", "shell"),
        ("notes.txt", "", None),
        ("app.py", "print()", None),
    ],
)
def test_kinds(path: str, text: str, kind: str | None) -> None:
    assert kind_of(path, text) == kind
