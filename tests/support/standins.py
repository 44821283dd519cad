"""An environment whose faster-whisper and CTranslate2 are stand-ins that die in any way a test wants.

The benchmark's child, its pipe and its interpreter are real; only the two packages are not. What the stand-in does on
a device is told by `STANDIN_CUDA` and `STANDIN_CPU`: `how@where`, where `where` is import, types, load or transcribe.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_CTRANSLATE2 = """
import faster_whisper._standin as standin

__version__ = "4.8.5"


def get_supported_compute_types(device):
    standin.act(device, "types")
    return {"float16", "int8_float16", "float32"} if device == "cuda" else {"int8", "float32"}
"""
_FASTER_WHISPER = """
import time
import wave

from faster_whisper import _standin as standin

__version__ = "1.2.1"
standin.act("cuda", "import")
standin.act("cpu", "import")


class Segment:
    def __init__(self, tokens):
        self.tokens = tokens
        self.text = "word"


class Tokenizer:
    def token_to_id(self, token):
        return 100

    def get_vocab_size(self):
        return 120


class WhisperModel:
    def __init__(self, path, device, compute_type, cpu_threads):
        self.device = device
        self.compute_type = compute_type
        self.hf_tokenizer = Tokenizer()
        standin.act(device, "load", compute_type)

    def transcribe(self, audio, **options):
        assert options["suppress_tokens"] == list(range(100, 120)) and options["temperature"] == 0.0
        options["suppress_tokens"].clear()  # as the real one changes it
        return self._segments(), None

    def _segments(self):
        for _ in range(2):
            standin.act(self.device, "transcribe", self.compute_type)
            time.sleep(0.005)
            yield Segment([1, 2, 3])


class BatchedInferencePipeline:
    def __init__(self, model):
        self.model = model

    def transcribe(self, audio, batch_size, clip_timestamps, **options):
        assert clip_timestamps[0]["start"] == 0.0
        return self.model.transcribe(audio, **options)


def decode_audio(path, sampling_rate):
    with wave.open(path) as sound:
        return range(sound.getnframes())
"""
_STANDIN = r"""
import os
import resource
import signal
import subprocess
import sys
import time

CUDNN = (
    "Unable to load any of {libcudnn_ops.so.9.1.0, libcudnn_ops.so.9.1, libcudnn_ops.so.9, libcudnn_ops.so}\n"
    "Invalid handle. Cannot load symbol cudnnCreateTensorDescriptor\n"
)


def act(device, where, compute_type=None):
    how, _, place = os.environ.get(f"STANDIN_{device.upper()}", "").partition("@")
    place, _, only = place.partition("/")
    if place == where and (not only or only == compute_type):
        globals()[how.split(":")[0]](how.partition(":")[2])


def abort(_):
    os.write(2, CUDNN.encode())
    os.abort()


def segfault(_):
    os.kill(os.getpid(), signal.SIGSEGV)


def killed(_):
    os.kill(os.getpid(), signal.SIGKILL)


def hang(_):
    time.sleep(600)


def memory(_):
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, resource.RLIM_INFINITY))
    bytearray(1 << 33)


def flood(_):
    block = b"noise " * 170000 + b"\n"
    for _ in range(1500):
        os.write(2, block)
    os.write(2, b"terminate called: Library libcublas.so.12 is not found or cannot be loaded\n")
    os.abort()


def pipe(_):
    os.close(int(sys.argv[3]))
    time.sleep(600)


def leave(_):
    os._exit(7)


def orphan(marker):
    subprocess.Popen(["/bin/sh", "-c", "sleep 600; :", marker])
    os.abort()


def orphan_hang(marker):
    subprocess.Popen(["/bin/sh", "-c", "sleep 600; :", marker])
    time.sleep(600)


def error(text):
    raise RuntimeError(text.replace("_", " "))
"""


def make_standin(folder: Path, *, version: str = "1.2.1") -> Path:
    """Make the environment and return its folder."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next((folder / "lib").glob("python3*")) / "site-packages"
    for name, files in {
        "ctranslate2": {"__init__.py": _CTRANSLATE2},
        "faster_whisper": {"__init__.py": _FASTER_WHISPER, "_standin.py": _STANDIN},
    }.items():
        (site / name).mkdir()
        for file, text in files.items():
            (site / name / file).write_text(text)
    info = site / f"faster_whisper-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: faster-whisper\nVersion: {version}\n")
    (info / "RECORD").write_text("")
    return folder


def make_model(folder: Path) -> Path:
    """Make what passes for a folder of a model."""
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"none")
    return folder
