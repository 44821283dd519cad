"""What a fact can claim: one type a kind, a closed set. These types are the schema."""

from __future__ import annotations

from typing import Literal, Union, get_args

import msgspec


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all matrix types: immutable, named fields only, an unknown field is an error."""


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
        cuda: CUDA version of the build, dotted, or its major where no more is known (`12`); None for a build without
            GPU code.
        sass: Architectures with machine code, such as `80`.
        ptx: Architectures with PTX.
    """

    cuda: str | None = None
    sass: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()


class PairsWith(Strict, frozen=True, kw_only=True, tag="pairs-with", tag_field="kind"):
    """Two packages that must be of matching releases, should both be installed.

    Attributes:
        package: The other package.
        versions: Specifier set that it must satisfy; empty means every release.
        cuda: How the CUDA of the two builds must agree (`torchaudio` compares `12.4` with `12.4` at import,
            `torchvision` only the major); None where nothing compares them.
        declared: False when the package's own metadata does not say so, so that an installer lets them meet.
        cause: Cause id of what happens otherwise.
        symptom: What the user sees otherwise, in words.
    """

    package: str
    versions: str = ""
    cuda: Literal["same-release", "same-major"] | None = None
    declared: bool = True
    cause: str | None = None
    symptom: str | None = None


class Requires(Strict, frozen=True, kw_only=True, tag="requires", tag_field="kind"):
    """A requirement that the package's own metadata states or forgets.

    Attributes:
        package: What is required.
        versions: Specifier set.
        declared: False when its metadata does not say so. A CUDA library that is needed but not declared may as well
            come from the system or from conda: the wheel named here is what to install where it comes from nowhere.
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
        level: How bad it is to have both.
        cause: Cause id of what happens (`numpy-abi`, `python-api-removed`, `torch-weights-only`, …).
        symptom: What the user sees, in words.
    """

    package: str
    versions: str = ""
    shares_files: bool = False
    keep: str | None = None
    level: Literal["error", "warning"] = "error"
    cause: str | None = None
    symptom: str | None = None


class NeedsPython(Strict, frozen=True, kw_only=True, tag="needs-python", tag_field="kind"):
    """Python versions that a release has wheels for.

    Attributes:
        versions: Specifier set.
    """

    versions: str


class NeedsMemory(Strict, frozen=True, kw_only=True, tag="needs-memory", tag_field="kind"):
    """GPU memory that a model takes.

    Attributes:
        model: Model name: `large-v2`.
        compute_type: Number format: `float16`.
        peak_bytes: Peak use.
        batch_size: Segments decoded at once.
    """

    model: str
    compute_type: str
    peak_bytes: int
    batch_size: int = 1


class ComputeType(Strict, frozen=True, kw_only=True, tag="compute-type", tag_field="kind"):
    """On which GPUs a build supports a number format that is asked for by name.

    Attributes:
        compute_type: Number format: `int8`.
        least: Least compute capability that has it: `6.1`.
        not_on: Compute capabilities at or above the least that lack it all the same.
        otherwise: What is used in its place where it is asked for and lacking; None means an error.
    """

    compute_type: str
    least: str
    not_on: tuple[str, ...] = ()
    otherwise: str | None = None


class Yanked(Strict, frozen=True, kw_only=True, tag="yanked", tag_field="kind"):
    """Releases that their maintainers withdrew from the index: an installer takes them only when pinned exactly.

    Attributes:
        reason: Why, in words, where they say so.
    """

    reason: str | None = None


Claim = Union[  # noqa: UP007 - msgspec reads it at run time
    NeedsLibrary, NeedsDriver, HasGpuCode, PairsWith, Requires, Conflicts, NeedsPython, NeedsMemory, ComputeType, Yanked
]

KINDS: dict[str, type[Claim]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Claim)}
"""The types by the name that `kind` has in a file."""
