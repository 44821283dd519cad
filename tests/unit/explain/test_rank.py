"""Ranking: first failure, echoes, surroundings, majors, strangers."""

from __future__ import annotations

import pytest

from gpudoctor.explain.rank import explain_lines, explain_stream

LOST = "Unable to load any of {libcudnn_graph.so.9.1.0, libcudnn_graph.so.9.1, libcudnn_graph.so.9, libcudnn_graph.so}"
INSUFFICIENT = "RuntimeError: CUDA failed with error CUDA driver version is insufficient for CUDA runtime version"
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


def first(*lines: str) -> str | None:
    causes = explain_lines(line.encode() for line in lines).causes
    return causes[0].cause if causes else None


class TestOrder:
    def test_the_first_failure_outranks_a_later_one(self) -> None:
        assert first(LOST, "retrying", OOM) == "cudnn-not-loadable"
        assert first(OOM, "retrying", LOST) == "gpu-oom"

    def test_a_later_generic_message_does_not_outrank(self) -> None:
        assert first(LOST, "[W] Failed to create CUDAExecutionProvider. Require cuDNN 9.*") == "cudnn-not-loadable"

    def test_a_specific_message_explains_an_earlier_generic_one(self) -> None:
        generic = "RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before?"
        assert first(generic, "Error 802: system not yet initialized") == "fabric-manager"

    def test_a_warning_is_not_the_first_failure(self) -> None:
        warning = ("torchcodec is not installed correctly so built-in audio decoding will fail. Solutions are:", "")
        loading = "Could not load libtorchcodec. Likely causes:"
        assert first(*warning, loading, "_pickle.UnpicklingError: Weights only load failed.") == "torch-weights-only"
        assert first(*warning, loading) == "torchcodec-load"

    def test_the_line_is_that_of_the_message(self) -> None:
        cause = explain_lines([b"a", b"b", LOST.encode(), b"c"]).causes[0]
        assert (cause.line, cause.parts["version"], cause.parts["major"]) == (3, "9.1.0", "9")
        assert "ctranslate2 4.5.0 to 4.6.2" in cause.explanation


class TestSurroundings:
    def test_docker_without_gpus(self) -> None:
        assert first(INSUFFICIENT) == "driver-too-old"
        assert first("$ docker run -it asr python run.py", INSUFFICIENT) == "container-no-gpu"
        assert first("$ docker run --gpus all -it asr python run.py", INSUFFICIENT) == "driver-too-old"

    def test_both_are_said_to_be_possible(self) -> None:
        found = explain_lines([INSUFFICIENT.encode()])
        assert {c.cause for c in found.causes} >= {"driver-too-old", "container-no-gpu"}

    def test_majors_that_are_there_decide(self) -> None:
        wants = "RuntimeError: Library libcublas.so.12 is not found or cannot be loaded"
        assert first(wants) == "cuda-lib-not-loadable"
        assert first("LD_LIBRARY_PATH=/usr/local/cuda-11.8/lib64", wants) == "cuda-major-mismatch"
        assert first("LD_LIBRARY_PATH=/usr/local/cuda-12.4/lib64", wants) == "cuda-lib-not-loadable"

    def test_an_older_torch_means_another_cudnn(self) -> None:
        assert first("torch==2.1.2+cu118", LOST) == "cudnn-major-mismatch"
        assert first("torch==2.5.1+cu124", LOST) == "cudnn-not-loadable"

    def test_wsl(self) -> None:
        absent = "OSError: libcuda.so.1: cannot open shared object file: No such file or directory"
        assert first(absent) == "driver-missing"
        assert first("Linux pc 5.15.146.1-microsoft-standard-WSL2", absent) == "driver-missing"
        assert first("AssertionError: libcuda.so cannot found!", "/usr/lib/wsl/lib") == "wsl-libcuda"

    def test_a_macintosh_has_no_nvidia_gpu(self) -> None:
        lacking = "AssertionError: Torch not compiled with CUDA enabled"
        assert first(lacking) == "cpu-only-build"
        assert first('  File "/opt/homebrew/lib/torch/cuda/__init__.py", line 1', lacking) == "no-nvidia-gpu"

    def test_a_download_error_needs_a_model(self) -> None:
        error = "urllib.error.HTTPError: HTTP Error 404: Not Found"
        assert first(error) is None
        assert first('  File "/v/whisperx/vad.py", line 9, in load_vad_model', error) == "model-download"
        assert first("[youtube] abc: Downloading webpage", "load_model()", error) is None


