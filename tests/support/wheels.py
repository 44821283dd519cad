"""Environments made from real wheels, built once per checkout (or shared through GPUDOCTOR_WHEEL_ENVS).

Every environment is a plain venv filled by uv from its cache with hard links, so that eight environments that hold
the same 600 MB wheel take its disk space once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("GPUDOCTOR_WHEEL_ENVS") or ROOT / ".wheel-envs")

_CT2_BASE = ("numpy==2.1.3", "pyyaml==6.0.2", "setuptools==75.8.0")
_CUDNN91 = "nvidia-cudnn-cu12==9.1.0.70"
_CUDNN910 = "nvidia-cudnn-cu12==9.10.2.21"
_CUDNN8 = "nvidia-cudnn-cu12==8.9.2.26"
_CUBLAS12 = "nvidia-cublas-cu12==12.4.5.8"
_CUBLAS13 = "nvidia-cublas==13.1.0.3"
_CUDA12 = (
    "nvidia-cufft-cu12==11.2.1.3",
    "nvidia-cuda-runtime-cu12==12.4.127",
    "nvidia-cuda-nvrtc-cu12==12.4.127",
    "nvidia-nvjitlink-cu12==12.4.127",
    "nvidia-curand-cu12==10.3.5.147",
)
_ORT_BASE = ("numpy==2.1.3", "flatbuffers==25.2.10", "packaging==24.2", "protobuf==5.29.3", "coloredlogs==15.0.1")
_TORCH = (
    "torch==2.5.1",
    "filelock",
    "typing_extensions",
    "networkx==3.4.2",
    "jinja2==3.1.5",
    "fsspec==2025.2.0",
    "markupsafe==3.0.2",
    "sympy==1.13.1",
    "mpmath==1.3.0",
    "nvidia-cusparse-cu12==12.3.1.170",
    "nvidia-cusolver-cu12==11.6.1.9",
    "nvidia-nccl-cu12==2.21.5",
    "nvidia-nvtx-cu12==12.4.127",
    "nvidia-cuda-cupti-cu12==12.4.127",
)
_TORCH_CU13 = (
    "cuda-pathfinder==1.9.0",
    "cuda-toolkit==13.0.2",
    "filelock==4.2.11",
    "fsspec==2026.9.0",
    "jinja2==3.1.6",
    "markupsafe==3.0.4",
    "mpmath==1.3.0",
    "networkx==3.6.1",
    "nvidia-cublas==13.1.0.3",
    "nvidia-cuda-cupti==13.0.85",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cudnn-cu13==9.19.0.56",
    "nvidia-cufft==12.0.0.61",
    "nvidia-cufile==1.15.1.6",
    "nvidia-curand==10.4.0.35",
    "nvidia-cusolver==12.0.4.66",
    "nvidia-cusparse==12.6.3.3",
    "nvidia-cusparselt-cu13==0.8.0",
    "nvidia-nccl-cu13==2.28.9",
    "nvidia-nvjitlink==13.0.88",
    "nvidia-nvshmem-cu13==3.4.5",
    "nvidia-nvtx==13.0.85",
    "sympy==1.14.0",
    "torch==2.11.0",
    "triton==3.6.0",
    "typing-extensions==4.16.0",
)
_TORCH_271 = (
    "filelock==4.2.11",
    "fsspec==2026.9.0",
    "jinja2==3.1.6",
    "markupsafe==3.0.4",
    "mpmath==1.3.0",
    "networkx==3.6.1",
    "nvidia-cublas-cu12==12.6.4.1",
    "nvidia-cuda-cupti-cu12==12.6.80",
    "nvidia-cuda-nvrtc-cu12==12.6.77",
    "nvidia-cuda-runtime-cu12==12.6.77",
    "nvidia-cudnn-cu12==9.5.1.17",
    "nvidia-cufft-cu12==11.3.0.4",
    "nvidia-cufile-cu12==1.11.1.6",
    "nvidia-curand-cu12==10.3.7.77",
    "nvidia-cusolver-cu12==11.7.1.2",
    "nvidia-cusparse-cu12==12.5.4.2",
    "nvidia-cusparselt-cu12==0.6.3",
    "nvidia-nccl-cu12==2.26.2",
    "nvidia-nvjitlink-cu12==12.6.85",
    "nvidia-nvtx-cu12==12.6.77",
    "sympy==1.14.0",
    "torch==2.7.1",
    "triton==3.3.1",
    "typing-extensions==4.16.0",
)
_TORCH_280 = (
    "filelock==4.2.11",
    "fsspec==2026.9.0",
    "jinja2==3.1.6",
    "markupsafe==3.0.4",
    "mpmath==1.3.0",
    "networkx==3.6.1",
    "nvidia-cublas-cu12==12.8.4.1",
    "nvidia-cuda-cupti-cu12==12.8.90",
    "nvidia-cuda-nvrtc-cu12==12.8.93",
    "nvidia-cuda-runtime-cu12==12.8.90",
    "nvidia-cudnn-cu12==9.10.2.21",
    "nvidia-cufft-cu12==11.3.3.83",
    "nvidia-cufile-cu12==1.13.1.3",
    "nvidia-curand-cu12==10.3.9.90",
    "nvidia-cusolver-cu12==11.7.3.90",
    "nvidia-cusparse-cu12==12.5.8.93",
    "nvidia-cusparselt-cu12==0.7.1",
    "nvidia-nccl-cu12==2.27.3",
    "nvidia-nvjitlink-cu12==12.8.93",
    "nvidia-nvtx-cu12==12.8.90",
    "sympy==1.14.0",
    "torch==2.8.0",
    "triton==3.4.0",
    "typing-extensions==4.16.0",
)
_FASTER_WHISPER = (
    "faster-whisper==1.2.1",
    "anyio==4.16.0",
    "av==18.1.0",
    "click==8.5.1",
    "filelock==4.2.11",
    "flatbuffers==25.12.19",
    "fsspec==2026.9.0",
    "h11==0.16.0",
    "hf-xet==1.8.0",
    "httpcore2==2.16.2",
    "httpx2==2.16.2",
    "huggingface-hub==2.4.0",
    "idna==3.20",
    "numpy==2.2.6",
    "onnxruntime==1.20.1",
    "packaging==26.3",
    "protobuf==7.36.2",
    "pyyaml==6.0.3",
    "setuptools==75.8.0",
    "tokenizers==0.23.3",
    "tqdm==4.70.1",
    "truststore==0.10.5",
    "typing-extensions==4.16.0",
)

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    # ctranslate2 by its three ages of cuDNN
    "ct2-460-cudnn91": ("ctranslate2==4.6.0", *_CT2_BASE, _CUDNN91, _CUBLAS12),
    "ct2-460-cudnn910": ("ctranslate2==4.6.0", *_CT2_BASE, _CUDNN910, _CUBLAS12),
    "ct2-460-cudnn8": ("ctranslate2==4.6.0", *_CT2_BASE, _CUDNN8, _CUBLAS12),
    "ct2-460-bare": ("ctranslate2==4.6.0", *_CT2_BASE),
    "ct2-440-cudnn91": ("ctranslate2==4.4.0", *_CT2_BASE, _CUDNN91, _CUBLAS12),
    # cuDNN of the right name for another CUDA: its wheel is the one that torch-2110-ct2-485 has, too
    "ct2-460-cudnn-cu13": ("ctranslate2==4.6.0", *_CT2_BASE, "nvidia-cudnn-cu13==9.19.0.56", _CUBLAS12),
    "ct2-485-cublas12": ("ctranslate2==4.8.5", *_CT2_BASE, _CUBLAS12),
    "ct2-485-cublas13": ("ctranslate2==4.8.5", *_CT2_BASE, _CUBLAS13),
    # onnxruntime of the CUDA 12 and of the CUDA 13 age, and both distributions in one environment
    "ort-1202-cuda12": ("onnxruntime-gpu==1.20.2", *_ORT_BASE, _CUDNN91, _CUBLAS12, *_CUDA12),
    "ort-1270-bare": ("onnxruntime-gpu==1.27.0", *_ORT_BASE),
    "ort-1311-bare": ("onnxruntime-gpu==1.31.1", *_ORT_BASE),
    "ort-both": ("onnxruntime==1.20.1", "onnxruntime-gpu==1.20.2", *_ORT_BASE),
    # faster-whisper as the extra `bench` installs it: no GPU library, no torch
    "fw-ct2-485": (*_FASTER_WHISPER, "ctranslate2==4.8.5"),
    # torch with its libraries, beside ctranslate2
    "torch-251-ct2-460": (*_TORCH, "ctranslate2==4.6.0", *_CT2_BASE, _CUDNN91, _CUBLAS12, *_CUDA12),
    # torch and the torchaudio and torchcodec that installers put beside it, for their metadata name no torch
    "torch-251-torchaudio-2110": (
        *_TORCH,
        "torchaudio==2.11.0",
        "torchcodec==0.17.0",
        "numpy==2.1.3",
        _CUDNN91,
        _CUBLAS12,
        *_CUDA12,
    ),
    "torch-2110-ct2-485": (*_TORCH_CU13, "ctranslate2==4.8.5", *_CT2_BASE, _CUBLAS12),
    "torch-271-ct2-485": (*_TORCH_271, "ctranslate2==4.8.5", *_CT2_BASE),
    "torch-280-ct2-485": (*_TORCH_280, "ctranslate2==4.8.5", *_CT2_BASE),
    "torch-251-ct2-485": (*_TORCH, "ctranslate2==4.8.5", *_CT2_BASE, _CUDNN91, _CUBLAS12, *_CUDA12),
}


def wheel_env(slug: str) -> Path:
    """Return the folder of an environment, building it on first use. Safe under several test processes."""
    folder = HOME / slug
    done = folder / ".complete"
    if done.exists() and done.read_text() == _recipe(slug):
        return folder
    HOME.mkdir(parents=True, exist_ok=True)
    with FileLock(HOME / f"{slug}.lock"):
        if not (done.exists() and done.read_text() == _recipe(slug)):
            _build(slug, folder)
            done.write_text(_recipe(slug))
    return folder


def site_packages(env: Path) -> Path:
    """Return an environment's site-packages."""
    return next((env / "lib").glob("python3*")) / "site-packages"


def nvidia_dirs(env: Path) -> list[str]:
    """Return every folder of NVIDIA libraries in an environment, sorted."""
    return sorted(str(p) for p in (site_packages(env) / "nvidia").glob("*/lib"))


def _recipe(slug: str) -> str:
    return sys.version.split()[0] + "\n" + "\n".join(ENVIRONMENTS[slug])


def _build(slug: str, folder: Path) -> None:
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "LD_LIBRARY_PATH")}
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": "hardlink", "UV_NO_PROGRESS": "1"}
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", _wheel_python(), folder], check=True, env=environment)
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--no-deps", "--python", folder / "bin" / "python", *ENVIRONMENTS[slug]],
        check=True,
        env=environment,
    )


def _wheel_python() -> str:
    """Return the interpreter for the environments: the wheels listed above exist for 3.10 to 3.13."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise RuntimeError("the environments from real wheels need Python 3.10 to 3.13")
    return getattr(sys, "_base_executable", sys.executable)
