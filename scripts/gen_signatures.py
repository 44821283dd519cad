"""Compile compat/errors/*.yaml into src/gpudoctor/explain/signatures.json. `--check` fails when it is stale.

Every message is checked: its pattern cannot run away, its own examples match and hold one of its anchors, and each
anchor of a signature holds a literal of the sieve.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from gpudoctor.explain.catalogue import Catalogue, Context, HarmlessMessage, Signature
from gpudoctor.explain.safety import complaints_of
from gpudoctor.rules.registry import RULES

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "compat" / "errors"
OUTPUT = ROOT / "src" / "gpudoctor" / "explain" / "signatures.json"
MESSAGES = ("signatures", "contexts", "harmless")
_MACRO = re.compile(r"(?<!\?P)<([a-z][a-z0-9-]*)>")


class Wrong(Exception):
    """The catalogue contradicts itself."""


def read_sources() -> dict[str, Any]:
    """Return all files of compat/errors/ as one, their lists joined in order of the files' names."""
    whole: dict[str, Any] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for key, value in (yaml.safe_load(path.read_text("utf-8")) or {}).items():
            if isinstance(value, dict):
                whole.setdefault(key, {}).update(value)
            else:
                whole.setdefault(key, []).extend(value)
    return whole


def examples(whole: dict[str, Any]) -> dict[str, list[str]]:
    """Return the example lines of each message."""
    return {message["id"]: message.get("examples", []) for kind in MESSAGES for message in whole.get(kind, ())}


def expand(pattern: str, macros: dict[str, str]) -> str:
    """Return a pattern with its macros put in; a macro may use others."""
    for _ in range(5):
        pattern = _MACRO.sub(lambda match: macros.get(match[1], match[0]), pattern)
    return pattern


def compile_catalogue(whole: dict[str, Any]) -> Catalogue:
    """Return the checked catalogue.

    Raises:
        Wrong: What is wrong, with the ids.
    """
    macros = whole.pop("macros", {})
    told = examples(whole)
    for kind in MESSAGES:
        for message in whole.get(kind, ()):
            message.pop("examples", None)
            message["pattern"] = expand(message["pattern"], macros)
    for cause in whole["causes"]:
        cause["rules"] = [rule.id for rule in RULES if cause["id"] in rule.causes]
    catalogue = msgspec.convert(whole, Catalogue)
    wrong = [*_wrong_messages(catalogue, told), *_wrong_names(catalogue)]
    if wrong:
        raise Wrong("\n".join(wrong))
    return catalogue


def _wrong_messages(catalogue: Catalogue, told: dict[str, list[str]]) -> list[str]:
    wrong = []
    messages: list[Signature | Context | HarmlessMessage] = [*catalogue.signatures, *catalogue.contexts]
    for message in (*messages, *catalogue.harmless):
        try:
            pattern = re.compile(message.pattern)
        except re.error as error:
            wrong.append(f"{message.id}: not a regular expression: {error}")
            continue
        wrong += [f"{message.id}: {complaint}" for complaint in complaints_of(message.pattern)]
        wrong += [
            f"{message.id}: anchor {anchor!r} holds nothing of the sieve"
            for anchor in message.anchors
            if isinstance(message, Signature) and not any(literal in anchor for literal in catalogue.sieve)
        ]
        for line in told[message.id]:
            if not pattern.search(line):
                wrong.append(f"{message.id}: does not match its example {line!r}")
            elif not any(anchor in line for anchor in message.anchors):
                wrong.append(f"{message.id}: no anchor in its example {line!r}")
    return wrong


def _wrong_names(catalogue: Catalogue) -> list[str]:
    ids = [s.id for s in catalogue.signatures] + [c.id for c in catalogue.contexts] + [h.id for h in catalogue.harmless]
    wrong = [f"{name}: given twice" for name in sorted({name for name in ids if ids.count(name) > 1})]
    contexts = {c.id for c in catalogue.contexts}
    causes = {c.id for c in catalogue.causes}
    known = {c["id"] for c in yaml.safe_load((ROOT / "compat" / "causes.yaml").read_text("utf-8"))["causes"]}
    for signature in catalogue.signatures:
        wrong += [
            f"{signature.id}: no context {n!r}" for n in (*signature.near, *signature.unless) if n not in contexts
        ]
        wrong += [f"{signature.id}: no advice for {c!r}" for c in signature.causes if c not in causes]
    wrong += [f"causes: {c!r} is not in compat/causes.yaml" for c in sorted(causes - known)]
    wrong += [f"{c.id}: effect on unknown {e!r}" for c in catalogue.contexts for e in c.effects if e not in known]
    hidden = {n for h in catalogue.harmless for n in h.hides if n != "*"} - {s.id for s in catalogue.signatures}
    return wrong + [f"harmless: hides unknown {name!r}" for name in sorted(hidden)]


def compiled() -> bytes:
    return msgspec.json.encode(compile_catalogue(read_sources())) + b"\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the committed file is stale")
    arguments = parser.parse_args()
    try:
        new = compiled()
    except (Wrong, msgspec.ValidationError, yaml.YAMLError) as error:
        print(error, file=sys.stderr)
        return 2
    if OUTPUT.is_file() and OUTPUT.read_bytes() == new:
        return 0
    if arguments.check:
        print(
            f"{OUTPUT.relative_to(ROOT)} is not what compat/errors/ says; run scripts/gen_signatures.py",
            file=sys.stderr,
        )
        return 1
    OUTPUT.write_bytes(new)
    print(f"{OUTPUT.relative_to(ROOT)}: {len(new)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
