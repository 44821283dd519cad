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
        names: Names tried in order. `{shim}`, `{shim2}`, `{shim1}` stand for the full, two-part and one-part
            version in the requester's file name (`9.1.0`, `9.1`, `9`).
        optional: True when the consumer works for speech models without it.
    """

    role: str
    names: tuple[str, ...]
    optional: bool = False


class NeedsLibrary(Strict, frozen=True, kw_only=True, tag="needs-library", tag_field="kind"):
    """The subject opens libraries by bare name while running.

    Attributes:
        library: Library family: `cudnn`, `cublas`, ….
        major: Major version wanted, as in the SONAME.
        requester: Glob, relative to the site directory, of the object on whose behalf they are opened.
        opens: What it opens, in the order of use; later ones meet what earlier ones loaded.
        when_opened: When, in words: `at the first convolution`.
        provided_by: Distribution that brings the files.
    """

    library: str
    major: str
    requester: str
    opens: tuple[Opening, ...]
    when_opened: str
    provided_by: str | None = None


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
    """One object that a consumer loads before its first GPU call.

    Attributes:
        glob: Path relative to the site directory; the first match is opened by absolute path.
        requester: Glob of the already loaded object that opens it; None means the interpreter's import machinery.
        name: Bare name to open instead of the glob's match; the match must exist all the same.
        optional: A missing file is no fault.
        mode: `file` opens by absolute path, `name` by bare name.
    """

    glob: str
    requester: str | None = None
    name: str | None = None
    optional: bool = False


class Consumer(Strict, frozen=True, kw_only=True):
    """A package whose native code opens GPU libraries.

    Attributes:
        name: Import name, as in `--for`.
        distributions: Canonical distribution names that can bring it.
        entry: What `import` loads, in order.
        preloads: Globs that the package itself opens by absolute path before its entry when the entry fails
            (torch's fallback for wheels of other layouts).
        imports_first: Consumers that importing this one imports too, by specifier set of this one's version.
    """

    name: str
    distributions: tuple[str, ...]
    entry: tuple[EntryStep, ...]
    preloads: tuple[str, ...] = ()
    imports_first: tuple[Requires, ...] = ()


class Family(Strict, frozen=True, kw_only=True):
    """A family of library files that belong together.

    Attributes:
        name: `cudnn`, `cublas`, ….
        title: As people write it: `cuDNN`.
        sonames: Regular expressions of SONAMEs without version that belong to it.
        parts: Stems that must come from one build (`libcudnn_ops`, …).
        from_driver: True when only the driver brings it.
        cause: Cause id when it cannot be loaded.
    """

    name: str
    title: str
    sonames: tuple[str, ...]
    parts: tuple[str, ...] = ()
    from_driver: bool = False
    cause: str = "cuda-lib-not-loadable"


class MatrixData(Strict, frozen=True, kw_only=True):
    """The whole matrix, as compiled.

    Attributes:
        version: Date version, `2026.11.20`.
        families: Library families.
        consumers: Consumers.
        facts: Facts.
    """

    version: str
    families: tuple[Family, ...]
    consumers: tuple[Consumer, ...]
    facts: tuple[Fact, ...]
