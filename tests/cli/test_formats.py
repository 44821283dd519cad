"""Each format through the installed command: the same findings, the same exit status, printed or in a file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from support.command import GPUDOCTOR, clean_environment, gpudoctor
from support.reports import ENVIRONMENTS, SCHEMAS, schema

BROKEN = ENVIRONMENTS / "recorded-torch-251-ct2-460" / "snapshot.json"
HEALTHY = ENVIRONMENTS / "recorded-torch-251-ct2-460-ok" / "snapshot.json"
BLIND = ENVIRONMENTS / "recorded-ort-1311-bare" / "snapshot.json"
FORMATS = ("text", "json", "sarif", "junit", "github", "markdown", "html")


def _sarif(text: str) -> tuple[int, int, int, int]:
    log = json.loads(text)
    jsonschema.Draft4Validator(schema("sarif-2.1.0-rtm.5.json")).validate(log)
    run = log["runs"][0]
    levels = [r["level"] for r in run["results"]]
    counts = (levels.count("error"), levels.count("warning"), levels.count("note"), levels.count("none"))
    properties = run["properties"]
    assert counts == tuple(properties[name] for name in ("errors", "warnings", "notes", "open"))
    assert properties["exit_status"] == run["invocations"][0]["exitCode"]
    return counts


def _junit(text: str) -> tuple[int, int, int, int]:
    import xmlschema

    root = ElementTree.fromstring(text.encode())
    xmlschema.XMLSchema(str(SCHEMAS / "junit-10.xsd")).validate(root)
    known = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert len(list(root.iter("skipped"))) == int(known["open"] or 0)
    return tuple(int(known[name] or 0) for name in ("errors", "warnings", "notes", "open"))  # type: ignore[return-value]


def _github(text: str) -> tuple[int, int, int, int]:
    names = [line.split("::")[1].split(" ")[0] for line in text.splitlines()]
    asked = len(re.findall("^::notice title=GPD... not judged::", text, re.MULTILINE))
    return names.count("error"), names.count("warning"), names.count("notice") - asked, asked


def _words(text: str) -> tuple[int, int, int, int]:
    found = re.search(r"(\d+) errors?, (\d+) warnings?, (\d+) notes?(?:, (\d+) not judged)?", text)
    assert found
    return tuple(int(n or 0) for n in found.groups())  # type: ignore[return-value]


def _json(text: str) -> tuple[int, int, int, int]:
    summary = json.loads(text)["summary"]
    return summary["errors"], summary["warnings"], summary["notes"], summary["open"]


READERS = {"json": _json, "sarif": _sarif, "junit": _junit, "github": _github}


@pytest.mark.parametrize("report_format", FORMATS)
@pytest.mark.parametrize(
    ("snapshot", "options"),
    [
        (BROKEN, ()),
        (BROKEN, ("--fail-on", "never")),
        (HEALTHY, ()),
        (BLIND, ("--strict", "--fail-on", "never")),
    ],
    ids=["broken", "never", "healthy", "strict"],
)
def test_same_findings_and_status(report_format: str, snapshot: Path, options: tuple[str, ...], tmp_path: Path) -> None:
    command = ("check", "--snapshot", snapshot, *options, "--format")
    expected = gpudoctor(*command, "json", cwd=tmp_path)
    done = gpudoctor(*command, report_format, cwd=tmp_path)
    assert done.returncode == expected.returncode
    assert READERS.get(report_format, _words)(done.stdout) == _json(expected.stdout)
    document = json.loads(expected.stdout)
    if report_format != "text":
        assert f"{document['summary']['exit_status']}" in done.stdout
        assert document["tool"]["version"] in done.stdout
        assert document["matrix_version"] in done.stdout
    assert document["target"]["python"] in done.stdout


@pytest.mark.parametrize("report_format", FORMATS)
def test_a_file_holds_what_standard_output_would(report_format: str, tmp_path: Path) -> None:
    command = ("check", "--snapshot", BROKEN, "--anchor", "pyproject.toml", "--format", report_format)
    printed = gpudoctor(*command, cwd=tmp_path)
    done = gpudoctor(*command, "-o", "report", cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("", 1)
    assert (tmp_path / "report").read_text("utf-8") == printed.stdout


@pytest.mark.parametrize("report_format", ["sarif", "junit", "github", "markdown", "html"])
def test_an_ascii_terminal_gets_the_same_bytes(report_format: str, tmp_path: Path) -> None:
    def printed(**env: str) -> bytes:
        command = [GPUDOCTOR, "check", "--snapshot", BROKEN, "--format", report_format]
        return subprocess.run(
            command, env=clean_environment(**env), cwd=tmp_path, capture_output=True, check=False
        ).stdout

    assert printed(PYTHONIOENCODING="ascii") == printed(PYTHONIOENCODING="utf-8") != b""


class TestGitHub:
    def test_the_summary_is_appended(self, tmp_path: Path) -> None:
        summary = tmp_path / "summary.md"
        summary.write_text("# earlier step\n")
        done = gpudoctor("check", "--snapshot", BROKEN, "--format", "github", GITHUB_STEP_SUMMARY=str(summary))
        text = summary.read_text("utf-8")
        assert text.startswith("# earlier step\n## gpudoctor check: 1 error")
        assert (done.returncode, done.stdout.startswith("::group::")) == (1, True)

    def test_other_formats_leave_the_summary_alone(self, tmp_path: Path) -> None:
        summary = tmp_path / "summary.md"
        gpudoctor("check", "--snapshot", BROKEN, "--format", "markdown", GITHUB_STEP_SUMMARY=str(summary))
        assert not summary.exists()

    def test_a_full_summary_is_said_and_changes_no_status(self, tmp_path: Path) -> None:
        summary = tmp_path / "summary.md"
        summary.write_bytes(b"x" * (1 << 20))
        done = gpudoctor("check", "--snapshot", BROKEN, "--format", "github", GITHUB_STEP_SUMMARY=str(summary))
        assert done.returncode == 1
        assert "summary" in done.stderr
        assert summary.stat().st_size == 1 << 20

    def test_a_summary_that_cannot_be_written_is_one_sentence(self, tmp_path: Path) -> None:
        done = gpudoctor("check", "--snapshot", BROKEN, "--format", "github", GITHUB_STEP_SUMMARY=str(tmp_path))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)

    def test_paths_start_at_the_checkout(self, tmp_path: Path) -> None:
        (tmp_path / "service").mkdir()
        (tmp_path / "service" / "requirements.txt").write_text("torch\n")
        done = gpudoctor(
            "check",
            "--snapshot",
            BROKEN,
            "--format",
            "github",
            cwd=tmp_path / "service",
            GITHUB_WORKSPACE=str(tmp_path),
        )
        assert "::error file=service/requirements.txt,line=1," in done.stdout


class TestAnchor:
    def uris(self, *arguments: str, cwd: Path) -> set[str]:
        done = gpudoctor("check", "--snapshot", BROKEN, "--format", "sarif", *arguments, cwd=cwd)
        self.said = done.stderr
        places = [r["locations"][0].get("physicalLocation") for r in json.loads(done.stdout)["runs"][0]["results"]]
        return {place["artifactLocation"]["uri"] for place in places if place}

    def test_the_one_that_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text("")
        assert self.uris("--anchor", "deploy/requirements gpu.txt", cwd=tmp_path) == {"deploy/requirements%20gpu.txt"}

    def test_the_lock_before_the_project(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text("")
        assert self.uris(cwd=tmp_path) == {"pyproject.toml"}
        (tmp_path / "gpudoctor.lock").write_text("")
        assert self.uris(cwd=tmp_path) == {"gpudoctor.lock"}

    def test_none_is_said(self, tmp_path: Path) -> None:
        assert self.uris(cwd=tmp_path) == set()
        assert "--anchor" in self.said


class TestDrift:
    def test_every_format_tells_of_drift(self, tmp_path: Path) -> None:
        lock = gpudoctor("lock", "--snapshot", HEALTHY, cwd=tmp_path)
        assert lock.returncode == 0, lock.stderr
        for report_format in FORMATS:
            done = gpudoctor(
                "check", "--snapshot", BROKEN, "--against", "gpudoctor.lock", "--format", report_format, cwd=tmp_path
            )
            assert done.returncode == 1
            assert "GPD252" in done.stdout, report_format


BAD_BENCH = {
    "absent": None,
    "not JSON": "words",
    "another document": '{"schema_version": 1, "findings": []}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("content", BAD_BENCH.values(), ids=BAD_BENCH.keys())
def test_a_benchmark_that_cannot_be_read(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "bench.json").write_text(content)
    done = gpudoctor("check", "--snapshot", HEALTHY, "--format", "html", "--bench", "bench.json", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "bench.json" in done.stderr


def test_a_benchmark_needs_a_format_that_shows_it(tmp_path: Path) -> None:
    done = gpudoctor("check", "--snapshot", HEALTHY, "--bench", "bench.json", cwd=tmp_path)
    assert (done.returncode, "--format html" in done.stderr) == (2, True)


def test_a_reader_that_goes_away_is_no_error() -> None:
    for report_format in FORMATS:
        line = f"'{GPUDOCTOR}' check --snapshot '{BROKEN}' --format {report_format} | head -c 1 >/dev/null"
        done = subprocess.run(["sh", "-c", line], env=clean_environment(), capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr


def test_a_format_costs_only_itself() -> None:
    program = (
        "import sys, gpudoctor.cli.app as a; a.run(sys.argv[1:]); "
        "sys.stderr.write(' '.join(m for m in sys.modules if m.startswith(('gpudoctor.report.', 'xml', 'hashlib'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "check", "--snapshot", BROKEN], capture_output=True, text=True, check=False
    )
    loaded = set(done.stderr.split())
    assert not {m for m in loaded if re.search(r"sarif|junit|github|markdown|html|places|^xml|hashlib", m)}


class TestLint:
    @pytest.mark.parametrize("report_format", ["json", "sarif", "junit", "github"])
    def test_files_with_their_lines(self, report_format: str, tmp_path: Path) -> None:
        (tmp_path / "requirements.txt").write_text("# pins\ntorch==2.5.1\ntorchaudio==2.4.0\n")
        expected = gpudoctor("lint", "requirements.txt", "--format", "json", cwd=tmp_path)
        done = gpudoctor("lint", "requirements.txt", "--format", report_format, cwd=tmp_path)
        assert done.returncode == expected.returncode == 1
        assert READERS[report_format](done.stdout) == _json(expected.stdout)
        if report_format == "sarif":
            places = [r["locations"][0]["physicalLocation"] for r in json.loads(done.stdout)["runs"][0]["results"]]
            assert {place["artifactLocation"]["uri"] for place in places} == {"requirements.txt"}
            assert {2, 3} & {place["region"]["startLine"] for place in places}
        if report_format == "github":
            assert re.search(r"^::error file=requirements\.txt,line=[23],", done.stdout, re.MULTILINE)

    @pytest.mark.parametrize("report_format", FORMATS)
    def test_a_name_that_is_no_text(self, report_format: str, tmp_path: Path) -> None:
        folder = tmp_path / "a\n::error::x<b>|`\u202e]]>\udcff"
        folder.mkdir()
        name = f"{folder.name}/requirements.txt"
        (tmp_path / name).write_text("torch==2.5.1\ntorchaudio==2.4.0\n")
        done = gpudoctor("lint", name, "--format", report_format, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.replace("\n", "").isprintable() or report_format == "json"
        if report_format in READERS:
            assert READERS[report_format](done.stdout)[0] >= 1
