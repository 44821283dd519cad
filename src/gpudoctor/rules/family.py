"""GPD402: torch and a package that is built for another torch, or for another CUDA."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from gpudoctor.matrix.claims import HasGpuCode, PairsWith
from gpudoctor.matrix.index import Matrix, holds, matches_version
from gpudoctor.model.environment import Build, Distribution
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Evidence, Fix, NotApplicable, Open, Pass, Subject
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.gpu_code import platform_of
from gpudoctor.rules.pages import packages as pages
from gpudoctor.rules.reading import evidence, installed_versions, listed, numbers, unique
from gpudoctor.rules.releases import Pairing, is_own_build, pairings, pairs_of
from gpudoctor.rules.remedies import pip_command, quoted

_EXACT = re.compile(r"==([0-9][0-9.]*)")
_REQUIRED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CAUSE = "torch-family-abi-mismatch"
_INDEX = "https://download.pytorch.org/whl/"


class _Pair(msgspec.Struct, frozen=True):
    """Two installed packages that must fit.

    Attributes:
        snapshot: All facts.
        matrix: The matrix.
        one: The package that the facts are about.
        other: What it is built for.
    """

    snapshot: Snapshot
    matrix: Matrix
    one: Distribution
    other: Distribution

    @property
    def named(self) -> str:
        """Return the pair as people name it."""
        return f"{_named(self.one)} and {_named(self.other)}"

    def build(self, distribution: Distribution) -> Build | None:
        """Return what a package's own files say of its build."""
        return self.snapshot.build(distribution.name.replace("-", "_"))


