"""GitHub: read back by the runner's own rules; nothing from outside becomes a command."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec
import pytest

from gpudoctor.model.finding import Location, Report
from gpudoctor.report.github import SUMMARY_LIMIT_BYTES, render_annotations, render_summary
from gpudoctor.report.places import Places
from support.reports import HOSTILE, finding, hostile, real

PLACES = Places(cwd="/repo/sub", root="/repo", anchor="requirements.txt")


class Command(NamedTuple):
    name: str
    properties: dict[str, str]
    message: str


def read_as_the_runner_does(line: str) -> Command | None:
    """Return the command in a line of output.

    Source: actions/runner, ActionCommand.TryParseV2 and TryParse: the new form only at a line's start (blanks aside),
    the old one (`##[name]`) anywhere.
    """
    new = re.match(r"::([^ :]+)(?: (.*?))?::(.*)$", line.lstrip(), re.DOTALL)
    if new:
        pairs = (p.split("=", 1) for p in (new[2] or "").split(",") if "=" in p)
        return Command(
            new[1], {k.strip(): _unescape(v, ("%3A", ":"), ("%2C", ",")) for k, v in pairs}, _unescape(new[3])
        )
    old = re.search(r"##\[([^\] ]+)[^\]]*\](.*)", line)
    return Command(old[1], {}, old[2]) if old else None


def _unescape(text: str, *more: tuple[str, str]) -> str:
    for code, char in (("%0D", "\r"), ("%0A", "\n"), *more, ("%25", "%")):
        text = text.replace(code, char)
    return text


def commands(report: Report) -> list[Command]:
    lines = re.split(r"\r\n|\r|\n", render_annotations(report, PLACES, command="check").rstrip("\n"))
    read = [read_as_the_runner_does(line) for line in lines]
    assert None not in read
    return [command for command in read if command]


def test_findings_and_open_questions_in_groups() -> None:
    report, _ = hostile("x")
    read = commands(report)
    assert [c.name for c in read] == [
        "group",
        "error",
        "warning",
        "notice",
        "endgroup",
        "group",
        "notice",
        "notice",
        "endgroup",
    ]
    assert "exit status 1" in read[0].message
    assert read[6].properties["title"] == "GPD101 not judged"


def test_paths_start_at_the_checkout() -> None:
    placed = finding("x", location=Location(file="a,b:c.txt", line=7))
    read = commands(msgspec.structs.replace(real()[0], findings=(placed, finding("y"))))
    assert (read[1].properties["file"], read[1].properties["line"]) == ("sub/a,b:c.txt", "7")
    assert (read[2].properties["file"], read[2].properties["line"]) == ("sub/requirements.txt", "1")


def test_the_message_tells_what_to_do() -> None:
    read = commands(real()[0])
    assert read[1].properties["title"] == "GPD201 unresolved-library"
    assert "\n    gpudoctor fix --python /srv/app/.venv/bin/python --apply\n" in read[1].message


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_injects_no_command(text: str) -> None:
    read = commands(hostile(text)[0])
    assert [c.name for c in read] == [c.name for c in commands(hostile("x")[0])]
    for command in read:
        assert set(command.properties) <= {"file", "line", "title"}
        assert command.message.replace("\n", "").isprintable()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_summary_fits(text: str) -> None:
    report, snapshot = hostile(text)
    many = msgspec.structs.replace(report, findings=report.findings * 200, open=report.open * 200)
    for tried in (report, many):
        assert len(render_summary(tried, snapshot, command="check").encode()) <= SUMMARY_LIMIT_BYTES


def test_a_shortened_summary_says_so() -> None:
    report, snapshot = hostile("A" * 9000)
    many = msgspec.structs.replace(report, findings=report.findings * 200)
    assert "more results are in the log" in render_summary(many, snapshot, command="check")
