"""Variables written as each shell, and each file format that sets variables, reads them back byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from gpudoctor.model.base import Frozen
from gpudoctor.model.errors import GpuDoctorError

ENV_SCHEMA_VERSION = 1

_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
# systemd refuses an assignment with any other control character. Source: systemd 252, env_value_is_valid().
_SYSTEMD_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "%": "%%"}
_POWERSHELL_QUOTES = "'\u2018\u2019\u201a\u201b"


class CannotExpress(GpuDoctorError):
    """A format has no way to write a value."""

    exit_status = 1

    def __init__(self, form: str, name: str, what: str) -> None:
        super().__init__(f"{form} cannot express this value of {name}: {what}")


class EnvDocument(Frozen, frozen=True, kw_only=True):
    """The document of `env --shell json`.

    Attributes:
        schema_version: Version of this document's shape.
        variables: Variables to set, in full; empty when nothing is needed.
        prepended: The folders that were put before the present LD_LIBRARY_PATH.
    """

    schema_version: int
    variables: dict[str, str]
    prepended: tuple[str, ...]


def render_env(form: str, name: str, value: str) -> str:
    """Return the lines that set one variable.

    Args:
        form: One of FORMS.
        name: The variable.
        value: Its whole value; lone surrogates stand for bytes that are not UTF-8.

    Raises:
        CannotExpress: The format cannot hold this value.
    """
    return FORMS[form](name, value)


def render_env_json(variables: Mapping[str, str], prepended: tuple[str, ...]) -> str:
    """Return the JSON document.

    Raises:
        CannotExpress: A value holds bytes that are not UTF-8.
    """
    for name, value in variables.items():
        _refuse_bytes("JSON", name, value)
    document = EnvDocument(schema_version=ENV_SCHEMA_VERSION, variables=dict(variables), prepended=prepended)
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


# --- shells ----------------------------------------------------------------------------------------------------------


def _posix(name: str, value: str) -> str:
    return f"export {name}={_posix_quoted(value)}\n"


def _posix_quoted(value: str) -> str:
    """Everything is literal in single quotes, but a single quote, which is put between two quoted pieces."""
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("'", "'\\''") + "'"


def _fish(name: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{quoted}'\n"


def _csh(name: str, value: str) -> str:
    """In csh's single quotes `!` still asks for history, and a bare newline ends the command.

    Source: tcsh(1), "Lexical structure".
    """
    quoted = value.replace("'", "'\\''").replace("!", "\\!").replace("\n", "\\\n")
    return f"setenv {name} '{quoted}'\n"


def _powershell(name: str, value: str) -> str:
    """In single quotes everything is literal but the quotes themselves, of which PowerShell knows five.

    Source: PowerShell language specification, 2.3.5.2 "String literals": single-quote-character.
    """
    _refuse_bytes("PowerShell", name, value)
    quoted = "".join(c * 2 if c in _POWERSHELL_QUOTES else c for c in value)
    return f"$env:{name} = '{quoted}'\n"


# --- files -----------------------------------------------------------------------------------------------------------


def _dotenv(name: str, value: str) -> str:
    """Only what all readers agree on: python-dotenv, dotenv for Node, systemd, docker compose and a sourcing shell."""
    _refuse_bytes("a dotenv file", name, value)
    if _PLAIN.fullmatch(value):
        return f"{name}={value}\n"
    for part, what in (
        ("\n", "a newline"),
        ("\r", "a carriage return"),
        ("${", "'${', which some readers expand even in quotes"),
        ("\\\\", "two backslashes in a row, which some readers take for one"),
    ):
        if part in value:
            raise CannotExpress("a dotenv file", name, f"it holds {what}")
    if "'" not in value and not value.endswith("\\"):
        return f"{name}='{value}'\n"
    if any(c in value for c in '"\\$`'):
        raise CannotExpress("a dotenv file", name, 'it holds a single quote together with ", \\, $ or `')
    return f'{name}="{value}"\n'


def _docker(name: str, value: str) -> str:
    """A Dockerfile's ENV: in double quotes a backslash escapes itself, the quote and `$`.

    Source: https://docs.docker.com/reference/dockerfile/#environment-replacement (2026-11-20)
    """
    _refuse_bytes("a Dockerfile", name, value)
    _refuse_lines("a Dockerfile", name, value)
    return f'ENV {name}="{_backslashed(value)}"\n'


def _backslashed(value: str) -> str:
    return re.sub(r'([\\"$])', r"\\\1", value)


def _docker_env_file(name: str, value: str) -> str:
    """A file for `docker run --env-file`: a line each, everything after the `=` is the value, nothing is quoted."""
    _refuse_bytes("docker run --env-file", name, value)
    _refuse_lines("docker run --env-file", name, value)
    return f"{name}={value}\n"


def _systemd(name: str, value: str) -> str:
    """A unit file's Environment=: C escapes, `%` begins a specifier, `$` is nothing special.

    Source: systemd.exec(5), Environment=; systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers".
    """
    _refuse_bytes("a systemd unit", name, value)
    for character in value:
        if (character < " " or character == "\x7f") and character not in "\n\t":
            raise CannotExpress("a systemd unit", name, "it holds a control character, which systemd refuses")
    quoted = "".join(_SYSTEMD_ESCAPES.get(c, c) for c in value)
    return f'Environment="{name}={quoted}"\n'


def _refuse_bytes(form: str, name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CannotExpress(form, name, "it holds bytes that are not UTF-8") from None


def _refuse_lines(form: str, name: str, value: str) -> None:
    if "\n" in value or "\r" in value:
        raise CannotExpress(form, name, "it holds a newline, and a line is all that a value can have there")


FORMS: Mapping[str, Callable[[str, str], str]] = {
    "bash": _posix,
    "sh": _posix,
    "dash": _posix,
    "zsh": _posix,
    "fish": _fish,
    "csh": _csh,
    "tcsh": _csh,
    "powershell": _powershell,
    "dotenv": _dotenv,
    "docker": _docker,
    "docker-env-file": _docker_env_file,
    "systemd": _systemd,
}
