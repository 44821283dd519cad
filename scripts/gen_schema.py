"""Write the JSON Schemas of every document into compat/schema/. `--check` fails when a committed one is another."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from gpudoctor.config.types import Settled
from gpudoctor.drift.lock import Lock
from gpudoctor.fix.render_env import EnvDocument
from gpudoctor.fix.render_plan import FixDocument, RunsDocument
from gpudoctor.matrix.types import MatrixData, MatrixFile
from gpudoctor.model.bench import BenchDocument
from gpudoctor.model.diff import DiffDocument
from gpudoctor.model.explanation import Explanation
from gpudoctor.model.finding import Report
from gpudoctor.model.libs import LibsDocument
from gpudoctor.model.pins import PinsDocument
from gpudoctor.model.snapshot import Snapshot

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "compat" / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS: dict[str, tuple[type[Any], str]] = {
    "snapshot": (Snapshot, "gpudoctor snapshot"),
    "report": (Report, "gpudoctor check --format json"),
    "libs": (LibsDocument, "gpudoctor libs --format json"),
    "fix": (FixDocument, "gpudoctor fix --format json"),
    "fix-runs": (RunsDocument, "gpudoctor fix --list --format json"),
    "explanation": (Explanation, "gpudoctor explain --format json"),
    "env": (EnvDocument, "gpudoctor env --shell json"),
    "lock": (Lock, "gpudoctor lock"),
    "pins": (PinsDocument, "gpudoctor pins --format json"),
    "diff": (DiffDocument, "gpudoctor diff --format json"),
    "bench": (BenchDocument, "gpudoctor bench --format json"),
    "settings": (Settled, "gpudoctor.toml, and [tool.gpudoctor] in pyproject.toml"),
    "matrix-file": (MatrixFile, "a YAML file of compat/, and --matrix FILE"),
    "matrix": (MatrixData, "the compiled matrix"),
}
# On 3.10 msgspec fails at generic types whose argument is a tuple.
OLDEST_PYTHON = (3, 11)


def schema_text(name: str) -> str:
    document, title = DOCUMENTS[name]
    schema = msgspec.json.schema(document)
    for definition in schema.get("$defs", {}).values():
        _describe(definition)
    whole = {"$schema": DIALECT, "title": title, **schema}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _describe(definition: dict[str, Any]) -> None:
    """Give each field the sentence that its class's docstring has for it."""
    summary, _, rest = inspect.cleandoc(definition.get("description", "")).partition("\n")
    if summary:
        definition["description"] = summary
    attributes = _attributes(rest)
    for field, description in definition.get("properties", {}).items():
        if field in attributes:
            description.setdefault("description", attributes[field])


def _attributes(text: str) -> dict[str, str]:
    """Return the `Attributes:` section of a Google-style docstring, by name."""
    found: dict[str, str] = {}
    name = None
    for line in text.partition("Attributes:\n")[2].splitlines():
        if line and not line.startswith("    "):
            break
        head, colon, tail = line.strip().partition(": ")
        if line.startswith("    ") and not line.startswith("     ") and colon:
            name, found[head] = head, tail
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a committed file is stale")
    arguments = parser.parse_args()
    if sys.version_info < OLDEST_PYTHON:
        print("msgspec draws these schemas on Python 3.11 and later; nothing was compared")
        return 0
    FOLDER.mkdir(exist_ok=True)
    wanted = {FOLDER / f"{name}.json": schema_text(name) for name in DOCUMENTS}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    stray = sorted(set(FOLDER.glob("*.json")) - set(wanted))
    if not arguments.check:
        for path in stale:
            path.write_text(wanted[path], "utf-8", newline="\n")
        for path in stray:
            path.unlink()
        return 0
    for path in (*stale, *stray):
        print(f"{path.relative_to(ROOT)} is not what the types say; run scripts/gen_schema.py", file=sys.stderr)
    return 1 if stale or stray else 0


if __name__ == "__main__":
    sys.exit(main())
