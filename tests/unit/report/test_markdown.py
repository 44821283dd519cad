"""Markdown: parsed by a real parser, it shows what was meant and nothing else."""

from __future__ import annotations

import html
import re

import pytest
from markdown_it import MarkdownIt

from gpudoctor.model.finding import Report
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.details import shown
from gpudoctor.report.markdown import code, paragraph, render_markdown
from support.reports import HOSTILE, hostile, real

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
TAGS = {"h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "code", "pre", "strong"}


def tags(text: str) -> set[str]:
    return set(re.findall(r"<([a-z0-9]+)", PARSER.render(text)))


def rendered(report: Report, snapshot: Snapshot | None) -> str:
    return render_markdown(report, snapshot, command="check")


def test_a_real_report() -> None:
    text = rendered(*real())
    assert text.startswith("## gpudoctor check: 1 error, ")
    assert "exit status 1" in text
    assert "```sh\ngpudoctor fix --python /srv/app/.venv/bin/python --apply\n" in text
    assert tags(text) <= TAGS
    assert PARSER.render(text).count("<tr>") == 6


def test_open_questions_and_what_is_ignored() -> None:
    text = rendered(*hostile("because"))
    assert text.count("- GPD101: because") == 2
    assert "### Ignored" in text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_text(text: str) -> None:
    whole = rendered(*hostile(text))
    assert tags(whole) <= TAGS
    outline = [re.sub(r"\s.*", "", line) for line in re.findall(r"<h[1-6]>", PARSER.render(whole))]
    assert outline == ["<h2>", *["<h3>"] * 5]
    assert not re.search(r"@[A-Za-z]", re.sub(r"<(code|pre)>.*?</\1>", "", PARSER.render(whole), flags=re.DOTALL))
    assert whole.replace("\n", "").isprintable()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_reader_sees_the_text_itself(text: str) -> None:
    seen = html.unescape(re.sub(r"</?p>", "", PARSER.render(paragraph(text)))).strip().replace("\u200b", "")
    assert seen == " ".join(shown(text).split()) or seen == shown(text).strip()
    quoted = html.unescape(re.sub(r"</?(p|code)>", "", PARSER.render(code(text)))).strip()
    assert quoted == (shown(text).strip() or "(empty)")


def test_a_pipe_cannot_end_a_cell() -> None:
    report, snapshot = hostile("a | b `|` c")
    rows = re.findall(r"<tr>.*?</tr>", PARSER.render(rendered(report, snapshot)), flags=re.DOTALL)
    assert {row.count("<td") + row.count("<th") for row in rows} == {3}


def test_the_names_that_github_makes_links_of_are_broken() -> None:
    seen = html.unescape(PARSER.render(paragraph("GH-26 gh-7 a#5 #5 @all, but high-5 and GH-x stay")))
    assert not re.search(r"(?i)\bgh-\d|#\d|@\w", seen)
    assert "high-5 and GH-x stay" in seen
