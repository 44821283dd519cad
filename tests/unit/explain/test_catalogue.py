"""compat/errors/: every message explains its own examples, is compiled, and cannot run away."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from gpudoctor.cli.rule import every_rule
from gpudoctor.explain.catalogue import load_catalogue
from gpudoctor.explain.rank import explain_lines
from gpudoctor.explain.safety import complaints_of, parts_of

ROOT = Path(__file__).parents[3]
CATALOGUE = load_catalogue()
SOURCES = [yaml.safe_load(p.read_text("utf-8")) for p in sorted((ROOT / "compat" / "errors").glob("*.yaml"))]


def examples(kind: str) -> list[tuple[str, str]]:
    return [(m["id"], line) for source in SOURCES for m in source.get(kind, ()) for line in m["examples"]]


def test_the_compiled_file_is_current() -> None:
    script = ROOT / "scripts" / "gen_signatures.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0


NEEDY = {s.id for s in CATALOGUE.signatures if s.near}


@pytest.mark.parametrize(
    ("name", "line"), [e for e in examples("signatures") if e[0] not in NEEDY], ids=lambda value: value[:60]
)
def test_an_example_has_its_signature_and_a_cause_of_it(name: str, line: str) -> None:
    causes = explain_lines([line.encode()]).causes
    signature = next(s for s in CATALOGUE.signatures if s.id == name)
    assert causes, line
    assert causes[0].cause in signature.causes
    assert any(name in cause.signatures for cause in causes) or causes[0].signatures


@pytest.mark.parametrize("line", [line for name, line in examples("signatures") if name in NEEDY])
def test_a_message_that_needs_surroundings_says_nothing_alone(line: str) -> None:
    if not re.search("whisper|ffmpeg|CUDA", line):  # these hold their own surroundings
        assert explain_lines([b"something else", line.encode()]).causes == ()


@pytest.mark.parametrize("line", [line for _, line in examples("harmless")])
def test_a_harmless_message_is_no_cause(line: str) -> None:
    assert explain_lines([line.encode()]).causes == ()


@pytest.mark.parametrize("line", [line for _, line in examples("contexts")])
def test_a_context_is_no_cause(line: str) -> None:
    if not re.search("unable to download|Retrying|torchcodec", line):  # these hold messages, too
        assert explain_lines([line.encode()]).causes == ()


def test_every_rule_named_exists() -> None:
    known = {rule.id for rule in every_rule()}
    assert {rule for cause in CATALOGUE.causes for rule in cause.rules} <= known


def test_every_cause_of_the_taxonomy_has_advice_and_a_signature() -> None:
    listed = yaml.safe_load((ROOT / "compat" / "causes.yaml").read_text("utf-8"))["causes"]
    wanted = {cause["id"] for cause in listed} - {"not-recognised"}
    assert wanted == {cause.id for cause in CATALOGUE.causes}
    assert wanted == {name for s in CATALOGUE.signatures for name in s.causes}


def test_every_signature_has_a_source() -> None:
    assert [s.id for s in CATALOGUE.signatures if not s.source.strip()] == []


MESSAGES = (*CATALOGUE.signatures, *CATALOGUE.contexts, *CATALOGUE.harmless)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.id)
def test_no_pattern_can_run_away(message) -> None:
    assert complaints_of(message.pattern) == []
    pattern = re.compile(message.pattern)
    started = time.process_time()
    for anchor in message.anchors[:3]:
        for filler in ("a", " ", "/", ".so.", "1.", anchor, "lib", "_", "'"):
            pattern.search(anchor + filler * (8192 // len(filler)))
            pattern.search(filler * (4096 // len(filler)) + anchor)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"\w*x", r"(?:\w{1,200}\s){1,200}", r"(x{1,100}){1,100}"])
def test_the_lint_finds_patterns_that_run_away(pattern: str) -> None:
    assert complaints_of(pattern)


def one_of(branch, choice: random.Random) -> str:
    """Return a text that a parsed pattern matches: of each repeat the fewest, of each choice one."""
    return "".join(_piece(str(op), value, choice) for op, value in branch)


def _piece(op: str, value, choice: random.Random) -> str:
    if op == "LITERAL":
        return chr(value)
    if op == "IN":
        kind, first = value[0]
        plain = {"LITERAL": lambda: chr(first), "RANGE": lambda: chr(first[0]), "NEGATE": lambda: "q"}
        return plain.get(str(kind), lambda: {"DIGIT": "5", "SPACE": " "}.get(str(first).rpartition("_")[2], "w"))()
    if op in ("MAX_REPEAT", "MIN_REPEAT"):
        return one_of(value[2], choice) * value[0]
    if op == "SUBPATTERN":
        return one_of(value[3], choice)
    if op == "BRANCH":
        return one_of(choice.choice(value[1]), choice)
    return {"ANY": "x", "NOT_LITERAL": "z"}.get(op, "")


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.id)
def test_a_literal_leads_to_each_alternative(message) -> None:
    tree = list(parts_of(message.pattern))
    branches = tree[0][1][1] if len(tree) == 1 and str(tree[0][0]) == "BRANCH" else [tree]
    choice = random.Random(7)
    for branch in branches:
        texts = [text for _ in range(200) if re.search(message.pattern, text := one_of(branch, choice))]
        assert not texts or any(anchor in text for text in texts for anchor in message.anchors), texts[0]
