"""Ten times the facts cost at most about ten times the time to load and to look up; no absolute time is promised."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from gpudoctor.matrix import overlap
from gpudoctor.matrix.claims import Requires
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.load import load_data
from gpudoctor.matrix.sources import Source
from gpudoctor.matrix.types import Fact, MatrixData, When
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from unit.matrix.installed import ENVIRONMENTS

FEW, MANY = 1_000, 10_000
# Ten times the facts, and as much again for noise and caches; what grows with the square takes a hundred.
MOST = 20.0
RUNS = 5


def facts(count: int, subjects: int) -> tuple[Fact, ...]:
    """Return facts about so many subjects, each a range of its own."""
    return tuple(
        Fact(
            id=f"fact-{index}",
            subject=f"package-{index % subjects}",
            claim=Requires(package="torch", versions=f">={index % 7}"),
            when=When(versions=f">={index // subjects},<{index // subjects + 1}", platforms=("linux-x86_64",)),
            status="verified",
            sources=(Source(kind="measured", ref="nothing: made up to count", date="2026-11-21"),),
        )
        for index in range(count)
    )


def with_facts(count: int, subjects: int) -> bytes:
    data = load_data()
    return msgspec.json.encode(msgspec.structs.replace(data, facts=(*data.facts, *facts(count, subjects))))


def least_s(work: Callable[[], object]) -> float:
    """Return the shortest of several runs: what the machine does beside it only adds."""
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def ratio(work: Callable[[int], Callable[[], object]]) -> float:
    few, many = work(FEW), work(MANY)
    return least_s(many) / least_s(few)


@pytest.mark.parametrize("subjects", [50, 1_000_000])
def test_loading_and_judging_grow_no_worse_than_the_facts(subjects: int) -> None:
    snapshot = msgspec.json.decode(
        (ENVIRONMENTS / "synthetic-ct2-460-beside-torch" / "snapshot.json").read_bytes(), type=Snapshot
    )

    def load_and_judge(count: int) -> Callable[[], object]:
        encoded = with_facts(count, subjects)
        return lambda: judge(snapshot, Matrix(msgspec.json.decode(encoded, type=MatrixData)))

    assert ratio(load_and_judge) <= MOST


def test_facts_are_compared_with_their_neighbours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: disjoint ranges cost a comparison or two each, however many there are."""
    compared = 0

    def count(one: When, other: When) -> None:
        nonlocal compared
        compared += 1

    monkeypatch.setattr(overlap, "_meet", count)
    assert list(overlap.contradictions(facts(MANY, 50))) == []
    assert MANY / 2 < compared <= 2 * MANY


def test_a_look_up_touches_only_its_subject() -> None:
    """Counted, not timed: every fact of another subject would fail when it is looked at."""

    class Untouchable:
        subject = "other"
        id = "other"

        @property
        def claim(self) -> object:
            raise AssertionError("a fact of another subject was looked at")

    data = load_data()
    matrix = Matrix(data)
    matrix._by_subject["other"] = [Untouchable()] * MANY  # type: ignore[list-item]
    assert matrix.facts("torch", Requires, "2.5.1")
    with pytest.raises(AssertionError, match="another subject"):
        matrix.facts("other", Requires, "2.5.1")
