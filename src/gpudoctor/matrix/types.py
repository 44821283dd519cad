"""The shape of compat/: facts, consumers, library families, whole files. These types are the schema."""

from __future__ import annotations

from gpudoctor.matrix.claims import Claim, Requires, Strict
from gpudoctor.matrix.sources import Source, Status
from gpudoctor.matrix.tables import BaseImage, Cause, DriverBranch, GpuModel, Releases, WhisperModel


class When(Strict, frozen=True, kw_only=True):
    """To which releases and platforms a fact applies.

    Attributes:
        versions: PEP 440 specifier set on the subject; empty means every version.
        platforms: `linux-x86_64`, `linux-aarch64`, `windows-x86_64`, `macos-arm64`; empty means all.
        builds: Local version labels (`cu118` of `2.5.1+cu118`); the empty label is a release without one, as the
            package index serves. Empty means every build.
        python: PEP 440 specifier set on the interpreter, for a requirement with such a marker; empty means every one.
    """

    versions: str = ""
    platforms: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()
    python: str = ""


class Fact(Strict, frozen=True, kw_only=True):
    """One claim about one subject, with its source.

    Not to be confused with: gpudoctor.model.fact, the three-valued facts of a snapshot.

    Attributes:
        id: Unique, kebab-case.
        subject: Canonical name of a package, or `cuda`.
        claim: What is claimed.
        when: To what it applies.
        status: How well it is known.
        note: One sentence for people.
        sources: At least one.
    """

    id: str
    subject: str
    claim: Claim
    status: Status
    sources: tuple[Source, ...]
    when: When = When()
    note: str | None = None


class EntryStep(Strict, frozen=True, kw_only=True):
    """One object that a consumer loads before its first GPU call, with whatever it links.

    Attributes:
        glob: Path relative to the site directory; the first match, in name order, is opened by absolute path.
        requester: Glob of the already mapped object that opens it, read as in NeedsLibrary; None means the
            interpreter (its import machinery or ctypes).
        name: Bare name to open instead of the glob's match, through the loader's search on the requester's behalf; the
            match must exist all the same.
        optional: A missing file is no fault: a CPU build lacks it. A file that is there and fails to load is one.
        versions: Releases of the consumer for which the step is taken; empty means all.
        group: Steps of one group are alternatives: they are tried in order until one loads.
        when_opened: When, in words.
        preload: True when the package opens the file only to have it loaded beforehand: failing is no fault.
        if_mapped: Glob of an object without which the step is not taken, read as in NeedsLibrary.
    """

    glob: str
    requester: str | None = None
    name: str | None = None
    optional: bool = False
    versions: str = ""
    group: str | None = None
    when_opened: str = "at import"
    preload: bool = False
    if_mapped: str | None = None


class Consumer(Strict, frozen=True, kw_only=True):
    """A package whose native code opens GPU libraries.

    Attributes:
        name: Import name, as in `--for`.
        distributions: Canonical distribution names that can bring it, the one that GPU users want first.
        entry: What `import` loads, in order.
        preloads: Globs, relative to the site directory, that the package itself opens by absolute path, the first
            match of each, when its first entry step fails for want of one of them; then it tries the step again
            (torch's fallback for wheels of other layouts).
        imports_first: Consumers that importing this one imports too, where they are installed, before it opens
            anything by name. `versions` is a specifier set on this one's release, not on the other's.
        title: As people write it: `CTranslate2`.
    """

    name: str
    distributions: tuple[str, ...]
    entry: tuple[EntryStep, ...]
    preloads: tuple[str, ...] = ()
    imports_first: tuple[Requires, ...] = ()
    title: str = ""


class Provider(Strict, frozen=True, kw_only=True):
    """A distribution that brings a library family.

    Attributes:
        distribution: Canonical name.
        major: Major version in the SONAMEs that it brings.
        cuda: CUDA major that it is built for; None where one build serves all.
        versions: Releases that bring this major; empty means all.
        directory: Where its files lie, relative to the site directory.
    """

    distribution: str
    major: str
    cuda: str | None = None
    versions: str = ""
    directory: str


class Family(Strict, frozen=True, kw_only=True):
    """A family of library files that belong together.

    Attributes:
        name: `cudnn`, `cublas`, ….
        title: As people write it: `cuDNN`.
        sonames: Regular expressions, anchored at both ends, of file names without version: `libcudnn(_[a-z_]+)?`.
        parts: Names without version that must come from one build (`libcudnn_ops`, …). cuDNN's dispatch library is
            none of them: a 9.1.0 one works with a complete 9.10.2 set.
        from_driver: True when only the driver brings it.
        cause: Cause id when it cannot be loaded.
        providers: Distributions that bring it.
    """

    name: str
    title: str
    sonames: tuple[str, ...]
    parts: tuple[str, ...] = ()
    from_driver: bool = False
    cause: str = "cuda-lib-not-loadable"
    providers: tuple[Provider, ...] = ()


class MatrixFile(Strict, frozen=True, kw_only=True):
    """One YAML file of the matrix, or a user's overlay (`--matrix FILE`). Every part is optional.

    Attributes:
        version: Date version of the matrix; only in the matrix's own `compat/matrix.yaml`.
        facts: Facts.
        consumers: Consumers.
        families: Library families.
        causes: Causes.
        driver_branches: Driver branches.
        gpus: GPU models.
        models: Whisper models.
        images: Container images.
        releases: Published releases.
        replaces: Ids of facts, consumers, families, … of the matrix that this overlay means to replace. Without it, an
            id that the matrix already has is an error.
    """

    version: str | None = None
    facts: tuple[Fact, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    families: tuple[Family, ...] = ()
    causes: tuple[Cause, ...] = ()
    driver_branches: tuple[DriverBranch, ...] = ()
    gpus: tuple[GpuModel, ...] = ()
    models: tuple[WhisperModel, ...] = ()
    images: tuple[BaseImage, ...] = ()
    releases: tuple[Releases, ...] = ()
    replaces: tuple[str, ...] = ()


class MatrixData(Strict, frozen=True, kw_only=True):
    """The whole matrix, as compiled.

    Attributes:
        version: Date version, `2026.11.20`; with ` + overlay` when a user's file was added.
        families: Library families.
        consumers: Consumers.
        facts: Facts.
        causes: Causes.
        driver_branches: Driver branches, oldest first.
        gpus: GPU models.
        models: Whisper models, smallest first.
        images: Container images.
        releases: Published releases.
    """

    version: str
    families: tuple[Family, ...]
    consumers: tuple[Consumer, ...]
    facts: tuple[Fact, ...]
    causes: tuple[Cause, ...] = ()
    driver_branches: tuple[DriverBranch, ...] = ()
    gpus: tuple[GpuModel, ...] = ()
    models: tuple[WhisperModel, ...] = ()
    images: tuple[BaseImage, ...] = ()
    releases: tuple[Releases, ...] = ()
