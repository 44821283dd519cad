"""What wheels lie in on a staged host: conda's layout, an overlay of `uv run --with`, or Debian's own Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

Layout = Literal["venv", "conda", "uv-overlay", "system"]

# For origin.txt.
LAYOUTS: Mapping[Layout, str] = {
    "venv": "",
    "conda": "Layout: the wheels and a Python copied to where conda puts them, beside a conda-meta folder.\n",
    "uv-overlay": "Layout: the overlay of a real `uv run --with`, read while it ran.\n",
    "system": "Layout: Debian's /usr/bin/python3.11; the wheels' folder is shown as its dist-packages.\n",
}
_LIB = "lib/python3.11"
_DIST_PACKAGES = f"/usr/local/{_LIB}/dist-packages"
_CACHE = "/home/user/.cache/uv"
_WAIT = "import sys, tqdm; print(sys.executable, tqdm.__file__, flush=True); sys.stdin.read()"


class Place(msgspec.Struct, frozen=True):
    """Where the judged environment is.

    Attributes:
        root: Its folder.
        python: Its interpreter.
        names: Second names of folders: what is read under such a name is read in the folder.
        moved: Folders of this machine, and what the record calls them.
    """

    root: str
    python: str
    names: Mapping[str, str] = {}
    moved: Mapping[str, str] = {}


@contextmanager
def lay_out(layout: Layout, env: Path, folder: str) -> Iterator[Place]:
    """Lay a wheel environment out.

    Args:
        layout: How.
        env: The wheel environment; it is not changed.
        folder: A new folder for what is made.
    """
    if layout == "venv":
        yield Place(str(env), str(env / "bin/python"))
    elif layout == "conda":
        prefix = Path(folder) / "conda"
        yield Place(str(prefix), str(_conda(env, prefix)), moved={str(prefix): "/opt/conda/envs/asr"})
    elif layout == "system":
        nothing = Path(folder) / "nothing"
        nothing.mkdir()
        # What else Debian's Python has is the recording machine's affair.
        names = {_DIST_PACKAGES: str(env / _LIB / "site-packages"), "/usr/lib/python3/dist-packages": str(nothing)}
        yield Place("/usr", "/usr/bin/python3.11", names, {real: name for name, real in names.items()})
    else:
        with _overlay(env) as (python, packages):
            moved = {str(python.parents[1]): f"{_CACHE}/builds-v0/overlay", str(packages): f"{_CACHE}/archive-v0/tqdm"}
            yield Place(str(env), str(python), moved={**moved, str(env): "/srv/app/.venv"})


def _conda(env: Path, prefix: Path) -> Path:
    base = Path(sys.base_prefix)
    shutil.copytree(env / _LIB / "site-packages", prefix / _LIB / "site-packages", symlinks=True)
    shutil.copy2(base / _LIB / "os.py", prefix / _LIB / "os.py")
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta/history").write_text("")
    (prefix / "bin").mkdir()
    shutil.copy2(base / "bin/python3.11", prefix / "bin/python3.11")
    (prefix / "bin/python").symlink_to("python3.11")
    return prefix / "bin/python"


@contextmanager
def _overlay(env: Path) -> Iterator[tuple[Path, Path]]:
    """Keep a `uv run --with` running; yield its interpreter and the folder that holds the package it adds."""
    uv = Path(sys.executable).with_name("uv")
    command = (
        uv,
        "run",
        "--quiet",
        "--no-project",
        "--python",
        env / "bin/python",
        "--with",
        "tqdm==4.70.1",
        "python",
        "-c",
    )
    with subprocess.Popen((*command, _WAIT), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        python, package = process.stdout.readline().split()
        yield Path(python), Path(package).parents[4]
