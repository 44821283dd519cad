"""Compiles the fake driver libraries: real shared objects that real nvidia-ml-py and real ctypes load."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SETTINGS_VARIABLE = "GPUDOCTOR_FAKE_DRIVER"
_SOURCES = Path(__file__).parent


@dataclass(frozen=True)
class FakeDriver:
    """A folder laid out as a driver package does it: versioned files, and links by SONAME.

    Attributes:
        directory: The folder, for LD_LIBRARY_PATH.
        libnvidia_ml: The link `libnvidia-ml.so.1`.
        libcuda: The link `libcuda.so.1`.
    """

    directory: Path
    libnvidia_ml: Path
    libcuda: Path

    def settings(self, text: str, name: str = "settings") -> Path:
        """Write what the fake machine is like and return the file."""
        path = self.directory / name
        path.write_text(text)
        return path

    def environment(self, text: str, **more: str) -> Mapping[str, str]:
        """Return an environment in which the loader finds this driver, with these settings."""
        return {"LD_LIBRARY_PATH": str(self.directory), SETTINGS_VARIABLE: str(self.settings(text)), **more}


def build(
    directory: Path, *, nvml_release: str = "550.54.15", cuda_release: str = "550.54.15", old: bool = False
) -> FakeDriver:
    """Compile both libraries into a folder.

    Args:
        directory: Made if need be.
        nvml_release: Release in the real name of libnvidia-ml.
        cuda_release: Release in the real name of libcuda.
        old: Leave out what drivers before 2020 did not have.
    """
    directory.mkdir(parents=True, exist_ok=True)
    options = ("-DOLD_DRIVER",) if old else ()
    return FakeDriver(
        directory,
        _compile(directory, "nvml.c", "libnvidia-ml.so.1", nvml_release, options),
        _compile(directory, "cuda.c", "libcuda.so.1", cuda_release, ()),
    )


def _compile(directory: Path, source: str, soname: str, release: str, options: tuple[str, ...]) -> Path:
    real = directory / f"{soname.removesuffix('.1')}.{release}"
    command = ["gcc", "-std=gnu11", "-Wall", "-Werror", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{soname}", *options]
    subprocess.run([*command, "-o", str(real), str(_SOURCES / source)], check=True, timeout=120)
    link = directory / soname
    link.unlink(missing_ok=True)
    link.symlink_to(real.name)
    return link
