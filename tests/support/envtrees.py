"""Trees of files that look like Python environments, and systems to look at them with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from gpudoctor.system.real import RealSystem

REAL_PYTHON = Path(sys.executable).resolve()


class OtherSystem(RealSystem):
    """The real machine with another environment, or said to run another operating system."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        os_name: Literal["linux", "windows", "macos"] = "linux",
        cwd: Path | str = "/",
    ) -> None:
        super().__init__()
        self.os_name = os_name
        self._environment = dict(environment or {})
        self._cwd = str(cwd)

    def environ(self) -> Mapping[str, str]:
        return self._environment

    def cwd(self) -> str:
        return self._cwd


def write(path: Path, text: str | bytes = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    return path


def program(path: Path) -> Path:
    """Put an ELF file at a path: a copy, so that its real path stays inside the tree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/true", path)
    return path


def installation(root: Path, minor: str = "3.11", site: str = "site-packages") -> Path:
    """Make what a Python installation looks like, and return its site folder."""
    program(root / f"bin/python{minor}")
    (root / "bin/python3").symlink_to(f"python{minor}")
    (root / "bin/python").symlink_to("python3")
    write(root / f"lib/python{minor}/os.py")
    folder = root / f"lib/python{minor}" / site
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def venv(root: Path, base: Path, minor: str = "3.11", config: str = "include-system-site-packages = false\n") -> Path:
    """Make what a venv looks like, and return its site folder."""
    (root / "bin").mkdir(parents=True)
    (root / "bin/python").symlink_to(base / f"bin/python{minor}")
    write(root / "pyvenv.cfg", f"home = {base}/bin\nversion = {minor}.4\n{config}")
    folder = root / f"lib/python{minor}/site-packages"
    folder.mkdir(parents=True)
    return folder


def dist_info(site: Path, name: str, version: str, requires: tuple[str, ...] = (), record: str | None = None) -> Path:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    lines = "".join(f"Requires-Dist: {r}\n" for r in requires)
    write(folder / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}\nText: no header\n")
    if record is not None:
        write(folder / "RECORD", record)
    return folder
