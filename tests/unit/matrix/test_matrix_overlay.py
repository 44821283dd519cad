"""A user's own file of facts: what it adds, and one clear sentence for each way to get it wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpudoctor.matrix.claims import NeedsLibrary
from gpudoctor.matrix.load import load_matrix, validate_files
from gpudoctor.model.errors import InputFileError

GOOD = """\
# two facts of our own
facts:
  - id: ours-speech-cublas
    subject: our-speech
    when:
      versions: ">=2"
    claim:
      kind: needs-library
      library: cublas
      major: "12"
      requester: "our_speech/core*.so"
      opens:
        - {role: cublas, names: [libcublas.so.12]}
      when_opened: at start
    status: reported
    sources:
      - {kind: doc, ref: "https://example.org/speech", date: 2026-11-20}
"""
LINE_OF = {text.strip(): number for number, text in enumerate(GOOD.splitlines(), 1)}


def overlay(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "ours.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def error_of(tmp_path: Path, text: str | bytes) -> str:
    file = overlay(tmp_path, text)
    with pytest.raises(InputFileError) as caught:
        load_matrix(str(file))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(file))
    return message.removeprefix(str(tmp_path) + "/")


class TestGood:
    def test_adds_to_the_matrix(self, tmp_path: Path) -> None:
        base, matrix = load_matrix(), load_matrix(str(overlay(tmp_path, GOOD)))
        ((fact, claim),) = matrix.facts("our-speech", NeedsLibrary, "2.1")
        assert (fact.id, claim.opens[0].names) == ("ours-speech-cublas", ("libcublas.so.12",))
        assert fact.sources[0].date == "2026-11-20"
        assert len(matrix.data.facts) == len(base.data.facts) + 1
        assert matrix.version == f"{base.version} + overlay"

    def test_replaces_what_it_names(self, tmp_path: Path) -> None:
        text = "replaces: [ctranslate2-cublas12]\n" + GOOD.replace("ours-speech-cublas", "ctranslate2-cublas12")
        matrix = load_matrix(str(overlay(tmp_path, text)))
        fact = matrix.fact("ctranslate2-cublas12")
        assert fact is not None
        assert fact.subject == "our-speech"
        assert len(matrix.data.facts) == len(load_matrix().data.facts)

    @pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "facts: []"])
    def test_may_be_empty(self, tmp_path: Path, text: str) -> None:
        assert load_matrix(str(overlay(tmp_path, text))).data.facts == load_matrix().data.facts

    def test_own_family_can_be_used_at_once(self, tmp_path: Path) -> None:
        families = "families:\n  - {name: ours, title: Ours, sonames: [libours]}\n"
        text = families + GOOD.replace("library: cublas", "library: ours")
        matrix = load_matrix(str(overlay(tmp_path, text)))
        found = matrix.family_of("libours.so.3")
        assert found is not None
        assert found.name == "ours"

    def test_the_matrixs_own_files_are_valid(self) -> None:
        facts = Path(__file__).parents[3] / "compat" / "facts" / "cuda.yaml"
        ((path, content),) = validate_files((str(facts),))
        assert path == str(facts)
        assert len(content.facts) == 3


WRONG = [
    (
        "unquoted version",
        ('major: "12"', "major: 12"),
        'facts[0].claim.major: expected a string, got a number (quote it: "12")',
        "major: 12",
    ),
    ("unquoted 9.10 keeps its zero", ('major: "12"', "major: 9.10"), '(quote it: "9.10")', "major: 9.10"),
    (
        "unknown field",
        ("status: reported", "status: reported\n    stattus: x"),
        "facts[0].stattus: unknown field; did you mean 'status'?",
        "stattus: x",
    ),
    (
        "unknown status",
        ("status: reported", "status: sure"),
        "facts[0].status: expected inferred or reported or verified, got 'sure'",
        "status: sure",
    ),
    (
        "unknown kind",
        ("kind: needs-library", "kind: needs-luck"),
        "facts[0].claim.kind: expected compute-type or conflicts or ",
        "kind: needs-luck",
    ),
    ("invalid specifiers", ('">=2"', '">=two"'), "expected version specifiers such as", 'versions: ">=two"'),
    ("unknown family", ("library: cublas", "library: cublass"), "expected a library family (", "library: cublass"),
    (
        "unknown platform",
        ('versions: ">=2"', "platforms: [linux]"),
        "expected one of linux-x86_64",
        "platforms: [linux]",
    ),
    (
        "package name not canonical",
        ("subject: our-speech", "subject: Our_Speech"),
        "expected a package name in canonical form ('our-speech')",
        "subject: Our_Speech",
    ),
    (
        "id not kebab",
        ("id: ours-speech-cublas", "id: Ours Speech"),
        "expected lower-case words joined by hyphens",
        "- id: Ours Speech",
    ),
    (
        "path as a bare name",
        ("[libcublas.so.12]", "[/opt/libcublas.so.12]"),
        "expected a bare library name",
        "- {role: cublas, names: [/opt/libcublas.so.12]}",
    ),
    (
        "unknown placeholder",
        ("[libcublas.so.12]", '["libcublas.so.{major}"]'),
        "expected one of {shim}, {shim2}, {shim1}, got {major}",
        '- {role: cublas, names: ["libcublas.so.{major}"]}',
    ),
    (
        "requester outside the site",
        ("our_speech/core*.so", "../core.so"),
        "expected a path relative to the site directory",
        'requester: "../core.so"',
    ),
    (
        "a list where a mapping belongs",
        ('when:\n      versions: ">=2"', "when: [2]"),
        "facts[0].when: expected a mapping, got a list",
        "when: [2]",
    ),
    (
        "a mapping where a list belongs",
        ("names: [libcublas.so.12]", "names: {a: b}"),
        "names: expected a list, got a mapping",
        "- {role: cublas, names: {a: b}}",
    ),
    (
        "wheel source without a file",
        ('{kind: doc, ref: "https://example.org/speech", date: 2026-11-20}', "{kind: wheel, ref: our-speech}"),
        "expected `package==version: file` for a wheel",
        "- {kind: wheel, ref: our-speech}",
    ),
    (
        "issue source without a number",
        ('{kind: doc, ref: "https://example.org/speech", date: 2026-11-20}', "{kind: issue, ref: a/b}"),
        "expected `owner/repository#number`",
        "- {kind: issue, ref: a/b}",
    ),
    (
        "document without an address",
        ("https://example.org/speech", "a book"),
        "expected a https:// address",
        '- {kind: doc, ref: "a book", date: 2026-11-20}',
    ),
    (
        "a day that is none",
        ("date: 2026-11-20", "date: yesterday"),
        "expected a day such as 2026-11-20",
        '- {kind: doc, ref: "https://example.org/speech", date: yesterday}',
    ),
    (
        "already in the matrix",
        ("id: ours-speech-cublas", "id: ctranslate2-cublas12"),
        "the matrix already has 'ctranslate2-cublas12'; name it under `replaces`",
        "- id: ctranslate2-cublas12",
    ),
    (
        "key given twice",
        ("status: reported", "status: reported\n    status: verified"),
        "facts[0].status: given twice",
        "status: verified",
    ),
    (
        "tag of Python",
        ("status: reported", "status: !!python/object/apply:os.system [id]"),
        "is not allowed; write plain YAML",
        "status: !!python/object/apply:os.system [id]",
    ),
    (
        "merge key",
        ("status: reported", "<<: {status: reported}"),
        "facts[0].<<: unknown field",
        "<<: {status: reported}",
    ),
]


@pytest.mark.parametrize(
    ("change", "expected", "at"), [case[1:] for case in WRONG if case[2]], ids=[case[0] for case in WRONG if case[2]]
)
def test_error_names_file_line_and_what_was_expected(
    tmp_path: Path, change: tuple[str, str], expected: str, at: str
) -> None:
    assert change[0] in GOOD
    text = GOOD.replace(*change, 1)
    line = 1 + max(number for number, content in enumerate(text.splitlines()) if content.strip() == at)
    message = error_of(tmp_path, text)
    assert message.startswith(f"ours.yaml:{line}: ")
    assert expected in message


class TestStructure:
    def test_missing_field(self, tmp_path: Path) -> None:
        text = GOOD.replace("    status: reported\n", "")
        assert error_of(tmp_path, text) == "ours.yaml:3: facts[0]: the field 'status' is missing"

    def test_no_sources(self, tmp_path: Path) -> None:
        text = GOOD[: GOOD.index("    sources:")] + "    sources: []\n"
        message = error_of(tmp_path, text)
        assert message == "ours.yaml:16: facts[0].sources: expected at least one source"

    def test_same_id_twice(self, tmp_path: Path) -> None:
        second = GOOD[GOOD.index("  - id") :]
        message = error_of(tmp_path, GOOD + second)
        assert message.startswith(f"ours.yaml:{len(GOOD.splitlines()) + 1}: facts[1]: 'ours-speech-cublas' is defined")

    def test_replaces_nothing(self, tmp_path: Path) -> None:
        assert error_of(tmp_path, "replaces: [nonsense]\n" + GOOD) == (
            "ours.yaml:1: replaces[0]: the matrix has no 'nonsense' to replace"
        )

    @pytest.mark.parametrize("release", ['"525"', '"525.60.13-1"', '"R525.60"', '"525.60.13.1"', '""'])
    def test_driver_release_that_is_not_dotted_integers(self, tmp_path: Path, release: str) -> None:
        text = (
            "facts:\n  - id: ours\n    subject: cuda\n    claim:\n      kind: needs-driver\n"
            f'      cuda: "12.0"\n      linux: {release}\n    status: reported\n'
            '    sources: [{kind: measured, ref: "ours"}]\n'
        )
        message = error_of(tmp_path, text)
        assert message.startswith("ours.yaml:7: facts[0].claim.linux: expected a driver release of dotted integers")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("- a\n- b\n", "ours.yaml:1: expected a mapping, got a list"),
            ("just words\n", "ours.yaml:1: expected a mapping, got a string"),
            ("facts: 3\n", "ours.yaml:1: facts: expected a list, got a whole number"),
            ("fact: []\n", "ours.yaml:1: fact: unknown field; did you mean 'facts'?"),
            ("\nfacts:\n  - id: 'x\n", "ours.yaml:"),
            ("facts:\n\t- x\n", "ours.yaml:2: not readable as YAML: "),
            ("a: 1\n---\nb: 2\n", "ours.yaml:2: not readable as YAML: "),
            ("? [a, b]\n: c\n", "ours.yaml:1: a key must be plain text"),
            ("!!set {a, b}\n", "ours.yaml:1: the tag"),
        ],
    )
    def test_not_a_file_of_facts(self, tmp_path: Path, text: str, expected: str) -> None:
        assert error_of(tmp_path, text).startswith(expected)


class TestHostile:
    def test_billion_laughs(self, tmp_path: Path) -> None:
        rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
        started = time.monotonic()
        message = error_of(tmp_path, "\n".join(rows))
        assert message == "ours.yaml:2: not readable as YAML: aliases (`*name`) are not allowed"
        assert time.monotonic() - started < 30

    def test_alias_to_itself(self, tmp_path: Path) -> None:
        assert "aliases" in error_of(tmp_path, "facts: &a [*a]\n")

    @pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
    def test_deep_nesting(self, tmp_path: Path, opening: str) -> None:
        assert "nested too deeply" in error_of(tmp_path, opening * 20_000)

    def test_too_large(self, tmp_path: Path) -> None:
        assert "larger than 1024 KiB" in error_of(tmp_path, b"#" + b"x" * (1 << 20))

    def test_sparse_file_of_many_gigabytes(self, tmp_path: Path) -> None:
        file = tmp_path / "ours.yaml"
        with file.open("wb") as stream:
            stream.truncate(20 << 30)
        with pytest.raises(InputFileError, match="larger than"):
            load_matrix(str(file))

    @pytest.mark.parametrize(
        "data",
        [b"\xff\xfe\x00\x01", b"\x00\x01\x02", b"a: \x1b[31mred", "\ud7ff\uffff".encode("utf-8", "surrogatepass")],
    )
    def test_bytes_that_are_no_text(self, tmp_path: Path, data: bytes) -> None:
        error_of(tmp_path, data)

    def test_number_of_many_digits(self, tmp_path: Path) -> None:
        assert "expected a list" in error_of(tmp_path, "facts: " + "9" * 500_000)

    def test_tag_runs_nothing(self, tmp_path: Path) -> None:
        trace = tmp_path / "was-run"
        error_of(tmp_path, f"facts: !!python/object/apply:os.mkdir ['{trace}']\n")
        assert not trace.exists()


class TestUnreadable:
    def test_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputFileError, match="no such file"):
            load_matrix(str(tmp_path / "nothing.yaml"))

    def test_directory(self, tmp_path: Path) -> None:
        with pytest.raises(InputFileError, match="not a regular file"):
            load_matrix(str(tmp_path))

    @pytest.mark.skipif(sys.platform == "win32", reason="no FIFO on Windows")
    def test_fifo_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputFileError, match="not a regular file"):
            load_matrix(str(tmp_path / "pipe"))

    def test_name_that_is_no_path(self) -> None:
        with pytest.raises(InputFileError):
            load_matrix("a\0b")

    @pytest.mark.skipif(sys.platform == "win32", reason="no symbolic link loops on Windows")
    def test_symlink_loop(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        with pytest.raises(InputFileError):
            load_matrix(str(tmp_path / "loop"))


def test_yaml_is_imported_for_an_overlay_only(tmp_path: Path) -> None:
    file = overlay(tmp_path, GOOD)
    program = (
        "import sys; from gpudoctor.matrix.load import load_matrix; load_matrix();"
        "heavy = {'yaml', 'packaging', 'pydantic', 'importlib.resources', 'tempfile', 'pathlib'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        f"load_matrix({str(file)!r}); assert 'yaml' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
