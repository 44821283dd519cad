"""Ranking: first failure, echoes, surroundings, majors, strangers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpudoctor.explain.catalogue import load_catalogue
from gpudoctor.explain.rank import explain_lines, explain_stream

LOST = "Unable to load any of {libcudnn_graph.so.9.1.0, libcudnn_graph.so.9.1, libcudnn_graph.so.9, libcudnn_graph.so}"
INSUFFICIENT = "RuntimeError: CUDA failed with error CUDA driver version is insufficient for CUDA runtime version"
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


CATALOGUE = load_catalogue()


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


class TestAdvice:
    @pytest.mark.parametrize(
        ("message", "package", "others"),
        [
            (
                "ValueError: This CTranslate2 package was not compiled with CUDA support",
                "ctranslate2",
                ("torch", "onnx"),
            ),
            ("AssertionError: Torch not compiled with CUDA enabled", "torch", ("onnx", "ctranslate2")),
            (
                "Specified provider 'CUDAExecutionProvider' is not in available provider names.",
                "onnxruntime-gpu",
                ("torch", "ctranslate2"),
            ),
        ],
    )
    def test_a_remedy_is_for_the_package_that_speaks(self, message: str, package: str, others: tuple[str, ...]) -> None:
        fixes = explain_lines([message.encode()]).causes[0].fixes
        commands = " ".join(command for fix in fixes for command in fix.commands)
        assert package in commands
        assert not [other for other in others if other in commands]

    def test_the_first_remedy_is_no_alternative(self) -> None:
        for signature in CATALOGUE.causes:
            assert not signature.fixes[0].title.startswith("Or ")
        wants = "ImportError: libcufft.so.11: cannot open shared object file: No such file or directory"
        found = explain_lines([b"LD_LIBRARY_PATH=/usr/local/cuda-13.0/lib64", wants.encode()])
        for cause in found.causes:
            assert not cause.fixes[0].title.startswith("Or ")

    def test_one_line_is_one_line(self) -> None:
        assert "in this line" in str(explain_lines([b"hello"]).advice)
        assert "in these 2 lines" in str(explain_lines([b"hello", b"you"]).advice)


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


def test_quotation_marks_of_a_chat() -> None:
    curly = "NVIDIA-SMI has failed because it couldn\u2018t communicate with the NVIDIA driver."
    assert first(curly) == "driver-missing"
    assert first("Unknown runtime name: \u201cnvidia\u201d, unknown or invalid runtime name: \u201cnvidia\u201d") == (
        "container-toolkit-missing"
    )


class TestBrokenLines:
    def test_cut_at_the_width_of_a_terminal(self) -> None:
        text = "OSError: /srv/app/lib/libtorchaudio.so: undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocationESs"
        for at in (45, 60, 70):
            assert first(text[:at], text[at:]) == "torch-family-abi-mismatch", at

    def test_wrapped_between_words(self) -> None:
        text = "the journal of node-7 says: NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus. Nothing else."
        for at in (place for place, char in enumerate(text) if char == " " and place >= 40):
            assert first(text[:at], text[at + 1 :]) == "gpu-hardware-fault", at

    def test_by_the_kernel(self) -> None:
        lines = ("[ 1.1] NVRM: The NVIDIA GPU 0000:b3:00.0", "  NVRM: fallen off the bus and is not responding.")
        assert first(*lines) == "gpu-hardware-fault"


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("cuBLAS failed with status CUBLAS STATUS NOT SUPPORTED", "compute-type-unsupported"),
        ("cuDNN failed with status CUDNN STATUS SUBLIBRARY VERSION MISMATCH", "cudnn-mixed"),
    ],
)
def test_a_status_without_its_underscores(status: str, cause: str) -> None:
    assert first("The following error occured:", f"RuntimeError: {status}") == cause


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        # A program that is older than the code says its number only.
        (
            "CudaSupportError: Error at driver init: [802] Call to cuInit results in UNKNOWN_CUDA_ERROR",
            "fabric-manager",
        ),
        ("[803] Call to cuInit results in UNKNOWN_CUDA_ERROR", "forward-compat"),
        ("E cuda_driver.cc:271] failed call to cuInit: UNKNOWN ERROR (804)", "forward-compat"),
        # Python up to 3.9 does not name the class.
        ("TypeError: __init__() got an unexpected keyword argument 'embedding_exclude_overlap'", "python-api-removed"),
        ("TypeError: transcribe() got an unexpected keyword argument 'no_repeat_ngram_size'", "python-api-removed"),
        ("AttributeError: 'WhisperFeatureExtractor' object has no attribute 'dither'", "python-api-removed"),
        ("Cython.Compiler.Errors.CompileError: av/audio/frame.pyx", "no-wheel-for-python"),
        ("Error: unsupported CUDA version: driver 8.0 < image 9.0.176", "driver-too-old"),
        ("Error: unsupported CUDA version: driver 0.0 < image 9.0.176", "driver-missing"),
        ("RuntimeError: cuDNN compiled (8005) and runtime (7605) versions mismatch", "cudnn-mixed"),
        ("`ffprobe` was not found, the clip cannot be read", "audio-or-ffmpeg"),
        ("Please install `ffmpeg` to go on", "audio-or-ffmpeg"),
        ("RequestError: getaddrinfo EAI_AGAIN cdn-lfs.huggingface.co", "model-download"),
        ("chroot: failed to run command 'nvidia-smi': No such file or directory", "driver-missing"),
        ("nvidia_uvm: version magic '6.1.0-18 SMP ' should be '6.1.0-22 SMP '", "driver-missing"),
        ("nvidia-nvswitch1: SXid (PCI:0000:86:00.0): 20034, Fatal, Link 12 LTSSM Fault Up", "gpu-hardware-fault"),
        ("ImportError: cannot import name 'N_FRAMES' from 'whisper.audio'", "python-api-removed"),
        ("AttributeError: module 'av' has no attribute 'AudioFifo'", "python-api-removed"),
        ("    1. (self: ctranslate2._ext.Whisper, features: StorageView) -> object", "python-api-removed"),
        ("ValueError: Invalid input features shape: expected an input with shape (1, 128, 3000)", "python-api-removed"),
        ("error: cannot enable executable stack as shared object requires: Invalid argument", "exec-stack"),
        ("runc: nvidia-container-runtime did not terminate successfully: exit status 1", "container-toolkit-missing"),
        # Each of these was in a pattern, and no literal led to it.
        ("cudaErrorMemoryAllocation: out of memory", "gpu-oom"),
        ("libcusparse.so: version 'libnvJitLink.so.12' not found (required by it)", "cuda-libs-mixed"),
        ("OSError: Can't load weights for 'openai/whisper-x'.", "model-download"),
        ("Cuda failure 209", "gpu-arch-unsupported"),
    ],
)
def test_other_wordings_of_what_is_known(message: str, cause: str) -> None:
    assert first(message) == cause


def test_a_node_program_without_a_connection_needs_a_model() -> None:
    error = "Error: connect ETIMEDOUT 203.0.113.20:443"
    assert first(error) is None
    assert first("fetching ggml-small.bin ...", error) == "model-download"
    assert first("fetching ggml-small.bin ...", "Error: connect ECONNREFUSED 127.0.0.1:443") is None
    assert first("fetching ggml-small.bin ...", "Error: connect ECONNREFUSED 203.0.113.20:5432") is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_encodings(encoding: str) -> None:
    data = f"eins\r\nzwei ä\r\n{INSUFFICIENT}\r\n".encode(encoding)
    pieces = [data[i : i + 7] for i in range(0, len(data), 7)] if encoding == "utf-8-sig" else [data]
    assert explain_stream(pieces).causes[0].cause == "driver-too-old"


FILE = Path(__file__).with_name("strangers.txt")
STRANGERS = FILE.read_text("utf-8").partition("dashes.\n")[2].rstrip("\n").split("\n----\n")


@pytest.mark.parametrize("log", [*STRANGERS, ""])
def test_a_log_of_something_else_gets_no_cause(log: str) -> None:
    found = explain_lines(log.encode().splitlines())
    assert found.causes == ()
    assert found.advice


def test_a_tab_is_shown_as_a_space() -> None:
    assert explain_lines([b"\tlibcublas.so.12\t=> not found\n"]).causes[0].excerpt == "libcublas.so.12 => not found"
