"""What GPU code a build has, and in which way a GPU can run it: as it is, compiled from PTX, or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from gpudoctor.matrix.claims import HasGpuCode
from gpudoctor.matrix.index import Matrix, matches_version
from gpudoctor.matrix.types import Fact as MatrixFact
from gpudoctor.model.environment import Build
from gpudoctor.model.fact import Present, value_of
from gpudoctor.model.finding import Fix
from gpudoctor.model.machine import Gpu
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.devices import driver_serves, is_tegra, visible_gpus
from gpudoctor.rules.reading import consumer_version, is_installed, listed, numbers
from gpudoctor.rules.remedies import pip_command

Way = Literal["machine-code", "ptx", "none"]

_TORCH_INDEX = "https://download.pytorch.org/whl"
_CUDA_LABEL = re.compile(r"cu\d+")
_ARCHITECTURE = re.compile(r"(\d{1,2})(\d)([af]?)")
# Jetson boards: their machine code and that of other GPUs do not run on each other.
# Source: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#binary-compatibility (2026-11-21)
_TEGRA = frozenset({(5, 3), (6, 2), (7, 2), (8, 7), (11, 0)})


class Code(msgspec.Struct, frozen=True):
    """The GPU code of a build.

    Attributes:
        sass: Architectures with machine code: `86`.
        ptx: Architectures with PTX.
        cuda: CUDA version of the build, dotted, as closely as it is known.
        from_files: True when it was read from the files themselves.
        facts: Ids of the facts used.
    """

    sass: tuple[str, ...]
    ptx: tuple[str, ...]
    cuda: str | None
    from_files: bool
    facts: tuple[str, ...] = ()


def platform_of(snapshot: Snapshot) -> str:
    """Return operating system and processor as the matrix names platforms."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(snapshot.host.machine.lower(), snapshot.host.machine)
    return f"{snapshot.host.os}-{machine}"


def code_of(snapshot: Snapshot, matrix: Matrix, build: Build) -> Code | None:
    """Return the GPU code of a build: as read from its files, else as the matrix has it; None where neither tells."""
    known = code_fact(snapshot, matrix, build)
    fact, claim = known or (None, None)
    cuda = (claim.cuda if claim else None) or value_of(build.cuda)
    match build.architectures:
        case Present(value=names) if names:
            sass = tuple(n.removeprefix("sm_") for n in names if n.startswith("sm_"))
            ptx = tuple(n.removeprefix("compute_") for n in names if n.startswith("compute_"))
            if build.package == "torch" or fact is None or claim is None:
                return Code(sass, ptx, value_of(build.cuda) or cuda, from_files=True)
            # The first containers of the section were read: the whole file, once inspected, may hold more.
            return Code(
                tuple(dict.fromkeys((*sass, *claim.sass))),
                tuple(dict.fromkeys((*ptx, *claim.ptx))),
                cuda,
                from_files=True,
                facts=(fact.id,),
            )
        case _:
            if fact is None or claim is None or not (claim.sass or claim.ptx):
                return None
            return Code(claim.sass, claim.ptx, cuda, from_files=False, facts=(fact.id,))


def code_fact(snapshot: Snapshot, matrix: Matrix, build: Build) -> tuple[MatrixFact, HasGpuCode] | None:
    """Return the fact on the GPU code of an installed release; one for another CUDA than the build's is none."""
    built = numbers(value_of(build.cuda) or "")
    for fact, claim in matrix.facts(
        build.distribution, HasGpuCode, released_as(snapshot, matrix, build), platform_of(snapshot)
    ):
        meant = numbers(claim.cuda or "")
        if claim.cuda is not None and not (built and meant[: len(built)] != built[: len(meant)]):
            return fact, claim
    return None


def code_facts(snapshot: Snapshot, matrix: Matrix, subject: str) -> tuple[tuple[MatrixFact, HasGpuCode], ...]:
    """Return what is known of every release of a package, in the matrix's order."""
    platform = platform_of(snapshot)
    return tuple(
        (fact, fact.claim)
        for fact in matrix.data.facts
        if fact.subject == subject
        and isinstance(fact.claim, HasGpuCode)
        and (not fact.when.platforms or platform in fact.when.platforms)
    )


def released_as(snapshot: Snapshot, matrix: Matrix, build: Build) -> str | None:
    """Return the version under which a build was published.

    torch/version.py says `2.7.0+cu126` in the package index's wheel, too, which is published as plain 2.7.0.
    """
    distribution = snapshot.distribution(build.distribution)
    if distribution is not None and isinstance(distribution.version, Present):
        return distribution.version.value
    return consumer_version(snapshot, matrix, build.package)


def way_of(code: Code, capability: str, *, tegra: bool) -> Way:
    """Return in which way a GPU runs a build's code.

    Machine code of X.Y runs on X.Z with Z >= Y; PTX of X.Y is compiled for every later GPU.
    Source: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#binary-compatibility (2026-11-21)

    Args:
        code: The code.
        capability: Compute capability of the GPU: `8.6`.
        tegra: Whether the GPU is a Jetson's.
    """
    have = numbers(capability)
    if any(_runs(name, have, tegra=tegra) for name in code.sass):
        return "machine-code"
    return "ptx" if any(_compiles(name, have) for name in code.ptx) else "none"


