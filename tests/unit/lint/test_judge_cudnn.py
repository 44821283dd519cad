"""A cuDNN without code for the assumed GPU, where a consumer opens it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.lint.builders import lint, said

SET = "faster-whisper==1.1.1\nctranslate2==4.6.0\nnvidia-cublas-cu12==12.4.5.8\nnvidia-cudnn-cu12=={}\n"


def _of_gpu(text: str, tmp_path: Path, gpu: str) -> list[str]:
    return [line for line in said(lint(tmp_path, {"requirements.txt": text}, gpu=gpu)) if line.startswith("GPD302")]


def test_a_cudnn_without_code_for_the_gpu_is_an_error(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": SET.format("9.28.0.42")}, driver="535.54.03", gpu="GTX 1060")
    (finding,) = (f for f in result.verdict.findings if f.rule == "GPD302")
    assert (finding.level, finding.cause) == ("error", "gpu-arch-unsupported")
    assert finding.location is not None
    assert finding.location.line == 4
    assert "nvidia-cudnn-cu12 9.28.0.42, which ctranslate2 4.6.0 opens, has no code for" in finding.message
    assert finding.facts == ("cudnn-cu12-9-28-code",)
    assert [f.title for f in finding.fixes] == [
        "Pin nvidia-cudnn-cu12==9.10.2.21, the last with code for this GPU",
        "Or take ctranslate2>=4.6.3, which needs no cuDNN",
    ]


@pytest.mark.parametrize(
    ("text", "gpu"),
    [
        (SET.format("9.10.2.21"), "GTX 1060"),
        (SET.format("9.28.0.42"), "RTX 2080 Ti"),
        # this one opens no cuDNN
        (SET.format("9.28.0.42").replace("4.6.0", "4.8.5"), "GTX 1060"),
        # torch takes a cuDNN that has code
        ("torch==2.8.0+cu126\n--extra-index-url https://download.pytorch.org/whl/cu126\n", "GTX 1060"),
    ],
)
def test_a_cudnn_with_code_or_one_that_nobody_opens_is_fine(tmp_path: Path, text: str, gpu: str) -> None:
    assert _of_gpu(text, tmp_path, gpu) == []


def test_a_torch_that_lacks_code_itself_is_told_of_once(tmp_path: Path) -> None:
    assert _of_gpu("torch==2.15.0\n", tmp_path, "GTX 1060") == ["GPD302 error 1 torch"]


def test_beside_the_base_image_s_cudnn_the_loader_decides(tmp_path: Path) -> None:
    text = "FROM nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04\n"
    text += "RUN pip install ctranslate2==4.6.0 nvidia-cudnn-cu12==9.28.0.42\n"
    assert [s for s in said(lint(tmp_path, {"Dockerfile": text}, gpu="GTX 1060")) if s.startswith("GPD302")] == []
