"""`gpudoctor bench`, its real child dying in every way; the packages in it are stand-ins."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakehw.build import build
from support.command import GPUDOCTOR, clean_environment, gpudoctor
from support.standins import make_model, make_standin

DRIVER = "driver = 550.54.15\ngpu0.name = NVIDIA RTX 3070\ngpu0.total = 8589934592\ngpu0.free = 1048576\n"
Bench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    make_standin(folder / "env")
    make_model(folder / "model")
    return folder


@pytest.fixture
def bench(home: Path) -> Bench:
    def run(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        return gpudoctor(*_arguments(home, *arguments), XDG_CACHE_HOME=str(home / "cache"), **env)

    return run


def _arguments(home: Path, *arguments: str | Path) -> list[str | Path]:
    given = [] if "--model" in arguments else ["--model", home / "model"]
    return ["bench", "--python", home / "env", "-q", "--runs", "2", *given, *arguments]


def _document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _processes_with(marker: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line and b"gpudoctor\0" not in line:
                found.append(folder.name)
    return found


DEATHS = {
    "abort@transcribe": ("cudnn-not-loadable", "SIGABRT", "during the first transcription"),
    "abort@types": ("cudnn-not-loadable", "SIGABRT", "while the process started"),
    "segfault@load": (None, "SIGSEGV", "while the model was loaded"),
    "killed@transcribe": (None, "SIGKILL", "main memory"),
    "hang@transcribe": (None, None, "hung"),
    "hang@load": (None, None, "hung"),
    "memory@load": (None, None, "main memory"),
    "flood@transcribe": ("cuda-lib-not-loadable", "SIGABRT", ""),
    "pipe@transcribe": (None, None, "closed the pipe"),
    "leave@load": (None, None, "status 7"),
    "error:CUDA_failed_with_error_out_of_memory@load": ("gpu-oom", None, "out of memory"),
    "error:no_kernel_image_is_available_for_execution@transcribe": ("gpu-arch-unsupported", None, ""),
    "error:This_CTranslate2_package_was_not_compiled_with_CUDA_support@types": ("cpu-only-build", None, ""),
    "error:CUDA_failed_with_error_invalid_device_ordinal@load": ("wrong-device-selected", None, ""),
}


@pytest.mark.parametrize("death", DEATHS)
def test_every_death_on_the_gpu_has_its_cause_and_the_cpu_result_follows(bench: Bench, death: str) -> None:
    cause, died_of, words = DEATHS[death]
    # Only a hang waits for it; 5 s are enough for a start on a busy machine.
    limit = "5" if death.startswith("hang") else "100"
    done = bench("--format", "json", "--time-limit", limit, STANDIN_CUDA=death)
    document = _document(done)
    assert done.returncode == 0
    assert document["device_used"] == "cpu"
    assert {run["device"] for run in document["runs"]} == {"cpu"}
    assert document["fallback"]["from"] == "cuda"
    assert document["fallback"]["cause"] == cause
    assert words in document["fallback"]["reason"]
    assert document["failures"][0]["signal"] == died_of


def test_device_cuda_forbids_the_cpu(bench: Bench) -> None:
    done = bench("--device", "cuda", "--format", "json", STANDIN_CUDA="abort@load")
    assert done.returncode == 1
    assert _document(done)["runs"] == []
    assert _document(done)["device_used"] is None


def test_a_gpu_that_works_needs_no_fallback(bench: Bench) -> None:
    document = _document(bench("--format", "json"))
    assert [(r["device"], r["compute_type"]) for r in document["runs"]] == [
        ("cuda", "float16"),
        ("cuda", "int8_float16"),
    ]
    assert document["fallback"] is None
    run = document["runs"][0]
    assert run["audio_s"] == 30.0
    assert run["inference_s"]["min"] <= run["inference_s"]["median"] <= run["inference_s"]["max"]
    assert run["speed_x_realtime"] == pytest.approx(30.0 / run["inference_s"]["median"])
    assert run["realtime_factor"] == pytest.approx(1 / run["speed_x_realtime"])
    assert run["tokens"] == 6


def test_one_format_that_fails_leaves_the_others(bench: Bench) -> None:
    words = "error:Requested_float16_compute_type,_but_the_target_device_or_backend_do_not_support_efficient_float16"
    document = _document(bench("--format", "json", STANDIN_CUDA=f"{words}@load/float16"))
    assert [r["compute_type"] for r in document["runs"]] == ["int8_float16"]
    assert [f["cause"] for f in document["failures"]] == ["compute-type-unsupported"]
    assert document["device_used"] == "cuda"


def test_a_fix_for_the_cpu_speaks_of_the_cpu(bench: Bench) -> None:
    words = "error:Requested_int16_compute_type,_but_the_target_device_or_backend_do_not_support_efficient_int16"
    done = bench("--device", "cpu", "--compute-type", "int16", "--format", "json", STANDIN_CPU=f"{words}@load")
    assert done.returncode == 1
    (failure,) = _document(done)["failures"]
    assert failure["cause"] == "compute-type-unsupported"
    assert "the CPU supports" in failure["fixes"][0]["title"]
    assert failure["fixes"][0]["commands"] == ["gpudoctor bench --device cpu"]


def test_audio_shorter_than_a_window_is_said(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "short.wav"
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(bytes(2 * 16000))
    assert "shorter than the 30 s" in bench("--device", "cpu", "--audio", file).stdout
    assert "shorter than" not in bench("--device", "cpu").stdout


def test_without_a_driver_the_machine_is_the_cause(bench: Bench) -> None:
    words = "error:CUDA_failed_with_error_CUDA_driver_version_is_insufficient_for_CUDA_runtime_version@types"
    found = _document(bench("--format", "json", STANDIN_CUDA=words))["fallback"]
    assert found["cause"] in ("no-nvidia-gpu", "container-no-gpu", "driver-missing")
    assert found["rule"]
    assert found["fixes"]


def test_free_memory_is_told_with_its_lack(bench: Bench, tmp_path: Path) -> None:
    driver = build(tmp_path / "driver")
    environment = driver.environment(DRIVER)
    done = bench(
        "--format", "json", STANDIN_CUDA="error:CUDA_failed_with_error_out_of_memory@transcribe", **environment
    )
    document = _document(done)
    assert document["fallback"]["cause"] == "gpu-oom"
    assert document["fallback"]["free_gpu_memory_bytes"] == 1048576
    assert document["machine"]["gpu"] == "NVIDIA RTX 3070"
    assert document["machine"]["driver"] == "550.54.15"


def test_memory_is_judged_before_it_is_tried(bench: Bench, home: Path, tmp_path: Path) -> None:
    environment = build(tmp_path / "driver").environment(DRIVER)
    model = home / "faster-whisper-large-v2"
    if not model.exists():
        make_model(model)
    done = bench("--model", model, "--format", "json", **environment)
    judged = _document(done)["memory"]
    assert [(m["compute_type"], m["fits"], m["free_bytes"]) for m in judged] == [
        ("float16", False, 1048576),
        ("int8_float16", False, 1048576),
    ]
    assert all(m["needed_bytes"] > 1 << 30 for m in judged)
    run = _document(done)["runs"][0]
    assert run["gpu"]["samples"] >= 1
    assert run["peak_gpu_memory_bytes"] is not None


def test_a_flood_does_not_fill_our_memory(home: Path) -> None:
    environment = clean_environment(XDG_CACHE_HOME=str(home / "cache"), STANDIN_CUDA="flood@load")
    argv = [str(GPUDOCTOR), *map(str, _arguments(home, "--device", "cuda"))]
    # By way of a small process: a child starts with its parent's peak, and this one's is that of the whole suite.
    program = "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
    program += "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    small = [sys.executable, "-S", "-c", program, *argv]
    status, peak_kib = subprocess.run(small, env=environment, check=True, capture_output=True).stdout.split()
    assert int(status) == 1
    assert int(peak_kib) < 150 * 1024


@pytest.mark.parametrize("how", ["orphan", "orphan_hang"])
def test_nothing_that_it_started_stays(bench: Bench, how: str) -> None:
    marker = f"{how}-{os.getpid()}"
    bench("--time-limit", "5", STANDIN_CUDA=f"{how}:{marker}@transcribe")
    assert _processes_with(marker) == []


@pytest.mark.parametrize(("how", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGINT, 130)])
def test_a_gpudoctor_that_is_ended_leaves_no_child(home: Path, how: int, status: int) -> None:
    environment = clean_environment(XDG_CACHE_HOME=str(home / "cache"), STANDIN_CUDA="hang@load")
    argv = [str(GPUDOCTOR), *map(str, _arguments(home, "--device", "cuda"))]
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL)
    marker = str(home / "env/bin/python")
    until = time.monotonic() + 60
    while not (children := _running_jobs(marker)) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(how)
    assert process.wait(10) == status
    while _running_jobs(marker) and time.monotonic() < until:
        time.sleep(0.05)
    assert children
    assert _running_jobs(marker) == []


def _running_jobs(marker: str) -> list[str]:
    found = []
    for pid in _processes_with(marker):
        with contextlib.suppress(OSError):
            found += [pid] if b'"job": "run"' in Path("/proc", pid, "cmdline").read_bytes() else []
    return found


def test_a_later_run_is_held_against_an_earlier_one(bench: Bench, tmp_path: Path) -> None:
    saved = tmp_path / "before.json"
    assert bench("--device", "cpu", "--save", saved).returncode == 0
    document = json.loads(saved.read_text())
    again = bench("--device", "cpu", "--against", saved, "--tolerance", "100", "--format", "json")
    assert again.returncode == 0
    assert len(_document(again)["against"]["changes"]) == 2
    for run in document["runs"]:
        run["inference_s"]["median"] /= 1000
    saved.write_text(json.dumps(document))
    slower = bench("--device", "cpu", "--against", saved)
    assert slower.returncode == 1
    assert "slower" in slower.stdout


@pytest.mark.parametrize("option", ["--tolerance", "--time-limit"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_what_no_comparison_takes_is_no_number(bench: Bench, option: str, value: str) -> None:
    done = bench(option, value)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{option} {value}: expected a number" in done.stderr


def test_what_cannot_be_compared_is_said(bench: Bench, tmp_path: Path) -> None:
    saved = tmp_path / "before.json"
    bench("--device", "cpu", "--save", saved, "--beam-size", "1")
    done = bench("--device", "cpu", "--against", saved)
    assert done.returncode == 1
    assert "Nothing here can be compared" in done.stdout
    assert "beam size: 1 then, 5 now" in done.stdout
    gpu = tmp_path / "gpu.json"
    bench("--save", gpu)
    lost = bench("--against", gpu, STANDIN_CUDA="segfault@load")
    assert lost.returncode == 1
    assert "device: cuda then, cpu now" in lost.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--audio", "/nowhere.wav"), "/nowhere.wav"),
        (("--audio", "/tmp"), "not a regular file"),
        (("--against", "/nowhere.json"), "/nowhere.json"),
        (("--model", "synthetic:huge"), "the shape of 'huge' is not known"),
        (("--model", "./nowhere"), "no such folder"),
        (("--model", "./m\udcff"), "not UTF-8"),
        (("--model", "/tmp"), "no folder of a CTranslate2 model"),
        (("--runs", "0"), "--runs"),
        (("--device", "tpu"), "--device"),
        (("--compute-type", "float128"), "no such number format"),
    ],
)
def test_wrong_input_is_one_sentence(bench: Bench, arguments: tuple[str, ...], words: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_audio_that_is_none(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "a\x1b[31m.wav"
    file.write_bytes(b"RIFFno")
    done = bench("--audio", file, "--device", "cpu")
    assert done.returncode == 2
    assert "cannot be decoded" in done.stderr
    assert "\x1b" not in done.stderr


def test_an_environment_without_faster_whisper_is_named(tmp_path: Path) -> None:
    subprocess.run(["python3", "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    done = gpudoctor("bench", "--python", tmp_path / "bare")
    assert done.returncode == 2
    assert "has no faster-whisper" in done.stderr
    assert "or install it there" in done.stderr


def test_a_release_that_cannot_decode_a_fixed_number_is_refused(tmp_path: Path) -> None:
    done = gpudoctor("bench", "--python", make_standin(tmp_path / "old", version="0.10.1"))
    assert done.returncode == 2
    assert "0.10.1" in done.stderr


def test_a_package_that_cannot_be_imported_is_a_failure_with_its_words(bench: Bench) -> None:
    words = "error:libstdc++.so.6:_version_`GLIBCXX_3.4.32'_not_found@import"
    done = bench("--format", "json", STANDIN_CPU=words)
    assert done.returncode == 1
    # An underscore of the symbol's name became a blank on its way here; the words are what counts.
    assert _document(done)["failures"][0]["stage"] == "import"


def test_batches_and_markdown_and_progress(home: Path) -> None:
    arguments = [a for a in _arguments(home, "--batch-size", "2", "--format", "markdown") if a != "-q"]
    done = gpudoctor(*arguments, XDG_CACHE_HOME=str(home / "cache"))
    assert done.returncode == 0
    assert "60.0 s" in done.stdout
    assert "| model | device |" in done.stdout
    assert "gpudoctor: " in done.stderr
    assert "run 3 of 3" in done.stderr


def test_hostile_words_of_a_package_are_escaped(bench: Bench) -> None:
    done = bench(STANDIN_CUDA="error:\x1b]0;owned\x07\u202e[bold]x@load")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


def test_no_place_for_the_sample(home: Path) -> None:
    environment = {k: v for k, v in clean_environment().items() if k != "HOME"}
    argv = [str(GPUDOCTOR), *map(str, _arguments(home))]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "XDG_CACHE_HOME" in done.stderr


def test_what_a_process_said_is_masked(bench: Bench) -> None:
    token = "hf_" + "a" * 34
    done = bench("--format", "json", STANDIN_CUDA=f"error:HTTP_401_for_{token}_of_/home/alice/model@load")
    assert _document(done)["fallback"]["from"] == "cuda"
    assert token not in done.stdout + done.stderr
    assert "alice" not in done.stdout
