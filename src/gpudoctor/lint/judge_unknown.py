"""Packages that the matrix does not know, and that may bring GPU packages with them: open, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpudoctor.lint.plan import Chosen
from gpudoctor.lint.scene import Scene
from gpudoctor.matrix.claims import HasGpuCode, NeedsLibrary, PairsWith
from gpudoctor.model.finding import Evaluation, Open
from gpudoctor.rules.reading import listed

_MOST_NAMED = 12
# Packages whose own metadata requires torch, ctranslate2 or ONNX Runtime, without an extra.
_BRINGING_NAMES = """
accelerate asteroid audio-separator audiocraft bitsandbytes chatterbox-tts coqui-tts deepspeed demucs
descript-audio-codec easyocr encodec espnet f5-tts fairseq flair kokoro kokoro-onnx lightning-fabric nemo-toolkit
parler-tts peft piper-tts resemble-enhance sentence-transformers stable-ts timm ultralytics vllm vocos xformers
"""
_BY_NAME = re.compile(r".*(torch|whisper|ctranslate|onnxruntime|cuda).*|.*-cu\d\d|nvidia-(?!ml-py$).*")
# Packages that require none of them, and stand in nearly every list: they are nobody's question.
_PLAIN_NAMES = """
aiofiles aiohttp alembic anyio attrs black boto3 botocore celery certifi cffi charset-normalizer click coverage
cryptography cython django djangorestframework fastapi ffmpeg-python filelock flake8 flask fsspec gevent gradio
gpudoctor-cli grpcio gunicorn httptools httpx idna ipykernel ipython isort itsdangerous jinja2 joblib jsonschema jupyter
jupyterlab librosa loguru lxml markdown markupsafe matplotlib mlflow msgpack msgspec mypy networkx nltk notebook numba
nvidia-ml-py openai opencv-python opencv-python-headless orjson packaging pandas pillow pip pre-commit protobuf psutil
psycopg2 psycopg2-binary pyarrow pyaudio pycparser pydantic pydantic-core pydantic-settings pydub pygments pyjwt
pymongo pytest pytest-asyncio pytest-cov python-dateutil python-dotenv python-multipart pytz pyyaml redis regex
requests rich ruff safetensors scikit-learn scipy seaborn sentencepiece sentry-sdk setuptools six sounddevice soundfile
soxr sqlalchemy starlette streamlit sympy tabulate tenacity tensorboard tiktoken toml tomli tqdm typer
typing-extensions urllib3 uvicorn uvloop wandb watchdog watchfiles webrtcvad websocket-client websockets werkzeug
wheel xxhash yarl zipp
"""


def judge_unknown(scene: Scene) -> Iterator[Evaluation]:
    """Yield one open answer that names the packages of which nobody knows what they bring.

    One that is known to bring GPU packages is always named; any other only beside GPU packages, whose releases it may
    limit, and then the answer is nothing that `--strict` insists on: every web service has such packages.
    """
    unknown = [c for c in scene.plan.packages.values() if _is_unknown(scene, c)]
    bringing = [c.name for c in unknown if _brings(c.name)]
    others = [c.name for c in unknown if c.name not in bringing] if _has_gpu_packages(scene) or bringing else []
    if not bringing and not others:
        return
    likely = "not in the matrix, and packages of this kind bring torch, ctranslate2, ONNX Runtime or CUDA libraries"
    parts = [f"{_shown(bringing)}: {likely}"] if bringing else []
    parts += [f"{_shown(others)}: not in the matrix, so what is required there is not known"] if others else []
    yield Open("; ".join(parts), (bringing or others)[0], required=bool(bringing))


def _is_unknown(scene: Scene, chosen: Chosen) -> bool:
    lines = [r for r in chosen.lines if r.installer != "conda"]
    if not lines or any(r.locked for r in chosen.lines) or chosen.name in _PLAIN_NAMES.split():
        return False  # a lock names all that is installed
    return not scene.matrix.knows(chosen.name) and not scene.matrix.releases(chosen.name)


def _brings(name: str) -> bool:
    return name in _BRINGING_NAMES.split() or _BY_NAME.fullmatch(name) is not None


def _has_gpu_packages(scene: Scene) -> bool:
    subjects = {
        f.subject for f in scene.matrix.data.facts if isinstance(f.claim, NeedsLibrary | HasGpuCode | PairsWith)
    }
    return any(name in subjects for name in scene.plan.packages)


def _shown(names: list[str]) -> str:
    return listed(names, most=_MOST_NAMED)
