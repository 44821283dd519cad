from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.model.environment import Variable
from gpudoctor.model.errors import InputFileError, UsageError
from gpudoctor.probes.variables import (
    is_allowed,
    judged_environment,
    parse_assignment,
    parse_env_file,
    read_env_file,
)
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.real import RealSystem


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "PATH", "HOME", "LD_LIBRARY_PATH_BACKUP", "TORCH_HUB_TOKEN",
     "ORT_PASSWORD", "CUDA_SECRET", "PIP_INDEX_URL", "HTTP_PROXY", "ld_library_path"],
)  # fmt: skip
def test_what_may_hold_a_secret_is_not_recorded(name: str) -> None:
    judged = judged_environment(MemorySystem(environ={name: "hunter2"}))

    assert judged.variables == ()
    assert judged.environment == {name: "hunter2"}, "the loader and the children get everything"
    assert not is_allowed(name)


@pytest.mark.parametrize(
    "name",
    ["LD_LIBRARY_PATH", "LD_PRELOAD", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "CUDA_MODULE_LOADING", "CUDNN_LOGDEST_DBG",
     "NVIDIA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF", "TORCH_CUDNN_V8_API_DISABLED",
     "CT2_USE_EXPERIMENTAL_PACKED_GEMM", "ORT_LOGGING_LEVEL", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH"],
)  # fmt: skip
def test_what_matters_is_recorded(name: str) -> None:
    assert judged_environment(MemorySystem(environ={name: ""})).variables == (Variable(name=name, value=""),)


def test_assignments_win_over_files_and_files_over_the_process() -> None:
    system = MemorySystem(
        {"/one.env": "CUDA_HOME=/one\nCUDA_PATH=/one\nMY_TOKEN=s\n", "/two.env": "CUDA_PATH=/two\n"},
        environ={"CUDA_HOME": "/process", "PATH": "/bin"},
    )

    judged = judged_environment(system, ["CUDA_ROOT=/given", "CUDA_HOME=", "X=a=b"], ["/one.env", "/two.env"])

    assert judged.variables == (
        Variable(name="CUDA_HOME", value="", source="--env"),
        Variable(name="CUDA_PATH", value="/two", source="--env-file"),
        Variable(name="CUDA_ROOT", value="/given", source="--env"),
    )
    assert judged.environment["PATH"] == "/bin"
    assert judged.environment["MY_TOKEN"] == "s"
    assert judged.environment["X"] == "a=b"


def test_a_service_does_not_inherit_what_this_shell_exported() -> None:
    system = MemorySystem({"/svc.env": "OMP_NUM_THREADS=4\n"}, environ={"LD_LIBRARY_PATH": "/shell", "PATH": "/bin"})

    judged = judged_environment(system, (), ["/svc.env"])

    assert judged.environment == {"PATH": "/bin", "OMP_NUM_THREADS": "4"}


def test_an_assignment_alone_keeps_the_process() -> None:
    system = MemorySystem(environ={"LD_LIBRARY_PATH": "/shell"})

    assert judged_environment(system, ["CUDA_HOME=/x"]).environment["LD_LIBRARY_PATH"] == "/shell"


def test_names_do_not_differ_by_case_on_windows() -> None:
    system = MemorySystem(environ={"CUDA_PATH": "C:\\a"}, os_name="windows")

    assert judged_environment(system, ["Cuda_Path=C:\\b"]).environment == {"CUDA_PATH": "C:\\b"}


def test_bytes_that_are_no_text_can_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/\udcff/lib")

    judged = judged_environment(RealSystem())

    assert judged.environment["LD_LIBRARY_PATH"] == "/\udcff/lib", "the loader gets the true bytes"
    assert b"udcff" in msgspec.json.encode(judged.variables)


@pytest.mark.parametrize("text", ["NAME", "", "=value", "1A=x", "A B=x", "A-B=hunter2", "A=x\0y"])
def test_an_assignment_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=VALUE") as caught:
        parse_assignment(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=b", {"A": "b"}),
        ("export A=b", {"A": "b"}),
        ("  export   A=b  ", {"A": "b"}),
        ("A=", {"A": ""}),
        ("A=''", {"A": ""}),
        ("A= b c ", {"A": "b c"}),
        ("A='b # c'  # why", {"A": "b # c"}),
        ('A="b \\"c\\" \\\\ \\$d \\n"', {"A": 'b "c" \\ $d \\n'}),
        ("A=b#c", {"A": "b#c"}),
        ("A=b # c", {"A": "b"}),
        ("A=# c", {"A": ""}),
        ("A=$ORIGIN/../lib:${HOME}", {"A": "$ORIGIN/../lib:${HOME}"}),
        ("# A=b", {}),
        ("; A=b", {}),
        ("A=b\r\nB=c\r\n", {"A": "b", "B": "c"}),
        ("A=1\nA=2", {"A": "2"}),
        ("exported=1", {"exported": "1"}),
        ("A=it's", {"A": "it's"}),
    ],
)
def test_the_grammar_of_a_file(line: str, expected: dict[str, str]) -> None:
    assert parse_env_file(line, "f") == expected


@pytest.mark.parametrize(
    "line", ["JUST_A_NAME", "A B=c", "A =b", "A='hunter2", 'A="hunter2', "A='b'hunter2", "=b", "1A=b", "A=b\0hunter2"]
)
def test_a_malformed_line_is_named_without_its_value(line: str) -> None:
    with pytest.raises(InputFileError, match=r"svc\.env, line 3") as caught:
        parse_env_file(f"OK=1\n# x\n{line}\nOK=2", "svc.env")
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_status == 2


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_env_file(text, "f")
    except InputFileError:
        return
    assert all(name.isidentifier() and "\0" not in value for name, value in found.items())


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), st.text("ab/$.:;= -", max_size=12)))
def test_a_shell_reads_single_quotes_the_same_way(values: dict[str, str]) -> None:
    assert parse_env_file("\n".join(f"{name}='{value}'" for name, value in values.items()), "f") == values


def test_a_shell_agrees_on_quotes(tmp_path: Path) -> None:
    text = "A='b # c'\nB=\"x \\\"y\\\" \\\\\"\nC=plain\nexport D='$HOME'\n"
    path = tmp_path / "f"
    path.write_text(text)
    script = f'set -a; . {path}; printf "%s\\n" "$A" "$B" "$C" "$D"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert shell.stdout.splitlines() == list(parse_env_file(text, "f").values())


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert read_env_file(MemorySystem({"/f": b"\xef\xbb\xbfA=b\n"}), "/f") == {"A": "b"}


@pytest.mark.parametrize(
    "system",
    [
        MemorySystem(),
        MemorySystem(directories=["/f"]),
        MemorySystem(fifos=["/f"]),
        MemorySystem({"/f": "A=b"}, unreadable=["/f"]),
        MemorySystem({"/f": b"A=\xff\n"}),
        MemorySystem({"/f": b"#" * (2 << 20)}),
    ],
)
def test_a_file_that_is_none(system: MemorySystem) -> None:
    with pytest.raises(InputFileError, match="/f"):
        judged_environment(system, (), ["/f"])


def test_a_file_that_is_not_there_is_named_once() -> None:
    with pytest.raises(InputFileError) as caught:
        read_env_file(MemorySystem({}), "/etc/default/asr")
    assert str(caught.value).count("/etc/default/asr") == 1
