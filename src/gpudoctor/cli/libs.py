"""`gpudoctor libs`: the loader's answers, one by one."""

from __future__ import annotations

from gpudoctor.cli.common import (
    BinaryOption,
    Color,
    ColorOption,
    EnvFileOption,
    EnvOption,
    ForOption,
    MatrixOption,
    OutputOption,
    PlainFormat,
    PlainFormatOption,
    PythonOption,
    SnapshotOption,
    VerboseOption,
    emit,
    rendering,
    request_for,
    take_or_read,
)


def libs(
    python: PythonOption = None,
    consumers: ForOption = None,
    binary: BinaryOption = None,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
    snapshot: SnapshotOption = None,
    matrix_file: MatrixOption = None,
    report_format: PlainFormatOption = PlainFormat.TEXT,
    output: OutputOption = None,
    verbose: VerboseOption = False,
    color: ColorOption = Color.AUTO,
) -> int:
    """Show, per consumer and library, the file that will be loaded, the rule that chose it, and the places tried.

    Example: gpudoctor libs --for ctranslate2 -v
    """
    from gpudoctor.matrix.load import load_matrix

    taken = take_or_read(
        load_matrix(matrix_file),
        snapshot,
        request_for(
            python=python,
            consumers=consumers,
            binary=binary,
            env=env,
            env_file=env_file,
        ),
    )
    if report_format is PlainFormat.JSON:
        from gpudoctor.report.json import render_libs_json

        emit(render_libs_json(taken), output, encoding="utf-8")
    else:
        from gpudoctor.report.text import render_libs

        colored, width, ascii_only = rendering(color, output)
        emit(render_libs(taken, verbose=verbose, colored=colored, width=width, ascii_only=ascii_only), output)
    return 0
