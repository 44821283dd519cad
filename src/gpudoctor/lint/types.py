"""What is read from dependency and container files: one list of common things, each with its place."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.model.finding import Location

# Stands for the name of a variable where folders are written to the loader's configuration, /etc/ld.so.conf.d/….
LOADER_CONF = "/etc/ld.so.conf"
# PyTorch's own package index; below it one for each build label.
TORCH_INDEX = "https://download.pytorch.org/whl"
FileKind = Literal[
    "requirements",
    "pyproject",
    "uv-lock",
    "pylock",
    "poetry-lock",
    "conda",
    "dockerfile",
    "compose",
    "workflow",
    "shell",
    "modal",
]
KIND_TITLES: dict[FileKind, str] = {
    "requirements": "requirements*.txt, constraints*.txt",
    "pyproject": "pyproject.toml",
    "uv-lock": "uv.lock",
    "pylock": "pylock.toml",
    "poetry-lock": "poetry.lock",
    "conda": "conda environment.yml",
    "dockerfile": "Dockerfile, Containerfile",
    "compose": "compose.yaml, docker-compose.yml",
    "workflow": "GitHub workflows",
    "shell": "shell scripts (*.sh, *.bash)",
    "modal": "Python files that define a Modal image",
}


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what is read: immutable, with its place.

    Attributes:
        place: File and line.
    """

    place: Location


class Requirement(Part, frozen=True, kw_only=True):
    """One package that would be installed.

    Attributes:
        name: Canonical name.
        specifier: PEP 440 specifier set; empty means any release.
        marker: Environment marker, as written; None without.
        index: URL of the index that it comes from instead of the default one.
        extra_indexes: URLs of indexes that are asked besides.
        installer: `pip`, `uv`, `poetry`, `conda`: they choose between indexes differently.
        url: Where it is fetched from, for one that no index gives.
        constraint: True for a line that only limits the release, should another one want the package.
        locked: True for a line of a lock: the release is decided.
    """

    name: str
    specifier: str = ""
    marker: str | None = None
    index: str | None = None
    extra_indexes: tuple[str, ...] = ()
    installer: str = "pip"
    url: str | None = None
    constraint: bool = False
    locked: bool = False


class Image(Part, frozen=True, kw_only=True):
    """The container image that everything is installed on.

    Attributes:
        reference: With the tag, variables filled in: `nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04`.
    """

    reference: str


class Setting(Part, frozen=True, kw_only=True):
    """An environment variable that is set for good (ENV, export, env:).

    Attributes:
        name: Its name; LOADER_CONF for folders that the loader's own configuration gets.
        value: As written; quotes removed, other variables filled in where they are known.
        raw: As written, quotes removed.
        expanded: True where whoever reads the file fills in variables (`$X`) itself: a shell, a Dockerfile.
        inherited: True where the variable was set before in the same file or is known to be set by the base.
    """

    name: str
    value: str
    raw: str
    expanded: bool = True
    inherited: bool = False


class Repair(Part, frozen=True, kw_only=True):
    """A line that makes the libraries of wheels findable, whatever they are: `gpudoctor fix --apply`, `gpudoctor run`.

    Attributes:
        installs: True when it may install further packages: `--packages`.
    """

    installs: bool = False


class SystemPackage(Part, frozen=True, kw_only=True):
    """A package of the operating system.

    Attributes:
        name: Its name: `libcudnn9-cuda-12`.
        version: Pinned version, if any.
    """

    name: str
    version: str | None = None


class Link(Part, frozen=True, kw_only=True):
    """A symbolic link (or copy) of a library file that a script makes.

    Attributes:
        source: What it points to, as written, known variables filled in.
        folder: Where it is put, as written, known variables filled in.
    """

    source: str
    folder: str


class Service(Part, frozen=True, kw_only=True):
    """A container that a compose or workflow file starts.

    Attributes:
        name: Its name.
        image: Image reference, where one is named.
        build: Path of the Dockerfile that it is built from, where one is.
        gpu: True when a GPU is passed in; None where it cannot be told.
    """

    name: str
    image: str | None = None
    build: str | None = None
    gpu: bool | None = False


class PythonVersion(Part, frozen=True, kw_only=True):
    """The Python that a file decides on.

    Attributes:
        version: Dotted, at least two parts: `3.11`.
    """

    version: str


class Puzzle(Part, frozen=True, kw_only=True):
    """A line that may matter and that could not be understood.

    Attributes:
        text: The line, or its part.
        reason: Why.
    """

    text: str
    reason: str


class Reference(Part, frozen=True, kw_only=True):
    """Another file that a file pulls in.

    Attributes:
        path: As written.
        kind: How to read it; None to tell from its name.
        constraint: True when it only limits releases.
        index: Index options that hold where it is pulled in.
        extra_indexes: The same.
        installer: Who reads it.
        project: True for a folder whose project (and lock) is installed.
        starts: True for a script that starts the program: what it sets is not known where it cannot be read.
        extras: Extras that are asked for of a project.
        runs: True for a script that is run: the variables that it sets end with it (but those of one that also
            `starts`: it is read into a shell), and no question is asked where it is not beside the file: most such
            scripts come from somewhere else.
    """

    path: str
    kind: FileKind | None = None
    constraint: bool = False
    index: str | None = None
    extra_indexes: tuple[str, ...] = ()
    installer: str = "pip"
    project: bool = False
    starts: bool = False
    extras: tuple[str, ...] = ()
    runs: bool = False


class Parts(msgspec.Struct):
    """Everything read from one file, or from all files of one environment. Filled while reading.

    Attributes:
        requirements: Python packages.
        images: Base images, as the judged container has them.
        settings: Variables.
        system: Packages of the operating system.
        links: Links that a script makes.
        services: Containers that are started.
        pythons: Python versions that are decided on.
        puzzles: Lines that could not be understood.
        extra: The extra of a project that these parts include; None without one.
        python_ranges: Specifier sets of the Pythons that a project is for.
        references: Files that are pulled in.
        repairs: Lines that make libraries findable.
        unread_starts: Scripts that start the program and could not be read: they may set anything.
    """

    extra: str | None = None
    requirements: list[Requirement] = []
    images: list[Image] = []
    settings: list[Setting] = []
    system: list[SystemPackage] = []
    links: list[Link] = []
    services: list[Service] = []
    pythons: list[PythonVersion] = []
    python_ranges: list[str] = []
    puzzles: list[Puzzle] = []
    references: list[Reference] = []
    repairs: list[Repair] = []
    unread_starts: list[Reference] = []

    def add(self, other: Parts) -> None:
        """Take over everything of another file."""
        self.requirements += other.requirements
        self.images += other.images
        self.settings += other.settings
        self.system += other.system
        self.links += other.links
        self.services += other.services
        self.pythons += other.pythons
        self.python_ranges += other.python_ranges
        self.puzzles += other.puzzles
        self.references += other.references
        self.repairs += other.repairs
        self.unread_starts += other.unread_starts
