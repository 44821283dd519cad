"""Compile compat/*.yaml into src/gpudoctor/matrix/matrix.json. `--check` fails when the committed file is another."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from gpudoctor.matrix.compile import compile_matrix
from gpudoctor.matrix.yamlfile import parse_matrix_file
from gpudoctor.model.errors import InputFileError

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "src" / "gpudoctor" / "matrix" / "matrix.json"


def source_files() -> list[Path]:
    compat = ROOT / "compat"
    return sorted([*compat.glob("*.yaml"), *compat.glob("consumers/*.yaml"), *compat.glob("facts/*.yaml")])


def compiled() -> bytes:
    files = [parse_matrix_file(path.read_bytes(), path.relative_to(ROOT).as_posix()) for path in source_files()]
    return msgspec.json.encode(compile_matrix(files)) + b"\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the committed file is stale")
    arguments = parser.parse_args()
    try:
        new = compiled()
    except InputFileError as error:
        print(error, file=sys.stderr)
        return 2
    if OUTPUT.is_file() and OUTPUT.read_bytes() == new:
        return 0
    if arguments.check:
        print(f"{OUTPUT.relative_to(ROOT)} is not what compat/ says; run scripts/gen_matrix.py", file=sys.stderr)
        return 1
    OUTPUT.write_bytes(new)
    print(f"{OUTPUT.relative_to(ROOT)}: {len(new)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
