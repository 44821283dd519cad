"""A real virtual environment with a package that plays CTranslate2: real libraries, real calls, chosen faults."""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from gpudoctor.loader.target import Target
from gpudoctor.model.loading import Resolution

SOURCE = Path(__file__).with_name("fake_ctranslate2.c")
_INIT = """\
import ctypes, os
__version__ = "4.6.0"
_libs = os.path.join(os.path.dirname(os.path.dirname(__file__)), "ctranslate2.libs")
for _name in sorted(os.listdir(_libs)):
    ctypes.CDLL(os.path.join(_libs, _name))
def get_supported_compute_types(device):
    raise RuntimeError("CUDA failed with error no CUDA-capable device is detected")
"""


@dataclass(frozen=True)
class FakeTarget:
    """The environment.

    Attributes:
        root: Its folder.
        site: Its site-packages.
        cublas_dir: A folder that holds libcublas.so.12, on no search path.
    """

    root: Path
    site: Path
    cublas_dir: Path

    @property
    def cublas(self) -> Path:
        return self.cublas_dir / "libcublas.so.12"

    def settings(self, text: str) -> str:
        path = self.root / "settings"
        path.write_text(text)
        return str(path)

    def target(self, settings: str = "", cwd: str | None = None, **variables: str) -> Target:
        environment = {"PATH": "/usr/bin:/bin", "GPUDOCTOR_FAKE_DRIVER": self.settings(settings), **variables}
        python = str(self.root / "bin" / "python")
        return Target(python, str(self.root), (str(self.site),), environment, cwd or str(Path.cwd()))


def build(root: Path) -> FakeTarget:
    venv.create(root, with_pip=False, symlinks=True)
    site = next((root / "lib").glob("python3*")) / "site-packages"
    libs, cublas = site / "ctranslate2.libs", root / "cublas"
    for folder in (site / "ctranslate2", libs, cublas):
        folder.mkdir()
    (site / "ctranslate2" / "__init__.py").write_text(_INIT)
    _compile(libs / "libcudnn-0123abcd.so.9.1.0", "libcudnn-0123abcd.so.9.1.0", "CUDNN")
    _compile(libs / "libctranslate2-4567cdef.so.4.6.0", "libctranslate2-4567cdef.so.4.6.0", "CTRANSLATE2")
    _compile(cublas / "libcublas.so.12", "libcublas.so.12", "CUBLAS")
    return FakeTarget(root, site, cublas)


def compile_library(path: Path, soname: str) -> None:
    """Compile a library without any of the functions."""
    _compile(path, soname, "NOTHING")


def _compile(path: Path, soname: str, plays: str) -> None:
    command = ["gcc", "-std=gnu11", "-shared", "-fPIC", "-w", f"-D{plays}", f"-Wl,-soname,{soname}", "-o", str(path)]
    subprocess.run([*command, str(SOURCE), "-ldl"], check=True, timeout=120)


def predicted(outcome: str, path: str | None = None, soname: str = "libcublas.so.12", **changes: object) -> Resolution:
    """Return what an emulator would have said of one library of the fake CTranslate2."""
    stem = soname.partition(".so")[0].removeprefix("lib")
    fields: dict[str, object] = {
        "consumer": "ctranslate2",
        "scenario": "alone",
        "requester": "libctranslate2-4567cdef.so.4.6.0",
        "soname": soname,
        "names": (soname,),
        "family": stem.partition("_")[0],
        "role": stem,
        "link": "dlopen",
        "when": "at the first matrix product on the GPU",
        "outcome": outcome,
        "path": path,
        "found_via": "ld-library-path" if path else None,
        "failure": None if path else "missing",
        "culprit": None if path else soname,
    }
    return Resolution(**{**fields, **changes})  # type: ignore[arg-type]


INTERPRETER = sys.executable
