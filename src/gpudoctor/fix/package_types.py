"""What a change of packages is made of."""

from __future__ import annotations

from typing import Literal

import msgspec


class PackageStep(msgspec.Struct, frozen=True):
    """One distribution that changes.

    Attributes:
        name: Canonical name.
        before: Installed version; None when it is not installed.
        after: Version that will be; None when it is removed, the installed one when its files are damaged.
    """

    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        """Return what happens, as a line of a diff says it."""
        if self.before == self.after:
            return f"~ {self.name}=={self.after}"
        if self.before is None:
            return f"+ {self.name}=={self.after}"
        if self.after is None:
            return f"- {self.name}=={self.before}"
        return f"- {self.name}=={self.before}\n+ {self.name}=={self.after}"


class Installer(msgspec.Struct, frozen=True):
    """The program that changes packages.

    Attributes:
        kind: Which one.
        program: Its file: uv, or the target's interpreter for pip.
    """

    kind: Literal["uv", "pip"]
    program: str


class ChangePackages(msgspec.Struct, frozen=True, tag="change-packages", tag_field="action"):
    """Install, replace and remove distributions, at exact versions and without whatever they may ask for.

    Attributes:
        path: The site-packages folder.
        prefix: Root of the environment.
        python: Its interpreter.
        installer: Who does it.
        steps: What changes.
        purpose: One clause.
        brings: Libraries that must be there afterwards.
        distrust_cache: Installed files are damaged, and the installer's cache may hold the same ones.
    """

    path: str
    prefix: str
    python: str
    installer: Installer
    steps: tuple[PackageStep, ...]
    purpose: str
    brings: tuple[str, ...] = ()
    distrust_cache: bool = False

    @property
    def pins(self) -> tuple[str, ...]:
        """Return what is installed, as exact requirements."""
        return tuple(f"{s.name}=={s.after}" for s in self.steps if s.after is not None)

    @property
    def removed(self) -> tuple[str, ...]:
        """Return what is removed and not replaced."""
        return tuple(s.name for s in self.steps if s.after is None)

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options that install what is installed already, and pass by a cache that cannot be trusted."""
        uv = self.installer.kind == "uv"
        anew = "--reinstall" if uv else "--force-reinstall"
        fresh = "--no-cache" if uv else "--no-cache-dir"
        again = any(s.before == s.after for s in self.steps)
        return (*((anew,) if again else ()), *((fresh,) if self.distrust_cache else ()))

    def commands(self) -> tuple[tuple[str, ...], ...]:
        """Return the command lines that make the change."""
        found = []
        if self.removed:
            found.append(remove_command(self.installer, self.python, self.removed))
        if self.pins:
            found.append(install_command(self.installer, self.python, "--no-deps", *self.options, *self.pins))
        return tuple(found)


def install_command(installer: Installer, python: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line that installs into an environment."""
    if installer.kind == "uv":
        return (installer.program, "pip", "install", "--python", python, *arguments)
    return (*_pip(installer), "install", *arguments)


def remove_command(installer: Installer, python: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command line that removes from an environment."""
    if installer.kind == "uv":
        return (installer.program, "pip", "uninstall", "--python", python, *names)
    return (*_pip(installer), "uninstall", "-y", *names)


def fetch_command(installer: Installer, folder: str, pins: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command line by which pip fetches wheels; uv unpacks straight from its cache."""
    return (*_pip(installer), "download", "--no-deps", "--only-binary", ":all:", "--dest", folder, *pins)


def _pip(installer: Installer) -> tuple[str, ...]:
    # Isolated: no folder that a variable or the working directory names takes part. No bytecode: it is no part of the
    # change, so nobody would take it back.
    return (installer.program, "-I", "-B", "-m", "pip")
