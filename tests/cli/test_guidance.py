"""What teaches: help texts, completion, causes explained, a hint where an argument strays."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gpudoctor.cli.app import COMMANDS
from gpudoctor.cli.rule import every_rule
from support.command import gpudoctor


@pytest.mark.parametrize("command", COMMANDS)
def test_the_terminal_breaks_the_lines_of_a_help_text(command: str) -> None:
    """No paragraph is broken twice: by its source and again by the terminal."""
    shown = gpudoctor(command, "--help", COLUMNS="2000", TERMINAL_WIDTH="2000").stdout
    prose = shown.partition("Usage:")[2].partition("╭")[0].split("\n")[1:]
    plain = [line.rstrip() for line in prose if not line.rstrip().startswith("   ")]
    for line, following in pairwise(plain):
        assert not (line and following) or line.endswith(":"), (line, following)


@pytest.mark.parametrize("command", ["rule", "explain", "lint", "diff", "fix", "pins"])
def test_what_stands_without_an_option_is_explained_too(command: str) -> None:
    """Releases of click and typer that do not fit lose these texts."""
    arguments = gpudoctor(command, "--help", COLUMNS="200").stdout.partition("─ Arguments")[2].partition("╰")[0]
    for line in arguments.splitlines()[1:]:
        words = [word for word in line.strip("│ ").split() if word not in ("*", "[required]")]
        assert len(words) > 3, line


def test_a_cause_is_explained_and_its_rules_are_named() -> None:
    done = gpudoctor("rule", "cudnn-mixed")
    assert done.returncode == 0
    assert "cudnn builds meet" in done.stdout.lower()
    assert {line[:6] for line in done.stdout.splitlines() if line.startswith("GPD")} == {
        rule.id for rule in every_rule() if "cudnn-mixed" in rule.causes
    }


def test_every_cause_that_a_rule_names_is_explained() -> None:
    from gpudoctor.explain.advice import Adviser
    from gpudoctor.explain.catalogue import load_catalogue

    adviser = Adviser(load_catalogue(), None)
    unexplained = {cause for rule in every_rule() for cause in rule.causes if not adviser.meaning(cause)}
    assert unexplained == set()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("gpudoctor check --select GPD15", ["GPD151", "GPD152"]),
        ("gpudoctor check --for ctr", ["ctranslate2"]),
        ("gpudoctor rule GPD90", ["GPD901", "GPD902"]),
        ("gpudoctor che", ["check"]),
    ],
)
def test_the_shell_offers_values(words: str, offered: list[str]) -> None:
    count = str(len(words.split()) - 1)
    done = gpudoctor(_GPUDOCTOR_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count)
    assert done.stdout.split() == offered


def test_a_stray_argument_is_told_where_it_belongs() -> None:
    done = gpudoctor("check", "/srv/app/.venv")
    assert done.returncode == 2
    assert "named with --python" in done.stderr
    assert "named with --python" not in gpudoctor("rule", "GPD201", "GPD202").stderr
