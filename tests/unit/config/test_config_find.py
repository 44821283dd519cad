"""Which file settles things: from the current folder upwards, to the root of the repository or file system."""

from __future__ import annotations

import pytest

from gpudoctor.config.find import find_config
from gpudoctor.model.errors import InputFileError
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.protocol import FileStat

TABLE = "[tool.gpudoctor]\nfail-on = 'never'\n"
OWN = "fail-on = 'warning'\n"


def found(files: dict[str, str], cwd: str = "/r/a/b", **more: object) -> str | None:
    config = find_config(MemorySystem(files, directories=[cwd], cwd=cwd, **more))  # type: ignore[arg-type]
    return config.file if config else None


def test_nothing() -> None:
    assert found({}) is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/r/a/b/gpudoctor.toml": OWN}, "gpudoctor.toml"),
        ({"/r/a/b/pyproject.toml": TABLE}, "pyproject.toml"),
        ({"/r/a/b/pyproject.toml": TABLE, "/r/a/b/gpudoctor.toml": OWN}, "gpudoctor.toml"),
        ({"/r/pyproject.toml": TABLE}, "../../pyproject.toml"),
        (
            {"/r/pyproject.toml": TABLE, "/r/a/b/pyproject.toml": "[project]\nname = 'gpudoctor'\n"},
            "../../pyproject.toml",
        ),
        ({"/r/pyproject.toml": TABLE, "/r/.git": "x"}, "../../pyproject.toml"),
        ({"/r/pyproject.toml": TABLE, "/r/a/.git/HEAD": "x"}, None),
        ({"/r/pyproject.toml": TABLE, "/r/a/b/.hg/x": "x"}, None),
    ],
)
def test_the_nearest_counts(files: dict[str, str], expected: str | None) -> None:
    assert found(files) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[tool]\ngpudoctor = {}\n",
        "tool.gpudoctor.strict = true\n",
        "tool = { gpudoctor = {} }\n",
        "[ tool . gpudoctor ]\n",
        "['tool'.\"gpudoctor\"]\n",
        "[[tool.gpudoctor.ignore]]\nrule = 'GPD201'\nreason = 'x'\n",
        "[tool.gpudoctor.assume]\ndriver = '550.54.15'\n",
    ],
)
def test_every_spelling_of_the_table_is_seen(text: str) -> None:
    assert found({"/r/a/b/pyproject.toml": text}) == "pyproject.toml"


def test_a_project_file_that_is_nothing_to_us_may_be_broken() -> None:
    assert found({"/r/a/b/pyproject.toml": "[project\nname = gpudoctor\n"}) is None
    assert found({"/r/a/b/pyproject.toml": "x"}, unreadable=["/r/a/b/pyproject.toml"]) is None


def test_own_settings_that_cannot_be_read_are_not_passed_over() -> None:
    with pytest.raises(InputFileError, match="--no-config"):
        found({"/r/a/b/gpudoctor.toml": OWN}, unreadable=["/r/a/b/gpudoctor.toml"])


class TwoDisks(MemorySystem):
    """A machine whose /r is on another file system than what lies below it."""

    def stat(self, path: str) -> FileStat:
        status = super().stat(path)
        return FileStat(status.kind, status.size_bytes, (1 if path == "/r" else 2, 0), status.mode)


def test_another_file_system_ends_the_search() -> None:
    files = {"/r/gpudoctor.toml": OWN, "/r/a/b/x": ""}
    assert find_config(TwoDisks(files, cwd="/r/a/b")) is None


@pytest.mark.parametrize("named", ["/none.toml", "/r/a/b", "/r/pyproject.toml"])
def test_a_named_file_must_have_settings(named: str) -> None:
    system = MemorySystem({"/r/pyproject.toml": "[project]\n", "/r/a/b/x": ""}, cwd="/r/a/b")
    with pytest.raises(InputFileError, match="--config"):
        find_config(system, named)


def test_a_named_file_has_any_name() -> None:
    found = find_config(MemorySystem({"/x/ci.toml": OWN}, cwd="/"), "x/ci.toml")
    assert found is not None
    assert (found.file, found.folder, found.settled.fail_on) == ("x/ci.toml", "/x", "warning")
