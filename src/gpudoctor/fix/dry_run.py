"""What an installer would do, by its own dry run: exact versions, and how much there is to fetch where it says so."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from gpudoctor.fix.package_change import explain_failure
from gpudoctor.fix.package_types import Installer, install_command
from gpudoctor.probes.distributions import canonical_name
from gpudoctor.system.changes import CannotChange
from gpudoctor.system.installer import (
    TIME_LIMIT_S,
    InstallerResult,
    find_uv,
    report_file,
    run_installer,
    without_lock_file,
)
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_UV_LINE = re.compile(r"^ ([+~-]) ([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
_PIP_SIZE = re.compile(
    r"^ *(?:Downloading|Using cached) (?:\S*/)?([A-Za-z0-9_.]+)-(\d[^-\s]*)-\S+\.whl \(([\d.]+ ?[kMGT]?B)\)",
    re.MULTILINE,
)
# Pip may fetch the wheels already, and then takes as long as for that.
_TIME_LIMIT_S = {"uv": 300.0, "pip": TIME_LIMIT_S}
_REPORT_LIMIT_BYTES = 64 << 20
_PIP_FETCHES = (
    "asking pip for exact versions, in a dry run; it may download whole wheels for that, hundreds of MB for a GPU "
    "library"
)


class DryRun(msgspec.Struct, frozen=True):
    """What an installer would do.

    Attributes:
        versions: What it would install, by canonical name.
        sizes: Sizes of the wheels, as pip writes them, by canonical name; those that it told.
    """

    versions: Mapping[str, str]
    sizes: Mapping[str, str]


class _PipMetadata(msgspec.Struct):
    name: str
    version: str


class _PipInstall(msgspec.Struct):
    metadata: _PipMetadata


class _PipReport(msgspec.Struct):
    install: tuple[_PipInstall, ...] = ()


def find_installer(system: ReadSystem, python: str, has_pip: bool) -> Installer:
    """Return uv where there is one, else the environment's pip.

    Raises:
        CannotChange: There is neither.
    """
    uv = find_uv(system.environ())
    if uv is not None:
        return Installer("uv", uv)
    if not has_pip:
        bring = f"`{python} -m ensurepip` brings pip"
        raise CannotChange(f"neither uv (on PATH or beside gpudoctor) nor pip (in it) is there; {bring}")
    return Installer("pip", python)


def dry_run(
    system: ReadSystem,
    installer: Installer,
    python: str,
    prefix: str,
    arguments: tuple[str, ...],
    say: Callable[[str], None],
) -> DryRun:
    """Ask an installer what it would do.

    Args:
        system: The machine.
        installer: Whom to ask.
        python: Interpreter of the environment.
        prefix: Its root.
        arguments: Requirements and options.
        say: Told beforehand what may take long.

    Raises:
        CannotChange: It cannot tell.
    """
    with without_lock_file(prefix), report_file() as report:
        more: tuple[str, ...] = ()
        if installer.kind == "pip":
            say(_PIP_FETCHES)
            more = ("--report", report)
        argv = install_command(installer, python, "--dry-run", *more, *arguments)
        result = run_installer(argv, system.environ(), echo=False, timeout_s=_TIME_LIMIT_S[installer.kind])
        if result.status != 0 or result.timed_out:
            name, what = posixpath.basename(argv[0]), " ".join(a for a in arguments if not a.startswith("--"))
            raise CannotChange(f"{name} finds no way to install {what}: {explain_failure(result)}")
        versions = dict(_uv_versions(result) if installer.kind == "uv" else _pip_versions(system, report))
    told = ((canonical_name(n), v, size) for n, v, size in _PIP_SIZE.findall(result.out))
    return DryRun(versions, {name: size for name, version, size in told if versions.get(name) == version})


def _uv_versions(result: InstallerResult) -> Iterator[tuple[str, str]]:
    for sign, name, version in _UV_LINE.findall(result.err + "\n" + result.out):
        if sign != "-":
            yield canonical_name(name), version


def _pip_versions(system: ReadSystem, path: str) -> Iterator[tuple[str, str]]:
    try:
        report = msgspec.json.decode(system.read_bytes(path, _REPORT_LIMIT_BYTES), type=_PipReport)
    except (NotThere, CannotLook, msgspec.DecodeError) as error:
        raise CannotChange(f"pip's report cannot be read: {error}") from error
    for item in report.install:
        yield canonical_name(item.metadata.name), item.metadata.version
