"""Which releases of a package can be chosen on a machine: published, for its Python, with code that its GPU runs."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeVar

from gpudoctor.matrix.claims import Claim, HasGpuCode, NeedsDriver, PairsWith, Requires
from gpudoctor.matrix.index import Matrix, driver_tuple, matches_version
from gpudoctor.matrix.types import Fact
from gpudoctor.pins.types import TORCH_FAMILY, Candidate, Machine, Rejection
from gpudoctor.rules.gpu_code import Code, Way, way_of

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
        self._judged: dict[str, tuple[tuple[Candidate, Rejection | None], ...]] = {}
        self._kept: dict[str, tuple[Candidate, ...]] = {}
        self._cuda: dict[Candidate, str | None] = {}

    def judged(self, package: str) -> tuple[tuple[Candidate, Rejection | None], ...]:
        """Return every published release, newest first, with the reason why it is no candidate where it is none."""
        if package not in self._judged:
            self._judged[package] = tuple((c, self._reject(c)) for c in self._published(package))
        return self._judged[package]

    def candidates(self, package: str) -> tuple[Candidate, ...]:
        """Return what can be chosen, best first."""
        if package not in self._kept:
            fitting = [c for c, rejection in self.judged(package) if rejection is None]
            installed = self._installed.get(package)
            fitting.sort(key=lambda c: c.release != installed and (c.version != installed or bool(c.build)))
            self._kept[package] = tuple(fitting)
        return self._kept[package]

    def cuda_of(self, candidate: Candidate) -> str | None:
        """Return the CUDA version of a build; torch's own for a member of its family of the same release."""
        if candidate not in self._cuda:
            self._cuda[candidate] = self._read_cuda(candidate)
        return self._cuda[candidate]

    def _read_cuda(self, candidate: Candidate) -> str | None:
        subjects = (candidate.package, "torch") if candidate.package in TORCH_FAMILY else (candidate.package,)
        for subject in subjects:
            for _, claim in self._facts(Candidate(subject, candidate.version, candidate.build), HasGpuCode):
                return claim.cuda
        return _cuda_of_label(candidate.build)

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
        python = self._machine.python
        if not matches_version(self._matrix.releases(candidate.package)[candidate.version], python):
            return Rejection(candidate, f"has no wheel for Python {python}", between=(f"Python {python}",))
        if not self._is_known(candidate):
            return Rejection(candidate, "is a release that no fact of the matrix speaks of", unknown=True)
        if not self._machine.gpus and self._machine.driver is None:
            return None
        known = self._facts(candidate, HasGpuCode)
        for fact, claim in known:
            if (rejection := self._reject_code(candidate, fact, claim)) is not None:
                return rejection
        # Of another platform's builds on PyTorch's index only what their label says is known.
        return None if known else self._reject_driver(candidate, (), _cuda_of_label(candidate.build), [])

    def _is_known(self, candidate: Candidate) -> bool:
        """Tell whether what a release requires is known, on any platform, where that of others of the package is."""
        if candidate.build or not _requirements_known(self._matrix, candidate.package):
            return True  # a build of an index is listed for what its own facts say
        where = (candidate.release, None, self._machine.python)
        return any(self._matrix.facts(candidate.package, kind, *where) for kind in (Requires, PairsWith))

    def _reject_code(self, candidate: Candidate, fact: Fact, claim: HasGpuCode) -> Rejection | None:
        if claim.cuda is None and not claim.sass:
            return self._reject_cpu(candidate, fact)
        code = Code(claim.sass, claim.ptx, claim.cuda, from_files=False)
        ways: dict[tuple[str, str], Way] = {}
        if claim.sass or claim.ptx:
            ways = {gpu: way_of(code, gpu[1], tegra=self._machine.tegra) for gpu in self._machine.gpus}
        without = [gpu for gpu, way in ways.items() if way == "none"]
        if without:
            names = " and ".join(name for name, _ in without)
            return Rejection(candidate, f"has no code for {names}", (fact.id,), tuple(map(gpu_in_words, without)))
        compiling = [gpu for gpu, way in ways.items() if way == "ptx"]
        return self._reject_driver(candidate, (fact.id,), claim.cuda, compiling)

    def _reject_cpu(self, candidate: Candidate, fact: Fact) -> Rejection | None:
        """A build without GPU code is no choice for a GPU where other builds of the package have some."""
        facts = self._matrix.data.facts
        if not any(f.subject == candidate.package and _has_code(f.claim) for f in facts):
            return None
        gpus = tuple(map(gpu_in_words, self._machine.gpus))
        return Rejection(candidate, f"is built without CUDA for {self._machine.platform}", (fact.id,), gpus)

    def _reject_driver(
        self, candidate: Candidate, code: tuple[str, ...], cuda: str | None, compiling: list[tuple[str, str]]
    ) -> Rejection | None:
        """Any driver of a CUDA major's minimum runs its machine code; compiling PTX takes the build's own minimum."""
        needs = [(f, c) for f, c in self._facts(candidate, NeedsDriver) if c.ptx] if compiling else []
        needs += self._matrix.facts("cuda", NeedsDriver, cuda, self._machine.platform) if cuda else []
        driver = self._machine.driver
        for fact, claim in needs if driver else ():
            least = claim.windows if self._machine.platform.startswith("windows") else claim.linux
            if driver and least and driver_tuple(driver) < driver_tuple(least):
                major = claim.cuda.partition(".")[0]
                what = f"compiling its code for this GPU (CUDA {claim.cuda})" if claim.ptx else f"CUDA {major}"
                gpus = tuple(map(gpu_in_words, compiling)) if claim.ptx else ()
                return Rejection(
                    candidate,
                    f"needs driver {least} or newer for {what}",
                    (*code, fact.id),
                    (*gpus, f"driver {driver}"),
                )
        return None


def gpu_in_words(gpu: tuple[str, str]) -> str:
    """Return a GPU's name and compute capability as a conflict names it."""
    name, capability = gpu
    return name if capability in name else f"{name} (compute capability {capability})"


def _cuda_of_label(label: str) -> str | None:
    """Return the CUDA version of an index's label: `cu126` is 12.6; None for another one."""
    match = re.fullmatch(r"cu(\d+)(\d)", label)
    return f"{match[1]}.{match[2]}" if match else None


def _has_code(claim: Claim) -> bool:
    return isinstance(claim, HasGpuCode) and (claim.cuda is not None or bool(claim.sass))


@lru_cache(maxsize=512)
def _requirements_known(matrix: Matrix, package: str) -> bool:
    return any(f.subject == package and isinstance(f.claim, (Requires, PairsWith)) for f in matrix.data.facts)


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
