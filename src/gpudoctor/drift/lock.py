"""The lock file: a known-good state in TOML, in a stable order, fit to be read in a diff.

Absolute paths, host names and user names never enter it. A file is named by its place relative to something that every
copy of the environment has; see gpudoctor.drift.places.
"""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any, Literal

import msgspec

from gpudoctor.model.errors import InputFileError
from gpudoctor.model.loading import FoundVia, Outcome, Scenario

LOCK_SCHEMA_VERSION = 1
SIZE_LIMIT_BYTES = 4 << 20

UNKNOWN_VERSION = "unknown"
ABSENT_VERSION = "none"

DriverPolicy = Literal["recorded", "minimum", "exact"]
GpuPolicy = DriverPolicy
Natural = Annotated[int, msgspec.Meta(ge=0)]

_HEADER = """\
# A known-good state of a GPU environment. Commit it: `gpudoctor check --against gpudoctor.lock` fails on drift from it.
# Written by `gpudoctor lock`; to accept a wanted change, run that again and review the diff.
# Paths are places, not folders of one machine: {site} is the environment's site-packages, {prefix} its root, {system}
# the system's library folders, {toolkit:X.Y} a CUDA toolkit, {elsewhere:N} any other folder.
# driver.policy may be edited: "recorded" compares nothing, "minimum" wants this release or later, "exact" this one.
# errors says what the rules found wrong with the state as it was locked: better none.
# gpus.policy too: "minimum" wants as many GPUs, each of at least the least compute capability here, "exact" these.
"""


_CAPABILITY = re.compile(r" \((\d{1,3}\.\d{1,3})\)$")
_AT_END = "at end of document"
_LINE = re.compile(r"\(at line (\d{1,9}), ")


class Locked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all parts of a lock: immutable, named fields only, strict when decoded."""


class LockedInterpreter(Locked, frozen=True, kw_only=True):
    """The target interpreter.

    Attributes:
        implementation: `cpython` or `pypy`.
        version: Python version, or `unknown`.
    """

    implementation: str
    version: str


class LockedDriver(Locked, frozen=True, kw_only=True):
    """The NVIDIA driver that the state was seen working with.

    Attributes:
        policy: How a later machine's release is compared with this one.
        release: Driver release; None when there was none or it could not be read.
    """

    policy: DriverPolicy = msgspec.field(default="recorded")
    release: str | None = None


class LockedGpus(Locked, frozen=True, kw_only=True):
    """The GPUs that the state was seen working with.

    Attributes:
        policy: How a later machine's GPUs are compared with these.
        devices: Name and compute capability of each: `NVIDIA GeForce RTX 3090 (8.6)`.
    """

    policy: GpuPolicy = msgspec.field(default="recorded")
    devices: tuple[str, ...] = ()


class LockedDistributions(Locked, frozen=True, kw_only=True):
    """Installed distributions, by canonical name.

    Attributes:
        gpu: Those that bring, pin or use GPU libraries.
        other: All others.
    """

    gpu: dict[str, str] = msgspec.field(default_factory=dict)
    other: dict[str, str] = msgspec.field(default_factory=dict)

    def all(self) -> dict[str, str]:
        """Return both tables as one."""
        return {**self.other, **self.gpu}

    def version(self, name: str) -> str | None:
        """Return the version of one of them; None when it is not installed."""
        return self.gpu.get(name, self.other.get(name))


class LockedSearchElement(Locked, frozen=True, kw_only=True):
    """One element of LD_LIBRARY_PATH.

    Attributes:
        directory: Its place.
        state: What was there.
        libraries: GPU library file names in it, for a folder outside the environment, which has no name here.
    """

    directory: str
    state: str
    libraries: tuple[str, ...] = ()


class LockedLibrary(Locked, frozen=True, kw_only=True):
    """One native library that a consumer loads, identified by its content.

    Attributes:
        path: Its place.
        family: `cudnn`, `cublas`, ….
        soname: DT_SONAME.
        roles: Who loads it as what, `consumer/role`.
        owner: Distribution that installed it.
        version: Its version, as closely as files tell.
        size_bytes: Size of the file.
        build_id: GNU build id.
        digest: `sha256-ends:…` for a file without build id; see gpudoctor.drift.identity.
    """

    path: str
    family: str
    soname: str | None = None
    roles: tuple[str, ...] = ()
    owner: str | None = None
    version: str | None = None
    size_bytes: Natural
    build_id: str | None = None
    digest: str | None = None


class LockedResolution(Locked, frozen=True, kw_only=True):
    """What the loader answers when one consumer asks for one library.

    Attributes:
        consumer: Who asks.
        scenario: Alone, or after torch was imported.
        role: Stable name of the opening within the consumer.
        family: Library family.
        outcome: Whether it loads.
        found_via: The search rule that chose the file.
        path: The file's place.
    """

    consumer: str
    scenario: Scenario
    role: str
    family: str
    outcome: Outcome
    found_via: FoundVia | None = None
    path: str | None = None


class Lock(Locked, frozen=True, kw_only=True):
    """A lock file.

    Attributes:
        schema_version: Version of this document's shape.
        matrix_version: Matrix that named the openings; another one may know more of them.
        platform: Operating system and architecture, `linux-x86_64`.
        errors: What the rules found wrong with the state already when it was locked: rule, subject and cause.
        interpreter: The interpreter; None when only a native program was locked.
        driver: The driver.
        gpus: The GPUs.
        consumers: Distribution of each consumer, by the consumer's name.
        distributions: What is installed.
        search_path: LD_LIBRARY_PATH, in order.
        library: Native libraries that some consumer loads, by place.
        resolution: The loader's answers, by consumer, scenario and role.
    """

    schema_version: Literal[1]
    matrix_version: str
    platform: str
    errors: tuple[str, ...] = ()
    interpreter: LockedInterpreter | None = None
    driver: LockedDriver = LockedDriver()
    gpus: LockedGpus = LockedGpus()
    consumers: dict[str, str] = msgspec.field(default_factory=dict)
    distributions: LockedDistributions = LockedDistributions()
    search_path: tuple[LockedSearchElement, ...] = ()
    library: tuple[LockedLibrary, ...] = ()
    resolution: tuple[LockedResolution, ...] = ()

    def gpu_names(self) -> tuple[str, ...]:
        """Return the distributions of the GPU stack, the consumers' own among them."""
        return (*self.distributions.gpu, *self.consumers.values())


