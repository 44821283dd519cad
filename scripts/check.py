"""Runs all that CI runs, and prints for a failing step the command that repeats it.

Usage: scripts/check.py [STEP…]   (without STEP: every step, in order)
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Step:
    """One step of the check.

    Attributes:
        name: What to type to run it alone.
        title: What it checks.
        command: Its argument list; the first element is looked up beside the running interpreter.
    """

    name: str
    title: str
    command: tuple[str, ...]


STEPS = (
    Step("format", "format", ("ruff", "format", "--check", "--quiet", ".")),
    Step("lint", "lint", ("ruff", "check", "--quiet", ".")),
    Step("types", "types", ("mypy", "--no-error-summary")),
    Step("layers", "layers", ("lint-imports", "--no-cache")),
    Step("matrix", "compiled matrix is current", ("python", "scripts/gen_matrix.py", "--check")),
    Step("signatures", "compiled log signatures are current", ("python", "scripts/gen_signatures.py", "--check")),
    Step("schema", "JSON Schemas are current", ("python", "scripts/gen_schema.py", "--check")),
    Step("rules", "rule pages are current", ("python", "scripts/gen_rules.py", "--check")),
    Step("pages", "pages of the matrix are current", ("python", "scripts/gen_pages.py", "--check")),
    Step("readme", "README's generated parts are current", ("python", "scripts/gen_readme.py", "--check")),
    Step("tests", "tests", ("pytest", "-q", "-n", "2", "--dist", "loadgroup", "-m", "not wheels")),
    Step(
        "wheels",
        "tests on environments from real wheels",
        ("pytest", "-q", "-n", "2", "--dist", "loadgroup", "-m", "wheels"),
    ),
)


def run(step: Step) -> bool:
    """Run one step; its output is shown as it comes."""
    print(f"== {step.title}", flush=True)
    started = time.monotonic()
    program = BIN / step.command[0]
    status = subprocess.run([str(program), *step.command[1:]], cwd=ROOT, check=False).returncode
    print(f"   {'ok' if status == 0 else f'failed ({status})'}, {time.monotonic() - started:.0f} s", flush=True)
    return status == 0


def main(names: list[str]) -> int:
    """Run the named steps, or all."""
    unknown = set(names) - {step.name for step in STEPS}
    if unknown:
        print(f"no step {', '.join(sorted(unknown))}; there are: {', '.join(s.name for s in STEPS)}", file=sys.stderr)
        return 2
    failed = [step for step in STEPS if (not names or step.name in names) and not run(step)]
    for step in failed:
        print(f"FAILED {step.title}: repeat with  .venv/bin/{' '.join(step.command)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
