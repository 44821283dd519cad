"""`check` on environments that try to hurt it: findings or `Unknown`, never a traceback, never a hang."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from support.command import GPUDOCTOR, clean_environment, gpudoctor

SCHEMA = Path(__file__).parents[2] / "compat" / "schema" / "report.json"
ESCAPES = "\x1b]0;owned\x07\x1b[2J[red]x\u202e"
LIMIT_S = 60


@pytest.fixture
def env(tmp_path: Path) -> Path:
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def site(env: Path) -> Path:
    return next((env / "lib").glob("python3*")) / "site-packages"


def library_place(env: Path) -> Path:
    """Return the path of a library that ctranslate2 would look at, with the package around it in place."""
    (site(env) / "ctranslate2").mkdir(exist_ok=True)
    (site(env) / "ctranslate2.libs").mkdir(exist_ok=True)
    info = site(env) / "ctranslate2-4.6.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ctranslate2\nVersion: 4.6.0\n")
    return site(env) / "ctranslate2" / "_ext.cpython-311-x86_64-linux-gnu.so"


def fifo(env: Path) -> None:
    os.mkfifo(library_place(env))


def directory(env: Path) -> None:
    library_place(env).mkdir()


def sparse(env: Path) -> None:
    with library_place(env).open("wb") as stream:
        stream.write(b"\x7fELF")
        stream.truncate(10 << 30)


def zeros(env: Path) -> None:
    with library_place(env).open("wb") as stream:
        stream.truncate(10 << 30)


def link_loop(env: Path) -> None:
    place = library_place(env)
    place.symlink_to(place.name)


def device(env: Path) -> None:
    library_place(env).symlink_to("/dev/zero")


def evil_names(env: Path) -> None:
    for name in (ESCAPES, "new\nline", "[bold]markup"):
        (site(env) / f"{name}-1.0.dist-info").mkdir()
        (site(env) / f"{name}.pth").write_text("import os; os.abort()\n")
    raw = os.fsencode(site(env)) + b"/bad\xff\xfe-1.0.dist-info"
    os.mkdir(raw)
    with open(raw + b"/METADATA", "wb") as stream:
        stream.write(b"\xff\xfe\x00Name: \x1b[31m\n")


def broken_metadata(env: Path) -> None:
    for name in ("torch", "onnxruntime-gpu", "nvidia-cudnn-cu12"):
        info = site(env) / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_bytes(os.urandom(4096))
        (info / "RECORD").write_bytes(b'"unterminated,,,\n' * 1000)


def huge_pth(env: Path) -> None:
    (site(env) / "huge.pth").write_bytes(b"x" * (100 << 20))


def site_packages_loop(env: Path) -> None:
    folder = site(env)
    folder.rmdir()
    folder.symlink_to(folder.name)


def self_home(env: Path) -> None:
    (env / "pyvenv.cfg").write_text(f"home = {env / 'bin'}\ninclude-system-site-packages = true\n")


def binary_config(env: Path) -> None:
    (env / "pyvenv.cfg").write_bytes(os.urandom(1 << 16))


HOSTILE = (
    fifo,
    directory,
    sparse,
    zeros,
    link_loop,
    device,
    evil_names,
    broken_metadata,
    huge_pth,
    site_packages_loop,
    self_home,
    binary_config,
)


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda f: f.__name__)
def test_a_hostile_environment_gives_a_report(spoil: Callable[[Path], None], env: Path) -> None:
    spoil(env)
    done = gpudoctor("check", "--python", env, "--format", "json")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    assert not [f for f in report["findings"] if f["rule"].startswith("GPD9")]
    text = gpudoctor("check", "--python", env, "-v").stdout
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("spoil", [fifo, directory, sparse, zeros, device, link_loop], ids=lambda f: f.__name__)
def test_a_consumer_that_cannot_be_read_is_not_called_fine(spoil: Callable[[Path], None], env: Path) -> None:
    spoil(env)
    report = json.loads(gpudoctor("check", "--python", env, "--format", "json").stdout)
    about = [q for q in report["open"] if q["rule"].startswith("GPD2")]
    wrong = [f for f in report["findings"] if f["subject"]["name"] == "ctranslate2"]
    assert about or wrong


def test_unreadable_site_packages_as_an_unprivileged_user(env: Path) -> None:
    for folder in (*env.parents, env):
        if os.geteuid() == 0 and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    # Root can read anything and becomes nobody; any other user shuts itself out.
    site(env).chmod(0o700 if os.geteuid() == 0 else 0)
    for program in (env / "bin").glob("python*"):  # the real interpreter may lie where nobody can look
        program.unlink()
        shutil.copy(Path(sys.executable).resolve(), program)
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, "check", "--python", env, "--format", "json"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    report = json.loads(done.stdout)
    site(env).chmod(0o755)  # or pytest could not clear it away
    assert report["open"], "what could not be read was called fine"
    assert "GPD201" in {question["rule"] for question in report["open"]}


# Imports everything while still root: the interpreter may lie in a folder that nobody else can read.
_AS_NOBODY = """
import locale, os, resource, sys
import gpudoctor.probes.take, gpudoctor.rules.engine, gpudoctor.report.json, gpudoctor.report.build
import gpudoctor.cli.check, gpudoctor.cli.app, gpudoctor.matrix.load, packaging.specifiers
import gpudoctor.drift.rules, gpudoctor.fix.rules
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(gpudoctor.cli.app.run(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "variable", ["LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "HOME"]
)
def test_hostile_variables(variable: str, env: Path) -> None:
    value = os.fsencode(f"{ESCAPES}:;;$ORIGIN/x:~/y:") + b"\xff\xfe" + b"/a" * 5000
    done = subprocess.run(
        [GPUDOCTOR, "check", "--python", env, "--format", "json"],
        env={**{os.fsencode(k): os.fsencode(v) for k, v in clean_environment().items()}, variable.encode(): value},
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    json.loads(done.stdout)
