"""A file of settings: what is read, and the sentence for each slip, with the line where it stands."""

from __future__ import annotations

import datetime

import pytest

from gpudoctor.config.read import parse_config
from gpudoctor.config.types import Config
from gpudoctor.model.errors import InputFileError

WHOLE = """
[project]
name = "speech"

[tool.gpudoctor]
select = ["GPD2"]
fail-on = "warning"
strict = true
for = ["ctranslate2"]
env = { LD_LIBRARY_PATH = "/opt/cudnn" }
env-file = "service.env"
matrix = "own.yaml"
ignore = [
    { rule = "GPD201", reason = "comes with the image", until = 2027-01-31, subject = "torch" },
    { rule = "GPD301", reason = "on purpose", until = "2027-02-01", file = "requirements.txt" },
]

[tool.gpudoctor.assume]
driver = "550.54.15"
gpus = ["RTX 3090", "8.6"]
"""


def read(text: str, file: str = "gpudoctor.toml") -> Config | None:
    return parse_config(text.encode("utf-8", "surrogateescape"), file, "/srv/app")


def complaint(text: str, file: str = "gpudoctor.toml") -> str:
    with pytest.raises(InputFileError) as caught:
        read(text, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_everything_is_read() -> None:
    found = read(WHOLE, "pyproject.toml")
    assert found is not None
    settled = found.settled
    assert (settled.select, settled.fail_on, settled.strict) == (("GPD2",), "warning", True)
    assert (settled.consumers, settled.env, settled.env_file) == (
        ("ctranslate2",),
        {"LD_LIBRARY_PATH": "/opt/cudnn"},
        "service.env",
    )
    assert [e.until for e in settled.ignore] == [datetime.date(2027, 1, 31), datetime.date(2027, 2, 1)]
    assert [(e.subject, e.file) for e in settled.ignore] == [("torch", None), (None, "requirements.txt")]
    assert (settled.assume.driver, settled.assume.gpus) == ("550.54.15", ("RTX 3090", "8.6"))


@pytest.mark.parametrize("text", ["", "[tool.other]\nx = 1\n", "tool = 1\n", "[tool]\ngpudoctors = 1\n"])
def test_a_project_without_the_table_has_no_settings(text: str) -> None:
    assert read(text, "pyproject.toml") is None


def test_a_byte_order_mark_is_no_key() -> None:
    found = read("\ufefffail-on = 'never'\n")
    assert found is not None
    assert found.settled.fail_on == "never"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("strict = true\nfoo = 1\n", "line 2", "unknown key 'foo'"),
        ("[assume]\n# drivr\ndrivr = '5'\n", "line 3", "unknown key 'drivr' in assume; there are: driver, gpus"),
        ("assume = { drivr = '5' }\n", "line 1", "unknown key 'drivr'"),
        ("ignore = [\n { rule = 'GPD201' },\n]\n", "line 2", "ignore number 1 has no reason"),
        ("ignore = [{ reason = 'x' }]\n", "line 1", "ignore number 1 has no rule"),
        (
            "ignore = [\n # { rule = 'GPD201' }\n { rule = 'GPD201', reason = 'x' },\n"
            " { rule = 'GPD201', reason = ' ' }]\n",
            "line 4",
            "reason must not be empty",
        ),
        ("[[ignore]]\nrule = 'GPD201'\nreason = 7\n", "line 2", "reason"),
        ("ignore = [{ rule = 'GPD201', reason = 'x', until = 'soon' }]\n", "line 1", "it wants a day"),
        ("\nfail-on = 'info'\n", "line 2", 'it wants "error", "warning" or "never"'),
        ("strict = 'yes'\n", "line 1", "strict"),
        ("[env]\nA = 'x'\n'A B' = 'x'\n", "line 3", "no name of a variable"),
        ("a = [\n", "line 2", "not TOML"),
        ("\n= 3\n", "line 2", "not TOML"),
        ("x = '\udcff'\n", "line 1", "not UTF-8"),
    ],
)
def test_a_slip_is_one_sentence_with_file_and_line(text: str, where: str, what: str) -> None:
    message = complaint(text)
    assert message.startswith(f"gpudoctor.toml: {where}: ")
    assert what in message


def test_the_line_in_a_pyproject_is_that_of_our_table() -> None:
    text = "[tool.other]\nfoo = 1\n[tool.gpudoctor]\nstrict = true\nfoo = 2\n"
    assert complaint(text, "pyproject.toml").startswith("pyproject.toml: line 5: unknown key 'foo'")


@pytest.mark.parametrize(
    "text",
    ["a=" + "[" * 9999, "a = " + "9" * 9999, "\x00", '"\\u001b[31m" = 1', "ignore = 3", "ignore = [3]", "env = 1"],
)
def test_hostile_text_is_one_plain_sentence(text: str) -> None:
    message = complaint(text)
    assert message.isprintable()
    assert len(message) < 1000


def test_a_huge_file_is_refused_unread() -> None:
    assert "larger than" in complaint("#" * (5 << 20))
