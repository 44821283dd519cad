"""Writes the README's example: what `gpudoctor check` prints on an environment made from real wheels.

Usage: scripts/gen_example.py ENVIRONMENT [--check]

ENVIRONMENT is a folder made by `pip install ctranslate2==4.6.0 nvidia-cudnn-cu12==9.1.0.70
nvidia-cublas-cu12==12.4.5.8`; its path is shown as /srv/app/.venv. The machine is an assumed one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from gen_readme import README, replace_block

SHOWN_AS = "/srv/app/.venv"
ASSUMED = ("--assume-driver", "550.54.15", "--assume-gpu", "RTX 3090")


def example(environment: Path) -> str:
    """Return the report on an environment, as a terminal of 100 columns shows it."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    done = subprocess.run(
        [sys.executable, "-m", "gpudoctor", "check", "--python", str(environment), *ASSUMED],
        env={**kept, "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    return shortened(done.stdout.replace(str(environment), SHOWN_AS))


def shortened(report: str) -> str:
    """Return a report with its first finding only, and the heading of each other one."""
    *parts, counts = report.strip().split("\n\n")
    title, areas, first, *others = parts
    rest = ("\n".join([*other.splitlines()[:2], "    […]"]) for other in others)
    return "\n\n".join((title, areas, first, *rest, counts))


def render(readme: str, environment: Path) -> str:
    """Return the README with its example renewed."""
    block = f"<!-- example:begin -->\n```text\n{example(environment).strip()}\n```\n<!-- example:end -->"
    return replace_block(readme, "example", block)


def comparable(readme: str) -> str:
    """Return the README without what differs between machines: Python's release, the processor's library folders."""
    for pattern, shown in (
        (r"Python 3\.[0-9.]+", "Python 3"),
        (r"python3\.\d+", "python3"),
        (r"cpython-\d+", "cpython"),
        (r"\d+ places", "places"),
        (r"default: [^;\n]*", "default"),
    ):
        readme = re.sub(pattern, shown, readme)
    return readme


def main(arguments: list[str]) -> int:
    """Write the README, or with --check say whether its example is current."""
    environment = Path(arguments[0]).resolve()
    old = README.read_text(encoding="utf-8")
    new = render(old, environment)
    if "--check" in arguments:
        stale = comparable(new) != comparable(old)
        if stale:
            print("README.md's example is stale: run scripts/gen_example.py", file=sys.stderr)
        return int(stale)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
