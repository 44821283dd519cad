"""What GPD471 recommends fits the other pins, the driver and the GPU, or nothing is recommended."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpudoctor.lint.judge import LintResult
from unit.lint.builders import lint, said


def _ways(result: LintResult, rule: str, name: str) -> str:
    """Return the remedies of a rule for a package, in words."""
    found = [f for f in result.verdict.findings if f.rule == rule and f.subject.name == name]
    return "; ".join(fix.title for finding in found for fix in finding.fixes)


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        # torchaudio 2.11 is what an install takes, and an error says that it is not for torch 2.5.1
        ("torch==2.5.1\ntorchaudio\n", "torchaudio", "2.5.1"),
        ("torch==2.2.0\nnumpy\n", "numpy", "1.26.4"),
        # 1.27 and later are for CUDA 13, whose libraries nothing brings
        ("torch==2.5.1\nonnxruntime-gpu\n", "onnxruntime-gpu", "1.26.0"),
        ("ctranslate2==4.8.5\nonnxruntime-gpu\nnvidia-cublas-cu12==12.4.5.8\n", "onnxruntime-gpu", "1.26.0"),
    ],
)
def test_a_release_that_the_other_pins_rule_out_is_not_recommended(
    tmp_path: Path, text: str, name: str, version: str
) -> None:
    result = lint(tmp_path, {"requirements.txt": text})
    assert _ways(result, "GPD471", name) == f"Pin the release that works, such as {name}=={version}, or commit a lock"


def test_a_release_that_the_assumed_machine_rules_out_is_not_recommended(tmp_path: Path) -> None:
    old = lint(tmp_path, {"requirements.txt": "torch\ntorchaudio\n"}, driver="535.54.03")
    assert "torch==2.10.0," in _ways(old, "GPD471", "torch")
    assert "torchaudio==2.10.0," in _ways(old, "GPD471", "torchaudio")
    wheels = {"requirements.txt": "nvidia-cudnn-cu12\nnvidia-cublas-cu12==12.4.5.8\n"}
    pascal = lint(tmp_path, wheels, gpu="GTX 1060")
    assert "nvidia-cudnn-cu12==9.10.2.21," in _ways(pascal, "GPD471", "nvidia-cudnn-cu12")
    turing = lint(tmp_path, wheels, gpu="RTX 2080 Ti")
    assert "nvidia-cudnn-cu12==9.28.0.42," in _ways(turing, "GPD471", "nvidia-cudnn-cu12")


def test_the_newest_releases_are_recommended_where_they_fit(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": "torch==2.5.1\nfaster-whisper\n"})
    assert "ctranslate2==4.8.5," in _ways(result, "GPD471", "ctranslate2")


def test_libraries_of_a_cuda_that_the_driver_does_not_serve_are_no_way_out(tmp_path: Path) -> None:
    files = {"requirements.txt": "torch==2.5.1\nonnxruntime-gpu==1.31.1\n"}
    assert "Or add nvidia-cublas, " in _ways(lint(tmp_path, files), "GPD203", "onnxruntime")
    old = _ways(lint(tmp_path, files, driver="535.54.03"), "GPD203", "onnxruntime")
    assert old == "Take onnxruntime-gpu==1.26.0, which opens what these files bring"


def test_where_no_release_fits_none_is_recommended(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": "torch==2.5.1\ntorchaudio\n"}, driver="450.80.02")
    assert "GPD104 error 1 nvidia" in said(result)
    assert "torchaudio==2.5.1," in _ways(result, "GPD471", "torchaudio")  # the driver is torch's to fail on
    none = lint(tmp_path, {"requirements.txt": "torch\nctranslate2==4.8.5\n"}, driver="390.30")
    assert "such as" not in _ways(none, "GPD471", "torch")
    assert "`gpudoctor pins torch ctranslate2==4.8.5` looks for one" in _ways(none, "GPD471", "torch")


def test_a_release_for_the_family_s_torch_is_named_or_none(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": "torch==2.15.0\ntorchaudio\n"})
    assert _ways(result, "GPD403", "torchaudio") == "Move torch or torchaudio to releases that fit each other"


def test_the_way_out_of_another_cuda_suits_the_driver(tmp_path: Path) -> None:
    files = {"requirements.txt": "torch==2.15.0\nonnxruntime-gpu==1.26.0\n"}
    assert "onnxruntime-gpu==1.31.1" in _ways(lint(tmp_path, files), "GPD203", "onnxruntime")
    assert "onnxruntime-gpu==" not in _ways(lint(tmp_path, files, driver="535.54.03"), "GPD203", "onnxruntime")
