"""Small files and what lint must say of them: a failing, a passing and an open case of each fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.lint.builders import lint, said

CU = "https://download.pytorch.org/whl/"
CUDA_IMAGE = "FROM nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04\n"


REQUIREMENTS = {
    # a working set, cuBLAS and cuDNN through torch and whisperX: nothing but how it works
    "healthy-torch": ("torch==2.5.1\ntorchaudio==2.5.1\ntorchvision==0.20.1\nnumpy==2.1.3\n", []),
    "torchaudio-unpinned": (
        "torch==2.5.1\ntorchaudio\n",
        ["GPD402 error 2 torchaudio", "GPD471 warning 2 torchaudio"],
    ),
    "torchaudio-other-release": ("torch==2.5.1\ntorchaudio==2.4.1\n", ["GPD472 error 1 torch"]),
    "numpy-2-with-old-torch": ("torch==2.2.2\nnumpy==2.0.2\n", ["GPD403 error 2 numpy"]),
    "numpy-1-with-old-torch": ("torch==2.2.2\nnumpy==1.26.4\n", []),
    "ctranslate2-cudnn8-beside-torch-cudnn9": (
        "torch==2.5.1\nctranslate2==4.4.0\n",
        ["GPD202 error 2 ctranslate2", "GPD206 note 2 ctranslate2"],
    ),
    "ctranslate2-beside-cuda13-torch": ("torch==2.15.0\nctranslate2==4.8.5\n", ["GPD203 error 2 ctranslate2"]),
    "both-onnxruntimes": (
        "onnxruntime==1.20.1\nonnxruntime-gpu==1.20.2\ntorch==2.5.1\n",
        [
            "GPD201 warning 2 onnxruntime",
            "GPD206 warning 2 onnxruntime",
            "GPD401 warning 1 onnxruntime, onnxruntime-gpu",
        ],
    ),
    "cudnn-12-and-13": (
        "nvidia-cudnn-cu12==9.28.0.42\nnvidia-cudnn-cu13==9.28.0.42\n",
        ["GPD401 error 2 nvidia-cudnn-cu12, nvidia-cudnn-cu13"],
    ),
    "yanked": (
        "whisperx==3.7.3\ntorch==2.7.1\ntorchaudio==2.7.1\nctranslate2==4.8.5\nhuggingface-hub<1\nlightning<2.6\n",
        ["GPD206 warning 4 ctranslate2", "GPD473 warning 1 whisperx"],
    ),
    "no-such-release": ("torch==1.99.0\n", ["GPD474 warning 1 torch"]),
    "cpu-torch-where-a-gpu-is-meant": (f"--index-url {CU}cpu\ntorch==2.5.1\n", ["GPD301 warning 2 torch"]),
    "mixed-indexes": (
        f"torch @ {CU}cu118/torch-2.5.1%2Bcu118-cp311-cp311-linux_x86_64.whl\ntorchaudio==2.5.1\n",
        ["GPD402 error 2 torchaudio"],
    ),
    "two-lines-of-one-package": ("numpy>=2\nnumpy<2\n", ["GPD472 error 1 numpy"]),
    "no-wheel-for-python": ("tts==0.22.0\ntorch==2.5.1\ntorchaudio==2.5.1\n", []),
    "marker-of-another-python": ('torch==2.2.2\nnumpy==2.0.2 ; python_version < "3.10"\n', []),
    "marker-of-another-platform": ('torch==2.2.2\nnumpy==2.0.2 ; sys_platform == "win32"\n', []),
    "hashes-and-continuations": (
        "torch==2.5.1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\ntorchaudio==2.4.1 \\\n    --hash=sha256:cc\n",
        ["GPD472 error 1 torch"],
    ),
}


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements(tmp_path: Path, name: str) -> None:
    text, expected = REQUIREMENTS[name]
    assert said(lint(tmp_path, {"requirements.txt": text})) == expected


def test_python_without_wheels_is_an_error(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": "tts==0.22.0\ntorch==2.5.1\ntorchaudio==2.5.1\n"}, python="3.12")
    assert said(result) == ["GPD405 error 1 tts"]


def test_old_driver_and_a_gpu_without_code(tmp_path: Path) -> None:
    files = {"requirements.txt": "torch==2.15.0\n"}
    assert said(lint(tmp_path, files, driver="550.54.15")) == ["GPD104 error 1 nvidia"]
    assert said(lint(tmp_path, files, gpu="GTX 1080 Ti")) == ["GPD302 error 1 torch"]
    assert said(lint(tmp_path, files)) == []


def test_code_that_an_old_driver_cannot_compile(tmp_path: Path) -> None:
    files = {"Dockerfile": CUDA_IMAGE + "RUN pip install ctranslate2==4.8.5\n"}
    assert said(lint(tmp_path, files, driver="550.54.15", gpu="H100")) == ["GPD107 error 2 ctranslate2"]
    assert said(lint(tmp_path, files, driver="570.86.10", gpu="H100")) == []


def test_without_assumptions_driver_and_gpu_are_open(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": "torch==2.5.1\n"}, driver=None, gpu=None)
    assert [q.rule for q in result.verdict.open] == ["GPD104", "GPD302"]
    assert result.verdict.required_open


DOCKERFILES = {
    "healthy": (CUDA_IMAGE + "RUN pip install ctranslate2==4.6.0 torch==2.5.1\n", []),
    "cudnn-9-image-for-cudnn-8": (
        CUDA_IMAGE + "RUN pip install ctranslate2==4.4.0\n",
        ["GPD202 error 2 ctranslate2"],
    ),
    "image-without-cuda": (
        "FROM python:3.11-slim\nRUN pip install ctranslate2==4.8.5\n",
        ["GPD201 error 2 ctranslate2"],
    ),
    "base-flavour-has-no-cublas": (
        "FROM nvidia/cuda:12.4.1-base-ubuntu22.04\nRUN pip install ctranslate2==4.8.5\n",
        ["GPD201 error 2 ctranslate2"],
    ),
    "wheels-off-the-path": (
        "FROM python:3.11\nRUN pip install ctranslate2==4.8.5 nvidia-cublas-cu12==12.4.5.8\n",
        ["GPD201 error 2 ctranslate2"],
    ),
    "wheels-on-the-path": (
        "FROM python:3.11\nRUN pip install ctranslate2==4.8.5 nvidia-cublas-cu12==12.4.5.8\n"
        "ENV LD_LIBRARY_PATH=/usr/local/lib/python3.11/site-packages/nvidia/cublas/lib\n",
        [],
    ),
    "path-of-another-python": (
        "FROM python:3.11\nRUN pip install ctranslate2==4.8.5 nvidia-cublas-cu12==12.4.5.8\n"
        "ENV LD_LIBRARY_PATH=/usr/local/lib/python3.8/site-packages/nvidia/cublas/lib\n",
        ["GPD501 warning 3 LD_LIBRARY_PATH"],
    ),
    "empty-element": (
        "FROM python:3.11\nENV LD_LIBRARY_PATH=/opt/lib:$LD_LIBRARY_PATH\n",
        ["GPD502 warning 2 LD_LIBRARY_PATH"],
    ),
    "guarded": ("FROM python:3.11\nENV LD_LIBRARY_PATH=/opt/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n", []),
    "set-by-the-base": (CUDA_IMAGE + "ENV LD_LIBRARY_PATH=/opt/lib:$LD_LIBRARY_PATH\n", []),
    "apt-cudnn": (
        "FROM nvidia/cuda:12.4.1-runtime-ubuntu22.04\nRUN apt-get update && apt-get install -y libcudnn9-cuda-12\n"
        "RUN pip install ctranslate2==4.6.0\n",
        [],
    ),
    "cuda-13-image": (
        "FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04\nRUN pip install ctranslate2==4.8.5\n",
        ["GPD203 error 2 ctranslate2"],
    ),
    "last-stage-counts": (
        "FROM nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04 AS build\nRUN pip install ctranslate2==4.8.5\n"
        "FROM python:3.11-slim\nCOPY --from=build /venv /venv\n",
        ["GPD201 error 2 ctranslate2"],
    ),
    "args-and-heredoc": (
        "ARG CUDA=12.4.1\nFROM nvidia/cuda:${CUDA}-cudnn-runtime-ubuntu22.04\nARG CT2=4.4.0\nRUN <<EOF\nset -e\n"
        'pip install "ctranslate2==${CT2}"\nEOF\n',
        ["GPD202 error 6 ctranslate2"],
    ),
    "pytorch-image": (
        "FROM pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime\nRUN pip install torchaudio==2.4.1\n",
        ["GPD472 error 1 torch"],
    ),
}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles(tmp_path: Path, name: str) -> None:
    text, expected = DOCKERFILES[name]
    result = lint(tmp_path, {"Dockerfile": text})
    assert said(result) == expected
    assert result.verdict.open == ()


def test_nothing_said_about_the_system_is_open_not_an_error(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": "ctranslate2==4.8.5\n"})
    assert said(result) == []
    assert ["libcublas.so.12" in q.reason for q in result.verdict.open] == [True]


def test_an_unknown_base_image_is_open(tmp_path: Path) -> None:
    result = lint(tmp_path, {"Dockerfile": "FROM registry.example/base:1\nRUN pip install ctranslate2==4.6.0\n"})
    assert said(result) == []
    assert any("registry.example/base:1" in q.reason for q in result.verdict.open)


def test_arm_wheels_have_no_gpu_code(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": "ctranslate2==4.8.5\n"}, platform="linux-aarch64")
    assert said(result) == ["GPD301 warning 1 ctranslate2"]


COMPOSE = "services:\n  asr:\n    build: .\n{more}"


def test_compose_service_without_a_gpu(tmp_path: Path) -> None:
    files = {"Dockerfile": CUDA_IMAGE, "compose.yaml": COMPOSE.format(more="")}
    result = lint(tmp_path, files, "compose.yaml")
    assert said(result) == ["GPD651 warning 2 asr"]
    assert [Path(f).name for f in result.files] == ["compose.yaml", "Dockerfile"]


@pytest.mark.parametrize(
    "more",
    [
        "    gpus: all\n",
        "    runtime: nvidia\n",
        "    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]}}}\n",
        "    devices: [nvidia.com/gpu=all]\n",
    ],
)
def test_compose_service_with_a_gpu(tmp_path: Path, more: str) -> None:
    files = {"Dockerfile": CUDA_IMAGE, "compose.yaml": COMPOSE.format(more=more)}
    assert said(lint(tmp_path, files, "compose.yaml")) == []


def test_services_are_environments_of_their_own(tmp_path: Path) -> None:
    files = {
        "a/Dockerfile": CUDA_IMAGE + "RUN pip install numpy==2.0.2\n",
        "b/Dockerfile": CUDA_IMAGE + "RUN pip install torch==2.2.2 numpy==1.26.4\n",
        "compose.yaml": "services:\n  a: {build: ./a, gpus: all}\n  b: {build: ./b, gpus: all}\n",
    }
    assert said(lint(tmp_path, files, "compose.yaml")) == []


def test_files_named_together_are_one_environment_and_a_folder_is_not(tmp_path: Path) -> None:
    files = {"requirements-a.txt": "torch==2.2.2\n", "requirements-b.txt": "numpy==2.0.2\n"}
    assert said(lint(tmp_path, files)) == ["GPD403 error 1 numpy"]
    assert said(lint(tmp_path, {}, ".")) == []


def test_lock_beside_pyproject_decides(tmp_path: Path) -> None:
    pyproject = '[project]\nname = "x"\nversion = "1"\ndependencies = ["torch>=2", "ctranslate2"]\n'
    lock = (
        "version = 1\n"
        '[[package]]\nname = "torch"\nversion = "2.5.1"\nsource = { registry = "https://index.example/simple" }\n'
        '[[package]]\nname = "ctranslate2"\nversion = "4.4.0"\nsource = { registry = "https://index.example/simple" }\n'
        '[[package]]\nname = "x"\nversion = "1"\nsource = { virtual = "." }\n'
        'dependencies = [{ name = "torch" }, { name = "ctranslate2" }]\n'
    )
    files = {"pyproject.toml": pyproject, "uv.lock": lock}
    result = lint(tmp_path, files, "pyproject.toml")
    assert said(result) == ["GPD202 error 7 ctranslate2", "GPD206 note 7 ctranslate2"]
    assert [Path(f).name for f in result.files] == ["pyproject.toml", "uv.lock"]


def test_links_into_system_folders_are_nothing(tmp_path: Path) -> None:
    text = "ln -s /x/nvidia/cudnn/lib/libcudnn.so.9 /usr/lib/x86_64-linux-gnu/\nln -s /a/config /etc/config\n"
    assert said(lint(tmp_path, {"setup.sh": text})) == []


def test_lines_that_cannot_be_understood_are_open_with_their_place(tmp_path: Path) -> None:
    text = "pip install git+https://example.com/x.git\npip install $(cat list)\npip install -r missing.txt\n"
    result = lint(tmp_path, {"setup.sh": text})
    places = [q.reason.split(": ")[0].rpartition("/")[2] for q in result.verdict.open]
    assert places == ["setup.sh:1", "setup.sh:2", "setup.sh:3"]
    assert {q.rule for q in result.verdict.open} == {"GPD479"}


def test_pins_for_two_pythons_do_not_contradict_each_other(tmp_path: Path) -> None:
    text = 'numpy==1.26.4 ; python_version < "3.11"\nnumpy==2.0.2 ; python_version >= "3.11"\n'
    result = lint(tmp_path, {"requirements.txt": text}, python=None)
    assert said(result) == []
    assert len(result.verdict.open) == 1


def test_a_password_in_a_url_reaches_no_report(tmp_path: Path) -> None:
    secret = "s3cr3t"
    text = (
        f"--index-url https://ann:{secret}@download.pytorch.org/whl/cpu\ntorch==2.5.1\n"
        f"mine @ https://{secret}@corp.example/mine.tar.gz\ngit+ssh://git@corp.example/other.git\n"
    )
    verdict = lint(tmp_path, {"requirements.txt": text}).verdict
    cpu = next(f for f in verdict.findings if f.rule == "GPD301")
    assert "https://[masked]@download.pytorch.org/whl/cpu" in [e.value for e in cpu.evidence]
    reasons = "\n".join(question.reason for question in verdict.open)
    assert "mine @ https://[masked]@corp.example/mine.tar.gz" in reasons
    assert "git+ssh://git@corp.example" in reasons
    assert secret not in f"{verdict.findings}{reasons}"
