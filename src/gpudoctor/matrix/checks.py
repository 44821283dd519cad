"""What must hold for every entry of the matrix and that a type cannot say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import singledispatch

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from gpudoctor.matrix.claims import (
    Claim,
    Conflicts,
    HasGpuCode,
    NeedsDriver,
    NeedsLibrary,
    NeedsMemory,
    NeedsPython,
    Opening,
    PairsWith,
    Requires,
)
from gpudoctor.matrix.types import Consumer, DriverBranch, Fact, Family, GpuModel, MatrixData, MatrixFile, Source
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
        if source.kind == "wheel" and not re.match(r"[a-z0-9-]+==[^ :]+: ", source.ref):
            yield (*here, "ref"), f"expected `package==version: file` for a wheel, got {source.ref!r}"
        if source.kind == "issue" and not re.fullmatch(r"[\w.-]+/[\w.-]+#[0-9]+", source.ref):
            yield (*here, "ref"), f"expected `owner/repository#number` for an issue, got {source.ref!r}"
        if source.kind == "doc" and not source.ref.startswith("https://"):
            yield (*here, "ref"), f"expected a https:// address for a document, got {source.ref!r}"


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
        yield from _matches((*path, "cuda"), claim.cuda, _CUDA, 'a CUDA version such as "12.4"')
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
    if family.cause not in causes:
        yield (*path, "cause"), f"expected a cause id of causes.yaml, got {family.cause!r}"
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
    yield from _sources(path, branch.sources)


def _gpu(path: Path, model: GpuModel) -> Problems:
    yield from _matches((*path, "compute_capability"), model.compute_capability, _CUDA, 'dotted, such as "8.6"')
    for name in model.memory_bytes:
        if name not in model.names:
            yield (*path, "memory_bytes", name), "expected one of `names`"
    yield from _sources(path, model.sources)
