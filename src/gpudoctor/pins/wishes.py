"""What the user wants and the machine that it is for, from the command line and a snapshot."""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import Fact, Present, value_of
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.pins.types import Machine, Wish
from gpudoctor.rules.gpu_code import platform_of

# What a snapshot says and cannot be compared is not known, as if nobody could have looked.
_RELEASE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})*")
_TWO_NUMBERS = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")
_PLATFORMS = ("linux-x86_64", "linux-aarch64", "windows-x86_64", "macos-arm64")


def parse_wishes(texts: Sequence[str]) -> tuple[Wish, ...]:
    """Return the packages that a command line names.

    Raises:
        UsageError: One is no plain requirement, or is named twice.
    """
    wishes = [_wish(text) for text in texts]
    names = [wish.package for wish in wishes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice}: named twice; join its conditions with a comma: '{twice}>=1,<2'")
    return tuple(wishes)


def _wish(text: str) -> Wish:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise UsageError(f"{text!r}: expected a package such as faster-whisper or 'torch>=2.6'") from error
    if requirement.url or requirement.marker:
        raise UsageError(f"{text!r}: neither an address nor a marker can be chosen by; give name and versions")
    labels = [str(s.version).partition("+")[2] for s in requirement.specifier if s.operator == "=="]
    return Wish(
        package=str(canonicalize_name(requirement.name)),
        versions=str(requirement.specifier),
        extras=tuple(sorted(requirement.extras)),
        build=next(filter(None, labels), None),
    )


def machine_of(
    matrix: Matrix, snapshot: Snapshot, *, python_version: str | None = None, platform: str | None = None
) -> Machine:
    """Return the machine of a snapshot, with what the user assumes in its place.

    Raises:
        UsageError: No Python version is known, or an assumption cannot be read.
    """
    interpreter = value_of(snapshot.interpreter)
    python = python_version or (value_of(interpreter.version) if interpreter else None)
    if python is None:
        raise UsageError("the Python version of the environment is not known; give it with --python-version 3.11")
    parts = python.split(".")
    if not _TWO_NUMBERS.fullmatch(".".join(parts[:2])):
        raise UsageError(f"--python-version {python!r}: expected a version such as 3.11")
    if platform is not None and platform not in _PLATFORMS:
        raise UsageError(f"--platform {platform!r}: expected one of {', '.join(_PLATFORMS)}")
    gpus = snapshot.gpus.value if isinstance(snapshot.gpus, Present) else ()
    known = dict.fromkeys(
        (value_of(gpu.name) or "GPU", capability)
        for gpu in gpus
        if (capability := _known(_TWO_NUMBERS, gpu.compute_capability))
    )
    return Machine(
        python=".".join(parts[:2]),
        platform=platform or platform_of(snapshot),
        driver=_known(_RELEASE, snapshot.driver.release),
        gpus=tuple(known),
        tegra=isinstance(snapshot.host.tegra, Present) or any(_is_tegra(matrix, cc) for _, cc in known),
    )


def _known(form: re.Pattern[str], fact: Fact[str]) -> str | None:
    text = value_of(fact)
    return text if text is not None and form.fullmatch(text) else None


def _is_tegra(matrix: Matrix, capability: str) -> bool:
    return any(model.compute_capability == capability and model.tegra for model in matrix.data.gpus)


def releases_installed(snapshot: Snapshot, machine: Machine) -> dict[str, str]:
    """Return the releases that are installed, by package; of several copies the one that is imported.

    What is installed for another Python than the machine's is not there for it.
    """
    interpreter = value_of(snapshot.interpreter)
    version = value_of(interpreter.version) if interpreter else None
    if version is None or version.split(".")[:2] != machine.python.split(".")[:2]:
        return {}
    installed: dict[str, str] = {}
    for distribution in snapshot.distributions:
        if (version := value_of(distribution.version)) is not None:
            installed.setdefault(distribution.name, version)
    return installed
