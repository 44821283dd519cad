"""Patterns of real projects' files that once got a wrong verdict: false alarms first."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.lint.builders import asked, lint, said

CPU = "https://download.pytorch.org/whl/cpu"
CU121 = "https://download.pytorch.org/whl/cu121"
CUBLAS = "LD_LIBRARY_PATH=/x/nvidia/cublas/lib"
CONDA = (
    "dependencies:\n  - python=3.10\n  - pytorch=2.4.1\n  - torchaudio=2.4.1\n"
    "  - cudnn={cudnn}\n  - pip:\n    - {pip}\n"
)
EXTRAS = """\
[project]
name = "proj"
version = "0.1.0"
requires-python = ">=3.12"
dependencies = ["faster-whisper==1.2.1", "ctranslate2==4.8.5"]
[project.optional-dependencies]
cpu = ["torch==2.7.1"]
cu128 = ["torch==2.7.1"]
[tool.uv]
conflicts = [[{ extra = "cpu" }, { extra = "cu128" }]]
[tool.uv.sources]
torch = [{ index = "cpu", extra = "cpu" }, { index = "cu128", extra = "cu128" }]
[[tool.uv.index]]
name = "cpu"
url = "https://download.pytorch.org/whl/cpu"
explicit = true
[[tool.uv.index]]
name = "cu128"
url = "https://download.pytorch.org/whl/cu128"
explicit = true
"""
LOCK = """\
version = 1
requires-python = ">=3.12"
[[package]]
name = "proj"
version = "0.1.0"
source = { virtual = "." }
dependencies = [{ name = "ctranslate2" }]
[package.optional-dependencies]
cpu = [{ name = "torch", version = "2.7.1+cpu", source = { registry = "CPU" }, marker = "extra == 'extra-4-proj-cpu'" }]
cu = [
    { name = "torch", version = "2.7.1", source = { registry = "P" } },
    { name = "torch", version = "2.7.1+cpu", marker = "extra == 'extra-4-proj-cpu'" },
]
[[package]]
name = "ctranslate2"
version = "4.8.5"
source = { registry = "P" }
[[package]]
name = "torch"
version = "2.7.1+cpu"
source = { registry = "CPU" }
[[package]]
name = "torch"
version = "2.7.1"
source = { registry = "P" }
[[package]]
name = "onnxruntime-gpu"
version = "1.31.1"
source = { registry = "P" }
""".replace('"P"', '"https://index.example/simple"').replace('"CPU"', f'"{CPU}"')


def test_torch_for_the_cpu_brings_no_gpu_library(tmp_path: Path) -> None:
    text = f"--index-url {CPU}\n--extra-index-url https://index.example/simple\ntorch==2.5.1\nctranslate2==4.5.0\n"
    result = lint(tmp_path, {"requirements.txt": text}, driver=None, gpu=None)
    assert said(result) == []
    assert asked(result).count("GPD201") == 2


def test_a_library_that_is_done_without_where_it_is_not_there_is_no_fault(tmp_path: Path) -> None:
    # cuFFT, which onnxruntime-gpu 1.31.1 opens for Fourier transforms alone
    text = "onnxruntime-gpu==1.31.1\ntorch==2.5.1\n"
    assert all("cuFFT" not in f.message for f in lint(tmp_path, {"requirements.txt": text}).verdict.findings)


def test_what_conda_brings_is_not_judged_as_wheels(tmp_path: Path) -> None:
    eight = CONDA.format(cudnn="8.9.2", pip="ctranslate2==4.4.0")
    result = lint(tmp_path, {"environment.yml": eight}, python=None)
    assert said(result) == []
    assert set(asked(result)) == {"GPD201", "GPD104"}
    nine = CONDA.format(cudnn="9.1.1", pip="ctranslate2==4.4.0")
    result = lint(tmp_path, {"environment.yml": nine}, python=None)
    assert said(result) == ["GPD202 error 7 ctranslate2"]
    assert "conda's cudnn" in result.verdict.findings[0].message


def test_an_index_has_no_release_without_its_torch(tmp_path: Path) -> None:
    text = f"pip install torch==2.4.1 torchaudio --index-url {CU121}\n"
    assert said(lint(tmp_path, {"setup.sh": text})) == ["GPD471 warning 1 torchaudio"]


def test_the_torch_of_a_declared_pair_decides_the_release(tmp_path: Path) -> None:
    text = f"--index-url {CU121}\ntorch>=2.4,<2.5\ntorchaudio\n"
    assert said(lint(tmp_path, {"requirements.txt": text})) == ["GPD471 warning 3 torchaudio"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Dockerfile", f"FROM ubuntu:22.04\nENV PIP_EXTRA_INDEX_URL={CPU}\nRUN pip install torch==2.5.1\n"),
        (
            ".github/workflows/ci.yml",
            f"env: {{PIP_INDEX_URL: {CPU}}}\njobs:\n  a:\n    steps:\n      - run: pip install torch==2.5.1\n",
        ),
        ("s.sh", f"export UV_INDEX_URL={CPU}\nuv pip install torch==2.5.1\n"),
        ("t.sh", f"PIP_INDEX_URL={CPU} pip install torch==2.5.1\npip install ctranslate2==4.8.5\n"),
    ],
)
def test_indexes_that_variables_name(name: str, text: str, tmp_path: Path) -> None:
    assert [r.split()[0] for r in said(lint(tmp_path, {name: text}))] == ["GPD301"]


def test_extras_with_indexes_of_their_own(tmp_path: Path) -> None:
    result = lint(tmp_path, {"pyproject.toml": EXTRAS}, python=None)
    assert said(result) == ["GPD206 warning 5 ctranslate2", "GPD301 warning 7 torch"]
    assert "GPD479" not in asked(result)


def test_uv_lock_is_read_extra_by_extra(tmp_path: Path) -> None:
    result = lint(tmp_path, {"uv.lock": LOCK}, python=None)
    assert said(result) == ["GPD206 warning 15 ctranslate2", "GPD301 warning 19 torch"]
    files = {"uv.lock": LOCK, "Dockerfile": "FROM python:3.12\nCOPY . .\nRUN uv sync --extra cpu\n"}
    assert said(lint(tmp_path, files, "Dockerfile")) == ["GPD201 error 15 ctranslate2", "GPD301 warning 19 torch"]


def test_poetry_s_optional_packages_are_in_extras(tmp_path: Path) -> None:
    text = (
        '[tool.poetry.dependencies]\npython = "^3.11"\nctranslate2 = "4.8.5"\nfaster-whisper = "1.1.1"\n'
        'onnxruntime-gpu = { version = "1.20.2", optional = true }\n[tool.poetry.extras]\nvad = ["onnxruntime-gpu"]\n'
    )
    both = [f for f in lint(tmp_path, {"pyproject.toml": text}).verdict.findings if f.rule == "GPD401"]
    assert len(both) == 1
    without = text.replace('vad = ["onnxruntime-gpu"]', "")
    assert said(lint(tmp_path, {"pyproject.toml": without})) == []


def test_requires_python_decides_markers(tmp_path: Path) -> None:
    text = (
        '[project]\nname = "x"\nrequires-python = ">=3.11"\n'
        'dependencies = ["numpy==1.24.4; python_version < \'3.10\'", "torch==2.5.1"]\n'
    )
    result = lint(tmp_path, {"pyproject.toml": text}, python=None)
    assert (said(result), result.verdict.open) == ([], ())
    nonsense = text.replace(">=3.11", "nonsense")
    assert asked(lint(tmp_path, {"pyproject.toml": nonsense}, python=None)) == ["GPD479"]


def test_a_database_beside_a_gpu_service_is_no_question(tmp_path: Path) -> None:
    text = "services:\n  db: {image: postgres:16}\n  asr: {image: me/whisper:1}\n  gpu: {image: me/x:1, gpus: all}\n"
    assert asked(lint(tmp_path, {"compose.yml": text})) == ["GPD479", "GPD479"]


def test_remedies_fit_what_requires_the_package(tmp_path: Path) -> None:
    free = lint(tmp_path, {"requirements.txt": "torch==2.5.1\nctranslate2==4.4.0\n"}).verdict.findings[0]
    assert free.fixes[0].title.startswith("Take ctranslate2==4.8")
    bound = lint(tmp_path, {"requirements.txt": "whisperx==3.3.1\ntorch==2.6.0\ntorchaudio==2.6.0\n"})
    found = next(f for f in bound.verdict.findings if f.rule == "GPD202")
    assert [f.title for f in found.fixes] == [
        "Let `gpudoctor pins ctranslate2 torch` find releases that fit each other"
    ]


def test_requirements_of_a_windows_shell(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes("torch==2.5.1\r\ntorchaudio==2.4.1\r\n".encode("utf-16"))
    assert said(lint(tmp_path, {}, "requirements.txt")) == ["GPD472 error 1 torch"]


def test_no_file_that_a_stranger_points_at_is_printed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("AWS_SECRET = hunter2\nline two of it\n")
    (tmp_path / "requirements-x.txt").symlink_to("secret")
    for result in (
        lint(tmp_path, {"requirements.txt": "-r secret\n"}, "requirements.txt"),
        lint(tmp_path, {}, "requirements-x.txt"),
    ):
        (question,) = result.verdict.open
        assert "hunter2" not in question.reason
        assert "2 lines are none that lint reads" in question.reason


def test_a_file_of_nothing_but_nonsense_is_not_told_line_by_line(tmp_path: Path) -> None:
    result = lint(tmp_path, {"requirements.txt": "?\n" * 500})
    assert len(result.verdict.open) == 21
    assert result.verdict.open[-1].reason.endswith("480 more of its lines were not understood")


def test_yaml_that_nests_without_end(tmp_path: Path) -> None:
    from gpudoctor.model.errors import InputFileError

    text = "services:\n  a: " + "[" * 100_000 + "]" * 100_000
    with pytest.raises(InputFileError, match=r"compose\.yml:2: the YAML nests more than 100 levels deep"):
        lint(tmp_path, {"compose.yml": text})


def test_a_link_that_leads_back_up(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to("..")
    result = lint(tmp_path, {"a/requirements.txt": "torch==2.5.1\n"}, ".")
    assert [f.removeprefix(str(tmp_path)) for f in result.files] == ["/a/requirements.txt"]


def test_cudnn_of_another_cuda_is_no_substitute(tmp_path: Path) -> None:
    text = "ctranslate2==4.6.0\nnvidia-cublas-cu12==12.4.5.8\nnvidia-cudnn-cu13==9.19.0.56\n"
    found = {f.cause: f for f in lint(tmp_path, {"requirements.txt": text}).verdict.findings}
    assert set(found) == {"cuda-lib-not-loadable", "cudnn-cuda-mismatch"}
    finding = found["cudnn-cuda-mismatch"]
    assert "built for CUDA 13 as ctranslate2 is not" in finding.message
    assert not any("LD_LIBRARY_PATH" in c for f in finding.fixes for c in f.commands)


def test_who_requires_a_library_is_told_as_it_is(tmp_path: Path) -> None:
    own = lint(tmp_path, {"requirements.txt": "torch==2.5.1\nctranslate2==4.6.0\nnvidia-cudnn-cu12==8.9.7.29\n"})
    finding = next(f for f in own.verdict.findings if f.rule == "GPD202")
    assert "nvidia-cudnn-cu12 8.9.7.29, which torch requires" not in finding.message
    # torch asks for it through cuda-toolkit, and loads it
    through = lint(tmp_path, {"requirements.txt": "torch==2.15.0\nonnxruntime-gpu==1.31.1\n"})
    assert said(through) == ["GPD201 warning 2 onnxruntime", "GPD206 warning 2 onnxruntime"]


def test_a_release_that_does_not_exist_has_neighbours(tmp_path: Path) -> None:
    (finding,) = lint(tmp_path, {"requirements.txt": "torch==2.9.9\n"}).verdict.findings
    assert next(e.value for e in finding.evidence if e.label == "nearest") == "2.9.1, 2.10.0"


@pytest.mark.parametrize("name", ["dockerfile.py", "Dockerfile.md", "Dockerfile.dockerignore", "src/dockerfile.ts"])
def test_what_only_sounds_like_a_dockerfile(name: str, tmp_path: Path) -> None:
    files = {name: "x = 1\n", "requirements.txt": "torch==2.5.1\n"}
    assert [Path(f).name for f in lint(tmp_path, files, ".").files] == ["requirements.txt"]


def test_files_of_two_services_apart(tmp_path: Path) -> None:
    files = {
        "a/requirements.txt": "torch==2.5.1\n-r common.txt\n",
        "a/common.txt": "numpy==1.26.4\n",
        "b/requirements.txt": "torch==2.4.1\n",
    }
    assert said(lint(tmp_path, files)) == ["GPD472 error 1 torch"]
    result = lint(tmp_path, files, apart=True)
    assert (said(result), len(result.files)) == ([], 3)


def test_an_option_behind_a_requirement_is_told_as_such(tmp_path: Path) -> None:
    text = f"dependencies:\n  - pip:\n    - torch==2.5.1 --index-url {CU121}\n"
    (question,) = lint(tmp_path, {"environment.yml": text}).verdict.open
    assert "an option stands behind a requirement" in question.reason


@pytest.mark.parametrize(
    "run", ["./install.sh", "bash -eux /tmp/install.sh", "sudo sh install.sh --gpu", ". ./install.sh"]
)
def test_scripts_that_a_build_runs_are_read(run: str, tmp_path: Path) -> None:
    files = {
        "Dockerfile": f"FROM python:3.11\nCOPY install.sh /tmp/\nRUN cd /tmp && {run}\n",
        "install.sh": f"export {CUBLAS}\npip install ctranslate2==4.8.5 nvidia-cublas-cu12\n",
    }
    result = lint(tmp_path, files, "Dockerfile")
    assert said(result) == ["GPD201 error 2 ctranslate2"]
    assert [Path(f).name for f in result.files] == ["Dockerfile", "install.sh"]


def test_scripts_from_elsewhere_are_no_question(tmp_path: Path) -> None:
    text = (
        "FROM python:3.11\nRUN curl -O https://x/Miniconda3.sh && bash Miniconda3.sh -b && . /opt/conda/etc/conda.sh\n"
    )
    result = lint(tmp_path, {"Dockerfile": text})
    assert (said(result), result.verdict.open) == ([], ())


def test_scripts_that_run_each_other_are_read_once(tmp_path: Path) -> None:
    files = {"a.sh": "./b.sh\npip install torch==2.5.1\n", "b.sh": "bash a.sh\npip install torchaudio==2.4.1\n"}
    assert said(lint(tmp_path, files, "a.sh")) == ["GPD472 error 2 torch"]


def test_what_a_script_reads_into_its_shell_lasts(tmp_path: Path) -> None:
    pip = "pip install ctranslate2==4.8.5 nvidia-cublas-cu12\n"
    files = {"start.sh": f"source ./env.sh\n{pip}", "env.sh": f"export {CUBLAS}\n"}
    assert said(lint(tmp_path, files, "start.sh")) == []
    files["start.sh"] = f"bash env.sh\n{pip}"
    assert said(lint(tmp_path, files, "start.sh")) == ["GPD201 warning 2 ctranslate2"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.lock", '[[package]]\nname = "torch"\nversion = "12-r 3"\n'),
        ("poetry.lock", '[[package]]\nname = "torch"\nversion = ",<"\n'),
        ("requirements.txt", "torch @ https://x/torch-!!-py3-none-any.whl\n"),
        ("requirements.txt", "https://x/torch-1=2-py3-none-any.whl\n"),
    ],
)
def test_a_version_that_is_none(name: str, text: str, tmp_path: Path) -> None:
    assert said(lint(tmp_path, {name: text}, driver=None, gpu=None)) == []