def _evaluate(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    pairs = pairs_of(matrix, installed_versions(snapshot))
    if not pairs:
        return (NotApplicable("no two packages are installed of which the matrix says which releases fit"),)
    evaluations: list[Evaluation] = []
    for subject, package in pairs:
        one, other = snapshot.distribution(subject), snapshot.distribution(package)
        if one is not None and other is not None:
            evaluations.append(_judge(_Pair(snapshot, matrix, one, other)))
    return tuple(evaluations)


def _judge(pair: _Pair) -> Evaluation:
    one, other = pair.one, pair.other
    for distribution in (one, other):
        match distribution.version:
            case Present(version) if is_own_build(version):
                return Open(
                    f"{distribution.name} {version} is a build of somebody's own: the matrix knows only published "
                    "releases",
                    one.name,
                )
            case Unknown(reason=reason):
                return Open(f"{distribution.name}: its release is not known: {reason}", one.name)
            case _:
                pass
    versions = {d.name: value_of(d.version) for d in (one, other)}
    known = pairings(pair.matrix, versions, one.name, other.name, platform_of(pair.snapshot))
    if not known:
        return _not_in_matrix(pair)
    unfit = next((p for p in known if not p.fits), None)
    if unfit is not None:
        return _other_release(pair, unfit)
    compared = next((p for p in known if p.claim.cuda is not None), None)
    return _judge_cuda(pair, compared) if compared else Pass(one.name)


def _not_in_matrix(pair: _Pair) -> Evaluation:
    if _is_declared(pair):
        return NotApplicable(f"{_named(pair.one)} says itself which {pair.other.name} it needs: judged by GPD404")
    return Open(f"the matrix does not know which {pair.other.name} {_named(pair.one)} is built for", pair.one.name)


def _is_declared(pair: _Pair) -> bool:
    """Tell whether the installed metadata names a release of the other package, so that an installer would heed it."""
    for line in pair.one.requires:
        match = _REQUIRED.match(line)
        if match and match.group().lower() == pair.other.name and any(mark in line for mark in "=<>~"):
            return True
    return False


# --- by release ------------------------------------------------------------------------------------------------------


def _other_release(pair: _Pair, pairing: Pairing) -> Evaluation:
    claim = pairing.claim
    return torch_family_mismatch.fail(
        Subject(kind="distribution", name=pair.one.name),
        f"{_named(pair.one)} is built for {pair.other.name} {_plain(claim.versions)}, but {_named(pair.other)} is "
        f"installed: {claim.symptom or f'importing {pair.one.name} fails'}.",
        cause=claim.cause or _CAUSE,
        confidence="read" if pairing.fact.status == "verified" else "table",
        evidence=evidence(
            ("installed", f"{_named(pair.one)}, {_named(pair.other)}"),
            ("wanted", f"{pair.other.name} {claim.versions}"),
            ("its metadata", None if _is_declared(pair) else f"names no release of {pair.other.name}"),
        ),
        facts=(pairing.fact.id,),
        consequences=_consequences(pair),
        fixes=tuple(_fitting_release(pair, claim)),
    )


def _plain(specifiers: str) -> str:
    """Return a specifier set as people say it: `2.5.1`, `2.9.*`, `>=2.11`."""
    return specifiers.removeprefix("==") if "," not in specifiers else specifiers


def _fitting_release(pair: _Pair, claim: PairsWith) -> Iterator[Fix]:
    """Yield the ways out: the release of the one that fits the other as it is, and the other way round."""
    release = _release_for(pair)
    if release is not None:
        yield Fix(
            title=f"Install the {pair.one.name} that is built for {_named(pair.other)}",
            applicability="unsafe",
            commands=(pip_command(pair.snapshot, f'"{pair.one.name}=={release}" {_pinned(pair.other)}'),),
        )
    title = f"Install a {pair.other.name} that {_named(pair.one)} is built for, and whatever depends on it"
    arguments = f'"{pair.other.name}{claim.versions}" {_pinned(pair.one)}'
    yield Fix(title=title, applicability="display-only", commands=(pip_command(pair.snapshot, arguments),))


def _release_for(pair: _Pair) -> str | None:
    """Return the newest release of the one that the matrix knows to fit the other as it is installed."""
    version = value_of(pair.other.version)
    fitting = [
        release
        for fact in pair.matrix.data.facts
        if fact.subject == pair.one.name
        and isinstance(fact.claim, PairsWith)
        and fact.claim.package == pair.other.name
        and fact.status != "reported"
        and matches_version(fact.claim.versions, version)
        for release in _releases_in(fact.when.versions)
    ]
    return max(fitting, key=lambda r: numbers(r.removesuffix(".*")), default=None)


def _releases_in(specifiers: str) -> Iterator[str]:
    """Yield a release that a specifier set names: exactly, as a series, or as its last one."""
    if match := _EXACT.fullmatch(specifiers):
        yield match[1]
    elif match := re.fullmatch(r">=([0-9.]+),<([0-9.]+)", specifiers):
        yield f"{match[1]}.*"
    elif match := re.search(r"<=([0-9.]+)", specifiers):
        yield match[1]


# --- by CUDA ---------------------------------------------------------------------------------------------------------


def _judge_cuda(pair: _Pair, pairing: Pairing) -> Evaluation:
    one, other = pair.build(pair.one), pair.build(pair.other)
    if one is None or other is None:
        return Open(f"{pair.named}: the files that name their CUDA were not read", pair.one.name)
    if value_of(one.gpu) is False or isinstance(one.cuda, Absent):
        return Pass(pair.one.name)  # a build without CUDA compares nothing
    if value_of(other.gpu) is False and isinstance(one.cuda, Present):
        return _without_cuda(pair, pairing, one.cuda.value)
    for name, build in ((pair.one.name, one), (pair.other.name, other)):
        if not isinstance(build.cuda, Present):
            reason = build.cuda.reason if isinstance(build.cuda, Unknown) else "its files name none"
            return Open(f"{name}: its CUDA is not known: {reason}", pair.one.name)
    return _compare(pair, pairing, value_of(one.cuda) or "", value_of(other.cuda) or "")


def _compare(pair: _Pair, pairing: Pairing, mine: str, theirs: str) -> Evaluation:
    parts = 1 if pairing.claim.cuda == "same-major" else 2
    a, b = numbers(mine)[:parts], numbers(theirs)[:parts]
    if a[:1] != b[:1] or (len(a) == len(b) == parts and a != b):
        return _other_cuda(pair, pairing, mine, theirs)
    if len(a) < parts or len(b) < parts:
        return Open(f"{pair.named}: their files name only the major version of a CUDA", pair.one.name)
    return Pass(pair.one.name)


def _other_cuda(pair: _Pair, pairing: Pairing, mine: str, theirs: str) -> Evaluation:
    return torch_family_mismatch.fail(
        Subject(kind="distribution", name=pair.one.name),
        f"{_named(pair.one)} is built with CUDA {mine}, but {_named(pair.other)} with CUDA {theirs}: "
        f"`import {pair.one.name}` compares the two and raises a RuntimeError.",
        cause=_CAUSE,
        evidence=_cuda_evidence(pair, mine, theirs),
        facts=(pairing.fact.id,),
        consequences=_consequences(pair),
        fixes=tuple(_same_cuda(pair, mine)),
    )


def _without_cuda(pair: _Pair, pairing: Pairing, mine: str) -> Evaluation:
    return torch_family_mismatch.fail(
        Subject(kind="distribution", name=pair.one.name),
        f"{_named(pair.one)} is built with CUDA {mine}, but {_named(pair.other)} is a build without CUDA: "
        f"the libraries of {pair.one.name} link those of a CUDA torch and cannot be loaded.",
        cause=_CAUSE,
        evidence=_cuda_evidence(pair, mine, "none"),
        facts=(pairing.fact.id,),
        consequences=_consequences(pair),
        fixes=tuple(_same_cuda(pair, None)),
    )


def _cuda_evidence(pair: _Pair, mine: str, theirs: str) -> tuple[Evidence, ...]:
    return evidence(
        ("installed", f"{_named(pair.one)}, {_named(pair.other)}"),
        (f"CUDA of {pair.one.name}", mine),
        (f"CUDA of {pair.other.name}", theirs),
    )


def _same_cuda(pair: _Pair, cuda: str | None) -> Iterator[Fix]:
    """Yield the ways out: the same releases from the index of one CUDA, where the matrix knows of such a build."""
    label = "cpu" if cuda is None else f"cu{''.join(map(str, numbers(cuda)[:2]))}"
    pins = f"{_pinned(pair.other)} {_pinned(pair.one)}"
    if cuda is None or _is_built(pair, label):
        yield Fix(
            title=f"Install both for one CUDA, from PyTorch's own index for {label}",
            applicability="unsafe",
            commands=(pip_command(pair.snapshot, f"--force-reinstall {pins} --index-url {_INDEX}{label}"),),
        )
    yield Fix(
        title=f"Or take a {pair.other.name} release whose {pair.one.name} is built with the same CUDA, both from one "
        "index",
        applicability="display-only",
    )


def _is_built(pair: _Pair, label: str) -> bool:
    """Tell whether the matrix knows the other package's release as a build with a label."""
    known = value_of(pair.other.version)
    version = (known or "").partition("+")[0]
    return any(
        label in fact.when.builds and holds(fact.when, f"{version}+{label}", platform_of(pair.snapshot))
        for fact in pair.matrix.data.facts
        if fact.subject == pair.other.name and isinstance(fact.claim, HasGpuCode)
    )


# --- words -----------------------------------------------------------------------------------------------------------


def _named(distribution: Distribution) -> str:
    version = value_of(distribution.version)
    return f"{distribution.name} {version or '?'}"


def _pinned(distribution: Distribution) -> str:
    version = value_of(distribution.version)
    return quoted(f"{distribution.name}=={(version or '').partition('+')[0]}")


def _consequences(pair: _Pair) -> tuple[str, ...]:
    """Say who else stops working, and that nobody else will notice."""
    users = unique(
        d.name
        for d in pair.snapshot.distributions
        for line in d.requires
        if (match := _REQUIRED.match(line)) and match.group().lower() == pair.one.name and "extra ==" not in line
    )
    told = [f"{listed(users)} require{'s' if len(users) == 1 else ''} {pair.one.name}"] if users else []
    if not _is_declared(pair):
        told.append(f"`pip check` notices nothing: the metadata of {pair.one.name} names no {pair.other.name} release")
    return tuple(told)


torch_family_mismatch = Rule(
    id="GPD402",
    name="torch-family-mismatch",
    title="torch and a package that is built for another torch, or for another CUDA",
    level="error",
    causes=(_CAUSE, "torchcodec-load"),
    page=pages.GPD402,
    evaluate=_evaluate,
)
