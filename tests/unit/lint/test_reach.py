"""Where a wheel's libraries are made findable, in the ways that people do it; and where nobody can tell from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpudoctor.lint.paths import names_folder, without_commands
from unit.lint.builders import asked, lint, said

WHEELS = "ctranslate2==4.6.0 nvidia-cublas-cu12==12.4.5.8 nvidia-cudnn-cu12==9.1.0.70"
BASE = f"FROM python:3.11-slim\nRUN pip install {WHEELS}\n"
SITE = "/usr/local/lib/python3.11/site-packages/nvidia"
PRINT = (
    "python3 -c 'import os, nvidia.cublas.lib, nvidia.cudnn.lib; "
    'print(os.path.dirname(nvidia.cublas.lib.__file__) + ":" + os.path.dirname(nvidia.cudnn.lib.__file__))\''
)
NOWHERE = ["GPD201 error 2 ctranslate2"] * 2

BOTH = f"{SITE}/cublas/lib {SITE}/cudnn/lib"
LIST = BOTH.replace(" ", ":")
CONF = "/etc/ld.so.conf.d/n.conf"
IMPORT = "export LD_LIBRARY_PATH=$(python3 -c 'import nvidia.cudnn, nvidia.cublas') && app"
FINDABLE = {
    "env": f"ENV LD_LIBRARY_PATH={LIST}\n",
    "loader-conf-printf": f"RUN printf '%s\\n' {BOTH} > {CONF} && ldconfig\n",
    "loader-conf-tee": f"RUN echo '{BOTH}' | sudo tee {CONF} && ldconfig\n",
    "loader-conf-heredoc": f"RUN <<A\ncat > {CONF} <<B\n{SITE}/cublas/lib\n{SITE}/cudnn/lib\nB\nldconfig\nA\n",
    "linked-into-system": f"RUN ln -s {SITE}/cublas/lib/*.so* {SITE}/cudnn/lib/*.so* /usr/lib/x86_64-linux-gnu/\n",
    "repaired": "RUN /opt/gpudoctor/bin/gpudoctor fix --python /srv/app/.venv --apply --yes\n",
    "run-by-gpudoctor": 'CMD ["gpudoctor", "run", "--", "python", "-m", "app"]\n',
    "cmd-exec-form": f'CMD ["bash", "-c", "{IMPORT}"]\n',
    "cmd-shell-form": f"CMD LD_LIBRARY_PATH={LIST} python -m app\n",
    "eval-env": 'CMD eval "$(gpudoctor env)" && exec python -m app\n',
}
NOT_FINDABLE = ["", "CMD python -m app\n", "ENV LD_LIBRARY_PATH=/usr/local/cuda/lib64\n", "RUN ldconfig\n"]


@pytest.mark.parametrize("name", FINDABLE)
def test_libraries_that_are_made_findable(name: str, tmp_path: Path) -> None:
    assert said(lint(tmp_path, {"Dockerfile": BASE + FINDABLE[name]})) == []


@pytest.mark.parametrize(
    "line", ["", "CMD python -m app\n", "ENV LD_LIBRARY_PATH=/usr/local/cuda/lib64\n", "RUN ldconfig\n"]
)
def test_libraries_that_are_not(line: str, tmp_path: Path) -> None:
    assert said(lint(tmp_path, {"Dockerfile": BASE + line})) == NOWHERE


@pytest.mark.parametrize(
    "line",
    [
        "ENV LD_LIBRARY_PATH=$NVIDIA_LIBS\n",
        'CMD ["bash", "-c", "LD_LIBRARY_PATH=$(find-libs) python -m app"]\n',
        "COPY nvidia.conf /etc/ld.so.conf.d/nvidia.conf\n",
    ],
)
def test_what_only_running_it_tells_is_open(line: str, tmp_path: Path) -> None:
    result = lint(tmp_path, {"Dockerfile": BASE + line})
    assert said(result) == []
    assert asked(result) == ["GPD201", "GPD201"]


def test_a_start_script_beside_the_dockerfile_is_read(tmp_path: Path) -> None:
    dockerfile = BASE + 'COPY docker/entrypoint.sh /\nENTRYPOINT ["tini", "--", "/entrypoint.sh"]\nCMD ["python"]\n'
    script = f'#!/bin/bash\nexport LD_LIBRARY_PATH=`{PRINT}`\nexec "$@"\n'
    result = lint(tmp_path, {"Dockerfile": dockerfile, "docker/entrypoint.sh": script}, "Dockerfile")
    assert said(result) == []
    assert result.verdict.open == ()
    assert [Path(f).name for f in result.files] == ["Dockerfile", "entrypoint.sh"]


def test_a_start_script_that_is_not_there_may_set_anything(tmp_path: Path) -> None:
    result = lint(tmp_path, {"Dockerfile": BASE + 'ENTRYPOINT ["/entrypoint.sh"]\n'})
    assert said(result) == ["GPD201 warning 2 ctranslate2"] * 2
    assert asked(result) == ["GPD479"]


@pytest.mark.parametrize(
    "command",
    [
        f'bash -c "export LD_LIBRARY_PATH={LIST}:$$LD_LIBRARY_PATH && python app.py"',
        f'["sh", "-c", "LD_LIBRARY_PATH={LIST} python app.py"]',
        "./start.sh",
        '["tini", "--", "bash", "start.sh"]',
    ],
)
def test_what_a_compose_service_is_started_with(command: str, tmp_path: Path) -> None:
    files = {
        "compose.yml": f"services:\n  asr:\n    build: .\n    gpus: all\n    command: {command}\n"
        "  db: {image: postgres, entrypoint: /nowhere.sh}\n",
        "Dockerfile": BASE,
        "start.sh": f"export LD_LIBRARY_PATH={LIST}\npython app.py\n",
    }
    result = lint(tmp_path, files, "compose.yml")
    assert [f.rule for f in result.verdict.findings if f.rule == "GPD201"] == []
    assert result.verdict.open == ()


def test_a_virtual_environment_repaired_in_the_stage_it_is_copied_from(tmp_path: Path) -> None:
    text = (
        f"FROM python:3.11 AS build\nRUN python -m venv /v && /v/bin/pip install {WHEELS}\n"
        "RUN gpudoctor fix --python /v --apply --yes\n"
        "FROM python:3.11-slim\nCOPY --from=build /v /v\n"
    )
    assert said(lint(tmp_path, {"Dockerfile": text})) == []
    assert len(said(lint(tmp_path, {"Dockerfile": text.replace("--apply ", "")}))) == 2


def test_what_a_script_writes_into_an_activate_script(tmp_path: Path) -> None:
    text = f"pip install {WHEELS}\ncat >> .venv/bin/activate <<'E'\nexport LD_LIBRARY_PATH=\"$({PRINT})\"\nE\n"
    assert said(lint(tmp_path, {"setup.sh": text})) == []


def test_an_unquoted_list_of_variables_is_read_whole(tmp_path: Path) -> None:
    text = f"pip install {WHEELS}\nS=$(site)\nexport LD_LIBRARY_PATH=$S/nvidia/cudnn/lib:$S/nvidia/cublas/lib:$S/x\n"
    assert said(lint(tmp_path, {"setup.sh": text})) == []


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("$(a 'b)' \"c)\" $(d))/lib:x", "$()/lib:x"),
        ("`a`:`b`", "$():$()"),
        ("`open", "$()"),
        ("$(open", "$()"),
        ("${A}/x:$B", "${A}/x:$B"),
    ],
)
def test_commands_are_cut_out(value: str, left: str) -> None:
    assert without_commands(value) == left


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("/v/nvidia/cudnn/lib", True),
        ("$(python -c 'import nvidia.cudnn')", True),
        ("$(python -c 'import nvidia.cublas')", False),
        ("$(x)", None),
        ("$LIBS:/a", None),
        ("$CUDA_HOME/lib64:$LD_LIBRARY_PATH", False),
        ("/a:${LD_LIBRARY_PATH}", False),
        ("", False),
    ],
)
def test_whether_a_value_names_a_folder(value: str, answer: bool | None) -> None:
    assert names_folder(value, "nvidia/cudnn/lib") is answer