WRAPPED = {
    "colour": f"\x1b[31m{LOST}\x1b[0m",
    "carriage return": f"  3%|#   | 1/30\r 10%|##  | 3/30\r{LOST}",
    "CRLF": f"{LOST}\r",
    "compose": f"asr-1  | 2026-11-20 10:00:00,123 ERROR {LOST}",
    "journald": f"Nov 20 10:00:00 host asr[77]: {LOST}",
    "kubelet": f"2026-11-20T10:00:00.123456789Z stderr F {LOST}",
    "json": '{"log":"' + LOST + '\\n","stream":"stderr","time":"2026-11-20T10:00:00Z"}',
    "json with escapes": '{"level":"error","message":"a\\tb: Unable to load any of {libcudnn_\\u006fps.so.9.1.0}"}',
    "in a long line": "x" * 20_000 + LOST + "y" * 20_000,
}


@pytest.mark.parametrize("line", WRAPPED.values(), ids=WRAPPED.keys())
def test_whatever_is_around_the_message(line: str) -> None:
    assert first("before", line, "after") == "cudnn-not-loadable"


class TestBrokenLines:
    def test_cut_at_the_width_of_a_terminal(self) -> None:
        text = "OSError: /srv/app/lib/libtorchaudio.so: undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocationESs"
        for at in (45, 60, 70):
            assert first(text[:at], text[at:]) == "torch-family-abi-mismatch", at

    def test_by_the_kernel(self) -> None:
        lines = ("[ 1.1] NVRM: The NVIDIA GPU 0000:b3:00.0", "  NVRM: fallen off the bus and is not responding.")
        assert first(*lines) == "gpu-hardware-fault"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_encodings(encoding: str) -> None:
    data = f"eins\r\nzwei ä\r\n{INSUFFICIENT}\r\n".encode(encoding)
    pieces = [data[i : i + 7] for i in range(0, len(data), 7)] if encoding == "utf-8-sig" else [data]
    assert explain_stream(pieces).causes[0].cause == "driver-too-old"


STRANGERS = (
    'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space',
    "ERROR:  out of memory\nDETAIL:  Failed on request of size 8388608.",
    "kernel: Out of memory: Killed process 42 (python3) total-vm:3kB",
    "npm ERR! code ERESOLVE\nnpm ERR! ERESOLVE unable to resolve dependency tree",
    "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
    "ImportError: librocblas.so.4: cannot open shared object file: No such file or directory",
    "RuntimeError: HIP error: invalid device function",
    "node: /lib/libc.so.6: version `GLIBC_2.28' not found (required by node)",
    "thread 'main' panicked at src/main.rs:4:5:\nindex out of bounds",
    "git@example.org: Permission denied (publickey).",
    "ERROR: No matching distribution found for some-other-package==1.0",
    "KeyError: 'a'\nFileNotFoundError: [Errno 2] No such file or directory: 'config.yaml'",
    "psycopg2.OperationalError: connection to server failed: Connection refused",
    "RuntimeError: CUDA error: device-side assert triggered",
    "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.15",
    "INFO:faster_whisper:Processing audio with duration 00:17.130\nloaded on cuda:0, torch 2.5.1+cu124",
    "RuntimeError: DefaultCPUAllocator: not enough memory: you tried to allocate 655360 bytes.",
    "Killed",
    "",
)


@pytest.mark.parametrize("log", STRANGERS)
def test_a_log_of_something_else_gets_no_cause(log: str) -> None:
    found = explain_lines(log.encode().splitlines())
    assert found.causes == ()
    assert found.advice
