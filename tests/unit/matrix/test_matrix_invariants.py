"""What must hold for every entry of the committed matrix."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from gpudoctor.matrix.checks import problems_of
from gpudoctor.matrix.claims import Conflicts, HasGpuCode, NeedsDriver, NeedsLibrary, NeedsPython, PairsWith, Requires
from gpudoctor.matrix.index import Matrix, driver_tuple
from gpudoctor.matrix.load import load_data
from gpudoctor.matrix.overlap import contradictions
from gpudoctor.matrix.tables import Releases
from gpudoctor.matrix.types import Fact
from gpudoctor.matrix.yamlfile import parse_matrix_file

ROOT = Path(__file__).parents[3]
COMPAT = ROOT / "compat"
FILES = sorted([*COMPAT.glob("*.yaml"), *COMPAT.glob("facts/*.yaml"), *COMPAT.glob("consumers/*.yaml")])
DATA = load_data()
MATRIX = Matrix(DATA)
# A subject with many facts has a file a topic.
TOPIC = re.compile("-(pins|index-builds|conflicts|support|numpy|code|memory)$")


def by_id(fact: Fact) -> str:
    return fact.id


every_fact = pytest.mark.parametrize("fact", DATA.facts, ids=by_id)


class TestFiles:
    def test_there_are_files(self) -> None:
        assert {p.relative_to(COMPAT).as_posix() for p in FILES} >= {
            "facts/ctranslate2.yaml",
            "consumers/torch.yaml",
            "families.yaml",
            "causes.yaml",
        }

    @pytest.mark.parametrize("file", FILES, ids=lambda p: p.relative_to(COMPAT).as_posix())
    def test_each_is_of_its_schema(self, file: Path) -> None:
        content, _ = parse_matrix_file(file.read_bytes(), file.name)
        schema = json.loads((COMPAT / "schema" / "matrix-file.json").read_text())
        jsonschema.validate(json.loads(msgspec.json.encode(content)), schema)

    @pytest.mark.parametrize("file", FILES, ids=lambda p: p.relative_to(COMPAT).as_posix())
    def test_an_independent_reader_sees_the_same_texts(self, file: Path) -> None:
        # PyYAML's own loader, where 9.10 would be a number: nothing that we read as text may differ.
        content, _ = parse_matrix_file(file.read_bytes(), file.name)
        plain = yaml.safe_load(file.read_text("utf-8"))
        for part in ("facts", "driver_branches", "gpus"):
            for ours, theirs in zip(getattr(content, part), plain.get(part, ()), strict=True):
                assert _texts(msgspec.to_builtins(ours)) <= _texts(theirs)

    @pytest.mark.parametrize("file", FILES, ids=lambda p: p.relative_to(COMPAT).as_posix())
    def test_facts_stand_in_their_subjects_file(self, file: Path) -> None:
        content, _ = parse_matrix_file(file.read_bytes(), file.name)
        for fact in content.facts:
            assert TOPIC.sub("", file.stem).removesuffix("-gpu") in fact.subject

    def test_compiled_file_is_current(self) -> None:
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "gen_matrix.py", "--check"], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")

    def test_schemas_are_current(self) -> None:
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "gen_schema.py", "--check"], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")


def _texts(value: object) -> set[str]:
    if isinstance(value, dict):
        return {text for item in value.values() for text in _texts(item)}
    if isinstance(value, (list, tuple)):
        return {text for item in value for text in _texts(item)}
    if isinstance(value, str):
        return {value}
    return {value.isoformat()} if hasattr(value, "isoformat") else set()


class TestFacts:
    def test_ids_are_unique(self) -> None:
        ids = [fact.id for fact in DATA.facts]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fact_id) for fact_id in ids)

    @every_fact
    def test_has_sources_with_a_day(self, fact: Fact) -> None:
        assert fact.sources
        for source in fact.sources:
            assert source.ref.strip()
            assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", source.date or "")

    @every_fact
    def test_subject_and_releases_can_be_looked_up(self, fact: Fact) -> None:
        assert canonicalize_name(fact.subject) == fact.subject
        SpecifierSet(fact.when.versions)

    @every_fact
    def test_verified_means_read_or_measured_or_documented(self, fact: Fact) -> None:
        if fact.status == "verified":
            assert {source.kind for source in fact.sources} - {"issue"}

    @every_fact
    def test_names_in_claims_exist(self, fact: Fact) -> None:
        families = {family.name for family in DATA.families}
        match fact.claim:
            case NeedsLibrary():
                assert fact.claim.library in families
                assert all("/" not in name for opening in fact.claim.opens for name in opening.names)
                assert len({o.role for o in fact.claim.opens}) == len(fact.claim.opens)
            case NeedsDriver():
                assert len(driver_tuple(fact.claim.linux)) >= 2
                assert fact.claim.windows is None or len(driver_tuple(fact.claim.windows)) == 2
            case HasGpuCode():
                assert fact.claim.cuda or not (fact.claim.sass or fact.claim.ptx)
                assert all(arch.isdigit() for arch in (*fact.claim.sass, *fact.claim.ptx))
            case Conflicts() | Requires():
                assert canonicalize_name(fact.claim.package) == fact.claim.package
                SpecifierSet(fact.claim.versions)

    @every_fact
    def test_openings_match_their_library(self, fact: Fact) -> None:
        if isinstance(fact.claim, NeedsLibrary):
            family = next(f for f in DATA.families if f.name == fact.claim.library)
            for opening in fact.claim.opens:
                for name in opening.names:
                    stem = name.partition(".so")[0]
                    assert any(re.fullmatch(pattern, stem) for pattern in family.sonames), name

    @pytest.mark.parametrize(
        ("subject", "release"),
        [
            *(("ctranslate2", v) for v in ("3.20.0", "3.24.0", "4.0.0", "4.4.0", "4.6.0", "4.6.3", "4.8.1", "4.8.5")),
            *(("torch", v) for v in ("2.0.1", "2.4.1", "2.5.1", "2.7.1", "2.8.0", "2.10.0", "2.11.0", "2.15.0")),
            *(("torch", v) for v in ("2.0.1+cu118", "2.5.1+cu118", "2.5.1+cu124", "2.7.1+cu118", "2.7.1+cu128")),
            *(("torch", v) for v in ("2.8.0+cu126", "2.8.0+cu129", "2.14.1+cu126", "2.14.1+cu132", "2.5.1+cpu")),
            *(
                ("onnxruntime-gpu", v)
                for v in ("1.16.0", "1.18.0", "1.20.2", "1.22.0", "1.26.0", "1.27.0", "1.28.0", "1.31.1")
            ),
            *(("nvidia-cudnn-cu12", v) for v in ("8.9.2.26", "9.1.0.70", "9.10.2.21", "9.11.0.98", "9.28.0.42")),
            *(("nvidia-cudnn-cu13", v) for v in ("9.12.0.46", "9.26.0.51", "9.28.0.42")),
        ],
    )
    def test_a_release_has_one_build(self, subject: str, release: str) -> None:
        facts = MATRIX.facts(subject, HasGpuCode, release, "linux-x86_64")
        assert len(facts) == 1, [fact.id for fact, _ in facts]

    @pytest.mark.parametrize("known", DATA.releases, ids=lambda known: known.package)
    def test_pythons_are_those_of_the_published_wheels(self, known: Releases) -> None:
        pythons = [f"3.{minor}" for minor in range(7, 16)]
        for version, published in known.versions.items():
            for fact, claim in MATRIX.facts(known.package, NeedsPython, version, "linux-x86_64"):
                stated = [p for p in pythons if SpecifierSet(claim.versions).contains(p)]
                assert stated == [p for p in pythons if SpecifierSet(published).contains(p)], (version, fact.id)

    def test_no_two_facts_disagree(self) -> None:
        found = [(c.one.id, c.other.id, c.version) for c in contradictions(DATA.facts)]
        assert found == []

    @every_fact
    def test_a_range_of_what_is_read_ends(self, fact: Fact) -> None:
        # Nobody has read the next release yet. Memory, conflicts and what holds by a name need no end.
        cpu = isinstance(fact.claim, HasGpuCode) and fact.claim.cuda is None
        if isinstance(fact.claim, (HasGpuCode, PairsWith, NeedsPython, Requires)) and not cpu:
            operators = {specifier.operator for specifier in SpecifierSet(fact.when.versions)}
            assert operators & {"<", "<=", "=="}, fact.when.versions


class TestTables:
    def test_whole_matrix_has_no_problem(self) -> None:
        for file in FILES:
            content, _ = parse_matrix_file(file.read_bytes(), file.name)
            assert list(problems_of(content, DATA)) == []

    def test_every_cause_used_is_listed(self) -> None:
        causes = {cause.id for cause in DATA.causes}
        assert len(causes) == len(DATA.causes)
        assert {family.cause for family in DATA.families} <= causes
        # what the contract and the rules of this release speak of
        assert causes >= {
            "cudnn-not-loadable",
            "cudnn-major-mismatch",
            "cudnn-mixed",
            "cuda-lib-not-loadable",
            "cuda-major-mismatch",
            "cuda-libs-mixed",
            "cpu-only-build",
            "driver-missing",
            "driver-too-old",
            "driver-kernel-mismatch",
            "no-nvidia-gpu",
        }

    def test_what_the_driver_brings_is_the_drivers_fault(self) -> None:
        families = {family.name: family for family in DATA.families}
        for name in ("libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler"):
            assert (families[name].from_driver, families[name].cause) == (True, "driver-missing")
        assert all(family.cause == "driver-missing" for family in DATA.families if family.from_driver)

    def test_a_file_name_has_one_family(self) -> None:
        for family in DATA.families:
            for part in family.parts:
                owners = [f.name for f in DATA.families if any(re.fullmatch(p, part) for p in f.sonames)]
                assert owners == [family.name]

    def test_driver_branches_rise_together_with_cuda(self) -> None:
        pairs = [(int(b.branch), tuple(map(int, b.cuda.split(".")))) for b in DATA.driver_branches]
        assert pairs == sorted(pairs)
        assert [cuda for _, cuda in pairs] == sorted(cuda for _, cuda in pairs)

    def test_gpu_names_are_unique(self) -> None:
        names = [name.lower() for model in DATA.gpus for name in model.names]
        assert len(names) == len(set(names))

    def test_consumers_of_this_release_are_there(self) -> None:
        assert {c.name for c in DATA.consumers} >= {"ctranslate2", "torch", "onnxruntime", "torchcodec"}
