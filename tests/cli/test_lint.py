"""`gpudoctor lint` as a user runs it: exit statuses, errors with their place, folders, formats, hostile input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.command import gpudoctor

BAD = "torch==2.2.2\nnumpy==2.0.2\n"


def test_exit_statuses(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(BAD)
    assert gpudoctor("lint", "requirements.txt", cwd=tmp_path).returncode == 1
    assert gpudoctor("lint", "requirements.txt", "--fail-on", "never", cwd=tmp_path).returncode == 0
    assert gpudoctor("lint", "requirements.txt", "--ignore", "GPD403", cwd=tmp_path).returncode == 0
    assert gpudoctor("lint", "requirements.txt", "--select", "GPD1", "--strict", cwd=tmp_path).returncode == 3
    (tmp_path / "requirements.txt").write_text("requests==2.32.0\n")
    assert gpudoctor("lint", "requirements.txt", "--strict", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("notes.md", "hello", "not a kind of file that lint reads"),
        ("pyproject.toml", "[project\n", "pyproject.toml:1: cannot be read as TOML"),
        ("environment.yml", "dependencies: [a\n", "environment.yml:2: cannot be read as YAML"),
        ("compose.yaml", "version: 3\n", "compose.yaml:1: it is not a compose file"),
        ("requirements.txt", "\0\0", "it is a binary file"),
        ("image.py", "import modal\nmodal.Image.debian_slim(\n", "image.py:2: cannot be read as Python"),
    ],
)
def test_unreadable_input_is_status_2_with_its_place(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    ran = gpudoctor("lint", name, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_missing_file_and_an_unknown_rule(tmp_path: Path) -> None:
    assert "no such file" in gpudoctor("lint", "requirements.txt", cwd=tmp_path).stderr
    (tmp_path / "requirements.txt").write_text(BAD)
    ran = gpudoctor("lint", "requirements.txt", "--ignore", "GPD9999", cwd=tmp_path)
    assert (ran.returncode, "no rule is called" in ran.stderr) == (2, True)


def test_a_folder_is_looked_through(tmp_path: Path) -> None:
    (tmp_path / "svc").mkdir()
    (tmp_path / "svc/Dockerfile").write_text(
        "FROM python:3.11\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n"
    )
    (tmp_path / "svc/requirements.txt").write_text(BAD)
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "pyproject.toml").write_text("[broken\n")
    ran = gpudoctor("lint", ".", "--no-config", "--format", "json", cwd=tmp_path)
    found = [(f["rule"], f["location"]) for f in json.loads(ran.stdout)["findings"]]
    assert found == [("GPD403", {"file": "svc/requirements.txt", "line": 2})]
    ran = gpudoctor("lint", ".", "--no-config", cwd=tmp_path)
    assert "svc/Dockerfile, svc/requirements.txt" in ran.stdout
    assert "pyproject.toml: not understood: pyproject.toml:1" in " ".join(ran.stdout.split())


@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit", "github", "markdown", "html"])
def test_every_format_has_the_finding_and_the_same_status(tmp_path: Path, form: str) -> None:
    (tmp_path / "requirements.txt").write_text(BAD)
    ran = gpudoctor("lint", "requirements.txt", "--format", form, cwd=tmp_path)
    assert ran.returncode == 1
    assert "GPD403" in ran.stdout
    assert "requirements.txt" in ran.stdout


def test_hostile_names_reach_no_terminal(tmp_path: Path) -> None:
    text = "pip install '\x1b[31mevil\u202e' $(rm -rf /)\nln -s /x/nvidia/cudnn/lib/a.so '/opt/\x1b]0;t\x07/lib'\n"
    (tmp_path / "setup.sh").write_text(text)
    ran = gpudoctor("lint", "setup.sh", cwd=tmp_path)
    assert ran.returncode == 0
    assert "GPD561" in ran.stdout
    assert not any(c in ran.stdout for c in "\x1b\x07\u202e")


def test_huge_and_deep_input_ends(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("x" * 1_000_000 + "\n" + "-r requirements.txt\n" * 50)
    (tmp_path / "deep.sh").write_text("(" * 20_000 + "pip install torch" + ")" * 20_000 + "\n")
    assert gpudoctor("lint", "requirements.txt", "deep.sh", cwd=tmp_path).returncode == 0


def test_without_a_file_this_folder_is_looked_through(tmp_path: Path) -> None:
    done = gpudoctor("lint", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gpudoctor: .: no file of a known kind is in this folder\n"
    (tmp_path / "requirements.txt").write_text("torch==2.5.1\ntorchaudio==2.4.1\n")
    done = gpudoctor("lint", "-q", cwd=tmp_path)
    assert done.returncode == 1
    assert "requirements.txt:1" in done.stdout


def test_files_apart(tmp_path: Path) -> None:
    for name, version in (("a.txt", "2.5.1"), ("b.txt", "2.4.1")):
        (tmp_path / name).write_text(f"torch=={version}\n")
    assert gpudoctor("lint", "a.txt", "b.txt", cwd=tmp_path).returncode == 1
    assert gpudoctor("lint", "--apart", "a.txt", "b.txt", cwd=tmp_path).returncode == 0
