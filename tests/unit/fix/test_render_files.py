"""The file formats, read by real programs where one can be had offline, else by a parser of the documented rules."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gpudoctor.fix.render_env import CannotExpress, render_env, render_env_json
from gpudoctor.probes.variables import parse_env_file
from support.shells import need_program, printed_variable, printing
from support.values import DIRECTORIES

NAME = "LD_LIBRARY_PATH"
NOT_UTF8 = b"/srv/\xff/lib".decode("utf-8", "surrogateescape")


LINES = {"newline", "newlines", "control"}
INEXPRESSIBLE = {
    "dotenv": {
        *LINES,
        "dollar brace",
        "two backslashes",
        "only quotes",
        "backslash",
        "backslash at the end",
        "history in quotes",
        "long",
    },
    "docker": LINES,
    "docker-env-file": LINES,
    "systemd": {"control"},
    "powershell": set(),
}


def expressible(form: str) -> pytest.MarkDecorator:
    """Return the values that a form must be able to hold: all but those named above."""
    names = [name for name in DIRECTORIES if name not in INEXPRESSIBLE[form]]
    return pytest.mark.parametrize("value", [DIRECTORIES[name] for name in names], ids=names)


@pytest.mark.parametrize(
    ("form", "name"), [(form, name) for form, names in INEXPRESSIBLE.items() for name in sorted(names)]
)
def test_what_cannot_be_expressed_is_said(form: str, name: str) -> None:
    with pytest.raises(CannotExpress, match=f"cannot express this value of {NAME}: it holds ") as error:
        render_env(form, NAME, DIRECTORIES[name])
    assert error.value.exit_status == 1


# --- dotenv ----------------------------------------------------------------------------------------------------------


@expressible("dotenv")
def test_dotenv_is_read_back_by_our_own_env_file(value: str) -> None:
    assert parse_env_file(render_env("dotenv", NAME, value), "f") == {NAME: value}


@expressible("dotenv")
@pytest.mark.parametrize("program", ["bash", "dash"])
def test_dotenv_is_read_back_by_a_sourcing_shell(tmp_path: Path, program: str, value: str) -> None:
    (tmp_path / ".env").write_text(render_env("dotenv", NAME, value), newline="")
    (tmp_path / "s").write_text(f"set -a\n. '{tmp_path}/.env'\n{printing(NAME)}")
    assert printed_variable([need_program(program, program), str(tmp_path / "s")]) == os.fsencode(value)


@expressible("dotenv")
def test_dotenv_is_read_back_by_node(tmp_path: Path, value: str) -> None:
    node = need_program("node", "nodejs")
    if "--env-file" not in subprocess.run([node, "--help"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("this Node is older than its --env-file")
    (tmp_path / ".env").write_text(render_env("dotenv", NAME, value), newline="")
    code = f"process.stdout.write(process.env.{NAME})"
    done = subprocess.run(
        [node, f"--env-file={tmp_path}/.env", "-e", code], env={"PATH": os.environ["PATH"]}, capture_output=True
    )
    assert done.stdout == os.fsencode(value), done.stderr


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ("/a\nb", "newline"),
        ("/a\rb", "carriage return"),
        ("/${X}", "expand"),
        ("/a\\\\b", "backslashes"),
        ("/it's $x", "single quote"),
        ("/it's `", "single quote"),
        (NOT_UTF8, "not UTF-8"),
    ],
)
def test_dotenv_says_what_it_cannot_express(bad: str, word: str) -> None:
    with pytest.raises(CannotExpress, match=word):
        render_env("dotenv", NAME, bad)


# --- docker ----------------------------------------------------------------------------------------------------------


def read_docker_env(line: str) -> tuple[str, str]:
    """Parse one ENV instruction with one double-quoted value, by the rules of the Dockerfile reference; strict."""
    match = re.fullmatch(r'ENV ([A-Za-z_]\w*)="((?:[^"\\\n]|\\.)*)"\n', line)
    assert match, line
    assert not re.search(r"(?<!\\)(?:\\\\)*\$", match[2]), "a bare $ is replaced"
    assert not re.search(r'\\[^\\"$]', re.sub(r"\\\\", "", match[2])), "an escape that means nothing"
    return match[1], re.sub(r'\\([\\"$])', r"\1", match[2])


@expressible("docker")
def test_dockerfile_env(value: str) -> None:
    assert read_docker_env(render_env("docker", NAME, value)) == (NAME, value)


@expressible("docker-env-file")
def test_docker_run_env_file(value: str) -> None:
    text = render_env("docker-env-file", NAME, value)
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    assert len(lines) == 1
    assert lines[0].partition("=") == (NAME, "=", value)


@pytest.mark.parametrize("form", ["docker", "docker-env-file"])
@pytest.mark.parametrize(("bad", "word"), [("/a\nb", "newline"), ("/a\rb", "newline"), (NOT_UTF8, "not UTF-8")])
def test_docker_says_what_it_cannot_express(form: str, bad: str, word: str) -> None:
    with pytest.raises(CannotExpress, match=word):
        render_env(form, NAME, bad)


# --- systemd ---------------------------------------------------------------------------------------------------------

_C_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"'}


def read_systemd_environment(line: str) -> tuple[str, str]:
    """Parse one Environment= line by systemd.syntax(7) and systemd.unit(5); strict: any doubt fails."""
    match = re.fullmatch(r'Environment="((?:[^"\\\n]|\\.)*)"\n', line)
    assert match, line
    assert not re.search(r"%(?!%)", match[1].replace("%%", "")), "a specifier"
    assignment = re.sub(r"\\(.)", lambda m: _C_ESCAPES[m[1]], match[1]).replace("%%", "%")
    name, _, value = assignment.partition("=")
    return name, value


@expressible("systemd")
def test_systemd_by_the_documented_rules(value: str) -> None:
    assert read_systemd_environment(render_env("systemd", NAME, value)) == (NAME, value)


@expressible("systemd")
def test_systemd_itself_reads_it(tmp_path: Path, value: str) -> None:
    """`systemd --test` loads a unit as the service manager does and dumps it; it starts nothing and needs no bus."""
    systemd = need_program("systemd", "systemd", ("/lib/systemd", "/usr/lib/systemd"))
    home = tmp_path / "home"
    (home / "units").mkdir(parents=True)
    unit = "[Service]\nType=oneshot\n" + render_env("systemd", NAME, value) + "ExecStart=/usr/bin/env\n"
    (home / "units/gpudoctor-probe.service").write_text(unit)
    command = [systemd, "--test", "--user", "--unit=gpudoctor-probe.service"]
    if os.geteuid() == 0:
        setpriv = need_program("setpriv", "util-linux")
        subprocess.run(["chown", "-R", "65534", home], check=True)
        for parent in (home, *home.parents)[: len(home.parts) - len(Path("/tmp").parts)]:
            parent.chmod(0o755)
        command = [setpriv, "--reuid=65534", "--clear-groups", *command]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "SYSTEMD_UNIT_PATH": f"{home}/units:/usr/lib/systemd/user",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert b"\t\tEnvironment: " + NAME.encode() + b"=" + os.fsencode(value) + b"\n" in done.stdout, done.stderr[-500:]


@pytest.mark.parametrize(("bad", "word"), [("/a\x1bb", "control"), ("/a\rb", "control"), (NOT_UTF8, "not UTF-8")])
def test_systemd_says_what_it_cannot_express(bad: str, word: str) -> None:
    with pytest.raises(CannotExpress, match=word):
        render_env("systemd", NAME, bad)


# --- PowerShell ------------------------------------------------------------------------------------------------------

POWERSHELL_QUOTES = "'\u2018\u2019\u201a\u201b"


def read_powershell(text: str) -> tuple[str, str]:
    """Parse `$env:NAME = '…'` by PowerShell's language specification 2.3.5.2: five characters are single quotes."""
    match = re.fullmatch(
        rf"\$env:(\w+) = '((?:[^{POWERSHELL_QUOTES}]|[{POWERSHELL_QUOTES}]{{2}})*)'\n", text, re.DOTALL
    )
    assert match, text
    return match[1], re.sub(rf"([{POWERSHELL_QUOTES}])[{POWERSHELL_QUOTES}]", r"\1", match[2])


