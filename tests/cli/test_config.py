"""`[tool.gpudoctor]` and gpudoctor.toml, as a project uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from support.command import clean_environment, gpudoctor
from unit.rules import builders as b

REASON = "cuDNN comes with the image"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project whose recorded environment lacks cuDNN and cuBLAS."""
    bare = b.with_(b.machine(), b.ctranslate2(), b.ct2_cudnn9(None), b.ct2_cublas(None))
    (tmp_path / "s.json").write_bytes(msgspec.json.encode(bare))
    (tmp_path / ".git").mkdir()
    (tmp_path / "src").mkdir()
    return tmp_path


def check(folder: Path, *arguments: str | Path) -> tuple[int, dict]:
    snapshot = folder / "s.json" if (folder / "s.json").exists() else folder.parent / "s.json"
    done = gpudoctor("check", "--snapshot", snapshot, "--format", "json", *arguments, cwd=folder)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def settle(project: Path, text: str, name: str = "gpudoctor.toml") -> None:
    (project / name).write_text(text)


IGNORE = f'ignore = [{{ rule = "GPD201", reason = "{REASON}", subject = "ctranslate2" }}]\n'


def test_ignored_findings_do_not_fail_and_are_not_gone(project: Path) -> None:
    assert check(project)[0] == 1
    settle(project, "[tool.gpudoctor]\n" + IGNORE, "pyproject.toml")
    status, report = check(project / "src")
    assert (status, report["config"]) == (0, "../pyproject.toml")
    assert {i["finding"]["rule"] for i in report["ignored"]} == {"GPD201"}
    assert {i["reason"] for i in report["ignored"]} == {REASON}
    assert report["ignored"][0]["by"] == {"file": "../pyproject.toml", "line": 2}
    assert report["summary"]["errors"] == 0


def test_text_counts_them_and_no_area_looks_clean(project: Path) -> None:
    settle(project, IGNORE)
    done = gpudoctor("check", "--snapshot", project / "s.json", cwd=project)
    assert "settings of gpudoctor.toml" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(" ignored by gpudoctor.toml")
    (area,) = (line for line in done.stdout.splitlines() if line.startswith("  ctranslate2 "))
    assert " ok " not in area
    assert "ignored by gpudoctor.toml" in area
    assert REASON not in done.stdout
    assert REASON in gpudoctor("check", "-v", "--snapshot", project / "s.json", cwd=project).stdout


def test_no_config_and_config(project: Path) -> None:
    settle(project, IGNORE)
    assert check(project, "--no-config")[0] == 1
    settle(project, "fail-on = 'never'\n", "ci.toml")
    status, report = check(project, "--config", "ci.toml")
    assert (status, report["config"], report["ignored"]) == (0, "ci.toml", [])
    done = gpudoctor("check", "--config", "x", "--no-config", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")


def test_the_command_line_outranks_the_file(project: Path) -> None:
    settle(project, "fail-on = 'never'\nstrict = true\nselect = ['GPD5']\n[assume]\ndriver = '470.57.02'\n")
    assert check(project)[1]["findings"] == []
    assert check(project, "--select", "GPD201", "--fail-on", "error")[0] == 1
    assert check(project, "--select", "GPD201")[0] == 0
    rules = [f["rule"] for f in check(project, "--select", "GPD1")[1]["findings"]]
    assert rules, "the assumed driver is too old"
    assert check(project, "--select", "GPD1", "--assume-driver", "580.65.06")[1]["findings"] == []


def test_strict_and_no_strict(project: Path) -> None:
    blind = b.with_(b.machine(), driver=b.no_driver(), gpus=b.machine().gpus)
    (project / "s.json").write_bytes(msgspec.json.encode(blind))
    settle(project, "strict = true\nselect = ['GPD104']\n")
    plain = check(project, "--no-strict")
    assert plain[0] == 0
    assert check(project)[0] == (3 if plain[1]["open"] else 0)


def test_env_of_the_file_and_of_the_command_line(project: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    settle(project, "env = { LD_LIBRARY_PATH = '/nonexistent/by-file' }\nenv-file = 'service.env'\n")
    (project / "service.env").write_text("CUDA_VISIBLE_DEVICES=7\n")

    def seen(*arguments: str | Path) -> str:
        return gpudoctor("check", "--python", venv, "--format", "json", *arguments, cwd=project / "src").stdout

    assert "/nonexistent/by-file" in seen()
    by_hand = seen("--env", "LD_LIBRARY_PATH=/nonexistent/by-hand")
    assert "by-hand" in by_hand
    assert "by-file" not in by_hand
    (project / "other.env").write_text("A=1\n")
    assert "by-file" not in seen("--env-file", project / "other.env")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("strict = true\nfoo = 1\n", "gpudoctor.toml: line 2: unknown key 'foo'"),
        ("ignore = [\n{ rule = 'GPD999', reason = 'x' }]\n", "gpudoctor.toml: line 2: no rule is called 'GPD999'"),
        ("ignore = [{ rule = 'GPD2', reason = 'x' }]\n", "gpudoctor.toml: line 1: no rule is called 'GPD2'"),
        ("select = ['nonsense']\n", "gpudoctor.toml: line 1: no rule is called 'nonsense'"),
        ('"\\u001b[31m\\u202e" = 1\n', "gpudoctor.toml: "),
    ],
)
def test_a_slip_is_one_sentence_and_status_2(project: Path, text: str, where: str) -> None:
    settle(project, text)
    done = gpudoctor("check", "--snapshot", project / "s.json", cwd=project)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert where in done.stderr
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr


