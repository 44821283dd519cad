"""Print what the import hook costs at an interpreter's start, and what a deep check costs, for one environment.

Usage: scripts/bench_fix.py ENVIRONMENT [--rounds N]

The environment must have been repaired with the hook (`gpudoctor fix --apply`). Starts with and without its `.pth` line
are interleaved, so that whatever else the machine does weighs on both alike. Nothing of the environment is changed: a
start without the hook is one that does not see its `.pth` file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 40


def milliseconds(*command: str | Path) -> float:
    """Return how long a command takes where byte code may be written, as it may on most machines."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = time.perf_counter()
    subprocess.run([str(c) for c in command], check=True, capture_output=True, env=environment)
    return (time.perf_counter() - begin) * 1000


def summary(values: list[float]) -> str:
    """Return median and least of a series."""
    return f"median {statistics.median(values):7.1f} ms   least {min(values):7.1f} ms"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Cost of the import hook and of a deep check")
    parser.add_argument("environment", type=Path, help="an environment repaired with the hook")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    environment, rounds = arguments.environment, arguments.rounds
    python = environment / "bin/python"
    hook = next((environment / "lib").glob("python3*/site-packages/gpudoctor_preload.pth"), None)
    if hook is None:
        sys.exit(f"{environment} has no import hook: run `gpudoctor fix --python {environment} --apply` first")
    site = hook.parent
    # -S leaves out site and with it every .pth file; the same site folder is then read by hand, with and without ours.
    plain = f"import site; site.addsitedir({str(site)!r})"
    without = f"import os; l = os.listdir; os.listdir = lambda p: [n for n in l(p) if n != {hook.name!r}]; {plain}"
    with_hook = f"import os; l = os.listdir; os.listdir = lambda p: [n for n in l(p) if n != ''];  {plain}"
    starts: dict[str, list[float]] = {"without the hook": [], "with the hook": []}
    for _ in range(rounds):
        starts["without the hook"].append(milliseconds(python, "-S", "-c", without))
        starts["with the hook"].append(milliseconds(python, "-S", "-c", with_hook))
    for name, values in starts.items():
        print(f"interpreter start, {name:<17} {summary(values)}")
    gpudoctor = Path(sys.executable).with_name("gpudoctor")
    for name, options in (("check", ()), ("check --deep", ("--deep",))):
        series = [
            milliseconds(gpudoctor, "check", "--python", environment, "--fail-on", "never", *options)
            for _ in range(max(rounds // 8, 3))
        ]
        print(f"{name:<36} {summary(series)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
