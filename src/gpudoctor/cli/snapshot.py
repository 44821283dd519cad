"""`gpudoctor snapshot`: the facts as one JSON file."""

from __future__ import annotations

from typing import Annotated

import typer

from gpudoctor.cli.common import (
    OUTPUT,
    AssumeDriverOption,
    AssumeGpuOption,
    BinaryOption,
    EnvFileOption,
    EnvOption,
    ForOption,
    MatrixOption,
    OutputOption,
    PythonOption,
    emit,
    request_for,
    take_or_read,
)


def snapshot(
    python: PythonOption = None,
    consumers: ForOption = None,
    binary: BinaryOption = None,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
    assume_driver: AssumeDriverOption = None,
    assume_gpu: AssumeGpuOption = None,
    matrix_file: MatrixOption = None,
    redact: Annotated[
        bool,
        typer.Option(
            "--redact/--no-redact",
            help="Mask home folders, user and host names and GPU serial numbers.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    output: OutputOption = None,
) -> int:
    """Write everything that was read about this machine and environment as one JSON document.

    `gpudoctor check --snapshot FILE` judges it anywhere; it is what to attach to a bug report.

    Example: gpudoctor snapshot -o machine.json
    """
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.report.json import render_document

    taken = take_or_read(
        load_matrix(matrix_file),
        None,
        request_for(
            python=python,
            consumers=consumers,
            binary=binary,
            env=env,
            env_file=env_file,
            assume_driver=assume_driver,
            assume_gpu=assume_gpu,
        ),
    )
    if redact:
        from gpudoctor.probes.redact import redact_here

        taken = redact_here(taken)
    emit(render_document(taken), output, encoding="utf-8")
    return 0
