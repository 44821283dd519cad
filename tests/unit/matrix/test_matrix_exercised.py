"""Each fact is tried on something real: a recorded environment, or what an installer really put together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from gpudoctor.matrix.claims import NeedsPython, PairsWith, Requires
from gpudoctor.matrix.index import holds
from gpudoctor.matrix.load import load_data
from gpudoctor.matrix.types import Fact
from unit.matrix.installed import Installed, resolutions, where_it_holds

DATA = load_data()
FILE = Path(__file__).parent / "not_exercised.yaml"
LISTED: dict[str, str] = {
    fact_id: group["reason"] for group in yaml.safe_load(FILE.read_text("utf-8")) for fact_id in group["facts"]
}


def by_id(fact: Fact) -> str:
    return fact.id


@pytest.mark.parametrize("fact", DATA.facts, ids=by_id)
def test_is_exercised_or_listed(fact: Fact) -> None:
    held = next(where_it_holds(fact), None)
    if held is None:
        assert fact.id in LISTED, (
            f"nothing recorded has {fact.subject} {fact.when.versions}: add an environment with it, or "
            f"scripts/record_resolutions.py --new NAME PYTHON REQUIREMENT…, or list it in {FILE.name} with the reason"
        )
    else:
        assert fact.id not in LISTED, f"{held.name} exercises it: take it out of {FILE.name}"


def test_what_is_listed_exists_and_has_a_reason() -> None:
    assert set(LISTED) <= {fact.id for fact in DATA.facts}
    assert all(reason.strip() for reason in LISTED.values())


def test_at_most_one_fact_in_five_is_not_exercised() -> None:
    assert len(LISTED) * 5 <= len(DATA.facts), Counter(LISTED.values())


def facts_of(installed: Installed) -> list[Fact]:
    return [
        fact
        for fact in DATA.facts
        if (version := installed.versions.get(fact.subject)) is not None
        and holds(fact.when, version, installed.platform, installed.python)
    ]


class TestAnInstallersAnswer:
    """uv resolves from the packages' own metadata: what the facts say of it must agree."""

    def test_there_are_some(self) -> None:
        assert len(resolutions()) >= 60

    @pytest.mark.parametrize("installed", resolutions(), ids=lambda i: i.name)
    def test_meets_every_declared_requirement(self, installed: Installed) -> None:
        for fact in facts_of(installed):
            claim = fact.claim
            # What cuda-toolkit requires, it requires through extras: only those that torch asks for are installed.
            if isinstance(claim, (Requires, PairsWith)) and claim.declared and fact.subject != "cuda-toolkit":
                version = installed.versions.get(claim.package)
                if isinstance(claim, Requires):
                    assert version is not None, f"{fact.id}: {claim.package} was not installed"
                if version is not None:
                    assert SpecifierSet(claim.versions).contains(version, prereleases=True), (fact.id, version)

    @pytest.mark.parametrize("installed", resolutions(), ids=lambda i: i.name)
    def test_has_wheels_for_the_interpreter(self, installed: Installed) -> None:
        for fact in facts_of(installed):
            if isinstance(fact.claim, NeedsPython):
                assert SpecifierSet(fact.claim.versions).contains(installed.python or ""), fact.id