def test_an_unused_and_an_expired_ignore_are_findings(project: Path) -> None:
    entries = (
        '{ rule = "GPD201", reason = "a", until = "2020-01-01" }',
        '{ rule = "unresolved-library", reason = "b", subject = "nobody" }',
    )
    settle(project, f"ignore = [\n{entries[0]},\n{entries[1]}]\n")
    status, report = check(project)
    found = {f["rule"]: f for f in report["findings"] if f["rule"].startswith("GPD91")}
    assert status == 1
    assert {rule: f["location"]["line"] for rule, f in found.items()} == {"GPD911": 3, "GPD912": 2}


def test_what_is_wrong_with_the_settings_is_no_fault_of_the_packages(project: Path) -> None:
    settle(project, 'ignore = [{ rule = "GPD601", reason = "a", until = "2020-01-01" }]\n')
    done = gpudoctor("check", "--snapshot", project / "s.json", cwd=project)
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert lines["settings"] == ["warn", "expired", "ignore", "in", "gpudoctor.toml"]
    assert lines["packages"][0] == "ok"


def test_an_expired_ignore_is_told_by_lint_too(project: Path) -> None:
    settle(project, 'ignore = [{ rule = "GPD601", reason = "a", until = "2020-01-01" }]\n')
    (project / "requirements.txt").write_text("torch==2.5.1\n")
    done = gpudoctor("lint", "requirements.txt", "--format", "json", "--fail-on", "warning", cwd=project)
    assert [f["rule"] for f in json.loads(done.stdout)["findings"]] == ["GPD912"]
    assert done.returncode == 1


def test_a_folder_without_settings_costs_no_parser(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'gpudoctor-user'\n[tool.ruff]\n")
    code = (
        "import sys\n"
        "from gpudoctor.cli.configured import find_project\n"
        "assert find_project(None, False) is None\n"
        "print([m for m in ('tomllib', 'tomli', 'gpudoctor.config.types') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_lock_is_of_what_the_project_settled(project: Path, tmp_path: Path) -> None:
    """The variables of the file count for `lock` as for `check`: otherwise the two would always differ."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    settle(project, "env = { LD_LIBRARY_PATH = '/nonexistent/by-file' }\n")
    assert gpudoctor("lock", "--python", venv, cwd=project).returncode == 0
    against = ("check", "--python", venv, "--against", "gpudoctor.lock", "--select", "GPD55")
    assert gpudoctor(*against, cwd=project).returncode == 0
    assert gpudoctor(*against, "--no-config", cwd=project).returncode == 1
    assert gpudoctor("diff", "gpudoctor.lock", venv, cwd=project).returncode == 0
    assert gpudoctor("diff", "gpudoctor.lock", venv, "--no-config", cwd=project).returncode == 1
