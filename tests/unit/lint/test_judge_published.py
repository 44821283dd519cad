"""Build labels that no index serves, releases that never were, and releases behind a URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.lint.builders import asked, lint, said

CU = "https://download.pytorch.org/whl/"
IMAGE = "FROM nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04\n"
PIN = "torch==2.5.1+cu121"

UNSERVED = {
    "no-index": ("requirements.txt", f"{PIN}\n", ["GPD474 warning 1 torch"]),
    "index-of-another-label": ("requirements.txt", f"--index-url {CU}cu118\n{PIN}\n", ["GPD474 error 2 torch"]),
    "further-index-of-another-label": (
        "requirements.txt",
        f"--extra-index-url {CU}cu118\n{PIN}\n",
        ["GPD474 error 2 torch"],
    ),
    "dockerfile": ("Dockerfile", f"{IMAGE}RUN pip install {PIN}\n", ["GPD474 error 2 torch"]),
    "family": ("requirements.txt", "torch==2.5.1\ntorchaudio==2.5.1+cu124\n", ["GPD474 warning 2 torchaudio"]),
    "no-such-build": ("requirements.txt", f"--index-url {CU}cu118\ntorch==2.8.0\n", ["GPD474 warning 2 torch"]),
    "no-such-build-pinned": (
        "requirements.txt",
        f"--extra-index-url {CU}cu121\ntorch==2.8.0+cu121\n",
        ["GPD474 warning 2 torch"],
    ),
}


@pytest.mark.parametrize("name", UNSERVED)
def test_a_label_that_no_index_serves(tmp_path: Path, name: str) -> None:
    file, text, expected = UNSERVED[name]
    assert said(lint(tmp_path, {file: text})) == expected


SERVED = {
    "index": ("requirements.txt", f"--index-url {CU}cu121\n{PIN}\n"),
    "further-index": ("requirements.txt", f"--extra-index-url {CU}cu121\n{PIN}\n"),
    "page-of-links": ("requirements.txt", f"-f {CU}torch_stable.html\n{PIN}\n"),
    "page-of-links-of-one-label": ("requirements.txt", f"--find-links={CU}cu121/torch_stable.html\n{PIN}\n"),
    "behind-the-requirement-on-the-command-line": ("Dockerfile", f"{IMAGE}RUN pip install {PIN} -f {CU}cu121\n"),
    "variable": ("Dockerfile", f"{IMAGE}ENV PIP_EXTRA_INDEX_URL={CU}cu121\nRUN pip install {PIN}\n"),
    "variable-of-links": ("Dockerfile", f"{IMAGE}ENV PIP_FIND_LINKS={CU}torch_stable.html\nRUN pip install {PIN}\n"),
    "backend-of-uv": ("Dockerfile", f"{IMAGE}RUN uv pip install --torch-backend cu121 {PIN}\n"),
    "backend-that-uv-finds": ("Dockerfile", f"{IMAGE}RUN uv pip install --torch-backend=auto {PIN}\n"),
    "another-file-of-the-command": ("requirements.txt", f"--extra-index-url {CU}cu121\n-r more.txt\n"),
    "wheel": ("requirements.txt", f"torch @ {CU}cu121/torch-2.5.1%2Bcu121-cp311-cp311-linux_x86_64.whl\n"),
    "uv-s-page-of-links": (
        "pyproject.toml",
        f'[project]\ndependencies = ["{PIN}"]\n[tool.uv]\nfind-links = ["{CU}torch_stable.html"]\n',
    ),
    "uv-s-backend": (
        "pyproject.toml",
        f'[project]\ndependencies = ["{PIN}"]\n[tool.uv.pip]\ntorch-backend = "cu121"\n',
    ),
    "poetry-s-other-source": (
        "pyproject.toml",
        '[tool.poetry.dependencies]\ntorch = "2.5.1+cu121"\n[[tool.poetry.source]]\nname = "pytorch"\n'
        f'url = "{CU}cu121"\npriority = "supplemental"\n',
    ),
    "no-label": ("requirements.txt", "torch==2.5.1\n"),
    "label-of-the-index": ("requirements.txt", f"--index-url {CU}cu118\ntorch==2.7.1\n"),
    "somebody-s-own-build": ("requirements.txt", "torch==2.5.1+computecanada\n"),
}


@pytest.mark.parametrize("name", SERVED)
def test_a_label_that_an_index_serves(tmp_path: Path, name: str) -> None:
    file, text = SERVED[name]
    (tmp_path / "more.txt").write_text(f"{PIN}\n")
    result = lint(tmp_path, {file: text})
    assert "GPD474" not in [f.rule for f in result.verdict.findings] + asked(result)


def test_what_an_index_of_one_s_own_has_is_open(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": f"--index-url https://packages.example.com/simple\n{PIN}\n"})
    assert (said(result), asked(result)) == ([], ["GPD474"])


def test_a_release_that_never_was_is_not_judged_any_further(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": "torch==2.9.9\nnvidia-cudnn-cu12==9.1.0.70\n"})
    assert said(result) == ["GPD474 warning 1 torch"]


@pytest.mark.parametrize(
    "line",
    [
        "pyannote.audio @ git+https://github.com/pyannote/pyannote-audio@develop",
        "pyannote.audio @ https://example.com/pyannote-audio/archive/develop.zip",
    ],
)
def test_a_release_behind_a_url_is_not_guessed(tmp_path: Path, line: str) -> None:
    result = lint(tmp_path, {"requirements.txt": f"torch==2.5.1\ntorchaudio==2.5.1\n{line}\n"})
    assert (said(result), asked(result)) == ([], ["GPD479"])


def test_a_wheel_from_somewhere_is_not_judged_as_the_index_s_build(tmp_path: Path) -> None:
    wheel = "onnxruntime_gpu-1.18.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    result = lint(tmp_path, {"requirements.txt": f"torch==2.5.1\nhttps://example.com/x/{wheel}\n"})
    assert said(result) == []
    assert asked(result) == ["GPD201", "GPD104"]
    hosted = f"https://files.example.com/packages/0a/1b/{'c' * 60}/{wheel}"
    assert "GPD202 error 2 onnxruntime" in said(lint(tmp_path, {"requirements.txt": f"torch==2.5.1\n{hosted}\n"}))


def test_the_way_to_cudnn_8_names_its_releases(tmp_path: Path) -> None:
    text = "FROM nvidia/cuda:12.3.2-cudnn9-runtime-ubuntu22.04\nRUN pip install ctranslate2==4.4.0{}\n"
    (finding,) = lint(tmp_path, {"Dockerfile": text.format("")}).verdict.findings
    assert finding.fixes[1].title == "Or add nvidia-cudnn-cu12>=8,<9, and its folder to LD_LIBRARY_PATH"
    (finding,) = lint(tmp_path, {"Dockerfile": text.format(" nvidia-cudnn-cu12==9.28.0.42")}).verdict.findings
    assert finding.fixes[1].title == "Or take nvidia-cudnn-cu12>=8,<9, and its folder into LD_LIBRARY_PATH"


def test_what_would_bring_a_missing_library_is_of_the_pinned_release(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": "ctranslate2==4.4.0\n"})
    (reason,) = (q.reason for q in result.verdict.open if "cudnn_ops" in q.reason)
    assert "; nvidia-cudnn-cu12>=8,<9 would bring it, and `gpudoctor pins ctranslate2==4.4.0` names" in reason
