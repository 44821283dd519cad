"""`gpudoctor lint`: dependency and container files, judged before anything is installed."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from gpudoctor.cli.common import (
    ASSUME,
    OUTPUT,
    AnchorOption,
    AssumeDriverOption,
    AssumeGpuOption,
    Color,
    ColorOption,
    FailOnOption,
    Format,
    FormatOption,
    IgnoreOption,
    MatrixOption,
    OutputOption,
    SelectOption,
    StrictOption,
    VerboseOption,
    rendering,
)
from gpudoctor.cli.configured import ConfigOption, NoConfigOption, Wishes, apply_project, find_project, wishes_of
from gpudoctor.cli.formats import print_report

if TYPE_CHECKING:
    from gpudoctor.lint.judge import LintResult
    from gpudoctor.lint.target import Target
    from gpudoctor.model.finding import Report


class Platform(str, Enum):
    """Platforms, as the matrix names them."""

    LINUX = "linux-x86_64"
    LINUX_ARM = "linux-aarch64"
    WINDOWS = "windows-x86_64"
    MACOS = "macos-arm64"


def lint(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]…",
            help="Files, which make one environment together, or folders to look through. Default: this folder.",
        ),
    ] = None,
    apart: Annotated[
        bool,
        typer.Option("--apart", help="Each file is an environment of its own, with what it pulls in; as in a folder."),
    ] = False,
    assume_driver: AssumeDriverOption = None,
    assume_gpu: AssumeGpuOption = None,
    python_version: Annotated[
        str | None,
        typer.Option(
            "--python-version",
            metavar="VERSION",
            help="Judge for this Python, such as 3.11. Default: the one that the files decide on.",
            rich_help_panel=ASSUME,
        ),
    ] = None,
    platform: Annotated[
        Platform, typer.Option("--platform", help="Judge for this platform.", rich_help_panel=ASSUME)
    ] = Platform.LINUX,
    matrix_file: MatrixOption = None,
    fail_on: FailOnOption = None,
    strict: StrictOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    config: ConfigOption = None,
    no_config: NoConfigOption = False,
    report_format: FormatOption = Format.TEXT,
    output: OutputOption = None,
    anchor: AnchorOption = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print findings only; nothing when clean.", rich_help_panel=OUTPUT)
    ] = False,
    verbose: VerboseOption = False,
    color: ColorOption = Color.AUTO,
) -> int:
    """Judge dependency and container files before anything is installed: will these releases work together?

    Reads requirements*.txt, pyproject.toml, uv.lock, pylock.toml, poetry.lock, conda environment.yml, Dockerfiles,
    compose files, GitHub workflows, shell scripts and Modal images, and what they pull in. Nothing is installed,
    executed or fetched. Files that are named together are installed together, one after another; in a folder each is an
    environment of its own. A release that is not pinned is judged as the newest one that the matrix knows.

    Examples:
      gpudoctor lint requirements.txt

      gpudoctor lint Dockerfile requirements-cuda.txt --assume-driver 535.54.03 --assume-gpu "RTX 3090"

      gpudoctor lint pyproject.toml uv.lock --python-version 3.12 --strict

      gpudoctor lint --format github
    """
    from gpudoctor.lint.judge import lint_files
    from gpudoctor.lint.target import make_target
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.report.build import build_report
    from gpudoctor.rules.engine import check_names
    from gpudoctor.system.real import RealSystem

    files = files or ["."]
    check_names((*(select or ()), *(ignore or ())))
    project = find_project(config, no_config)
    said = Wishes(None, None, None, assume_driver, assume_gpu, matrix_file)
    wishes = wishes_of(project, said)
    matrix = load_matrix(wishes.matrix_file)
    target = make_target(
        matrix,
        driver=wishes.assume_driver,
        gpus=tuple(wishes.assume_gpu or ()),
        python=python_version,
        platform=platform.value,
    )
    settled = project.settled if project else None
    selected, ignored = tuple(select or (settled.select if settled else ())), tuple(ignore or ())
    result = lint_files(RealSystem(), matrix, files, target, select=selected, ignore=ignored, apart=apart)
    verdict = apply_project(project, result.verdict, select=tuple(select or ()), ignore=ignored, files=result.files)
    least = fail_on.value if fail_on else (settled.fail_on if settled else None) or "error"
    strict = strict if strict is not None else bool(settled and settled.strict)
    report = build_report(
        verdict, None, matrix, fail_on=least, strict=strict, python_version=result.python, files=result.files
    )
    print_report(
        report,
        report_format,
        output,
        text=lambda: _as_text(report, result, target, verbose, quiet, color, output),
        command="lint",
        fail_on=least,
        anchor=anchor or files[0],
    )
    return report.summary.exit_status


def _as_text(
    report: Report, result: LintResult, target: Target, verbose: bool, quiet: bool, color: Color, output: str | None
) -> str:
    from gpudoctor.report.lint import render_lint

    colored, width, ascii_only = rendering(color, output)
    return render_lint(
        report,
        result.files,
        _judged_for(result, target),
        verbose=verbose,
        quiet=quiet,
        colored=colored,
        width=width,
        ascii_only=ascii_only,
    )


def _judged_for(result: LintResult, target: Target) -> tuple[str, ...]:
    """Return the machine in words."""
    python = target.python or result.python
    return (
        target.platform,
        f"Python {python}" if python else "any Python",
        f"driver {target.driver}" if target.driver else "no driver assumed",
        *([gpu.name for gpu in target.gpus] or ["no GPU assumed"]),
    )
