"""A host that is staged around real wheels: its devices, device files and driver, on a machine that has none.

The environment that is judged is real and is read from disk; the driver's libraries are the compiled ones of
tests/fakehw and are really asked, by gpudoctor's own children; only files of /proc, /sys, /dev and /etc are told.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from fakehw.build import SETTINGS_VARIABLE, FakeDriver
from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.protocol import Child, FileStat, NotThere, RandomReader, ReadSystem

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
# Marks of the machine that records, and what happens to be installed on it.
_HIDDEN = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container", "/proc/1/cgroup")
_HIDDEN_NAMES = ("cuda", "docker", "ffmpeg", "nvidia")


class StagedSystem:
    """The real machine with a staged host in front; see gpudoctor.system.protocol.ReadSystem."""

    os_name: Literal["linux", "windows", "macos"] = "linux"
    machine = "x86_64"

    def __init__(
        self,
        real: ReadSystem,
        files: Mapping[str, bytes],
        links: Mapping[str, str],
        nodes: Sequence[str],
        environ: Mapping[str, str],
        driver: FakeDriver | None,
    ) -> None:
        """Stage a host.

        Args:
            real: The real machine.
            files: Files that the real machine lacks, or has otherwise.
            links: Symbolic links.
            nodes: Device files.
            environ: Environment of the process that looks.
            driver: The driver that the children ask.
        """
        self._real = real
        self._staged = MemorySystem(files, links=links, fifos=nodes)
        self._paths = {*files, *links, *nodes}
        self._environ = dict(environ)
        self._driver = driver

    def _at(self, path: str) -> str | None:
        """Return the staged path that a path means; None for one of the real machine."""
        absolute = posixpath.normpath(posixpath.join("/", path))
        plain = posixpath.join(self._real.realpath(posixpath.dirname(absolute)), posixpath.basename(absolute))
        if found := next((p for p in (absolute, plain) if p in self._paths), None):
            return found
        is_folder = any(p.startswith(f"{absolute}/") for p in self._paths)
        return (
            absolute
            if is_folder and self._real.realpath(absolute) == absolute and not self._is_real(absolute)
            else None
        )

    def _is_real(self, path: str) -> bool:
        try:
            self._real.stat(path)
        except GpuDoctorError:
            return False
        return True

    def _see(self, path: str) -> None:
        if path in _HIDDEN or (path.startswith("/usr/local/") and path[11:].startswith(_HIDDEN_NAMES)):
            raise NotThere(path)
        if path.startswith(("/usr/bin/", "/usr/local/bin/")) and posixpath.basename(path).startswith(_HIDDEN_NAMES):
            raise NotThere(path)

    def environ(self) -> Mapping[str, str]:
        return self._environ

    def cwd(self) -> str:
        return "/"

    def effective_uid(self) -> int | None:
        return 1000

    def stat(self, path: str) -> FileStat:
        if staged := self._at(path):
            return self._staged.stat(staged)
        self._see(path)
        return self._real.stat(path)

    def readlink(self, path: str) -> str | None:
        staged = self._at(path)
        return self._staged.readlink(staged) if staged else self._real.readlink(path)

    def realpath(self, path: str) -> str:
        staged = self._at(path)
        return self._staged.realpath(staged) if staged else self._real.realpath(path)

    def listdir(self, path: str) -> tuple[str, ...]:
        names: set[str] = set()
        inside = posixpath.normpath(path) + "/"
        for staged in self._paths:
            if staged.startswith(inside):
                names.add(staged[len(inside) :].partition("/")[0])
        try:
            names.update(n for n in self._real.listdir(path) if not self._is_hidden(path, n))
        except NotThere:
            if not names:
                raise
        return tuple(sorted(names))

    def _is_hidden(self, folder: str, name: str) -> bool:
        try:
            self._see(posixpath.join(folder, name))
        except NotThere:
            return True
        return False

    def read_bytes(self, path: str, limit_bytes: int = 4 << 20) -> bytes:
        if staged := self._at(path):
            return self._staged.read_bytes(staged, limit_bytes)
        self._see(path)
        return self._real.read_bytes(path, limit_bytes)

    def open(self, path: str) -> RandomReader:
        if staged := self._at(path):
            return self._staged.open(staged)
        return self._real.open(path)

    def xattr(self, path: str, name: str) -> bytes | None:
        return None if self._at(path) else self._real.xattr(path, name)

    def start(self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Child:
        """Let gpudoctor's own children, which ask the driver, find the compiled one."""
        asks = self._driver is not None and any(a.endswith(("/nvml.py", "/libcuda.py")) for a in argv)
        if asks and self._driver is not None:
            folder = self._driver.directory
            argv = [str(self._driver.libcuda) if posixpath.basename(a) == "libcuda.so.1" else a for a in argv]
            env = {**env, "LD_LIBRARY_PATH": str(folder), SETTINGS_VARIABLE: str(folder / "settings")}
        return self._real.start(argv, env, timeout_s)


def driver_files(driver: FakeDriver, folder: str = LIBRARIES) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the driver's libraries as a distribution lays them out: files and links."""
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for link in (driver.libcuda, driver.libnvidia_ml):
        real = Path(link).resolve()
        files[f"{folder}/{real.name}"] = real.read_bytes()
        links[f"{folder}/{link.name}"] = real.name
    return files, links
