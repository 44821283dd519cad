"""The shape of compat/: consumers, facts of a closed set of kinds, sources. These types are the schema."""

from __future__ import annotations

from typing import Literal, Union

import msgspec

Status = Literal["verified", "reported", "inferred"]
SourceKind = Literal["wheel", "doc", "release-notes", "source-code", "issue", "measured"]


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all matrix types: immutable, named fields only, an unknown field is an error."""


class Source(Strict, frozen=True, kw_only=True):
    """Where a fact comes from.

    Attributes:
        kind: Sort of source.
        ref: `package==version: file` for a wheel, a URL for a document, `repository#number` for an issue.
        date: Day it was read, ISO 8601.
    """

    kind: SourceKind
    ref: str
    date: str | None = None


class When(Strict, frozen=True, kw_only=True):
    """To which releases and platforms a fact applies.

    Attributes:
        versions: PEP 440 specifier set on the subject; empty means every version.
        platforms: `linux-x86_64`, `linux-aarch64`, `windows-x86_64`, `macos-arm64`; empty means all.
    """

    versions: str = ""
    platforms: tuple[str, ...] = ()


# --- claims: one type a kind -----------------------------------------------------------------------------------------


class Opening(Strict, frozen=True, kw_only=True):
    """One library that a consumer opens.

    Attributes:
        role: Stable name of the opening within the consumer: `cudnn_ops`, `cublas`.
        names: Bare names tried in order, each through the loader's whole search; the first that loads ends it.
            `{shim}`, `{shim2}`, `{shim1}` stand for the requester's release cut to three, two and one parts (`9.1.0`,
            `9.1`, `9`): see NeedsLibrary.version_from.
        optional: True when the consumer works for speech models without it.
        requester: Object on whose behalf this one is opened, where it is another than the claim's: a name without a
            slash, such as `libcudnn_graph.so.9`. Same reading as NeedsLibrary.requester.
        when_opened: When, in words, where it differs from the claim's.
    """

    role: str
    names: tuple[str, ...]
    optional: bool = False
    requester: str | None = None
    when_opened: str | None = None


class NeedsLibrary(Strict, frozen=True, kw_only=True, tag="needs-library", tag_field="kind"):
    """The subject opens libraries by bare name while running.

    Attributes:
        library: Library family: `cudnn`, `cublas`, ….
        major: Major version wanted, as in the SONAME.
        requester: Glob of the object on whose behalf they are opened, always one that is already mapped when it does.
            With a slash: relative to the site directory, to be compared with the normalised path of the mapped objects
            (`ctranslate2.libs/libcudnn-*.so.9*`). Without: compared with the SONAME or file name of the mapped objects,
            the first one in load order wins (`libcudnn.so.9`: whichever of that name the consumer got). When no mapped
            object matches, nothing is opened.
        opens: What it opens, in the order of use; later ones meet what earlier ones loaded.
        when_opened: When, in words: `at the first convolution`.
        provided_by: Distribution that brings the files.
        version_from: Distributions whose release is the requester's, for `{shim}` where neither the requester's file
            name nor that of the file behind its links holds a three-part version (`libcudnn.so.9` of
            nvidia-cudnn-cu12 9.1.0.70 is 9.1.0). The one that owns the mapped file counts; when none does, the names
            with a placeholder of two or three parts cannot be known.
    """

    library: str
    major: str
    requester: str
    opens: tuple[Opening, ...]
    when_opened: str
    provided_by: str | None = None
    version_from: tuple[str, ...] = ()


class NeedsDriver(Strict, frozen=True, kw_only=True, tag="needs-driver", tag_field="kind"):
    """The subject (a CUDA runtime, or a package) needs at least this driver.

    Attributes:
        cuda: CUDA version meant, dotted.
        linux: Least driver release on Linux, dotted integers.
        windows: Least driver release on Windows.
        ptx: True when the minimum is for just-in-time compilation of PTX, where minor-version compatibility ends.
    """

    cuda: str
    linux: str
    windows: str | None = None
    ptx: bool = False


class HasGpuCode(Strict, frozen=True, kw_only=True, tag="has-gpu-code", tag_field="kind"):
    """The GPU code in a build.

    Attributes:
        cuda: CUDA version of the build; None for a build without GPU code.
        sass: Architectures with machine code, such as `80`.
        ptx: Architectures with PTX.
    """

    cuda: str | None = None
    sass: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()


class PairsWith(Strict, frozen=True, kw_only=True, tag="pairs-with", tag_field="kind"):
    """Two packages that must be of matching releases.

    Attributes:
        package: The other package.
        versions: Specifier set that it must satisfy.
    """

    package: str
    versions: str


class Requires(Strict, frozen=True, kw_only=True, tag="requires", tag_field="kind"):
    """A requirement that the package's own metadata states or forgets.

    Attributes:
        package: What is required.
        versions: Specifier set.
        declared: False when its metadata does not say so.
    """

    package: str
    versions: str = ""
    declared: bool = True


class Conflicts(Strict, frozen=True, kw_only=True, tag="conflicts", tag_field="kind"):
    """Two packages that must not be installed together.

    Attributes:
        package: The other package.
        versions: Specifier set of the other package that conflicts.
        shares_files: True because both install the same paths: the last one installed wins.
        keep: Which of the two a GPU user wants to keep, where that is plain.
    """

    package: str
    versions: str = ""
    shares_files: bool = False
    keep: str | None = None


class NeedsPython(Strict, frozen=True, kw_only=True, tag="needs-python", tag_field="kind"):
    """Python versions that a release has wheels for.

    Attributes:
        versions: Specifier set.
    """

    versions: str


class NeedsMemory(Strict, frozen=True, kw_only=True, tag="needs-memory", tag_field="kind"):
    """GPU memory that a model takes.

    Attributes:
        model: Model name.
        compute_type: Number format.
        peak_bytes: Peak use.
    """

    model: str
    compute_type: str
    peak_bytes: int


Claim = Union[  # noqa: UP007 - msgspec reads it at run time
    NeedsLibrary, NeedsDriver, HasGpuCode, PairsWith, Requires, Conflicts, NeedsPython, NeedsMemory
]


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


# --- tables ----------------------------------------------------------------------------------------------------------


class Cause(Strict, frozen=True, kw_only=True):
    """One true cause of a GPU fault; `check` and `explain` speak of the same ones.

    Attributes:
        id: Kebab-case.
        group: Heading that it stands under.
        meaning: One sentence.
    """

    id: str
    group: str
    meaning: str


class DriverBranch(Strict, frozen=True, kw_only=True):
    """A driver branch and the CUDA version that it serves natively.

    Attributes:
        branch: First number of its releases: `535`.
        cuda: Highest CUDA version, dotted, as cuDriverGetVersion answers.
        first: First release of the branch that a CUDA toolkit of that version came with, where one did.
        status: How well it is known.
        sources: At least one.
    """

    branch: str
    cuda: str
    first: str | None = None
    status: Status
    sources: tuple[Source, ...]


class GpuModel(Strict, frozen=True, kw_only=True):
    """GPUs of one compute capability, by marketing name.

    Attributes:
        compute_capability: Dotted: `8.6`.
        architecture: `Ampere`.
        names: As NVML prints them, without `NVIDIA`.
        memory_bytes: Board memory by name, for boards sold with one size only.
        tegra: True for boards whose code is not binary compatible with desktop and data-centre GPUs.
        status: How well it is known.
        sources: At least one.
    """

    compute_capability: str
    architecture: str
    names: tuple[str, ...]
    memory_bytes: dict[str, int] = {}
    tegra: bool = False
    status: Status
    sources: tuple[Source, ...]


# --- documents -------------------------------------------------------------------------------------------------------


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
    """

    version: str
    families: tuple[Family, ...]
    consumers: tuple[Consumer, ...]
    facts: tuple[Fact, ...]
    causes: tuple[Cause, ...] = ()
    driver_branches: tuple[DriverBranch, ...] = ()
    gpus: tuple[GpuModel, ...] = ()
