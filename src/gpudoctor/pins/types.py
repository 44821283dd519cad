"""What pins are chosen among: wishes, the machine they are for, candidates, and what one candidate asks of others."""

from __future__ import annotations

from typing import Literal

import msgspec

LISTED = "linux-x86_64"
"""The platform whose wheels the list of releases is of."""
# Built and published together: of one index, or not at all.
TORCH_FAMILY = frozenset({"torch", "torchaudio", "torchvision", "torchcodec"})


class Wish(msgspec.Struct, frozen=True):
    """A package that the user wants.

    Attributes:
        package: Canonical name.
        versions: PEP 440 specifier set; empty means any release.
        extras: Extras, passed on to the installer.
        build: Label of the build that is asked for: `cu118` of `==2.5.1+cu118`; None where any will do.
    """

    package: str
    versions: str = ""
    extras: tuple[str, ...] = ()
    build: str | None = None

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.package}{extras}{self.versions}"

    @property
    def need(self) -> Need:
        """What it asks of its package."""
        return Need(package=self.package, versions=self.versions, build=self.build, because="asked for")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the set must run on.

    Attributes:
        python: Python version, dotted, two parts or more: `3.11`.
        platform: As the matrix names them: `linux-x86_64`.
        driver: Driver release; None where none is known: nothing is then judged against it.
        gpus: Name and compute capability of each GPU, each once; empty where none is known.
        tegra: True for a Jetson, whose machine code is not that of other GPUs.
    """

    python: str
    platform: str
    driver: str | None = None
    gpus: tuple[tuple[str, str], ...] = ()
    tegra: bool = False


class Candidate(msgspec.Struct, frozen=True):
    """One release of a package, from one index.

    Attributes:
        package: Canonical name.
        version: Release; empty for “not installed”.
        build: Label of a build that only PyTorch's own index has (`cu126`); empty for the package index.
    """

    package: str
    version: str = ""
    build: str = ""

    @property
    def release(self) -> str:
        """The version as its metadata has it: `2.8.0+cu126`."""
        return f"{self.version}+{self.build}" if self.build else self.version

    def __str__(self) -> str:
        return f"{self.package} {self.release}" if self.version else f"no {self.package}"


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What one candidate, or the user, asks of a package.

    Attributes:
        package: The package.
        versions: PEP 440 specifier set that it must satisfy; empty means any release.
        excluded: True when releases in `versions` are the ones that it must not be (an empty set: not at all).
        only_if_there: True when the package may as well be absent.
        build: The index build that it must come from; None where any will do.
        cuda: CUDA version that its build must have: as a whole, or by its major.
        cuda_agreement: How closely.
        because: Why, as a clause whose subject is whoever asks: `requires ctranslate2<4.5.0`.
        in_general: The same of several releases at once, where each names another: `works only with its own torch`.
        said_of: The package that the statement is about, where that is another than the one that asks: a conflict that
            the other side's facts state.
        facts: Ids of the facts that say so.
    """

    package: str
    versions: str = ""
    excluded: bool = False
    only_if_there: bool = False
    build: str | None = None
    cuda: str | None = None
    cuda_agreement: Literal["same-release", "same-major"] | None = None
    because: str
    in_general: str = ""
    said_of: str = ""
    facts: tuple[str, ...] = ()

    @property
    def clause(self) -> str:
        """What a statement about several releases says."""
        return self.in_general or self.because


class Rejection(msgspec.Struct, frozen=True):
    """Why a candidate is none for this machine.

    Attributes:
        candidate: The candidate.
        reason: A clause without the candidate's name: `has no code for compute capability 6.1`.
        facts: Ids of the facts that say so.
        between: The parts of the machine that it does not go with, as a conflict names them: `driver 470.82.01`.
        unknown: True when it is none only because the matrix knows too little of it.
    """

    candidate: Candidate
    reason: str
    facts: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    unknown: bool = False


class Conflict(msgspec.Struct, frozen=True):
    """Why there is no set.

    Attributes:
        between: What cannot hold together, as few as there are: wishes, the driver, a GPU, the Python.
        reasons: Sentences that lead to the contradiction.
        facts: Ids of the facts in conflict.
    """

    between: tuple[str, ...]
    reasons: tuple[str, ...]
    facts: tuple[str, ...]


class Chosen(msgspec.Struct, frozen=True):
    """A set that satisfies everything.

    Attributes:
        candidates: What to install, wishes first.
        because: Reasons for being there, by package.
        facts: Ids of all facts that the set was judged by.
        left: Requirements on packages that the matrix knows no releases of: the installer's to choose.
    """

    candidates: tuple[Candidate, ...]
    because: dict[str, tuple[str, ...]]
    facts: tuple[str, ...]
    left: tuple[str, ...] = ()


class WayRound(msgspec.Struct, frozen=True):
    """A set that no installer makes in one step: two of its packages write the same files.

    Attributes:
        chosen: All of it.
        last: What must be installed after all else, so that its files are the ones that stay.
        over: The package whose files it replaces.
    """

    chosen: Chosen
    last: Candidate
    over: Candidate
