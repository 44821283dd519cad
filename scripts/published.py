"""Published wheels, read from the package index by range requests: which files there are, and what is in one.

The index and the certificates are those that pip is configured with. Only what is asked for is fetched: the list of
members and METADATA cost some KiB; a shared object is compressed as a whole and is then fetched as a whole.
"""

from __future__ import annotations

import email.policy
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from functools import lru_cache
from typing import Any

import requests
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from pypi_simple import DistributionPackage, NoSuchProjectError, PyPISimple
from remotezip import RemoteZip

PLATFORMS = {
    "linux-x86_64": re.compile(r"(many)?linux\w*_x86_64$"),
    "linux-aarch64": re.compile(r"(many)?linux\w*_aarch64$"),
    "windows-x86_64": re.compile(r"win_amd64$"),
    "macos-arm64": re.compile(r"macosx_\w+_(arm64|universal2)$"),
    "macos-x86_64": re.compile(r"macosx_\w+_(x86_64|universal2|intel)$"),
}
PYTHONS = tuple(f"3.{minor}" for minor in range(7, 16))
# Which of a release's wheels stands for it; they differ in the extension module only.
PREFERRED_TAGS = ("cp311", "cp312", "cp310", "cp313", "cp39", "cp38", "cp314", "py3")


class NotPublished(Exception):
    """The index has no such project, release or wheel."""


@dataclass(frozen=True)
class Wheel:
    """One published wheel.

    Attributes:
        name: Canonical name of the project.
        version: Its release, as published.
        file: File name.
        url: Where it is.
        sha256: Digest that the index gives.
        yanked: Whether the release was withdrawn.
        requires_python: As the index gives it.
    """

    name: str
    version: str
    file: str
    url: str
    sha256: str | None
    yanked: bool
    requires_python: str | None

    @property
    def tags(self) -> frozenset[tuple[str, str, str]]:
        """Interpreter, ABI and platform of each tag of the file name."""
        return frozenset((t.interpreter, t.abi, t.platform) for t in parse_wheel_filename(self.file)[3])


