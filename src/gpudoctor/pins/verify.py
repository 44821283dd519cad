"""Asks an installer whether a set can be installed: a resolution without installing anything."""

from __future__ import annotations

from collections.abc import Mapping

from gpudoctor.model.pins import PinsDocument, Verification
from gpudoctor.system.changes import CannotChange
from gpudoctor.system.installer import InstallerResult, find_uv, requirements_file, run_installer

_TIME_LIMIT_S = 300.0
_MOST_CHARACTERS = 2000
_UV_PLATFORMS = {
    "linux-x86_64": "x86_64-manylinux_2_28",
    "linux-aarch64": "aarch64-manylinux_2_28",
    "windows-x86_64": "x86_64-pc-windows-msvc",
    "macos-arm64": "aarch64-apple-darwin",
}
# What uv and pip say when an index does not answer: then nothing is known of the set.
_UNREACHABLE = ("error sending request", "failed to fetch", "connection error", "timed out", "client error (connect)")


def verify(document: PinsDocument, environment: Mapping[str, str]) -> Verification:
    """Ask uv, or pip where there is no uv, to resolve a set with everything that it requires.

    Args:
        document: The set.
        environment: Variables of this process.
    """
    text = "".join(f"{pin.requirement}\n" for pin in document.pins)
    indexes = tuple(dict.fromkeys(pin.index for pin in document.pins if pin.index))
    uv = find_uv(environment)
    with requirements_file(text) as path:
        command = _uv(uv, path, document, indexes) if uv else _pip(path, document, indexes)
        installer = "uv pip compile" if uv else "pip install --dry-run"
        # onnxruntime and torch have left macOS 13, which is what uv assumes where nothing is said.
        environment = {"MACOSX_DEPLOYMENT_TARGET": "14.0", **environment}
        try:
            result = run_installer(command, environment, echo=False, timeout_s=_TIME_LIMIT_S)
        except CannotChange as error:
            return Verification(installer=installer, accepted=None, message=str(error))
    return _judged(installer, result, indexes)


def _uv(uv: str, path: str, document: PinsDocument, indexes: tuple[str, ...]) -> list[str]:
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-version", document.machine.python]
    command += ["--python-platform", _UV_PLATFORMS.get(document.machine.platform, document.machine.platform)]
    for index in indexes:
        command += ["--extra-index-url", index, "--index-strategy", "unsafe-best-match"]
    return [*command, path]


def _pip(path: str, document: PinsDocument, indexes: tuple[str, ...]) -> list[str]:
    import sys

    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--no-input"]
    command += ["--only-binary", ":all:", "--target", "unused", "--python-version", document.machine.python]
    for index in indexes:
        command += ["--extra-index-url", index]
    return [*command, "--requirement", path]


def _judged(installer: str, result: InstallerResult, indexes: tuple[str, ...]) -> Verification:
    said = (result.err or result.out).strip()[-_MOST_CHARACTERS:]
    if result.status == 0:
        return Verification(installer=installer, accepted=True)
    if result.timed_out:
        return Verification(installer=installer, accepted=None, message=f"no answer within {_TIME_LIMIT_S:.0f} s")
    if indexes and any(word in said.lower() for word in _UNREACHABLE):
        where = " and ".join(indexes)
        return Verification(
            installer=installer, accepted=None, message=f"{where} did not answer: judged by the matrix alone"
        )
    if any(word in said.lower() for word in _UNREACHABLE):
        return Verification(installer=installer, accepted=None, message=f"the package index did not answer: {said}")
    return Verification(installer=installer, accepted=False, message=said)
