"""`gpudoctor matrix`: list, show, validate; plain text, outside text made visible, bad input one sentence."""

from __future__ import annotations

from pathlib import Path

from support.command import gpudoctor

FACT = """\
facts:
  - id: ours
    subject: our-speech
    claim: {kind: requires, package: torch, versions: ">=2"}
    status: reported
    note: "plain [bold red]not markup[/] and \\e[31mescape"
    sources: [{kind: measured, ref: "by us"}]
"""


def test_list_has_a_line_a_fact() -> None:
    done = gpudoctor("matrix", "list", "--subject", "ctranslate2")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0].split() == ["ID", "SUBJECT", "RELEASES", "KIND", "STATUS"]
    assert {line.split()[1] for line in lines[1:-1]} == {"ctranslate2"}
    assert lines[-1].startswith(f"{len(lines) - 2} facts, matrix ")


def test_list_by_kind() -> None:
    done = gpudoctor("matrix", "list", "--subject", "torch", "--kind", "conflicts")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[1:-1]
    assert {tuple(line.split()[i] for i in (1, -2)) for line in lines[1:-1]} == {("torch", "conflicts")}


def test_list_of_an_unknown_kind_is_a_usage_error() -> None:
    done = gpudoctor("matrix", "list", "--kind", "nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'nonsense'; there are compute-type, conflicts, has-gpu-code, needs-driver" in done.stderr
    assert done.stderr.count("\n") == 1


def test_show_says_to_which_builds_and_interpreters_it_applies() -> None:
    shown = gpudoctor("matrix", "show", "torch-2-5-0-cudnn").stdout
    assert "builds     without a label, cu124" in shown
    shown = gpudoctor("matrix", "show", "tts-0-22-0-numpy-python-3-11-up").stdout
    assert "python     >=3.11" in shown
    assert "    sha256 332cdf63a7d9" in shown


def test_list_of_an_unknown_subject_is_a_usage_error() -> None:
    done = gpudoctor("matrix", "list", "--subject", "nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no fact about 'nonsense'" in done.stderr


def test_a_subject_may_be_written_as_people_write_it_and_a_near_one_is_named() -> None:
    assert gpudoctor("matrix", "list", "--subject", "Faster_Whisper").returncode == 0
    assert "did you mean whisperx?" in gpudoctor("matrix", "list", "--subject", "whisper").stderr
    assert "did you mean ctranslate2-cudnn9?" in gpudoctor("matrix", "show", "ctranslate2-cudnn").stderr


def test_a_build_without_gpu_code_is_said_to_be_one() -> None:
    assert "a build without GPU code" in gpudoctor("matrix", "show", "torch-windows-cpu").stdout


def test_show_says_claim_status_and_sources() -> None:
    done = gpudoctor("matrix", "show", "cuda-12-driver")
    assert done.returncode == 0
    for words in ("needs-driver", "525.60.13", "status     verified", "https://docs.nvidia.com/"):
        assert words in done.stdout


def test_show_of_an_unknown_fact_is_a_usage_error() -> None:
    done = gpudoctor("matrix", "show", "no-such-fact")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_text_from_an_overlay_is_made_visible(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(FACT)
    done = gpudoctor("matrix", "show", "ours", "--matrix", tmp_path / "ours.yaml")
    assert "plain [bold red]not markup[/] and \\x1b[31mescape" in done.stdout
    assert "\x1b" not in done.stdout


def test_validate(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(FACT)
    done = gpudoctor("matrix", "validate", tmp_path / "ours.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("ours.yaml: valid (1 fact)\n")


def test_validate_without_a_file_checks_the_matrix_itself() -> None:
    done = gpudoctor("matrix", "validate")
    assert (done.returncode, done.stderr) == (0, "")
    listed = gpudoctor("matrix", "list").stdout.splitlines()
    assert "valid (" in done.stdout
    assert int(done.stdout.partition("(")[2].split()[0]) <= len(listed)


def test_validate_says_file_line_and_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(FACT.replace('">=2"', "2"))
    done = gpudoctor("matrix", "validate", tmp_path / "ours.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert 'ours.yaml:4: facts[0].claim.versions: expected a string, got a number (quote it: "2")' in done.stderr
    assert done.stderr.count("\n") == 1
