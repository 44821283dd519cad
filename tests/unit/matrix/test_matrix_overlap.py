"""Facts that disagree where both hold: found whatever way their ranges meet, and only then."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from gpudoctor.matrix.claims import Claim, ComputeType, Conflicts, HasGpuCode, NeedsDriver, PairsWith, Requires
from gpudoctor.matrix.overlap import contradictions
from gpudoctor.matrix.sources import Source
from gpudoctor.matrix.types import Fact, When
from support.command import gpudoctor

SOURCES = (Source(kind="measured", ref="here"),)


def fact(name: str, claim: Claim, subject: str = "torch", **when: object) -> Fact:
    return Fact(
        id=name,
        subject=subject,
        claim=claim,
        status="verified",
        sources=SOURCES,
        when=When(**when),  # type: ignore[arg-type]
    )


def requires(name: str, pin: str, **when: object) -> Fact:
    return fact(name, Requires(package="numpy", versions=pin), **when)


def disagree(*facts: Fact) -> list[tuple[str, str]]:
    return [(found.one.id, found.other.id) for found in contradictions(facts)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", ""),
        (">=2,<3", ">=2.5"),
        (">=2,<3", "==2.5.1"),
        ("<=2.4.1", ">=2.4.1"),
        (">2.4,<2.4.2", ">=2.4.1"),
        ("==2.9.*", ">=2.9.1,<3"),
        ("~=2.8.0", "==2.8.*"),
        (">=2,!=2.5", ">=2.5,<2.6"),
        (">2,<3", ">2,<3"),
        ("<2", "<3"),
    ],
)
def test_ranges_that_meet(one: str, other: str) -> None:
    pair = requires("one", ">=1", versions=one), requires("other", ">=2", versions=other)
    assert len(disagree(*pair)) == 1
    assert len(disagree(*reversed(pair))) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (">=2,<2.4", ">=2.4"),
        ("<=2.3.1", ">=2.4.0"),
        ("==2.5.1", "==2.5.0"),
        ("==2.9.*", ">=2.10"),
        (">=2,<3,!=2.5", "==2.5"),
        ("~=2.7.1", ">=2.8"),
        ("<2.10", ">=2.10"),
    ],
)
def test_ranges_that_do_not(one: str, other: str) -> None:
    assert disagree(requires("one", ">=1", versions=one), requires("other", ">=2", versions=other)) == []


def test_platforms_builds_and_interpreters_keep_facts_apart() -> None:
    for field, one, other in (
        ("platforms", ("linux-x86_64",), ("linux-aarch64",)),
        ("builds", ("", "cu124"), ("cu118",)),
        ("python", "<3.11", ">=3.11"),
    ):
        pair = requires("one", ">=1", **{field: one}), requires("other", ">=2", **{field: other})
        assert disagree(*pair) == []
        assert disagree(pair[0], requires("other", ">=2")) == [("one", "other")]


def test_only_what_is_about_one_thing_is_compared() -> None:
    code = HasGpuCode(cuda="12.4", sass=("90",))
    assert disagree(fact("a", code), fact("b", code)) == []
    assert disagree(fact("a", code), fact("b", code, subject="torchaudio")) == []
    assert disagree(fact("a", code), fact("b", HasGpuCode(cuda="12.6", sass=("90",)))) == [("a", "b")]
    pins = [fact(name, Requires(package=name, versions=f"=={index}")) for index, name in enumerate("ab")]
    assert disagree(*pins) == []
    pairs = [fact(pin, PairsWith(package="numpy", versions=pin)) for pin in ("==1", "==2")]
    assert len(disagree(*pairs)) == 1
    ptx = [NeedsDriver(cuda="12.4", linux="550.54.14", ptx=True), NeedsDriver(cuda="12.0", linux="525.60.13")]
    assert disagree(*(fact(claim.cuda, claim) for claim in ptx)) == []
    formats = [ComputeType(compute_type=name, least="7.0") for name in ("int8", "float16")]
    assert disagree(*(fact(claim.compute_type, claim) for claim in formats)) == []
    conflicts = [Conflicts(package="numpy", versions=text) for text in (">=1", ">=2")]
    assert disagree(*(fact(claim.versions, claim) for claim in conflicts)) == []


VERSION = st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(0, 2)).map(lambda v: ".".join(map(str, v)))
RANGE = st.tuples(VERSION, VERSION).map(lambda ends: ">={},<={}".format(*sorted(ends, key=Version)))


@given(st.lists(RANGE, min_size=2, max_size=6))
def test_finds_what_trying_every_version_finds(ranges: list[str]) -> None:
    facts = [requires(f"fact-{index}", f"=={index}", versions=text) for index, text in enumerate(ranges)]
    every = [f"{a}.{b}.{c}" for a in range(4) for b in range(13) for c in range(3)]
    holding = [{v for v in every if SpecifierSet(text).contains(v)} for text in ranges]
    expected = {frozenset((i, j)) for i, j in itertools.combinations(range(len(ranges)), 2) if holding[i] & holding[j]}
    found = {frozenset(int(name[5:]) for name in pair) for pair in disagree(*facts)}
    assert found == expected


def test_an_overlay_that_contradicts_the_matrix_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(
        """\
facts:
  - id: our-torch-cudnn
    subject: torch
    when: {versions: ">=2.5,<2.7", builds: [""]}
    claim: {kind: requires, package: nvidia-cudnn-cu12, versions: "==9.2.0.82"}
    status: reported
    sources: [{kind: measured, ref: "by us"}]
"""
    )
    done = gpudoctor("matrix", "validate", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ours.yaml:2: facts[0]: 'our-torch-cudnn' and 'torch-2-5-0-cudnn' both hold for torch 2.5" in done.stderr
    file.write_text(file.read_text().replace("facts:", "replaces: [torch-2-5-0-cudnn]\nfacts:", 1))
    assert gpudoctor("matrix", "validate", file).returncode == 2  # only an entry of that very id replaces it
    file.write_text(file.read_text().replace("our-torch-cudnn", "torch-2-5-0-cudnn"))
    assert gpudoctor("matrix", "validate", file).returncode == 0
