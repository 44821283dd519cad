"""Golden environments: a folder a host. Replays each snapshot and compares with what people wrote down."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from environments.expectation import expected_of
from environments.hosts import HOSTS, origin_of
from environments.synthetic import environments
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge

HERE = Path(__file__).parent
SLUGS = sorted(p.parent.name for p in HERE.glob("*/snapshot.json"))
MATRIX = load_matrix()
# Causes that a look at the machine cannot tell, and who tells them.
NOT_OF_A_MACHINE = {
    "model-download": "a log, with `explain`",
    "not-recognised": "the absence of a cause",
    "pinned-memory-limit": "a log or a run: nothing on disk and nothing that the driver says tells WSL's limit",
}


def read(slug: str) -> Snapshot:
    return msgspec.json.decode((HERE / slug / "snapshot.json").read_bytes(), type=Snapshot)


def test_there_are_environments() -> None:
    assert len(SLUGS) >= 15
    assert set(environments()) <= set(SLUGS)


@pytest.mark.parametrize("slug", SLUGS)
def test_replay(slug: str) -> None:
    expected = json.loads((HERE / slug / "expected.json").read_text(encoding="utf-8"))
    assert expected_of(judge(read(slug), MATRIX)) == expected


@pytest.mark.parametrize("slug", [s for s in SLUGS if s.endswith("-ok")])
def test_a_healthy_host_gives_no_finding_and_no_open_question(slug: str) -> None:
    verdict = judge(read(slug), MATRIX)
    assert verdict.findings == ()
    assert verdict.open == ()


@pytest.mark.parametrize("slug", [s for s in SLUGS if not s.endswith("-ok")])
def test_every_other_host_gives_one(slug: str) -> None:
    assert judge(read(slug), MATRIX).findings


def test_every_cause_is_found_on_one_of_them() -> None:
    texts = ((HERE / slug / "expected.json").read_text(encoding="utf-8") for slug in SLUGS)
    found = {f["cause"] for text in texts for f in json.loads(text)["findings"]}
    assert {c.id for c in MATRIX.data.causes} - found == set(NOT_OF_A_MACHINE)


@pytest.mark.parametrize("slug", sorted(HOSTS))
def test_a_staged_host_states_its_origin(slug: str) -> None:
    assert (HERE / slug / "origin.txt").read_text(encoding="utf-8") == origin_of(HOSTS[slug])


def test_no_host_is_left_over() -> None:
    assert {s for s in SLUGS if s.startswith("host-")} == set(HOSTS)


@pytest.mark.parametrize("slug", sorted(environments()))
def test_synthetic_snapshots_are_what_the_builders_make(slug: str) -> None:
    # When this fails: PYTHONPATH=src:tests python tests/environments/synthetic.py
    assert read(slug) == environments()[slug]
