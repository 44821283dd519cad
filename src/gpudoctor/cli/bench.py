"""`gpudoctor bench`: faster-whisper on the GPU, on the CPU when that fails, and why."""

from __future__ import annotations

import math
import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from gpudoctor.cli.common import (
    OUTPUT,
    TARGET,
    Color,
    ColorOption,
    EnvFileOption,
    EnvOption,
    MatrixOption,
    OutputOption,
    emit,
    rendering,
)

if TYPE_CHECKING:
    from gpudoctor.bench.progress import Progress
    from gpudoctor.model.bench import BenchDocument

MEASURE = "What is measured"
JUDGE = "Comparing"


class DeviceChoice(str, Enum):
    """Where to run."""

    AUTO = "auto"
    CUDA = "cuda"
    CPU = "cpu"


class BenchFormat(str, Enum):
    """Formats of a benchmark."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def _complete_model(incomplete: str) -> list[str]:
    from gpudoctor.matrix.load import load_matrix

    names = [model.name for model in load_matrix(None).data.models]
    return [n for n in (*(f"synthetic:{n}" for n in names), *names) if n.startswith(incomplete)]


def bench(
    python: Annotated[
        str | None,
        typer.Option(
            "--python",
            metavar="PATH",
            help="Interpreter or environment folder to run. Default: the active environment, then the interpreter that "
            "runs gpudoctor, whichever has faster-whisper.",
            rich_help_panel=TARGET,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="synthetic:SIZE (random weights of that size's shape, made here), a folder of a CTranslate2 model, or "
            "a size that faster-whisper finds in the Hugging Face cache or downloads. Repeatable.",
            show_default="synthetic:tiny",
            autocompletion=_complete_model,
            rich_help_panel=MEASURE,
        ),
    ] = None,
    device: Annotated[
        DeviceChoice,
        typer.Option("--device", help="auto: the GPU, and the CPU when that fails.", rich_help_panel=MEASURE),
    ] = DeviceChoice.AUTO,
    compute_type: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-type",
            metavar="TYPE",
            help="Number format. Repeatable. Default: float16 and int8_float16 on the GPU, int8 and float32 on the "
            "CPU, as far as CTranslate2 supports them there.",
            rich_help_panel=MEASURE,
        ),
    ] = None,
    audio: Annotated[
        str | None,
        typer.Option(
            "--audio",
            metavar="FILE",
            help="Sound or video file. Default: 30 seconds that gpudoctor makes.",
            rich_help_panel=MEASURE,
        ),
    ] = None,
    beam_size: Annotated[
        int, typer.Option("--beam-size", min=1, max=64, help="Beams of the search.", rich_help_panel=MEASURE)
    ] = 5,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            max=256,
            help="Decode so many windows at once (BatchedInferencePipeline); the sample is that many windows long.",
            rich_help_panel=MEASURE,
        ),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            "--runs",
            min=1,
            max=1000,
            help="Runs that count. Default: 5, or as few as 3 where those took 20 seconds together.",
            rich_help_panel=MEASURE,
        ),
    ] = None,
    warmup: Annotated[
        int, typer.Option("--warmup", min=0, max=100, help="Runs before them.", rich_help_panel=MEASURE)
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            max=1024,
            help="Threads of the processor. Default: OMP_NUM_THREADS, else up to 4, as faster-whisper has it.",
            rich_help_panel=MEASURE,
        ),
    ] = None,
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit",
            metavar="SECONDS",
            min=1,
            help="What one step (a load, one transcription) may take before it counts as hung.",
            rich_help_panel=MEASURE,
        ),
    ] = 180.0,
    no_repair: Annotated[
        bool,
        typer.Option(
            "--no-repair", help="Leave the library paths as they are, to see the difference.", rich_help_panel=MEASURE
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Measure GPU and CPU side by side, and compare what they compute.",
            rich_help_panel=JUDGE,
        ),
    ] = False,
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="FILE", help="Also write the JSON document there.", rich_help_panel=JUDGE),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", metavar="FILE", help="Fail when slower than this earlier document.", rich_help_panel=JUDGE
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="SHARE",
            min=0,
            help="With --against: by which share a run may be slower.",
            rich_help_panel=JUDGE,
        ),
    ] = 0.1,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
    matrix_file: MatrixOption = None,
    report_format: Annotated[BenchFormat, typer.Option("--format", help="Format.", rich_help_panel=OUTPUT)] = (
        BenchFormat.TEXT
    ),
    output: OutputOption = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Show no progress.", rich_help_panel=OUTPUT)] = False,
    color: ColorOption = Color.AUTO,
) -> int:
    """Transcribe with the environment's own faster-whisper: on the GPU, on the CPU when that fails, and say why.

    Runs the environment, in child processes, under the library paths that `gpudoctor env` computes. A crash, a hang or
    a lack of memory there becomes a cause with its fix, and the CPU is measured instead. Needs no network and no model:
    by default a model of random weights is made once and kept in your cache. Every run decodes the same number of
    tokens, so that times compare.

    Exit status: 0 also when it fell back to the CPU; 1 with --device cuda when the GPU fails, without any result, with
    --compare when a device computes something else, and with --against when it is slower.

    Examples:
      gpudoctor bench

      gpudoctor bench --python /srv/app/.venv --model synthetic:large-v3 --compare

      gpudoctor bench --model small --audio meeting.mp3 --batch-size 8 --device cuda

      gpudoctor bench --save before.json; gpudoctor bench --against before.json --tolerance 0.15
    """
    from gpudoctor.bench.against import compare_with, read_document
    from gpudoctor.bench.request import DEFAULT_MODEL, BenchRequest
    from gpudoctor.bench.run import run_bench
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.system.real import RealSystem

    _check_numbers({"--time-limit": time_limit, "--tolerance": tolerance})
    system = RealSystem()
    before = read_document(system, against) if against is not None else None
    request = BenchRequest(
        python=python,
        own_python=sys.executable,
        assignments=tuple(env or ()),
        env_file=env_file,
        models=tuple(model or (DEFAULT_MODEL,)),
        device=device.value,
        compute_types=tuple(dict.fromkeys(compute_type or ())),
        audio=audio,
        beam_size=beam_size,
        batch_size=batch_size,
        runs=runs,
        warmup=warmup,
        threads=threads,
        step_limit_s=time_limit,
        compare=compare,
        repair=not no_repair,
    )
    with _progress(quiet) as progress:
        document = run_bench(system, load_matrix(matrix_file), request, progress)
    if before is not None and against is not None:
        import msgspec

        found = compare_with(document, before, against, tolerance)
        status = 1 if found.regressed else document.exit_status
        document = msgspec.structs.replace(document, against=found, exit_status=status)
    _print(document, save, report_format, output, color)
    return document.exit_status


def _check_numbers(options: dict[str, float]) -> None:
    """Refuse what Python reads as a number and no comparison takes: nothing is slower than `nan`.

    Raises:
        UsageError: There is one.
    """
    for option, value in options.items():
        if not math.isfinite(value):
            from gpudoctor.model.errors import UsageError

            raise UsageError(f"{option} {value}: expected a number")


def _print(document: BenchDocument, save: str | None, form: BenchFormat, output: str | None, color: Color) -> None:
    from gpudoctor.report.bench import render_bench, render_bench_markdown
    from gpudoctor.report.json import render_document

    if save is not None:
        emit(render_document(document), save, encoding="utf-8")
    if form is BenchFormat.JSON:
        emit(render_document(document), output, encoding="utf-8")
    elif form is BenchFormat.MARKDOWN:
        emit(render_bench_markdown(document), output, encoding="utf-8")
    else:
        colored, width, ascii_only = rendering(color, output)
        emit(render_bench(document, colored=colored, width=width, ascii_only=ascii_only), output)


class _Lines:
    """Progress as lines, for a log."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, text: str) -> None:
        """Write it down."""
        from gpudoctor.cli.common import say

        say(text)

    result = step


class _Live:
    """Progress as one line that changes, for a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._status = self._console.status("")

    def __enter__(self) -> Progress:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def step(self, text: str) -> None:
        """Show it in place of the former."""
        from rich.text import Text

        from gpudoctor.report.escape import visible

        self._status.update(Text(visible(text)))

    def result(self, text: str) -> None:
        """Leave it above."""
        from gpudoctor.report.escape import visible

        self._console.print(visible(text), soft_wrap=True)


class _Quiet(_Lines):
    def step(self, text: str) -> None:
        """Show nothing."""

    result = step


def _progress(quiet: bool) -> _Lines | _Live:
    if quiet or sys.stderr is None:
        return _Quiet()
    return _Live() if sys.stderr.isatty() else _Lines()
