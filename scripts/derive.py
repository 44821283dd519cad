"""What a machine can derive of a release from its published METADATA and file names, and whether facts agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from gpudoctor.matrix.claims import NeedsPython, PairsWith, Requires
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Fact
from published import PYTHONS, Index, Wheel, pythons_of, read_requirements, requirements_for

# Brings NVIDIA's wheels by extras of its own: what it pins is not in the METADATA of the package that requires it.
TOOLKIT = "cuda-toolkit"


@dataclass(frozen=True)
class Release:
    """What is derived of one release on one platform.

    Attributes:
        name: Canonical name of the project.
        version: The release.
        platform: For which platform.
        wheel: The wheel that stands for it.
        requirements: Specifiers by canonical name of what it requires there, extras left out.
        pythons: Python versions that its wheels install on.
    """

    name: str
    version: str
    platform: str
    wheel: Wheel
    requirements: dict[str, SpecifierSet]
    pythons: tuple[str, ...]


def derive(index: Index, name: str, version: str, platform: str) -> Release:
    """Read a release from the index.

    Raises:
        NotPublished: It has no wheel for the platform.
    """
    wheel = index.wheel(name, version, platform)
    with index.open(wheel) as archive:
        found = requirements_for(read_requirements(archive), platform)
    requirements = {str(canonicalize_name(r.name)): r.specifier for r in found}
    return Release(name, version, platform, wheel, requirements, pythons_of(index.release(name, version, platform)))


def disagreement(fact: Fact, release: Release) -> str | None:
    """Return in what a fact that holds for a release contradicts it; None where it agrees or cannot be derived."""
    match fact.claim:
        case NeedsPython(versions=versions):
            return _pythons(versions, release)
        case Requires(package=package, versions=versions, declared=True):
            return _requirement(package, versions, release)
        case PairsWith(package=package, versions=versions, declared=True):
            return _requirement(package, versions, release)
        case (
            Requires(package=package, versions=versions, declared=False)
            | PairsWith(package=package, versions=versions, declared=False)
        ):
            return _undeclared(package, versions, release)
    return None


def is_derivable(fact: Fact) -> bool:
    """Tell whether METADATA and file names alone can show that a fact is true."""
    return isinstance(fact.claim, (NeedsPython, Requires, PairsWith))


def new_facts(matrix: Matrix, release: Release, day: str) -> list[dict[str, Any]]:
    """Return what METADATA and file names say of a release, as facts, for what no fact of the matrix speaks of."""
    held = [f for f in matrix.data.facts if f.subject == release.name]
    holding = {f.id for kind in (NeedsPython, Requires, PairsWith) for f, _ in _facts(matrix, release, kind)}
    known = [f for f in held if f.id in holding]
    claims: list[dict[str, Any]] = []
    # Of cuda-toolkit and the like no fact speaks of interpreters: a new release of it needs none either.
    wanted = not held or any(isinstance(f.claim, NeedsPython) for f in held)
    if wanted and release.pythons and not any(isinstance(f.claim, NeedsPython) for f in known):
        claims.append({"kind": "needs-python", "versions": python_specifiers(release.pythons)})
    spoken_of = {f.claim.package for f in known if isinstance(f.claim, (Requires, PairsWith))}
    for package, specifiers in sorted(release.requirements.items()):
        if package not in spoken_of and specifiers and (matrix.knows(package) or package.startswith("nvidia-")):
            claims.append({"kind": "requires", "package": package, "versions": _text(specifiers)})
    return [_fact(release, claim, day) for claim in claims]


def python_specifiers(pythons: tuple[str, ...]) -> str:
    """Return the specifier set of consecutive Python versions: `>=3.9,<3.14`."""
    minors = [int(python.split(".")[1]) for python in pythons]
    missing = [minor for minor in range(minors[0], minors[-1]) if minor not in minors]
    return ",".join([f">=3.{minors[0]}", f"<3.{minors[-1] + 1}", *(f"!=3.{minor}.*" for minor in missing)])


def _facts(matrix: Matrix, release: Release, kind: type) -> tuple[tuple[Fact, object], ...]:
    return matrix.facts(release.name, kind, release.version, release.platform)


def _text(specifiers: SpecifierSet) -> str:
    return ",".join(sorted((str(s) for s in specifiers), reverse=True))


def _fact(release: Release, claim: dict[str, Any], day: str) -> dict[str, Any]:
    what = str(claim.get("package") or "python")
    where = "file names" if claim["kind"] == "needs-python" else "METADATA (Requires-Dist)"
    return {
        "id": f"{release.name}-{release.version.replace('.', '-')}-{what}",
        "subject": release.name,
        "when": {"versions": f"=={release.version}", "platforms": [release.platform]},
        "claim": claim,
        "status": "verified",
        "sources": [
            {
                "kind": "wheel",
                "ref": f"{release.name}=={release.version}: {where}",
                "date": day,
                "sha256": release.wheel.sha256,
            }
        ],
    }


def _pythons(versions: str, release: Release) -> str | None:
    claimed = tuple(p for p in PYTHONS if SpecifierSet(versions).contains(f"{p}.0"))
    if claimed == release.pythons:
        return None
    return f"says Python {versions}, but its wheels install on {', '.join(release.pythons) or 'none'}"


def _requirement(package: str, versions: str, release: Release) -> str | None:
    found = release.requirements.get(package)
    if found is None:
        if TOOLKIT in release.requirements and package.startswith("nvidia-"):
            return None
        return f"says that it requires {package}, but its METADATA does not"
    if versions and _same(SpecifierSet(versions), found):
        return None
    return None if not versions else f"says {package} {versions}, but its METADATA says {found or 'no version'}"


def _undeclared(package: str, versions: str, release: Release) -> str | None:
    found = release.requirements.get(package)
    if found is not None and _same(SpecifierSet(versions), found):
        return f"says that its METADATA does not name {package} {versions}, but it does"
    return None


def _same(one: SpecifierSet, other: SpecifierSet) -> bool:
    return {str(s) for s in one} == {str(s) for s in other}
