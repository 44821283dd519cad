"""Records a machine and an environment as a golden test: tests/environments/<slug>/{snapshot,expected}.json.

Usage: scripts/record_environment.py SLUG [options of `gpudoctor snapshot`]

The snapshot is redacted, and the environment is shown as /srv/app/.venv on an interpreter in /opt/python. Read both
files before you commit them: `expected.json` is what gpudoctor says today, and it is your reading that makes it right.
A slug that ends in `-ok` must have no finding and nothing open.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "environments"


def main(arguments: list[str]) -> int:
    """Record one environment."""
    if not arguments or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", arguments[0]):
        print(__doc__, file=sys.stderr)
        return 2
    slug, options = arguments[0], arguments[1:]
    place = FOLDER / slug
    place.mkdir(parents=True, exist_ok=True)
    file = place / "snapshot.json"
    command = [sys.executable, "-m", "gpudoctor", "snapshot", "--redact", "-o", str(file), *options]
    status = subprocess.run(command, check=False).returncode
    if status:
        return status
    file.write_text(relocate(file.read_text(encoding="utf-8")), encoding="utf-8")
    (place / "expected.json").write_text(expected(file), encoding="utf-8")
    print(f"{place.relative_to(ROOT)}: read snapshot.json and expected.json, then commit them")
    return 0


def relocate(text: str) -> str:
    """Return a snapshot with the recording machine's own folders replaced."""
    interpreter = json.loads(text)["interpreter"]["value"]
    shown_as = ((interpreter["prefix"], "/srv/app/.venv"), (interpreter["base_prefix"], "/opt/python"))
    for folder, shown in shown_as:
        if folder not in ("/", "/usr"):
            text = text.replace(folder, shown)
    return text


def expected(file: Path) -> str:
    """Return what gpudoctor says of a snapshot file, in the goldens' form."""
    sys.path.insert(0, str(ROOT / "tests"))
    from environments.expectation import render_expected  # type: ignore[import-not-found, unused-ignore]
    from gpudoctor.matrix.load import load_matrix
    from gpudoctor.probes.replay import parse_snapshot
    from gpudoctor.rules.engine import judge

    return str(render_expected(judge(parse_snapshot(file.read_bytes(), str(file)), load_matrix())))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
