"""What the tests of lint share: files in a folder, and what is said of them."""

from __future__ import annotations

from pathlib import Path

from gpudoctor.lint.judge import LintResult, lint_files
from gpudoctor.lint.target import make_target
from gpudoctor.matrix.load import load_matrix
from gpudoctor.system.real import RealSystem

MATRIX = load_matrix()


def lint(
    folder: Path,
    files: dict[str, str],
    *named: str,
    driver: str | None = "580.65.06",
    gpu: str | None = "RTX 3090",
    python: str | None = "3.11",
    platform: str = "linux-x86_64",
    apart: bool = False,
) -> LintResult:
    """Write files and judge them, or those that are named."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    target = make_target(MATRIX, driver=driver, gpus=(gpu,) if gpu else (), python=python, platform=platform)
    paths = [str(folder / name) for name in named or files]
    return lint_files(RealSystem(), MATRIX, paths, target, apart=apart)


def said(result: LintResult) -> list[str]:
    """Return each finding as `rule level line subject`."""
    return sorted(
        f"{f.rule} {f.level} {f.location.line if f.location else None} {f.subject.name}"
        for f in result.verdict.findings
    )


def asked(result: LintResult) -> list[str]:
    """Return the rules of the open questions."""
    return [q.rule for q in result.verdict.open]
