"""Writes the generated parts of the README: the help text of `gpudoctor` and of `gpudoctor check`.

Usage: scripts/gen_readme.py [--check]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
HELPS = {"help": (), "help-check": ("check",)}


def help_text(arguments: tuple[str, ...]) -> str:
    """Return a command's help as a pipe 100 columns wide shows it."""
    done = subprocess.run(
        [sys.executable, "-m", "gpudoctor", *arguments, "--help"],
        env={**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


def render(readme: str) -> str:
    """Return the README with its generated parts renewed."""
    for name, arguments in HELPS.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        block = f"{begin}\n```text\n{help_text(arguments)}\n```\n{end}"
        readme = replace_block(readme, name, block)
    return readme


def replace_block(readme: str, name: str, block: str) -> str:
    """Return the README with one generated part, its markers included, replaced."""
    head, rest = readme.split(f"<!-- {name}:begin -->", 1)
    return head + block + rest.split(f"<!-- {name}:end -->", 1)[1]


def main() -> int:
    """Write the README, or with --check say whether it is current."""
    old = README.read_text(encoding="utf-8")
    new = render(old)
    if "--check" in sys.argv[1:]:
        if new != old:
            print("README.md is stale: run scripts/gen_readme.py", file=sys.stderr)
        return int(new != old)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
