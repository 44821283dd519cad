"""What `gpudoctor check` costs, beside a bare typer program, side by side in one run.

Usage: scripts/bench_check.py [--python PATH] [--runs N]

Prints the median wall time of whole processes, interleaved, their ratio, the peak resident memory, and the modules
that `check` imported although it must not. Times depend on the machine; the ratio is what is promised (at most 3).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

BARE = """
import typer

app = typer.Typer()


@app.command()
def main(name: str = "world") -> None:
    print("hello", name)


app()
"""
# Measures a child's peak memory from outside: ru_maxrss of the only child waited for.
PEAK = (
    "import resource, subprocess, sys;"
    "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)
FORBIDDEN = ("pydantic", "yaml", "torch", "ctranslate2", "numpy", "socket", "ssl", "http", "urllib.request")


@dataclass(frozen=True)
class Costs:
    """Result of one comparison.

    Attributes:
        check_s: Median wall time of `gpudoctor check`.
        bare_s: Median wall time of the bare typer program.
        ratio: Their ratio.
        peak_mib: Peak resident memory of `gpudoctor check`.
        forbidden: Modules it imported although it must not.
    """

    check_s: float
    bare_s: float
    ratio: float
    peak_mib: float
    forbidden: tuple[str, ...]


def compare(target: str | None, runs: int) -> Costs:
    """Run both programs alternately and return their medians."""
    check = [sys.executable, "-m", "gpudoctor", "check", *(["--python", target] if target else [])]
    with tempfile.TemporaryDirectory() as folder:
        bare_file = Path(folder) / "bare.py"
        bare_file.write_text(BARE)
        bare = [sys.executable, str(bare_file)]
        _seconds(check)  # warm the file cache for both
        _seconds(bare)
        pairs = [(_seconds(check), _seconds(bare)) for _ in range(runs)]
    check_s, bare_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    peak = subprocess.run([sys.executable, "-c", PEAK, *check], capture_output=True, text=True, check=True).stdout
    return Costs(check_s, bare_s, check_s / bare_s, int(peak) / 1024, _forbidden(check))


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started


def _forbidden(check: list[str]) -> tuple[str, ...]:
    command = [check[0], "-X", "importtime", *check[1:]]
    lines = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False).stderr
    imported = {line.rsplit("|", 1)[-1].strip() for line in lines.splitlines() if line.startswith("import time:")}
    return tuple(sorted(m for m in imported if any(m == f or m.startswith(f + ".") for f in FORBIDDEN)))


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description="Cost of gpudoctor check beside a bare typer program")
    parser.add_argument("--python", help="environment to judge (default: the active one)")
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    costs = compare(arguments.python, arguments.runs)
    print(f"gpudoctor check     {costs.check_s * 1e3:7.0f} ms (median of {arguments.runs})")
    print(f"bare typer program  {costs.bare_s * 1e3:7.0f} ms")
    print(f"ratio               {costs.ratio:7.2f}")
    print(f"peak memory         {costs.peak_mib:7.1f} MiB")
    print(f"forbidden imports   {', '.join(costs.forbidden) or 'none'}")


if __name__ == "__main__":
    main()