def _runs(architecture: str, have: tuple[int, ...], *, tegra: bool) -> bool:
    parsed = parse_architecture(architecture)
    if parsed is None:
        return False
    of, suffix = parsed
    if suffix == "a" or tegra or of in _TEGRA:
        return of == have
    return of[0] == have[0] and of[1] <= have[1]


def _compiles(architecture: str, have: tuple[int, ...]) -> bool:
    parsed = parse_architecture(architecture)
    if parsed is None:
        return False
    of, suffix = parsed
    if suffix == "f":
        return of[0] == have[0] and of <= have
    return of == have if suffix == "a" else of <= have


def parse_architecture(name: str) -> tuple[tuple[int, int], str] | None:
    """Return an architecture's numbers and suffix: `120` is (12, 0), `90a` is (9, 0) with `a`; None for no name."""
    match = _ARCHITECTURE.fullmatch(name)
    return ((int(match[1]), int(match[2])), match[3]) if match else None


def runs_here(snapshot: Snapshot, claim: HasGpuCode, capabilities: Sequence[str]) -> bool:
    """Tell whether a build has code for all these GPUs that the driver, as far as it is known, serves."""
    if claim.cuda is None or not (claim.sass or claim.ptx):
        return False
    code = Code(claim.sass, claim.ptx, claim.cuda, from_files=False)
    ways = [way_of(code, c, tegra=isinstance(snapshot.host.tegra, Present)) for c in capabilities]
    major = f"{claim.cuda.partition('.')[0]}.0"
    return "none" not in ways and driver_serves(snapshot, claim.cuda if "ptx" in ways else major, None) is not False


def build_requirement(build: Build, fact: MatrixFact, released: str | None) -> str:
    """Return what to hand to pip for the build that a fact is about.

    torch's builds carry their label: a plain `torch==2.5.1` is satisfied by `2.5.1+cpu`, which an extra index offers
    and pip prefers.
    """
    versions = fact.when.versions
    plain = (released or "").partition("+")[0]
    same = bool(plain) and matches_version(versions, plain)
    label = next((b for b in fact.when.builds if _CUDA_LABEL.fullmatch(b)), "")
    if build.package != "torch" or not label:
        return f'-U "{build.distribution}{versions}"'
    wanted = f"=={plain}+{label}" if same else versions
    return f'--index-url {_TORCH_INDEX}/{label} "torch{wanted}"'


def fitting_build(
    snapshot: Snapshot, matrix: Matrix, build: Build, capabilities: Sequence[str]
) -> tuple[MatrixFact, HasGpuCode] | None:
    """Return a build with code for these GPUs that the driver serves: of the installed release, else of the newest."""
    found = [
        (fact, claim)
        for fact, claim in code_facts(snapshot, matrix, build.distribution)
        if runs_here(snapshot, claim, capabilities)
    ]
    released = released_as(snapshot, matrix, build)
    same = next((f for f in found if matches_version(f[0].when.versions, released)), None)
    return same or (found[-1] if found else None)


def other_build_fix(snapshot: Snapshot, matrix: Matrix, build: Build) -> Fix | None:
    """Return the step to a build that the visible GPUs run under this driver as it is; None where none is known."""
    capabilities = [c for gpu in visible_gpus(snapshot) if (c := value_of(gpu.compute_capability))]
    found = fitting_build(snapshot, matrix, build, capabilities)
    if found is None:
        return None
    fact, claim = found
    released = released_as(snapshot, matrix, build)
    same = matches_version(fact.when.versions, released)
    which = (released or "").partition("+")[0] if same else fact.when.versions
    return Fix(
        title=f"Or install the {build.distribution} {which} that is built for CUDA {claim.cuda}, which this driver "
        f"serves{with_family(snapshot, build)}",
        applicability="unsafe",
        commands=(pip_command(snapshot, build_requirement(build, fact, released)),),
    )


def with_family(snapshot: Snapshot, build: Build) -> str:
    """Remind of the packages that must change together with torch."""
    family = [n for n in ("torchaudio", "torchvision", "torchcodec") if is_installed(snapshot, n)]
    return f", and the {listed(family)} of the same index" if build.package == "torch" and family else ""


def torch_build(snapshot: Snapshot, matrix: Matrix, build: Build) -> str | None:
    """Return what to hand to pip for the GPU build of the installed torch release on this machine."""
    plain = (released_as(snapshot, matrix, build) or "").partition("+")[0]
    capabilities = [c for g in visible_gpus(snapshot) if (c := value_of(g.compute_capability))]
    for fact, claim in reversed(code_facts(snapshot, matrix, "torch")):
        if plain and matches_version(fact.when.versions, plain) and runs_here(snapshot, claim, capabilities):
            return build_requirement(build, fact, plain)
    return None


def way_on(snapshot: Snapshot, matrix: Matrix, code: Code, gpu: Gpu) -> Way | None:
    """Return in which way a GPU of the snapshot runs a build's code; None where its compute capability is not known."""
    capability = value_of(gpu.compute_capability)
    if capability is None or len(numbers(capability)) != 2:
        return None
    return way_of(code, capability, tegra=is_tegra(snapshot, matrix, capability))


def dotted(architecture: str) -> str:
    """Return an architecture as a compute capability: `120` is `12.0`, `90a` is `9.0a`."""
    parsed = parse_architecture(architecture)
    return f"{parsed[0][0]}.{parsed[0][1]}{parsed[1]}" if parsed else architecture
