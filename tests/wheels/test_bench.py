"""`gpudoctor bench` on the real faster-whisper and CTranslate2; the GPU, where there is one, is the CPU in disguise."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gpudoctor.bench.jobs import Shop
from support.command import GPUDOCTOR, clean_environment, gpudoctor
from support.wheels import site_packages, wheel_env

pytestmark = [pytest.mark.wheels, pytest.mark.xdist_group("bench")]

# CTranslate2 told that the CPU is a GPU: everything else of it, and all of faster-whisper, is real.
_DISGUISE = """
import os
import ctranslate2

Real = ctranslate2.models.Whisper
supported = ctranslate2.get_supported_compute_types


class Whisper(Real):
    def __init__(self, path, device="cpu", compute_type="default", **options):
        self._wrong = device == "cuda" and os.environ.get("FAKE_GPU") == "nonsense"
        super().__init__(path, device="cpu", compute_type="float32" if device == "cuda" else compute_type, **options)

    def encode(self, features, to_cpu=False):
        import numpy
        if self._wrong:
            noise = numpy.random.default_rng(1).standard_normal(features.shape, dtype=numpy.float32)
            features = ctranslate2.StorageView.from_array(noise)
        return super().encode(features, to_cpu=to_cpu)


ctranslate2.models.Whisper = Whisper
ctranslate2.get_supported_compute_types = lambda device: {"float16"} if device == "cuda" else supported(device)
"""


@pytest.fixture(scope="module")
def env() -> Path:
    return wheel_env("fw-ct2-485")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def disguised(env: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disguised") / "env"
    subprocess.run([env / "bin/python", "-m", "venv", "--without-pip", folder], check=True)
    site = site_packages(folder)
    (site / "real.pth").write_text(f"{site_packages(env)}\n")
    (site / "sitecustomize.py").write_text(_DISGUISE)
    return folder


# One thread and one beam: what is tested is not how fast it is, and threads of OpenMP that spin for each other on a
# machine that runs other tests beside these make it ten times slower.
LEAN = ("--threads", "1", "--beam-size", "1", "-q")


def _bench(env: Path, cache: str, *arguments: str | Path, **more: str) -> tuple[int, dict[str, Any]]:
    given = [] if "--runs" in arguments else ["--runs", "2"]
    done = gpudoctor(
        "bench", "--python", env, "--format", "json", *LEAN, *given, *arguments, XDG_CACHE_HOME=cache, **more
    )
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document


def test_without_gpu_network_and_model_there_is_a_cpu_result_and_a_cause(env: Path, cache: str) -> None:
    status, document = _bench(env, cache)
    if document["device_used"] == "cuda":
        pytest.skip("this machine has a GPU that works")
    assert status == 0
    assert document["fallback"]["cause"] in ("no-nvidia-gpu", "container-no-gpu", "driver-missing")
    assert "random weights" in document["notes"][0]
    for run in document["runs"]:
        assert run["audio_s"] == 30.0
        assert run["tokens"] > 90
        assert not run["tokens_vary"]
        assert run["text"] is None
        assert 50 << 20 < run["peak_rss_bytes"] < 2 << 30
    assert {run["compute_type"] for run in document["runs"]} == {"int8", "float32"}


def test_formats_of_the_cpu_agree(env: Path, cache: str) -> None:
    status, document = _bench(env, cache, "--device", "cpu", "--compare", "--compute-type", "int8")
    assert status == 0
    (found,) = document["agreement"]
    assert found["agrees"]
    assert 0.001 < found["encoder_error"] < found["tolerance"]


@pytest.mark.parametrize("fake", ["sound", "nonsense"])
def test_a_gpu_that_computes_nonsense_is_caught(disguised: Path, cache: str, fake: str) -> None:
    status, document = _bench(disguised, cache, "--compare", "--runs", "1", "--warmup", "0", FAKE_GPU=fake)
    assert document["device_used"] == "cuda"
    assert document["fallback"] is None
    assert {run["device"] for run in document["runs"]} == {"cuda", "cpu"}
    agrees = {(a["device"], a["compute_type"]): a["agrees"] for a in document["agreement"]}
    assert agrees == {("cuda", "float16"): fake == "sound", ("cpu", "int8"): True}
    assert status == (0 if fake == "sound" else 1)


def test_batches_decode_every_window(env: Path, cache: str) -> None:
    arguments = ("--device", "cpu", "--compute-type", "int8", "--runs", "1", "--warmup", "0")
    _, one = _bench(env, cache, *arguments)
    status, two = _bench(env, cache, *arguments, "--batch-size", "2")
    assert status == 0
    assert two["runs"][0]["audio_s"] == 60.0
    assert two["runs"][0]["tokens"] == 2 * one["runs"][0]["tokens"]


def test_two_runs_at_once_make_one_model(env: Path, tmp_path: Path) -> None:
    environment = clean_environment(XDG_CACHE_HOME=str(tmp_path))
    arguments = ["bench", "--python", str(env), "--device", "cpu", "--runs", "1", "--warmup", "0", *LEAN]
    arguments += ["--compute-type", "int8"]
    both = [
        subprocess.Popen([str(GPUDOCTOR), *arguments], env=environment, stdout=subprocess.DEVNULL) for _ in range(2)
    ]
    assert [process.wait(300) for process in both] == [0, 0]
    names = sorted(p.name for p in (tmp_path / "gpudoctor").iterdir())
    assert [n for n in names if n.startswith(".")] == []
    models = [n for n in names if n.startswith("whisper-tiny-") and not n.endswith(".lock")]
    assert len(models) == 1
    damaged = tmp_path / "gpudoctor" / models[0] / "model.bin"
    data = bytearray(damaged.read_bytes())
    data[1000] ^= 0xFF
    damaged.write_bytes(data)
    assert subprocess.run([str(GPUDOCTOR), *arguments], env=environment, stdout=subprocess.DEVNULL).returncode == 0
    data[1000] ^= 0xFF
    assert damaged.read_bytes() == bytes(data)


@pytest.mark.parametrize(("mel_bins", "vocabulary", "languages"), [(80, 51865, 99), (128, 51866, 100), (80, 51864, 99)])
def test_every_kind_of_shape_loads_and_transcribes(
    env: Path, tmp_path: Path, mel_bins: int, vocabulary: int, languages: int
) -> None:
    shape = {"encoder_layers": 2, "decoder_layers": 1, "heads": 2, "width": 64, "mel_bins": mel_bins}
    (tmp_path / "model").mkdir()
    shop = Shop(str(env / "bin/python"), clean_environment(), 120.0)
    job = {"job": "make", "shape": {**shape, "vocabulary": vocabulary}, "folder": str(tmp_path / "model")}
    assert shop.do(job).succeeded
    check = (
        "import sys, numpy; from faster_whisper import WhisperModel; m = WhisperModel(sys.argv[1], device='cpu');"
        "assert m.model.n_mels == int(sys.argv[2]); assert m.feature_extractor.mel_filters.shape[0] == m.model.n_mels;"
        "assert m.hf_tokenizer.get_vocab_size() == int(sys.argv[3]);"
        "a = m.hf_tokenizer.token_to_id('<|startoftranscript|>'); b = m.hf_tokenizer.token_to_id('<|translate|>');"
        "assert b - a - 1 == int(sys.argv[4]), b - a;"
        "s = list(m.transcribe(numpy.zeros(160000, 'f4'), language='en', temperature=0.0, max_new_tokens=20)[0])"
    )
    arguments = [str(tmp_path / "model"), str(mel_bins), str(vocabulary), str(languages)]
    subprocess.run([env / "bin/python", "-c", check, *arguments], check=True)


def test_a_name_without_network_is_one_sentence_that_offers_the_synthetic_one(env: Path, tmp_path: Path) -> None:
    done = gpudoctor(
        "bench", "--python", env, "-q", "--model", "base", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path), HOME=str(tmp_path)
    )
    assert done.returncode == 2
    assert "--model synthetic:base" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_audio_file_is_read_by_pyav(env: Path, cache: str, tmp_path: Path) -> None:
    import wave

    file = tmp_path / "sound with blanks.wav"
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(44100)
        sound.writeframes(bytes(4 * 44100 * 5))
    status, document = _bench(env, cache, "--device", "cpu", "--compute-type", "int8", "--audio", file)
    assert status == 0
    assert document["runs"][0]["audio_s"] == pytest.approx(5.0, abs=0.05)
    file.write_text("no sound")
    done = gpudoctor("bench", "--python", env, *LEAN, "--device", "cpu", "--audio", file, XDG_CACHE_HOME=cache)
    assert done.returncode == 2
    assert "cannot be decoded" in done.stderr


def test_a_damaged_model_folder_is_a_failure_not_a_crash(env: Path, cache: str, tmp_path: Path) -> None:
    _bench(env, cache, "--device", "cpu", "--compute-type", "int8", "--runs", "1", "--warmup", "0")
    whole = next(p for p in Path(cache, "gpudoctor").iterdir() if p.is_dir() and p.name.startswith("whisper-tiny-"))
    copy = tmp_path / "model"
    shutil.copytree(whole, copy)
    (copy / "model.bin").write_bytes((copy / "model.bin").read_bytes()[:1000])
    status, document = _bench(env, cache, "--device", "cpu", "--model", copy)
    assert status == 1
    assert document["failures"][0]["stage"] == "load"
    assert document["failures"][0]["reason"]