@expressible("powershell")
def test_powershell(value: str) -> None:
    assert read_powershell(render_env("powershell", NAME, value)) == (NAME, value)


def test_powershell_doubles_every_kind_of_single_quote() -> None:
    text = render_env("powershell", NAME, f"/a{POWERSHELL_QUOTES}b\n$x`")
    assert text == f"$env:{NAME} = '/a{''.join(c * 2 for c in POWERSHELL_QUOTES)}b\n$x`'\n"


@expressible("powershell")
def test_powershell_itself_where_it_is_installed(tmp_path: Path, value: str) -> None:
    pwsh = shutil.which("pwsh")
    if pwsh is None:
        pytest.skip("PowerShell is in no Debian archive")
    (tmp_path / "s.ps1").write_text(
        render_env("powershell", NAME, value) + "[Console]::Out.Write($env:LD_LIBRARY_PATH)\n"
    )
    done = subprocess.run([pwsh, "-NoProfile", "-File", tmp_path / "s.ps1"], capture_output=True, check=True)
    assert done.stdout == os.fsencode(value)


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", DIRECTORIES.values(), ids=DIRECTORIES)
def test_json_is_one_document(value: str) -> None:
    document = json.loads(render_env_json({NAME: value}, (value,)))
    assert document == {"schema_version": 1, "variables": {NAME: value}, "prepended": [value]}


def test_json_of_nothing() -> None:
    assert json.loads(render_env_json({}, ())) == {"schema_version": 1, "variables": {}, "prepended": []}


def test_json_says_what_it_cannot_express() -> None:
    with pytest.raises(CannotExpress, match="not UTF-8"):
        render_env_json({NAME: NOT_UTF8}, ())
