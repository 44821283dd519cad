"""Facts derived again from published wheels, and the scripts that read them: range requests, below 100 MB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import refresh_matrix  # noqa: E402 - scripts/ is no package
from derive import derive, disagreement, is_derivable, new_facts  # noqa: E402
from gpudoctor.matrix.claims import HasGpuCode, NeedsLibrary, NeedsPython, PairsWith, Requires  # noqa: E402
from gpudoctor.matrix.index import Matrix  # noqa: E402
from gpudoctor.matrix.load import load_matrix  # noqa: E402
from inspect_wheel import read_members  # noqa: E402
from published import Index  # noqa: E402

pytestmark = [pytest.mark.wheels, pytest.mark.xdist_group("published")]

PLATFORM = "linux-x86_64"
LIMIT_BYTES = 100_000_000
MATRIX = load_matrix()
# Releases at both ends of the ranges that the facts speak of; one old, one in use, one new for each subject.
SAMPLE = (
    "ctranslate2==3.24.0",
    "ctranslate2==4.4.0",
    "ctranslate2==4.6.0",
    "ctranslate2==4.8.5",
    "faster-whisper==1.0.3",
    "faster-whisper==1.1.1",
    "onnxruntime-gpu==1.20.2",
    "onnxruntime-gpu==1.31.1",
    "pyannote-audio==3.4.0",
    "torch==2.0.1",
    "torch==2.3.1",
    "torch==2.5.1",
    "torch==2.8.0",
    "torch==2.15.0",
    "torchaudio==2.5.1",
    "torchaudio==2.11.0",
    "torchvision==0.20.1",
    "whisperx==3.3.3",
    "whisperx==3.4.2",
)
# Members whose GPU code and names are read again: small ones, for a member is fetched as a whole.
BINARIES = (
    ("ctranslate2==4.4.0", r"ctranslate2\.libs/lib(ctranslate2|cudnn)-"),
    ("ctranslate2==4.8.5", r"ctranslate2\.libs/libctranslate2-"),
)


@pytest.fixture(scope="module")
def index() -> Index:
    return Index()


@pytest.mark.parametrize("release", SAMPLE)
def test_facts_agree_with_what_is_published(index: Index, release: str) -> None:
    name, version = release.split("==")
    found = derive(index, name, version, PLATFORM)
    facts = [f for kind in (NeedsPython, Requires, PairsWith) for f, _ in MATRIX.facts(name, kind, version, PLATFORM)]
    assert facts, f"the matrix says nothing of {release} that METADATA could confirm"
    assert all(map(is_derivable, facts))
    assert {f.id: wrong for f in facts if (wrong := disagreement(f, found))} == {}


@pytest.mark.parametrize(("release", "members"), BINARIES)
def test_gpu_code_and_opened_names_agree_with_the_binaries(index: Index, release: str, members: str) -> None:
    name, version = release.split("==")
    said = read_members(index, MATRIX, index.wheel(name, version, PLATFORM), members).values()
    code = {a for library in said for a in library.get("gpu_code", ())}
    ((_, claim),) = MATRIX.facts(name, HasGpuCode, version, PLATFORM)
    assert code == {f"sm_{a}" for a in claim.sass} | {f"compute_{a}" for a in claim.ptx}
    names = {n for library in said for n in library.get("names", ())}
    for fact, needs in MATRIX.facts(name, NeedsLibrary, version, PLATFORM):
        plain = {n for o in needs.opens for n in o.names if "{" not in n}
        assert plain & names, f"{fact.id}: none of {sorted(plain)} is a name in the binaries"


def test_a_wrong_fact_is_contradicted(index: Index) -> None:
    found = derive(index, "torch", "2.5.1", PLATFORM)
    fact = MATRIX.fact("torch-2-4-0-cudnn")
    assert fact is not None
    assert disagreement(fact, found) is None
    lying = msgspec.structs.replace(fact, claim=Requires(package="nvidia-cudnn-cu12", versions="==9.2.0.82"))
    assert "9.1.0.70" in str(disagreement(lying, found))
    pythons = msgspec.structs.replace(fact, claim=NeedsPython(versions=">=3.9,<3.13"))
    assert "3.13" in str(disagreement(pythons, found))


def test_a_new_fact_is_written_as_people_write_them(index: Index) -> None:
    bare = Matrix(msgspec.structs.replace(MATRIX.data, facts=()))
    facts = new_facts(bare, derive(index, "torch", "2.5.1", PLATFORM), "2026-11-21")
    text = "facts:\n" + "".join(map(refresh_matrix._in_house_style, facts))
    assert yaml.safe_load(text)["facts"] == facts
    assert 'when: {versions: "==2.5.1", platforms: [linux-x86_64]}' in text


def test_a_withdrawn_release_is_noted_only_where_no_fact_says_so(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = '{kind: wheel, ref: "whisperx==3.8.2: METADATA"}'
    (tmp_path / "whisperx.yaml").write_text(f"facts:\n  - id: made-up\n    sources:\n      - {source}\n")
    monkeypatch.setattr(refresh_matrix, "FACTS", tmp_path)
    assert not any("3.8.2" in n for n in refresh_matrix.refresh(MATRIX, index, ("whisperx",), "2026-11-21").notes)
    silent = [f for f in MATRIX.data.facts if f.id != "whisperx-3-8-2-yanked"]
    unaware = Matrix(msgspec.structs.replace(MATRIX.data, facts=tuple(silent)))
    notes = refresh_matrix.refresh(unaware, index, ("whisperx",), "2026-11-21").notes
    assert any(n.startswith("whisperx==3.8.2: withdrawn") for n in notes)


def test_an_index_that_does_not_answer_is_one_sentence() -> None:
    for name, arguments in (("inspect_wheel.py", ["torch==2.5.1"]), ("refresh_matrix.py", ["torch"])):
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / name, *arguments],
            env={"PIP_INDEX_URL": "https://127.0.0.1:1/simple"},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "the package index cannot be read" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_empty_matrix_learns_the_requirements_of_a_release(index: Index) -> None:
    bare = Matrix(msgspec.structs.replace(MATRIX.data, facts=()))
    facts = {f["id"]: f for f in new_facts(bare, derive(index, "torch", "2.5.1", PLATFORM), "2026-11-21")}
    assert facts["torch-2-5-1-nvidia-cudnn-cu12"]["claim"] == {
        "kind": "requires",
        "package": "nvidia-cudnn-cu12",
        "versions": "==9.1.0.70",
    }
    assert facts["torch-2-5-1-python"]["claim"] == {"kind": "needs-python", "versions": ">=3.9,<3.14"}


def _refreshed(index: Index, monkeypatch: pytest.MonkeyPatch, folder: Path, digest: str) -> refresh_matrix.Refresh:
    """Run a refresh over a folder with one fact, whose source has a digest."""
    source = f'{{kind: wheel, ref: "silero-vad==6.0.0: METADATA", date: "2026-11-20"{digest}}}'
    (folder / "silero-vad.yaml").write_text(f"facts:\n  - id: made-up\n    sources:\n      - {source}\n")
    monkeypatch.setattr(refresh_matrix, "FACTS", folder)
    return refresh_matrix.refresh(MATRIX, index, ("silero-vad",), "2026-11-21")


def test_digests_are_filled_in_and_another_one_is_an_alarm(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = index.wheel("silero-vad", "6.0.0", PLATFORM).sha256
    filled = _refreshed(index, monkeypatch, tmp_path, "")
    assert filled.alarms == []
    assert f'sha256: "{published}"' in filled.texts[tmp_path / "silero-vad.yaml"]
    right = _refreshed(index, monkeypatch, tmp_path, f', sha256: "{published}"')
    assert "sha256" not in right.texts.get(tmp_path / "silero-vad.yaml", "").replace(f'sha256: "{published}"', "", 1)
    wrong = _refreshed(index, monkeypatch, tmp_path, f', sha256: "{"0" * 64}"')
    assert any("the matrix recorded 0000" in alarm for alarm in wrong.alarms)


def test_recorded_digests_are_those_of_the_published_files(index: Index) -> None:
    run = refresh_matrix.refresh(MATRIX, index, ("ctranslate2", "torchaudio"), "2026-11-21")
    assert run.alarms == []
    assert not any("sha256" in line for line in _added(run)), "scripts/refresh_matrix.py --write fills digests in"


def _added(run: refresh_matrix.Refresh) -> list[str]:
    return [
        line for path, text in run.texts.items() for line in set(text.splitlines()) - set(path.read_text().splitlines())
    ]


def test_command_lines() -> None:
    def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts" / name), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = script("inspect_wheel.py", "silero-vad==6.0.0")
    assert done.returncode == 0, done.stderr
    assert len(yaml.safe_load(done.stdout)["silero-vad==6.0.0"]["sha256"]) == 64
    unpublished = script("inspect_wheel.py", "silero-vad==0.0.0.1")
    assert unpublished.returncode == 2
    assert unpublished.stderr.startswith("inspect_wheel: silero-vad==0.0.0.1: no wheel")
    assert script("inspect_wheel.py", "silero-vad").returncode == 2
    assert script("refresh_matrix.py", "no-such-subject").returncode == 2


def test_the_whole_sample_stays_small(index: Index) -> None:
    assert index.fetched_bytes < LIMIT_BYTES