def dump_lock(lock: Lock) -> str:
    """Return the text of a lock file: the same text for the same state, wherever it was seen."""
    import tomli_w

    # The policies are written even where they are the default: these are the lines that a person edits.
    plain = {**msgspec.to_builtins(lock), "driver": {"policy": lock.driver.policy, **msgspec.to_builtins(lock.driver)}}
    if lock.gpus.devices:
        plain["gpus"] = {"policy": lock.gpus.policy, **msgspec.to_builtins(lock.gpus)}
    return _HEADER + "\n" + tomli_w.dumps(_tables_last(_sorted_tables(plain)))


def _sorted_tables(plain: dict[str, Any]) -> dict[str, Any]:
    """Sort the tables whose keys are names; those of a struct keep their declared order."""
    tables = plain.get("distributions", {})
    return {
        **plain,
        "consumers": dict(sorted(plain.get("consumers", {}).items())),
        "distributions": {name: dict(sorted(table.items())) for name, table in tables.items()},
    }


def _tables_last(plain: dict[str, Any]) -> dict[str, Any]:
    """Leave out empty parts, so that a diff shows only what is there."""
    return {name: value for name, value in plain.items() if value not in ({}, [], ())}


def parse_lock(text: str, file_name: str) -> Lock:
    """Read a lock file.

    Args:
        text: Its content.
        file_name: For messages.

    Raises:
        InputFileError: It is no lock file, or one of a newer gpudoctor.
    """
    plain = _parse_toml(text, file_name)
    version = plain.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise InputFileError(f"{file_name}: no gpudoctor lock (it has no whole number schema_version)")
    if version != LOCK_SCHEMA_VERSION:
        raise InputFileError(
            f"{file_name}: schema_version {version:.0f} is not known to this gpudoctor, which reads "
            f"{LOCK_SCHEMA_VERSION}; upgrade gpudoctor, or write the lock again with `gpudoctor lock`"
            if abs(version) < 1_000_000
            else f"{file_name}: schema_version is not known to this gpudoctor; upgrade gpudoctor"
        )
    try:
        lock = msgspec.convert(plain, Lock)
    except msgspec.ValidationError as error:
        raise InputFileError(f"{file_name}: not as a lock should be: {_one_line(str(error))}") from error
    _check_driver(lock.driver, file_name)
    _check_gpus(lock.gpus, file_name)
    return lock


def _parse_toml(text: str, file_name: str) -> dict[str, Any]:
    if len(text) > SIZE_LIMIT_BYTES:
        raise InputFileError(f"{file_name}: larger than {SIZE_LIMIT_BYTES >> 20} MiB, so no gpudoctor lock")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise InputFileError(f"{file_name}: line {line}: not UTF-8 text") from error
    try:
        return _toml().loads(text)  # type: ignore[no-any-return]
    except RecursionError as error:
        raise InputFileError(f"{file_name}: nested too deeply to be a gpudoctor lock") from error
    except ValueError as error:  # TOMLDecodeError, and an integer of more digits than Python converts
        found = _LINE.search(str(error))
        place = f"line {found[1]}: " if found else f"line {_last_line(text)}: " if _AT_END in str(error) else ""
        raise InputFileError(f"{file_name}: {place}not TOML: {_one_line(str(error))}") from error


def _last_line(text: str) -> int:
    return text.count("\n") + 1


def _toml() -> Any:
    from importlib import import_module

    return import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def _check_driver(driver: LockedDriver, file_name: str) -> None:
    if driver.policy == "recorded":
        return
    if driver.release is None or not all(part.isdecimal() and part.isascii() for part in driver.release.split(".")):
        raise InputFileError(
            f'{file_name}: driver.policy "{driver.policy}" needs driver.release as dotted whole numbers, '
            "such as 550.54.15"
        )


def capability_of(device: str) -> tuple[int, ...] | None:
    """Return the compute capability of a locked device, `(8, 6)`; None where it was not known."""
    found = _CAPABILITY.search(device)
    return tuple(map(int, found[1].split("."))) if found else None


def _check_gpus(gpus: LockedGpus, file_name: str) -> None:
    if gpus.policy == "recorded":
        return
    if not gpus.devices or any(capability_of(device) is None for device in gpus.devices):
        raise InputFileError(
            f'{file_name}: gpus.policy "{gpus.policy}" needs gpus.devices with their compute capability, such as '
            '"NVIDIA GeForce RTX 3090 (8.6)"'
        )


def _one_line(text: str) -> str:
    """Return a parser's message as one bounded line: it may quote the file's own bytes."""
    line = "".join(character if character.isprintable() else "?" for character in text)
    return line if len(line) <= 300 else line[:300] + "…"
