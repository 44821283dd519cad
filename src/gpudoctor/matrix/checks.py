"""What must hold for every entry of the matrix and that a type cannot say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import singledispatch

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from gpudoctor.matrix.claims import (
    Claim,
    ComputeType,
    Conflicts,
    HasGpuCode,
    NeedsDriver,
    NeedsLibrary,
    NeedsMemory,
    NeedsPython,
    Opening,
    PairsWith,
    Requires,
    Yanked,
)
from gpudoctor.matrix.sources import Source
from gpudoctor.matrix.tables import BaseImage, DriverBranch, GpuModel, Releases, WhisperModel
from gpudoctor.matrix.types import Consumer, Fact, Family, MatrixData, MatrixFile
from gpudoctor.matrix.yamlfile import Path

PLATFORMS = ("linux-x86_64", "linux-aarch64", "windows-x86_64", "macos-arm64", "macos-x86_64")
PLACEHOLDERS = ("{shim}", "{shim2}", "{shim1}")
Problem = tuple[Path, str]
Problems = Iterator[Problem]

_KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DOTTED = re.compile(r"[0-9]+(\.[0-9]+)*")
_CUDA = re.compile(r"[0-9]+\.[0-9]+")
_DRIVER = re.compile(r"[0-9]{2,4}(\.[0-9]{1,4}){1,2}")
_ARCHITECTURE = re.compile(r"[0-9]{2,3}[af]?")
_PLACEHOLDER = re.compile(r"\{[^}]*\}")
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_NUMBER = re.compile(r"[0-9]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LABEL = re.compile(r"([a-z0-9]+(\.[a-z0-9]+)*)?")
_REPOSITORY = re.compile(r"[a-z0-9]+([./_-][a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_FORMAT = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def problems_of(file: MatrixFile, merged: MatrixData) -> Problems:
    """Yield what is wrong with a file's entries.

    Args:
        file: The file.
        merged: The matrix with the file in it, for names that it refers to.

    Yields:
        Path of the value in the file, and what was expected.
    """
    families = frozenset(family.name for family in merged.families)
    consumers = frozenset(consumer.name for consumer in merged.consumers)
    causes = frozenset(cause.id for cause in merged.causes)
    if file.version is not None:
        yield from _matches(("version",), file.version, _DOTTED, 'a date version such as "2026.11.20"')
    for index, fact in enumerate(file.facts):
        yield from _fact(("facts", index), fact, families)
        yield from _cause_exists(("facts", index, "claim", "cause"), getattr(fact.claim, "cause", None), causes)
    for index, consumer in enumerate(file.consumers):
        yield from _consumer(("consumers", index), consumer, consumers)
    for index, family in enumerate(file.families):
        yield from _family(("families", index), family, causes)
    for index, cause in enumerate(file.causes):
        yield from _matches(("causes", index, "id"), cause.id, _KEBAB, "lower-case words joined by hyphens")
    for index, branch in enumerate(file.driver_branches):
        yield from _branch(("driver_branches", index), branch)
    for index, model in enumerate(file.gpus):
        yield from _gpu(("gpus", index), model)
    for index, whisper in enumerate(file.models):
        yield from _model(("models", index), whisper, merged)
    for index, image in enumerate(file.images):
        yield from _image(("images", index), image)
    for index, releases in enumerate(file.releases):
        yield from _releases(("releases", index), releases)


def _matches(path: Path, text: str, pattern: re.Pattern[str], expected: str) -> Problems:
    if not pattern.fullmatch(text):
        yield path, f"expected {expected}, got {text!r}"


def _specifiers(path: Path, text: str) -> Problems:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        yield path, f'expected version specifiers such as ">=4.5,<4.6.3", got {text!r}'


def _package(path: Path, name: str) -> Problems:
    if not name or canonicalize_name(name) != name:
        yield path, f"expected a package name in canonical form ({str(canonicalize_name(name))!r}), got {name!r}"


def _sources(path: Path, sources: tuple[Source, ...]) -> Problems:
    if not sources:
        yield (*path, "sources"), "expected at least one source"
    for index, source in enumerate(sources):
        here = (*path, "sources", index)
        if not source.ref.strip():
            yield (*here, "ref"), "expected where it was read, got nothing"
        if source.date is not None:
            yield from _matches((*here, "date"), source.date, _DAY, "a day such as 2026-11-20")
        if source.sha256 is not None:
            yield from _matches((*here, "sha256"), source.sha256, _SHA256, "64 hexadecimal digits, lower case")
        if source.kind == "wheel" and not re.match(r"[a-z0-9-]+==[^ :]+: ", source.ref):
            yield (*here, "ref"), f"expected `package==version: file` for a wheel, got {source.ref!r}"
        if source.kind == "issue" and not re.fullmatch(r"[\w.-]+/[\w.-]+#[0-9]+", source.ref):
            yield (*here, "ref"), f"expected `owner/repository#number` for an issue, got {source.ref!r}"
        if source.kind == "doc" and not source.ref.startswith("https://"):
            yield (*here, "ref"), f"expected a https:// address for a document, got {source.ref!r}"


def _cause_exists(path: Path, cause: str | None, causes: frozenset[str]) -> Problems:
    if cause is not None and cause not in causes:
        yield path, f"expected a cause id of causes.yaml, got {cause!r}"


def _glob(path: Path, text: str) -> Problems:
    if not text or text.startswith("/") or ".." in text.split("/"):
        yield path, f"expected a path relative to the site directory, got {text!r}"


def _fact(path: Path, fact: Fact, families: frozenset[str]) -> Problems:
    yield from _matches((*path, "id"), fact.id, _KEBAB, "lower-case words joined by hyphens")
    yield from _package((*path, "subject"), fact.subject)
    yield from _specifiers((*path, "when", "versions"), fact.when.versions)
    for index, platform in enumerate(fact.when.platforms):
        if platform not in PLATFORMS:
            yield (*path, "when", "platforms", index), f"expected one of {', '.join(PLATFORMS)}, got {platform!r}"
    for index, label in enumerate(fact.when.builds):
        yield from _matches((*path, "when", "builds", index), label, _LABEL, 'a label such as "cu118", or "" for none')
    yield from _specifiers((*path, "when", "python"), fact.when.python)
    yield from _sources(path, fact.sources)
    if isinstance(fact.claim, NeedsLibrary) and fact.claim.library not in families:
        expected = ", ".join(sorted(families))
        yield (*path, "claim", "library"), f"expected a library family ({expected}), got {fact.claim.library!r}"
    yield from _claim(fact.claim, (*path, "claim"))


@singledispatch
def _claim(claim: Claim, path: Path) -> Problems:
    raise NotImplementedError(type(claim).__name__)  # a new kind of fact needs its check here


@_claim.register
def _(claim: NeedsLibrary, path: Path) -> Problems:
    yield from _matches((*path, "major"), claim.major, _DOTTED, 'a major version such as "12"')
    yield from _glob((*path, "requester"), claim.requester)
    if not claim.opens:
        yield (*path, "opens"), "expected at least one library"
    roles: set[str] = set()
    for index, opening in enumerate(claim.opens):
        yield from _opening((*path, "opens", index), opening, roles)
    for index, name in enumerate(claim.version_from):
        yield from _package((*path, "version_from", index), name)
    if claim.provided_by is not None:
        yield from _package((*path, "provided_by"), claim.provided_by)


def _opening(path: Path, opening: Opening, roles: set[str]) -> Problems:
    if opening.role in roles:
        yield (*path, "role"), f"the role {opening.role!r} is used twice"
    roles.add(opening.role)
    if not opening.names:
        yield (*path, "names"), "expected at least one name"
    for index, name in enumerate(opening.names):
        if "/" in name or ".so" not in name:
            yield (*path, "names", index), f"expected a bare library name such as libcublas.so.12, got {name!r}"
        for match in _PLACEHOLDER.finditer(name):
            if match[0] not in PLACEHOLDERS:
                yield (*path, "names", index), f"expected one of {', '.join(PLACEHOLDERS)}, got {match[0]}"
    if opening.requester is not None:
        yield from _glob((*path, "requester"), opening.requester)


@_claim.register
def _(claim: NeedsDriver, path: Path) -> Problems:
    yield from _matches((*path, "cuda"), claim.cuda, _CUDA, 'a CUDA version such as "12.4"')
    expected = 'a driver release of dotted integers such as "525.60.13"'
    yield from _matches((*path, "linux"), claim.linux, _DRIVER, expected)
    if claim.windows is not None:
        yield from _matches((*path, "windows"), claim.windows, _DRIVER, expected)


@_claim.register
def _(claim: HasGpuCode, path: Path) -> Problems:
    if claim.cuda is not None:
        yield from _matches((*path, "cuda"), claim.cuda, _DOTTED, 'a CUDA version such as "12.4"')
    elif claim.sass or claim.ptx:
        yield path, "expected the CUDA version of a build that has GPU code"
    for field, architectures in (("sass", claim.sass), ("ptx", claim.ptx)):
        for index, name in enumerate(architectures):
            yield from _matches((*path, field, index), name, _ARCHITECTURE, 'an architecture such as "86"')


@_claim.register(PairsWith)
@_claim.register(Requires)
@_claim.register(Conflicts)
def _(claim: PairsWith | Requires | Conflicts, path: Path) -> Problems:
    yield from _package((*path, "package"), claim.package)
    yield from _specifiers((*path, "versions"), claim.versions)
    if isinstance(claim, Conflicts) and claim.keep is not None:
        yield from _package((*path, "keep"), claim.keep)


@_claim.register
def _(claim: NeedsPython, path: Path) -> Problems:
    yield from _specifiers((*path, "versions"), claim.versions)


@_claim.register
def _(claim: NeedsMemory, path: Path) -> Problems:
    if claim.peak_bytes <= 0:
        yield (*path, "peak_bytes"), f"expected a number of bytes, got {claim.peak_bytes}"


@_claim.register
def _(claim: ComputeType, path: Path) -> Problems:
    yield from _matches((*path, "compute_type"), claim.compute_type, _FORMAT, "a number format such as int8_float16")
    yield from _matches((*path, "least"), claim.least, _CUDA, 'a compute capability such as "7.0"')
    for index, capability in enumerate(claim.not_on):
        yield from _matches((*path, "not_on", index), capability, _CUDA, 'a compute capability such as "12.0"')


@_claim.register
def _(claim: Yanked, path: Path) -> Problems:
    if claim.reason is not None and not claim.reason.strip():
        yield (*path, "reason"), "expected words, or no reason at all"


def _consumer(path: Path, consumer: Consumer, consumers: frozenset[str]) -> Problems:
    for index, name in enumerate(consumer.distributions):
        yield from _package((*path, "distributions", index), name)
    if not consumer.entry:
        yield (*path, "entry"), "expected at least one step"
    for index, step in enumerate(consumer.entry):
        here = (*path, "entry", index)
        yield from _glob((*here, "glob"), step.glob)
        yield from _specifiers((*here, "versions"), step.versions)
        if step.requester is not None:
            yield from _glob((*here, "requester"), step.requester)
    for index, glob in enumerate(consumer.preloads):
        yield from _glob((*path, "preloads", index), glob)
    for index, first in enumerate(consumer.imports_first):
        here = (*path, "imports_first", index)
        yield from _specifiers((*here, "versions"), first.versions)
        if first.package not in consumers:
            yield (*here, "package"), f"expected a consumer, got {first.package!r}"


def _family(path: Path, family: Family, causes: frozenset[str]) -> Problems:
    yield from _cause_exists((*path, "cause"), family.cause, causes)
    for index, pattern in enumerate(family.sonames):
        try:
            re.compile(pattern)
        except re.error as error:
            yield (*path, "sonames", index), f"expected a regular expression: {error}"
    for index, provider in enumerate(family.providers):
        here = (*path, "providers", index)
        yield from _package((*here, "distribution"), provider.distribution)
        yield from _matches((*here, "major"), provider.major, _DOTTED, 'a major version such as "12"')
        yield from _specifiers((*here, "versions"), provider.versions)
        yield from _glob((*here, "directory"), provider.directory)


def _branch(path: Path, branch: DriverBranch) -> Problems:
    yield from _matches((*path, "branch"), branch.branch, re.compile("[0-9]{3,4}"), 'a branch such as "535"')
    yield from _matches((*path, "cuda"), branch.cuda, _CUDA, 'a CUDA version such as "12.2"')
    if branch.first is not None:
        yield from _matches((*path, "first"), branch.first, _DRIVER, 'a driver release such as "535.54.03"')
        if branch.first.split(".")[0] != branch.branch:
            yield (*path, "first"), f"expected a release of branch {branch.branch}, got {branch.first!r}"
    for index, cuda in enumerate(branch.forward_compat):
        yield from _matches((*path, "forward_compat", index), cuda, _CUDA, 'a CUDA version such as "12.8"')
    if branch.end_of_life is not None:
        yield from _matches((*path, "end_of_life"), branch.end_of_life, _MONTH, 'a month such as "2026-06"')
    yield from _sources(path, branch.sources)


def _gpu(path: Path, model: GpuModel) -> Problems:
    yield from _matches((*path, "compute_capability"), model.compute_capability, _CUDA, 'dotted, such as "8.6"')
    for name in model.memory_bytes:
        if name not in model.names:
            yield (*path, "memory_bytes", name), "expected one of `names`"
    if model.first_cuda is not None:
        yield from _matches((*path, "first_cuda"), model.first_cuda, _CUDA, 'a CUDA version such as "12.8"')
    for field in ("last_cuda_major", "last_driver_branch"):
        if (text := getattr(model, field)) is not None:
            yield from _matches((*path, field), text, _NUMBER, 'a whole number in quotes, such as "580"')
    yield from _sources(path, model.sources)


def _model(path: Path, model: WhisperModel, merged: MatrixData) -> Problems:
    others = {name for other in merged.models if other.name != model.name for name in (other.name, *other.aliases)}
    for name in (model.name, *model.aliases):
        if not name or name in others:
            yield (*path, "name"), f"expected a name that no other model has, got {name!r}"
    for field in ("encoder_layers", "decoder_layers", "heads", "width", "mel_bins", "vocabulary", "parameters"):
        if getattr(model, field) <= 0:
            yield (*path, field), f"expected a number above 0, got {getattr(model, field)}"
    if model.heads > 0 and model.width % model.heads:
        yield (*path, "heads"), f"expected a divisor of the width {model.width}, got {model.heads}"
    yield from _sources(path, model.sources)


def _image(path: Path, image: BaseImage) -> Problems:
    yield from _matches((*path, "image"), image.image, _REPOSITORY, 'a repository such as "nvidia/cuda"')
    yield from _matches((*path, "tag"), image.tag, _TAG, 'a tag such as "12.4.1-runtime-ubuntu22.04"')
    yield from _matches((*path, "cuda"), image.cuda, _CUDA, 'a CUDA version such as "12.4"')
    if image.cudnn is not None:
        yield from _matches((*path, "cudnn"), image.cudnn, _DOTTED, 'a cuDNN version such as "9.1.0.70"')
    yield from _sources(path, image.sources)


def _releases(path: Path, releases: Releases) -> Problems:
    yield from _package((*path, "package"), releases.package)
    yield from _matches((*path, "date"), releases.date, _DAY, "a day such as 2026-11-20")
    for version, pythons in releases.versions.items():
        try:
            Version(version)
        except InvalidVersion:
            yield (*path, "versions", version), f"expected a version, got {version!r}"
        yield from _specifiers((*path, "versions", version), pythons)
