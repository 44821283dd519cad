"""The matrix, from the file compiled into the package and, where the user gives one, an overlay."""

from __future__ import annotations

import msgspec

from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import MatrixData, MatrixFile
from gpudoctor.model.errors import GpuDoctorError, InputFileError

COMPILED_FILE = "matrix.json"


def load_matrix(overlay: str | None = None) -> Matrix:
    """Return the matrix.

    Args:
        overlay: YAML file of the user, added on top (`--matrix FILE`). PyYAML is imported only for one.

    Raises:
        InputFileError: The overlay cannot be read, or is wrong: file, line and what was expected.
    """
    data = load_data()
    if overlay is not None:
        from gpudoctor.matrix.compile import add_overlay

        data = add_overlay(data, _read(overlay), overlay)
    return Matrix(data)


def load_data() -> MatrixData:
    """Return the matrix as compiled into the package.

    Raises:
        GpuDoctorError: The package's own file is damaged.
    """
    import gpudoctor.matrix

    # Neither importlib.resources nor pathlib: both cost more than reading the file.
    file = f"{gpudoctor.matrix.__path__[0]}/{COMPILED_FILE}"
    try:
        with open(file, "rb") as stream:
            return msgspec.json.decode(stream.read(), type=MatrixData)
    except (OSError, msgspec.DecodeError) as error:
        raise GpuDoctorError(f"{file}: the matrix cannot be read ({error}); install gpudoctor again") from error


def validate_files(paths: tuple[str, ...]) -> tuple[tuple[str, MatrixFile], ...]:
    """Check files of the user against the matrix of the package, each by itself, as an overlay would be.

    Returns:
        Each path with what it holds.

    Raises:
        InputFileError: One cannot be read, or is wrong: file, line and what was expected.
    """
    from gpudoctor.matrix.compile import compile_matrix
    from gpudoctor.matrix.yamlfile import parse_matrix_file

    base = load_data()
    valid: list[tuple[str, MatrixFile]] = []
    for path in paths:
        parsed = parse_matrix_file(_read(path), path)
        compile_matrix([parsed], base)
        valid.append((path, parsed[0]))
    return tuple(valid)


def validate_own() -> tuple[str, MatrixFile]:
    """Check the matrix of the package by itself: every entry, and that no two facts disagree.

    Returns:
        Its name and version, and what it holds.

    Raises:
        InputFileError: It is wrong.
    """
    from gpudoctor.matrix.compile import compile_matrix
    from gpudoctor.matrix.yamlfile import Lines

    data = load_data()
    content = MatrixFile(**{name: getattr(data, name) for name in data.__struct_fields__})
    compile_matrix([(content, Lines(COMPILED_FILE))])
    return f"gpudoctor's matrix {data.version}", content


def _read(path: str) -> bytes:
    from pathlib import Path

    from gpudoctor.matrix.yamlfile import SIZE_LIMIT_BYTES

    try:
        file = Path(path)
        if not file.is_file():  # before opening: a FIFO would wait for ever
            raise InputFileError(f"{path}: {'not a regular file' if file.exists() else 'no such file'}")
        with file.open("rb") as stream:
            return stream.read(SIZE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputFileError(f"{path}: cannot be read: {error}") from error
