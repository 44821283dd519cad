"""`gpudoctor diff`, as a user and a script run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest

from support.command import GPUDOCTOR, clean_environment, gpudoctor
from unit.drift.builders import PACKAGES, environment

SCHEMA = json.loads((Path(__file__).parents[2] / "compat/schema/diff.json").read_text())


def record(folder: Path, name: str, **options: object) -> Path:
    file = folder / name
    file.write_bytes(msgspec.json.encode(environment(**options)))  # type: ignore[arg-type]
    return file


def run(*arguments: str | Path, stdin: str | None = None) -> tuple[int, dict]:
    done = gpudoctor("diff", *arguments, "--format", "json", stdin=stdin)
    assert done.stderr == ""
    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA)
    return done.returncode, document


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    return tmp_path / "venv"


def test_snapshots_locks_and_standard_input(tmp_path: Path) -> None:
    one = record(tmp_path, "a.json")
    newer = record(tmp_path, "b.json", packages={**PACKAGES, "nvidia-cudnn-cu12": "9.10.2.21"})
    gpudoctor("lock", "--snapshot", one, "-o", tmp_path / "gpudoctor.lock")
    assert run(one, one)[0] == 0
    assert run(tmp_path / "gpudoctor.lock", one)[0] == 0
    for left in (one, tmp_path / "gpudoctor.lock"):
        status, document = run(left, "-", stdin=newer.read_text())
        assert (status, [e["subject"] for e in document["differences"]]) == (1, ["nvidia-cudnn-cu12"])
        assert document["right"] == {"name": "standard input", "kind": "snapshot"}
    status, document = run("-", one, stdin=(tmp_path / "gpudoctor.lock").read_text())
    assert (status, document["left"]["kind"]) == (0, "lock")


def test_an_environment_with_itself_by_folder_and_by_interpreter(venv: Path) -> None:
    status, document = run(venv, venv / "bin/python")
    assert (status, document["differences"]) == (0, [])
    assert document["left"]["kind"] == document["right"]["kind"] == "interpreter"


def test_variables_of_options_count_for_environments(venv: Path, tmp_path: Path) -> None:
    gpudoctor("lock", "--python", venv, "-o", tmp_path / "l.lock")
    assert run(tmp_path / "l.lock", venv)[0] == 0
    status, document = run(tmp_path / "l.lock", venv, "--env", "LD_LIBRARY_PATH=/nonexistent/x")
    assert (status, document["differences"][0]["subject"]) == (1, "LD_LIBRARY_PATH")


def test_text_markdown_and_all(tmp_path: Path) -> None:
    one, other = record(tmp_path, "a.json"), record(tmp_path, "b.json", search_path=None)
    done = gpudoctor("diff", one, other)
    assert done.returncode == 1
    assert "changed ctranslate2" in done.stdout
    assert "same " in done.stdout
    as_markdown = gpudoctor("diff", one, other, "--format", "markdown").stdout
    assert as_markdown.startswith("**")
    assert "| **ctranslate2** | 3 libraries load | misses" in as_markdown
    assert len(gpudoctor("diff", one, one, "--all").stdout) > len(gpudoctor("diff", one, one).stdout)


@pytest.mark.parametrize("content", [None, b"", b"{", b"{}", b"\xff\xfe", b"<<<<<<< ours\n", b"[1]", b"a = 1\n"])
def test_what_is_neither_is_one_sentence_and_status_2(tmp_path: Path, content: bytes | None) -> None:
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content)
    for arguments in ((bad, record(tmp_path, "a.json")), (record(tmp_path, "a.json"), bad)):
        done = gpudoctor("diff", *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
        assert "bad" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("a",), ("-", "-"), ("a", "b", "c"), ("--format", "sarif", "a", "b")])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    done = gpudoctor("diff", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_consumer_that_there_is_none_of_is_a_slip(tmp_path: Path) -> None:
    one = record(tmp_path, "a.json")
    done = gpudoctor("diff", one, one, "--for", "ctranslate")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--for 'ctranslate': no such consumer" in done.stderr
    assert gpudoctor("diff", one, one, "--for", "ctranslate2").returncode == 0


def test_a_closed_pipe_ends_it_quietly(tmp_path: Path) -> None:
    one = record(tmp_path, "a.json")
    line = f"'{GPUDOCTOR}' diff '{one}' '{one}' --all | true"
    done = subprocess.run(["bash", "-c", line], env=clean_environment(), capture_output=True, timeout=60)
    assert done.stderr == b""