class Index:
    """The package index that pip is configured with.

    Attributes:
        fetched_bytes: What was downloaded so far.
    """

    def __init__(self) -> None:
        self.fetched_bytes = 0
        self._session = requests.Session()
        self._session.verify = _pip_setting("global.cert") or ssl.get_default_verify_paths().cafile or True
        self._session.hooks["response"].append(self._count)
        endpoint = os.environ.get("PIP_INDEX_URL") or _pip_setting("global.index-url")
        # The client's own default is the public index.
        self._client = PyPISimple(endpoint, session=self._session) if endpoint else PyPISimple(session=self._session)

    def _count(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.fetched_bytes += int(response.headers.get("Content-Length") or 0)

    @lru_cache(maxsize=64)  # noqa: B019 - one index lives as long as its script
    def _files(self, name: str) -> tuple[DistributionPackage, ...]:
        try:
            return tuple(self._client.get_project_page(name, timeout=60).packages)
        except NoSuchProjectError as error:
            raise NotPublished(f"{name}: the package index has no such project") from error

    @lru_cache(maxsize=64)  # noqa: B019 - one index lives as long as its script
    def wheels(self, name: str) -> tuple[Wheel, ...]:
        """Return every wheel of a project, in the index's order.

        Raises:
            NotPublished: There is no such project.
        """
        return tuple(w for package in self._files(name) if (w := _wheel(name, package)) is not None)

    def sources(self, name: str) -> dict[str, str]:
        """Return the releases of a project that have a source archive, newest first, with what Python they require."""
        archives = [p for p in self._files(name) if p.package_type == "sdist" and p.version and not p.is_yanked]
        archives.sort(key=lambda package: Version(package.version or "0"), reverse=True)
        return {str(package.version): package.requires_python or "" for package in archives}

    def releases(self, name: str) -> tuple[str, ...]:
        """Return the releases of a project that have wheels and are no pre-releases, oldest first."""
        return tuple(
            sorted({w.version for w in self.wheels(name) if not Version(w.version).is_prerelease}, key=Version)
        )

    def release(self, name: str, version: str, platform: str) -> tuple[Wheel, ...]:
        """Return the wheels of one release that serve a platform."""
        return tuple(w for w in self.wheels(name) if Version(w.version) == Version(version) and _serves(w, platform))

    def wheel(self, name: str, version: str, platform: str) -> Wheel:
        """Return the wheel that stands for a release on a platform.

        Raises:
            NotPublished: There is none.
        """
        files = self.release(name, version, platform)
        if not files:
            raise NotPublished(f"{name}=={version}: no wheel for {platform} is published")
        return min(files, key=lambda w: (_preference(w), w.file))

    def open(self, wheel: Wheel) -> RemoteZip:
        """Open a published wheel without downloading it."""
        return RemoteZip(wheel.url, session=self._session, timeout=120)


def _pip_setting(name: str) -> str | None:
    command = [sys.executable, "-m", "pip", "config", "get", name]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None


def _wheel(name: str, package: DistributionPackage) -> Wheel | None:
    if package.package_type != "wheel" or package.version is None:
        return None
    try:
        version = str(parse_wheel_filename(package.filename)[1])
    except (InvalidWheelFilename, InvalidVersion):
        return None  # published before file names were checked
    return Wheel(
        name=name,
        version=version,
        file=package.filename,
        url=package.url,
        sha256=package.digests.get("sha256"),
        yanked=package.is_yanked,
        requires_python=package.requires_python,
    )


def _serves(wheel: Wheel, platform: str) -> bool:
    return any(tag[2] == "any" or PLATFORMS[platform].search(tag[2]) for tag in wheel.tags)


def _preference(wheel: Wheel) -> int:
    interpreters = {tag[0] for tag in wheel.tags}
    return next((i for i, tag in enumerate(PREFERRED_TAGS) if tag in interpreters), len(PREFERRED_TAGS))


def read_requirements(archive: RemoteZip) -> tuple[Requirement, ...]:
    """Return the Requires-Dist lines of an open wheel's METADATA."""
    member = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1)
    message = BytesParser(policy=email.policy.compat32).parsebytes(archive.read(member))
    return tuple(Requirement(line) for line in message.get_all("Requires-Dist") or ())


def requirements_for(requirements: Iterable[Requirement], platform: str, python: str = "3.11") -> Iterator[Requirement]:
    """Yield the requirements that hold on a platform when no extra is asked for."""
    system, _, machine = platform.partition("-")
    environment = {
        "extra": "",
        "platform_system": {"linux": "Linux", "windows": "Windows", "macos": "Darwin"}[system],
        "sys_platform": {"linux": "linux", "windows": "win32", "macos": "darwin"}[system],
        "os_name": "nt" if system == "windows" else "posix",
        "platform_machine": {("windows", "x86_64"): "AMD64"}.get((system, machine), machine),
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield requirement


def pythons_of(files: Iterable[Wheel]) -> tuple[str, ...]:
    """Return the Python versions, of those that matter here, that a release's wheels install on."""
    return tuple(python for python in PYTHONS if any(_installs_on(wheel, python) for wheel in files))


def _installs_on(wheel: Wheel, python: str) -> bool:
    if wheel.requires_python and not SpecifierSet(wheel.requires_python).contains(f"{python}.0"):
        return False
    own = f"cp{python.replace('.', '')}"
    return any(
        (interpreter in (own, "py3", f"py{own[2:]}") and abi in ("none", "abi3", own, f"{own}m"))
        or (abi == "abi3" and _minor(interpreter) <= int(own[3:]))
        for interpreter, abi, _ in wheel.tags
    )


def _minor(interpreter: str) -> int:
    return int(interpreter[3:]) if interpreter.startswith("cp3") and interpreter[3:].isdigit() else 1000
