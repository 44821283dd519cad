"""The machine that files are judged for: what the user assumes, and what the files themselves decide."""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

import msgspec

from gpudoctor.lint.types import Parts
from gpudoctor.matrix.gpus import KnownGpu
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.versions import driver_tuple, matches_version
from gpudoctor.model.errors import UsageError
from gpudoctor.model.finding import Location

PLATFORMS = ("linux-x86_64", "linux-aarch64", "windows-x86_64", "macos-arm64")
Platform = Literal["linux-x86_64", "linux-aarch64", "windows-x86_64", "macos-arm64"]
# Where nothing decides on one, a marker is tried with each of these.
_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
_OF_PLATFORM = {
    "linux-x86_64": ("linux", "Linux", "x86_64", "posix"),
    "linux-aarch64": ("linux", "Linux", "aarch64", "posix"),
    "windows-x86_64": ("win32", "Windows", "AMD64", "nt"),
    "macos-arm64": ("darwin", "Darwin", "arm64", "posix"),
}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is assumed.

    Attributes:
        driver: Driver release; None where nobody said.
        gpus: GPUs; none where nobody said.
        python: Python version, `3.11`; None where nothing decides.
        pythons: Versions that it may be where nothing decides.
        python_place: The line that decides on it, where a file does.
        platform: As the matrix names it.
    """

    driver: str | None = None
    gpus: tuple[KnownGpu, ...] = ()
    python: str | None = None
    pythons: tuple[str, ...] = _PYTHONS
    python_place: Location | None = None
    platform: str = "linux-x86_64"


def make_target(
    matrix: Matrix,
    *,
    driver: str | None = None,
    gpus: tuple[str, ...] = (),
    python: str | None = None,
    platform: str = "linux-x86_64",
) -> Target:
    """Return the target that a user describes.

    Raises:
        UsageError: No driver release, no known GPU, no Python version, no known platform.
    """
    if driver is not None:
        try:
            driver_tuple(driver)
        except ValueError as error:
            raise UsageError(f"--assume-driver {driver!r}: not a driver release such as 550.54.15") from error
    if python is not None and not _is_python(python):
        raise UsageError(f"--python-version {python!r}: not a Python version such as 3.11")
    if platform not in PLATFORMS:
        raise UsageError(f"--platform {platform!r}: not one of {', '.join(PLATFORMS)}")
    known = []
    for text in gpus:
        gpu = matrix.gpu(text)
        if gpu is None:
            raise UsageError(
                f"--assume-gpu {text!r}: no such GPU is known; give its compute capability instead, such as 8.6"
            )
        known.append(gpu)
    return Target(driver=driver, gpus=tuple(known), python=python, platform=platform)


def _is_python(text: str) -> bool:
    parts = text.split(".")
    return len(parts) in (2, 3) and all(p.isdigit() for p in parts) and parts[0] == "3"


def with_files(target: Target, parts: Parts) -> Target:
    """Return the target with the Python that the files decide on, where the user said none and they agree."""
    versions = {p.version for p in parts.pythons}
    if target.python is not None:
        return target
    if len(versions) != 1:
        ranges = [r for r in parts.python_ranges if _is_range(r)]
        left = tuple(p for p in _PYTHONS if all(matches_version(r, f"{p}.99") for r in ranges))
        return msgspec.structs.replace(target, python=left[0] if len(left) == 1 else None, pythons=left or _PYTHONS)
    decided = parts.pythons[0]
    return msgspec.structs.replace(target, python=decided.version, python_place=decided.place)


def _is_range(text: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False  # installers say so
    return True


def holds_marker(marker: str | None, target: Target) -> bool | None:
    """Tell whether an environment marker holds for the target.

    Returns:
        None where only the Python version would tell, or where the marker cannot be read.
    """
    if not marker:
        return True
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    try:
        parsed = Marker(marker)
        answers = {parsed.evaluate(_environment(target, python)) for python in _pythons(target)}
    except (InvalidMarker, UndefinedEnvironmentName, ValueError):
        return None
    return answers.pop() if len(answers) == 1 else None


def _pythons(target: Target) -> tuple[str, ...]:
    return (target.python,) if target.python else target.pythons


def _environment(target: Target, python: str) -> dict[str, str | Set[str]]:
    platform, system, machine, os_name = _OF_PLATFORM[target.platform]
    short = ".".join(python.split(".")[:2])
    return {
        "sys_platform": platform,
        "platform_system": system,
        "platform_machine": machine,
        "os_name": os_name,
        "python_version": short,
        "python_full_version": python if python.count(".") > 1 else f"{short}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
        "extras": set(),
        "dependency_groups": set(),
    }
