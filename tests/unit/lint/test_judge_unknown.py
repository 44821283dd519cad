"""Packages that the matrix does not know: named once where they matter, and never in the way of `--strict`."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.lint.builders import lint


def _open(tmp_path: Path, text: str) -> tuple[list[str], bool]:
    verdict = lint(tmp_path, {"requirements.txt": text}).verdict
    return [q.reason for q in verdict.open if q.rule == "GPD479"], verdict.required_open


@pytest.mark.parametrize(
    "name", ["vllm", "nemo_toolkit", "stable-ts", "insanely-fast-whisper", "demucs", "torchmetrics"]
)
def test_a_package_that_brings_gpu_packages_is_never_fine(tmp_path: Path, name: str) -> None:
    (reason,), required = _open(tmp_path, f"{name}\nfastapi\n")
    assert reason.startswith(f"{name.replace('_', '-')}: not in the matrix, and packages of this kind bring torch")
    assert required


@pytest.mark.parametrize("text", ["fastapi\nrequests==2.32.3\n", "company-tool\nflask\n", "company-tool==1.0\n"])
def test_a_web_service_s_packages_are_no_question(tmp_path: Path, text: str) -> None:
    assert _open(tmp_path, text) == ([], False)


def test_beside_gpu_packages_the_unknown_ones_are_named_once_and_strict_does_not_insist(tmp_path: Path) -> None:
    text = "torch==2.5.1\nfastapi\ncompany-asr\ncompany-tool\n"
    (reason,), required = _open(tmp_path, text)
    assert reason.startswith("company-asr and company-tool: not in the matrix")
    assert "fastapi" not in reason
    assert not required


def test_many_are_counted(tmp_path: Path) -> None:
    (reason,), _ = _open(tmp_path, "torch==2.5.1\n" + "".join(f"company-{n}\n" for n in range(100)))
    assert "and 88 more" in reason


def test_a_lock_names_all_that_is_installed(tmp_path: Path) -> None:
    lock = 'version = 1\nrequires-python = ">=3.11"\n\n' + "".join(
        f'[[package]]\nname = "{n}"\nversion = "{v}"\nsource = {{ registry = "https://example.com/simple" }}\n\n'
        for n, v in (("torch", "2.5.1"), ("company-asr", "1.0"))
    )
    lock += '[[package]]\nname = "app"\nversion = "0"\nsource = { virtual = "." }\n'
    lock += 'dependencies = [{ name = "torch" }, { name = "company-asr" }]\n'
    verdict = lint(tmp_path, {"uv.lock": lock}).verdict
    assert "company-asr" not in " ".join(q.reason for q in verdict.open)
