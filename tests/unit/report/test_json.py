"""JSON: one document of its schema, whatever the names in it are."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from gpudoctor.report.json import render_json
from support.reports import HOSTILE, hostile

SCHEMA = Path(__file__).parents[3] / "compat" / "schema" / "report.json"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_a_value(text: str) -> None:
    rendered = render_json(hostile(text)[0])
    rendered.encode("utf-8")
    document = json.loads(rendered)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert document["findings"][0]["message"] == text.encode("utf-8", "backslashreplace").decode()
