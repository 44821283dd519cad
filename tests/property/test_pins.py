"""Sets of pins on small random matrices, against trying every set there is."""

from __future__ import annotations

from itertools import product

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gpudoctor.matrix.claims import Claim, Conflicts, PairsWith, Requires
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.sources import Source
from gpudoctor.matrix.tables import Releases
from gpudoctor.matrix.types import Fact, MatrixData, When
from gpudoctor.pins.candidates import Shelf
from gpudoctor.pins.narrow import Net
from gpudoctor.pins.needs import Needs
from gpudoctor.pins.resolve import choose
from gpudoctor.pins.types import Candidate, Chosen, Machine, Wish

PACKAGES = ("a", "b", "c", "d")
VERSIONS = ("3.0", "2.0", "1.0")
HERE = Machine(python="3.11", platform="linux-x86_64")
SPECIFIERS = st.sampled_from(["", ">=2", "<2", "==1.0", "==2.0", "==3.0", "<1"])
SOURCE = Source(kind="measured", ref="made up for a test")


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    subject, other = draw(st.permutations(PACKAGES))[:2]
    kind: type[Claim] = draw(st.sampled_from([Requires, Requires, Conflicts, PairsWith]))
    options = {"declared": draw(st.booleans())} if kind is PairsWith else {}
    claim = kind(package=other, versions=draw(SPECIFIERS), **options)  # type: ignore[call-arg]
    when = When(versions=draw(SPECIFIERS))
    return Fact(id="f", subject=subject, claim=claim, when=when, status="verified", sources=(SOURCE,))


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    found = draw(st.lists(facts(), max_size=9))
    named = tuple(msgspec.structs.replace(fact, id=f"f{index}") for index, fact in enumerate(found))
    # What a release requires is known of all: none is left out for want of a fact.
    known = tuple(
        Fact(id=f"k{p}", subject=p, claim=Conflicts(package="nothing"), status="verified", sources=(SOURCE,))
        for p in PACKAGES
    )
    pythons = st.sampled_from([">=3.8,<3.16"] * 5 + [">=3.12,<3.16"])
    tables = tuple(
        Releases(package=p, versions={v: draw(pythons) for v in VERSIONS}, date="2026-11-21") for p in PACKAGES
    )
    return Matrix(MatrixData(version="1", families=(), consumers=(), facts=(*named, *known), releases=tables))


WISHES = st.lists(st.sampled_from(PACKAGES), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*(st.builds(Wish, st.just(name), SPECIFIERS) for name in names))
)


def every_set(needs: Needs, wishes: tuple[Wish, ...]) -> list[dict[str, Candidate]]:
    """Try all: each package absent or of one release."""
    found = []
    for chosen in product(*([Candidate(p), *needs.shelf.candidates(p)] for p in PACKAGES)):
        there = {c.package: c for c in chosen}
        asked = [*(wish.need for wish in wishes), *(need for c in chosen for need in needs.of(c))]
        if all(needs.satisfied(need, there[need.package]) for need in asked):
            found.append(there)
    return found


@settings(max_examples=300, deadline=None)
@given(matrices(), WISHES)
def test_a_set_is_chosen_exactly_where_there_is_one(matrix: Matrix, wishes: tuple[Wish, ...]) -> None:
    needs = Needs(matrix, HERE, Shelf(matrix, HERE, from_package_index=True))
    sets = every_set(needs, wishes)
    outcome = choose(matrix, HERE, wishes)
    if isinstance(outcome, Chosen):
        there = {p: Candidate(p) for p in PACKAGES} | {c.package: c for c in outcome.candidates}
        assert there in sets
        first = wishes[0].package
        assert there[first].version == max(one[first].version for one in sets)
    else:
        assert sets == []
        assert outcome.between
        assert outcome.reasons


@settings(max_examples=300, deadline=None)
@given(matrices(), WISHES)
def test_what_is_ruled_out_is_in_no_set(matrix: Matrix, wishes: tuple[Wish, ...]) -> None:
    needs = Needs(matrix, HERE, Shelf(matrix, HERE, from_package_index=True))
    net = Net(needs, wishes)
    sets = every_set(needs, wishes)
    assert not (net.empty and sets)
    assert not any(candidate in net.deaths for one in sets for candidate in one.values())
