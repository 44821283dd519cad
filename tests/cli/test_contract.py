"""The command line's contract: documents, exit statuses, one sentence for bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from gpudoctor.cli.rule import every_rule
from gpudoctor.rules.engine import ELSEWHERE
from gpudoctor.rules.registry import RULES
from support.command import GPUDOCTOR, clean_environment, gpudoctor

SCHEMAS = Path(__file__).parents[2] / "compat" / "schema"


@pytest.fixture(scope="module")
def bare_env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def snapshot_file(bare_env: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("snapshot") / "s.json"
    done = gpudoctor("snapshot", "--python", bare_env, "-o", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return file


def schema(name: str) -> dict:
    return json.loads((SCHEMAS / f"{name}.json").read_text())


class TestDocuments:
    @pytest.mark.parametrize(
        ("command", "name"), [("check", "report"), ("libs", "libs"), ("fix", "fix")], ids=["check", "libs", "fix"]
    )
    def test_json_is_one_document_of_its_schema(self, command: str, name: str, bare_env: Path) -> None:
        done = gpudoctor(command, "--python", bare_env, "--format", "json")
        jsonschema.validate(json.loads(done.stdout), schema(name))
        assert done.stderr == ""

    def test_snapshot_is_of_its_schema_and_redacted(self, snapshot_file: Path) -> None:
        document = json.loads(snapshot_file.read_text())
        jsonschema.validate(document, schema("snapshot"))
        assert document["redacted"] is True

    def test_check_of_a_snapshot_from_standard_input(self, snapshot_file: Path) -> None:
        done = gpudoctor("check", "--snapshot", "-", "--format", "json", stdin=snapshot_file.read_text())
        assert done.returncode == 0
        jsonschema.validate(json.loads(done.stdout), schema("report"))

    def test_report_goes_to_a_file(self, bare_env: Path, tmp_path: Path) -> None:
        done = gpudoctor("check", "--python", bare_env, "--format", "json", "-o", tmp_path / "r.json")
        assert done.stdout == ""
        jsonschema.validate(json.loads((tmp_path / "r.json").read_text()), schema("report"))


class TestExitStatus:
    def test_nothing_wrong(self, bare_env: Path) -> None:
        assert gpudoctor("check", "--python", bare_env).returncode == 0

    def test_help_and_version(self) -> None:
        assert gpudoctor("--version").stdout.startswith("gpudoctor ")
        for command in ((), ("check",), ("libs",), ("snapshot",), ("lock",), ("rule",), ("matrix",)):
            done = gpudoctor(*command, "--help")
            assert done.returncode == 0
            assert "Usage: gpudoctor" in done.stdout

    def test_a_reader_that_goes_away_is_no_error(self, bare_env: Path) -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        done = subprocess.run(
            [GPUDOCTOR, "check", "--python", bare_env],
            env=clean_environment(),
            stdout=write_end,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.close(write_end)
        assert done.stderr == b""


BAD_INPUT = {
    "no such interpreter": (("check", "--python", "/no/such/python"), "/no/such/python"),
    "a folder that is no environment": (("check", "--python", "{tmp}"), "{tmp}"),
    "a file that is no interpreter": (("check", "--python", "{tmp}/text"), "text"),
    "no snapshot": (("check", "--snapshot", "{tmp}/absent.json"), "absent.json"),
    "not JSON": (("check", "--snapshot", "{tmp}/text"), "snapshot"),
    "a folder as snapshot": (("check", "--snapshot", "{tmp}"), "snapshot"),
    "deep JSON": (("check", "--snapshot", "{tmp}/deep"), "snapshot"),
    "wrong fields": (("check", "--snapshot", "{tmp}/fields"), "schema_version"),
    "a later snapshot": (("check", "--snapshot", "{tmp}/later"), "upgrade"),
    "snapshot and python": (("check", "--snapshot", "{tmp}/text", "--python", "/x"), "--snapshot"),
    "an assumption that is no release": (("check", "--assume-driver", "new"), "new"),
    "an unknown GPU": (("check", "--assume-gpu", "Voodoo 2"), "Voodoo 2"),
    "no such consumer": (("check", "--for", "tensorflow"), "tensorflow"),
    "not an assignment": (("check", "--env", "LD_LIBRARY_PATH"), "LD_LIBRARY_PATH"),
    "no env file": (("check", "--env-file", "{tmp}/absent.env"), "absent.env"),
    "a bad env file": (("check", "--env-file", "{tmp}/text"), "text"),
    "no matrix": (("check", "--matrix", "{tmp}/absent.yaml"), "absent.yaml"),
    "not a matrix": (("check", "--matrix", "{tmp}/bad.yaml"), "bad.yaml:3"),
    "no such binary": (("check", "--binary", "{tmp}/absent"), "absent"),
    "no such rule": (("rule", "GPD999"), "GPD999"),
    "no such rule to select": (("check", "--select", "XYZ"), "XYZ"),
    "no lock": (("check", "--against", "{tmp}/absent.lock"), "absent.lock"),
    "not a lock": (("check", "--against", "{tmp}/text"), "text"),
    "an output that cannot be written": (("check", "-o", "{tmp}/no/such/folder/r"), "folder"),
    "no such command": (("chek",), "chek"),
    "no such option": (("check", "--pyton", "x"), "--pyton"),
    "no such format": (("check", "--format", "xml"), "xml"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_is_one_sentence_and_status_2(arguments: tuple[str, ...], named: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("just some words\n")
    (tmp_path / "deep").write_text("[" * 100_000)
    (tmp_path / "fields").write_text('{"schema_version": "one"}')
    (tmp_path / "later").write_text('{"schema_version": 99}')
    (tmp_path / "bad.yaml").write_text("facts:\n  - id: x\n    subject: 3\n")
    done = gpudoctor(*(a.replace("{tmp}", str(tmp_path)) for a in arguments))
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert named.replace("{tmp}", str(tmp_path)) in done.stderr.replace("\n", "")


class TestTerminals:
    def test_no_colour_in_a_pipe(self, snapshot_file: Path) -> None:
        assert "\x1b" not in gpudoctor("check", "--snapshot", snapshot_file).stdout

    def test_forced_colour(self, snapshot_file: Path) -> None:
        assert "\x1b[" in gpudoctor("check", "--snapshot", snapshot_file, FORCE_COLOR="1").stdout
        assert "\x1b[" in gpudoctor("check", "--snapshot", snapshot_file, "--color", "always").stdout

    def test_no_color_beats_a_forced_one(self, snapshot_file: Path) -> None:
        done = gpudoctor("check", "--snapshot", snapshot_file, NO_COLOR="1", FORCE_COLOR="1")
        assert "\x1b" not in done.stdout

    def test_ascii_terminal(self, snapshot_file: Path) -> None:
        done = gpudoctor("check", "--snapshot", snapshot_file, PYTHONIOENCODING="ascii")
        assert done.stderr == ""
        assert done.stdout.isascii()

    def test_narrow_terminal(self, snapshot_file: Path) -> None:
        done = gpudoctor("check", "--snapshot", snapshot_file, COLUMNS="50")
        summary = done.stdout.split("\n\n")[1].splitlines()
        assert len(summary) >= 3
        assert max(len(line) for line in summary) <= 50

    def test_rule_pages(self) -> None:
        listed = gpudoctor("rule").stdout
        for rule_id in ("GPD101", "GPD201", "GPD401", "GPD503"):
            assert rule_id in listed
            page = gpudoctor("rule", rule_id)
            assert page.returncode == 0
            assert page.stdout.startswith(f"# {rule_id} ")


class TestOutput:
    @pytest.mark.parametrize("environment", [{}, {"COLUMNS": "80"}], ids=["pipe", "width"])
    @pytest.mark.parametrize("arguments", [("check",), ("rule",), ("check", "--help")], ids=" ".join)
    def test_a_full_device_is_one_sentence(
        self, arguments: tuple[str, ...], environment: dict[str, str], bare_env: Path
    ) -> None:
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [GPUDOCTOR, *arguments],
                env=clean_environment(VIRTUAL_ENV=str(bare_env), **environment),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "cannot write to standard output" in done.stderr

    @pytest.mark.parametrize("arguments", [(), ("--format", "json")], ids=["text", "json"])
    def test_a_closed_standard_output_is_one_sentence(self, arguments: tuple[str, ...], bare_env: Path) -> None:
        done = gpudoctor("check", "--python", bare_env, *arguments, wrapper=("sh", "-c", 'exec "$@" >&-', "sh"))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
    def test_any_terminal_gets_a_valid_document(self, encoding: str, bare_env: Path, tmp_path: Path) -> None:
        named = tmp_path / "tränë-環境"
        named.symlink_to(bare_env)
        for command in (("check", "--format", "json"), ("libs", "--format", "json"), ("snapshot", "--no-redact")):
            done = subprocess.run(
                [GPUDOCTOR, *command, "--python", named],
                env=clean_environment(PYTHONIOENCODING=encoding),
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            json.loads(done.stdout.decode("utf-8"))

    @pytest.mark.parametrize(
        "command", [("--help",), ("check", "--help"), ("run", "--help"), ("matrix", "list"), ("rule", "GPD201")]
    )
    def test_help_and_pages_fit_an_ascii_terminal(self, command: tuple[str, ...]) -> None:
        done = gpudoctor(*command, PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()

    def test_a_path_that_is_no_utf_8_does_not_break_the_document(self, tmp_path: Path) -> None:
        folder = os.fsdecode(bytes(tmp_path) + b"/\xff")
        os.mkdir(folder)
        done = gpudoctor("check", "--binary", folder, "--format", "json")
        assert json.loads(done.stdout)["target"]["binary"].endswith("\\udcff")

    def test_wrong_usage_repeats_nothing_that_a_terminal_obeys(self) -> None:
        done = gpudoctor("check", "a\x9b31m\u202eb", "\x07")
        assert done.returncode == 2
        assert not [c for c in done.stderr if c != "\n" and not c.isprintable()]


class TestNothingToJudge:
    def test_a_consumer_that_is_not_installed_is_refused(self, bare_env: Path, snapshot_file: Path) -> None:
        for source in (("--python", bare_env), ("--snapshot", snapshot_file)):
            done = gpudoctor("check", *source, "--for", "torch")
            assert done.returncode == 2
            assert "--for torch" in done.stderr
            assert "not installed" in done.stderr

    def test_a_consumer_that_nobody_knows_is_refused_for_a_snapshot_too(self, snapshot_file: Path) -> None:
        done = gpudoctor("check", "--snapshot", snapshot_file, "--for", "nobody")
        assert (done.returncode, "no such consumer" in done.stderr) == (2, True)

    def test_a_program_that_links_no_gpu_library_is_open_not_fine(self, tmp_path: Path) -> None:
        for binary in ("/bin/true", tmp_path):
            done = gpudoctor("check", "--binary", binary, "--format", "json")
            reasons = [q["reason"] for q in json.loads(done.stdout)["open"] if q["rule"] == "GPD201"]
            assert len(reasons) == 1
            assert "links no GPU library" in reasons[0]
            assert gpudoctor("check", "--binary", binary, "--strict").returncode in (1, 3)

    def test_every_rule_outside_the_registry_is_a_good_name_to_select_by(self) -> None:
        outside = [r for r in every_rule() if r not in RULES]
        assert {r.id: r.name for r in outside} == ELSEWHERE
