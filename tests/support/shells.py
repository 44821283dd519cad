"""Real shells and other real readers of variables, installed when they are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

# Prints the bytes of one variable exactly, and nothing else.
PRINTER = "import os,sys;sys.stdout.buffer.write(os.environb[os.fsencode(sys.argv[1])])"


def need_program(name: str, package: str, folders: tuple[str, ...] = ()) -> str:
    """Return a program's path, installed when it is missing; where that fails too, CI fails and others skip."""
    found = _find(name, folders)
    if found is None:
        with FileLock(Path(tempfile.gettempdir()) / "gpudoctor-tests-apt.lock"):
            if _find(name, folders) is None:
                _install(package)
        found = _find(name, folders)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not here and Debian's package {package} cannot be installed")
        pytest.skip(f"{name} is not here and Debian's package {package} cannot be installed")
    return found


def _find(name: str, folders: tuple[str, ...]) -> str | None:
    return shutil.which(name) or next((f"{f}/{name}" for f in folders if os.access(f"{f}/{name}", os.X_OK)), None)


def _install(package: str) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        return
    sudo = [] if os.geteuid() == 0 else [s for s in (shutil.which("sudo"),) if s] + ["-n"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = [*sudo, apt, "install", "-y", "-q", "--no-install-recommends", package]
    if subprocess.run(command, env=environment, capture_output=True, check=False, timeout=300).returncode:
        subprocess.run([*sudo, apt, "update", "-q"], env=environment, capture_output=True, check=False, timeout=300)
        subprocess.run(command, env=environment, capture_output=True, check=False, timeout=300)


def printed_variable(command: list[str], **environment: str) -> bytes:
    """Run a shell on a script whose last line starts PRINTER; return the bytes that it printed."""
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", **environment}
    done = subprocess.run(command, env=clean, capture_output=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def printing(name: str) -> str:
    """Return the line, the same in every shell, that prints a variable's bytes."""
    return f"exec '{sys.executable}' -I -S -c '{PRINTER}' {name}\n"
