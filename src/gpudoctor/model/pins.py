"""The document that `pins --format json` prints."""

from __future__ import annotations

from gpudoctor.model.base import Frozen
from gpudoctor.model.finding import Finding, OpenQuestion, Tool

PINS_SCHEMA_VERSION = 1


class PinsMachine(Frozen, frozen=True, kw_only=True):
    """What the set is for.

    Attributes:
        python: Python version, dotted.
        platform: `linux-x86_64`, ….
        driver: Driver release; null where none is known.
        gpus: GPUs, by name.
    """

    python: str
    platform: str
    driver: str | None
    gpus: tuple[str, ...] = ()


class Pin(Frozen, frozen=True, kw_only=True):
    """One package of the set.

    Attributes:
        package: Canonical name.
        version: Version, with the label of its build where it has one: `2.14.1+cu126`.
        exact: False when it is only the newest that works: packages of general use (numpy, tokenizers) have
            requirements of their own that the matrix does not know, so the installer may take an older one.
        extras: Extras that were asked for.
        index: URL of the index that has this build; null for the package index.
        kept: True when this very version is installed already.
        because: Why it is in the set.
    """

    package: str
    version: str
    exact: bool = True
    extras: tuple[str, ...] = ()
    index: str | None = None
    kept: bool = False
    because: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """As installers take it: `torch==2.8.0`, `numpy<=2.4.6`."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.package}{extras}{self.condition}"

    @property
    def condition(self) -> str:
        """The requirement without the package: `==2.8.0`."""
        return f"{'==' if self.exact else '<='}{self.version}"


class PinsWay(Frozen, frozen=True, kw_only=True):
    """What works where two packages write the same files: one of them is installed last, over the other's.

    Attributes:
        pins: What to install first.
        last: What to install after it, without its requirements and even where it is installed already.
        over: The package of `pins` whose files it replaces.
        library_directories: As of a set.
    """

    pins: tuple[Pin, ...]
    last: Pin
    over: str
    library_directories: tuple[str, ...] = ()


class PinsConflict(Frozen, frozen=True, kw_only=True):
    """Why there is no set.

    Attributes:
        between: What cannot hold together, as few things as there are.
        reasons: Sentences that lead to the contradiction.
        facts: Ids of the facts in conflict.
        way: What works all the same, in two steps; null where nothing does.
    """

    between: tuple[str, ...]
    reasons: tuple[str, ...]
    facts: tuple[str, ...] = ()
    way: PinsWay | None = None


class Verification(Frozen, frozen=True, kw_only=True):
    """What an installer said of the set.

    Attributes:
        installer: `uv pip compile` or `pip install --dry-run`.
        accepted: Whether it found the set installable; null where it could not tell.
        message: What it said, or why it could not be asked.
    """

    installer: str
    accepted: bool | None
    message: str = ""


class PinsDocument(Frozen, frozen=True, kw_only=True):
    """A set of pins, or why there is none.

    Attributes:
        schema_version: Version of this document's shape.
        tool: Who wrote it.
        matrix_version: Date version of the compatibility matrix.
        machine: What the set is for.
        pins: The set, what was asked for first; empty when there is none.
        left_to_installer: Requirements on packages that the matrix knows no releases of.
        library_directories: Folders, relative to site-packages, that hold libraries which a package of the set opens by
            bare name: the loader must be told of them.
        notes: What else the platform needs, or that the set runs on the CPU only.
        conflict: Why there is no set.
        findings: What gpudoctor's own rules say of the set.
        open: What could not be judged.
        verification: What an installer said, where it was asked.
        facts: Ids of the facts that decided.
        exit_status: What the process returns.
    """

    schema_version: int
    tool: Tool
    matrix_version: str
    machine: PinsMachine
    pins: tuple[Pin, ...] = ()
    left_to_installer: tuple[str, ...] = ()
    library_directories: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    conflict: PinsConflict | None = None
    findings: tuple[Finding, ...] = ()
    open: tuple[OpenQuestion, ...] = ()
    verification: Verification | None = None
    facts: tuple[str, ...] = ()
    exit_status: int = 0
