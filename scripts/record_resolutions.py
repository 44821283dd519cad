"""Record what the package index resolves: versions that an installer really puts together, for tests of the facts.

Usage: scripts/record_resolutions.py [NAME…]   (without NAME: every file of tests/unit/matrix/resolved, again)
       scripts/record_resolutions.py --new NAME PYTHON REQUIREMENT…

Each file is the answer of `uv pip compile` for Linux x86-64; its head says what was asked, so that it can be asked
again. Packages are not downloaded, only their metadata is read.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "unit" / "matrix" / "resolved"
UV = Path(sys.executable).parent / "uv"
ASKED = re.compile(r"# Python ([0-9.]+): (.+)")


def resolve(python: str, requirements: Sequence[str]) -> list[str]:
    """Return the pinned requirements that uv finds; empty when there is no solution."""
    command = [str(UV), "pip", "compile", "-", "--quiet", "--no-header", "--no-annotate", "--python-version", python]
    command += ["--python-platform", "x86_64-manylinux_2_28"]
    done = subprocess.run(command, input="\n".join(requirements), capture_output=True, text=True, check=False)
    print(done.stderr, file=sys.stderr, end="")
    return [line for line in done.stdout.splitlines() if "==" in line]


def record(name: str, python: str, requirements: Sequence[str]) -> bool:
    """Write one file; False when the requirements have no solution."""
    if not (pins := resolve(python, requirements)):
        print(f"{name}: no solution", file=sys.stderr)
        return False
    day = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    head = [f"# Python {python}: {' '.join(requirements)}", f"# uv pip compile, Linux x86-64, {day}"]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.txt").write_text("\n".join((*head, *pins)) + "\n", encoding="utf-8")
    return True


def again(names: Sequence[str]) -> bool:
    """Ask again what the named files, or all, were asked for."""
    done = True
    for file in sorted(FOLDER.glob("*.txt")):
        if names and file.stem not in names:
            continue
        asked = ASKED.match(file.read_text(encoding="utf-8"))
        done = asked is not None and record(file.stem, asked[1], asked[2].split()) and done
    return done


def main(arguments: Sequence[str]) -> int:
    """Record one new resolution, or the old ones again."""
    if arguments[:1] == ["--new"]:
        return 0 if record(arguments[1], arguments[2], arguments[3:]) else 1
    return 0 if again(arguments) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
