"""Which releases of a package can be chosen on a machine: published, for its Python, with code that its GPU runs."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from gpudoctor.matrix.claims import Claim, HasGpuCode, NeedsDriver, PairsWith, Requires
from gpudoctor.matrix.index import Matrix, driver_tuple, matches_version
from gpudoctor.matrix.types import Fact
from gpudoctor.pins.types import TORCH_FAMILY, Candidate, Machine, Rejection
from gpudoctor.rules.gpu_code import Code, way_of

C = TypeVar("C", bound=Claim)


class Shelf:
    """The candidates of every package for one machine, newest first, and why others are none.

    Args:
        matrix: Facts and published releases.
        machine: What the set must run on.
        from_package_index: Leave out builds that only PyTorch's own index has.
        installed: Releases by package, which come first where they are candidates.
    """

    def __init__(
        self, matrix: Matrix, machine: Machine, *, from_package_index: bool, installed: dict[str, str] | None = None
    ) -> None:
        self._matrix = matrix
        self._machine = machine
        self._only_index = from_package_index
        self._installed = installed or {}
        self._kept: dict[str, tuple[Candidate, ...]] = {}
        self.rejections: dict[str, tuple[Rejection, ...]] = {}

    def candidates(self, package: str) -> tuple[Candidate, ...]:
        """Return what can be chosen, best first."""
        if package not in self._kept:
            judged = [(c, self._reject(c)) for c in self._published(package)]
            self.rejections[package] = tuple(r for _, r in judged if r is not None)
            fitting = [c for c, r in judged if r is None]
            installed = self._installed.get(package)
            fitting.sort(key=lambda c: c.release != installed and (c.version != installed or bool(c.build)))
            self._kept[package] = tuple(fitting)
        return self._kept[package]

    def cuda_of(self, candidate: Candidate) -> str | None:
        """Return the CUDA version of a build; torch's own for a member of its family of the same release."""
        subjects = (candidate.package, "torch") if candidate.package in TORCH_FAMILY else (candidate.package,)
        for subject in subjects:
            for _, claim in self._facts(Candidate(subject, candidate.version, candidate.build), HasGpuCode):
                return claim.cuda
        return None

    def _published(self, package: str) -> list[Candidate]:
        """Return every published release, newest first; of one release the package index's build first."""
        versions = self._matrix.releases(package)
        return [Candidate(package, version, build) for version in versions for build in self._builds(package, version)]

    def _builds(self, package: str, version: str) -> tuple[str, ...]:
        if package not in TORCH_FAMILY or self._only_index:
            return ("",)
        return ("", *_index_builds(self._matrix, version if package == "torch" else None))

    def _facts(self, candidate: Candidate, kind: type[C]) -> tuple[tuple[Fact, C], ...]:
        return self._matrix.facts(
            candidate.package, kind, candidate.release, self._machine.platform, self._machine.python
        )

    def _reject(self, candidate: Candidate) -> Rejection | None:
        pythons = self._matrix.releases(candidate.package)[candidate.version]
        if not matches_version(pythons, self._machine.python):
            return Rejection(candidate, f"has no wheel for Python {self._machine.python}")
        if not self._is_known(candidate):
            return Rejection(candidate, "is a release that no fact of the matrix speaks of")
        if not self._machine.gpus and self._machine.driver is None:
            return None
        for fact, claim in self._facts(candidate, HasGpuCode):
            if (rejection := self._reject_code(candidate, fact, claim)) is not None:
                return rejection
        return None

    def _is_known(self, candidate: Candidate) -> bool:
        """Tell whether what a release requires is known, where it is known of others of the package."""
        kinds = (Requires, PairsWith)
        if candidate.build:
            return True  # listed for what its own facts say
        if not any(f.subject == candidate.package and isinstance(f.claim, kinds) for f in self._matrix.data.facts):
            return True
        return any(self._facts(candidate, kind) for kind in kinds)

    def _reject_code(self, candidate: Candidate, fact: Fact, claim: HasGpuCode) -> Rejection | None:
        if claim.cuda is None and not claim.sass:
            return self._reject_cpu(candidate, fact)
        code = Code(claim.sass, claim.ptx, claim.cuda, from_files=False)
        ways = {}
        if claim.sass or claim.ptx:
            ways = {name: way_of(code, cc, tegra=self._machine.tegra) for name, cc in self._machine.gpus}
        without = [name for name, way in ways.items() if way == "none"]
        if without:
            return Rejection(candidate, f"has no code for {' and '.join(without)}", (fact.id,))
        if self._machine.driver is None:
            return None
        return self._reject_driver(candidate, fact, claim.cuda, compiles="ptx" in ways.values())

    def _reject_cpu(self, candidate: Candidate, fact: Fact) -> Rejection | None:
        """A build without GPU code is no choice for a GPU where other builds of the package have some."""
        facts = self._matrix.data.facts
        others = any(f.subject == candidate.package and _has_code(f.claim) for f in facts)
        return Rejection(candidate, "is built without CUDA", (fact.id,)) if others else None

    def _reject_driver(self, candidate: Candidate, code: Fact, cuda: str | None, *, compiles: bool) -> Rejection | None:
        """Any driver of a CUDA major's minimum runs its machine code; compiling PTX takes the build's own minimum."""
        needs = [(f, c) for f, c in self._facts(candidate, NeedsDriver) if c.ptx] if compiles else []
        needs += self._matrix.facts("cuda", NeedsDriver, cuda, self._machine.platform) if cuda else []
        for fact, claim in needs:
            least = claim.windows if self._machine.platform.startswith("windows") else claim.linux
            if least is not None and driver_tuple(self._machine.driver or "0") < driver_tuple(least):
                what = f"compiling its code for this GPU (CUDA {claim.cuda})" if claim.ptx else f"CUDA {cuda}"
                return Rejection(candidate, f"needs driver {least} or newer for {what}", (code.id, fact.id))
        return None


def _has_code(claim: Claim) -> bool:
    return isinstance(claim, HasGpuCode) and (claim.cuda is not None or bool(claim.sass))


@lru_cache(maxsize=256)
def _index_builds(matrix: Matrix, version: str | None) -> tuple[str, ...]:
    """Return the labels of builds that only PyTorch's own index has, newest CUDA first.

    Args:
        matrix: The facts.
        version: Release of torch; None for those of any release, since its family is built with it.
    """
    found = {
        build
        for fact in matrix.data.facts
        if fact.subject == "torch" and _has_code(fact.claim) and "" not in fact.when.builds
        for build in fact.when.builds
        if version is None or matches_version(fact.when.versions, version)
    }
    return tuple(sorted(found, key=lambda build: (len(build), build), reverse=True))
