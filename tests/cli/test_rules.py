"""Rules on the command line: a page, a finding and an exit status, for machines that were recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.command import gpudoctor

ENVIRONMENTS = Path(__file__).parents[1] / "environments"
CASES = [
    ("host-a10g-cudnn-for-cuda-13", "GPD210", "cudnn-cuda-mismatch", 1),
    ("host-docker-desktop", "GPD603", "driver-not-visible-to-docker", 0),
    ("host-docker-snap", "GPD603", "driver-not-visible-to-docker", 0),
    ("synthetic-openai-whisper-without-ffmpeg", "GPD703", "audio-or-ffmpeg", 0),
]


@pytest.mark.parametrize(("slug", "rule", "cause", "status"), CASES)
def test_a_recorded_machine_is_judged_and_explained(slug: str, rule: str, cause: str, status: int) -> None:
    snapshot = ENVIRONMENTS / slug / "snapshot.json"
    judged = gpudoctor("check", "--snapshot", snapshot, "--format", "json")
    assert (judged.returncode, judged.stderr) == (status, "")
    (finding,) = json.loads(judged.stdout)["findings"]
    assert (finding["rule"], finding["cause"], finding["help"]) == (rule, cause, f"gpudoctor rule {rule}")
    text = gpudoctor("check", "--snapshot", snapshot).stdout
    assert finding["message"] in text
    assert finding["fixes"][0]["title"] in text
    page = gpudoctor("rule", rule)
    assert page.returncode == 0
    assert page.stdout.startswith(f"# {rule} {finding['name']}")
    assert "## What to do" in page.stdout


def test_a_warning_counts_where_warnings_do() -> None:
    snapshot = ENVIRONMENTS / "synthetic-openai-whisper-without-ffmpeg" / "snapshot.json"
    assert gpudoctor("check", "--snapshot", snapshot, "--fail-on", "warning").returncode == 1
    assert gpudoctor("check", "--snapshot", snapshot, "--fail-on", "warning", "--ignore", "GPD703").returncode == 0


def test_a_rule_that_was_left_out_leaves_no_area_clean() -> None:
    snapshot = ENVIRONMENTS / "host-a10g-cudnn-for-cuda-13" / "snapshot.json"
    judged = gpudoctor("check", "--snapshot", snapshot, "--ignore", "GPD210")
    assert judged.returncode == 0
    (line,) = [x for x in judged.stdout.splitlines() if x.strip().startswith("ctranslate2")]
    assert line.split()[1] == "?"
    assert line.endswith("not asked: GPD210")
    document = json.loads(gpudoctor("check", "--snapshot", snapshot, "--ignore", "GPD210", "--format", "json").stdout)
    assert document["not_asked"] == ["GPD210"]


def test_the_path_of_the_judged_process_counts_not_that_of_the_shell(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho started > started\n")
    program.chmod(0o755)
    taken = {
        path: json.loads(gpudoctor("snapshot", "--env", f"PATH={path}", cwd=tmp_path).stdout)["ffmpeg"]["state"]
        for path in (str(program.parent), str(tmp_path))
    }
    assert taken == {str(program.parent): "present", str(tmp_path): "absent"}
    assert not (tmp_path / "started").exists()
