"""The newest set that satisfies every need, found by resolvelib; or the fewest things that cannot hold together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import msgspec
from resolvelib import AbstractProvider, BaseReporter, ResolutionImpossible, ResolutionTooDeep, Resolver

from gpudoctor.matrix.claims import HasGpuCode
from gpudoctor.matrix.index import Matrix, driver_tuple
from gpudoctor.matrix.tables import GpuModel
from gpudoctor.model.errors import GpuDoctorError, UsageError
from gpudoctor.pins.candidates import Shelf, gpu_in_words
from gpudoctor.pins.conflict import explain, searched
from gpudoctor.pins.narrow import Net
from gpudoctor.pins.needs import Needs, left_to_installer
from gpudoctor.pins.types import Candidate, Chosen, Conflict, Machine, Need, Wish

if TYPE_CHECKING:
    from resolvelib.structs import RequirementInformation

_ROUNDS = 5_000
# They decide what everything else can be, so they are chosen early.
_DECISIVE = ("torch", "ctranslate2", "onnxruntime-gpu")


def choose(
    matrix: Matrix,
    machine: Machine,
    wishes: Sequence[Wish],
    *,
    installed: dict[str, str] | None = None,
    from_package_index: bool = False,
) -> Chosen | Conflict:
    """Return the newest set for a machine, or why there is none.

    A set that needs PyTorch's own index is chosen only where it gives newer releases of what was asked for.

    Args:
        matrix: Facts and published releases.
        machine: What the set must run on.
        wishes: What the user wants, the most important first: of two sets the one with the newer first wish is newer.
        installed: Releases by package to keep where possible.
        from_package_index: Leave out builds that only PyTorch's own index has.

    Raises:
        UsageError: A wish names a package whose releases the matrix does not know.
    """
    _refuse_unknown(matrix, wishes)
    wishes = [_of_any_index(matrix, wish) for wish in wishes]
    if (impossible := unserved(matrix, machine)) is not None:
        return impossible
    plain = _Attempt(matrix, machine, wishes, installed, from_package_index=True)
    if from_package_index:
        return plain.chosen or plain.conflict()
    newest = _Attempt(matrix, machine, wishes, installed, from_package_index=False)
    if newest.chosen is None:
        return newest.conflict()
    if plain.chosen is not None and _versions(plain.chosen, wishes) == _versions(newest.chosen, wishes):
        return plain.chosen
    return newest.chosen


def _versions(chosen: Chosen, wishes: Sequence[Wish]) -> list[str]:
    wished = {wish.package for wish in wishes}
    return [candidate.version for candidate in chosen.candidates if candidate.package in wished]


def _of_any_index(matrix: Matrix, wish: Wish) -> Wish:
    """Leave out the label of a build that the package index serves without one: torch 2.7.1 there is 2.7.1+cu126."""
    labelled = next((s.strip().removeprefix("==") for s in wish.versions.split(",") if "+" in s), None)
    facts = matrix.facts(wish.package, HasGpuCode, labelled) if labelled else ()
    return msgspec.structs.replace(wish, build=None) if any("" in fact.when.builds for fact, _ in facts) else wish


def _refuse_unknown(matrix: Matrix, wishes: Sequence[Wish]) -> None:
    known = [releases.package for releases in matrix.data.releases]
    for wish in wishes:
        if wish.package not in known:
            near = get_close_matches(wish.package, known, n=1, cutoff=0.75)
            means = f"did you mean {near[0]}? " if near else ""
            raise UsageError(
                f"{wish.package}: the matrix knows no releases of it; {means}`gpudoctor matrix list` names the "
                "packages that it speaks of, and an installer finds the others"
            )


class _Attempt:
    """One search for a set.

    Attributes:
        chosen: The set; None where there is none.
    """

    def __init__(
        self,
        matrix: Matrix,
        machine: Machine,
        wishes: Sequence[Wish],
        installed: dict[str, str] | None,
        *,
        from_package_index: bool,
    ) -> None:
        shelf = Shelf(matrix, machine, from_package_index=from_package_index, installed=installed)
        self._needs = Needs(matrix, machine, shelf)
        self._wishes = wishes
        self._net = Net(self._needs, wishes)
        self._causes: Collection[RequirementInformation[Need, Candidate]] = ()
        self.chosen = self._resolve(matrix, machine) if self._net.empty is None else None

    def conflict(self) -> Conflict:
        """Return why there is no set."""
        if self._net.empty is not None:
            return explain(self._net, self._needs, self._wishes)
        return searched(self._needs, self._wishes, self._causes)

    def _resolve(self, matrix: Matrix, machine: Machine) -> Chosen | None:
        provider = _Provider(self._needs, [wish.package for wish in self._wishes])
        try:
            result = Resolver(provider, BaseReporter()).resolve(list(_wanted(self._wishes)), max_rounds=_ROUNDS)
        except ResolutionImpossible as error:
            self._causes = error.causes
            return None
        except ResolutionTooDeep as error:
            raise GpuDoctorError(
                "no set was found within reasonable time; pin one of the packages and ask again"
            ) from error
        return _chosen(matrix, machine, self._wishes, result.mapping, result.criteria)


def unserved(matrix: Matrix, machine: Machine) -> Conflict | None:
    """Return why a machine's driver does not serve one of its GPUs at all: no package can mend that."""
    for name, capability in machine.gpus if machine.driver else ():
        model = next((m for m in matrix.data.gpus if m.compute_capability == capability), None)
        if machine.driver and model and (reason := _unserved(matrix, machine.driver, model)):
            about = f"{gpu_in_words((name, capability))} {reason}"
            return Conflict((name, f"driver {machine.driver}"), (about,), ())
    return None


def _unserved(matrix: Matrix, driver: str, model: GpuModel) -> str | None:
    served, least, last = matrix.cuda_of_driver(driver), model.first_cuda, model.last_driver_branch
    if served and least and driver_tuple(served) < driver_tuple(least):
        return f"needs a driver for CUDA {least} or newer; driver {driver} serves CUDA up to {served}"
    if last and driver_tuple(driver)[0] > int(last):
        return f"needs a driver of branch {last} or older: that is the last one that runs {model.architecture} GPUs"
    return None


def _wanted(wishes: Iterable[Wish]) -> Iterator[Need]:
    for wish in wishes:
        yield wish.need


class _Provider(AbstractProvider[Need, Candidate, str]):
    """Needs and candidates, as resolvelib asks for them."""

    def __init__(self, needs: Needs, order: Sequence[str]) -> None:
        self._needs = needs
        ranked = (*order, *(p for p in _DECISIVE if p not in order))
        self._rank = {package: rank for rank, package in enumerate(ranked)}

    def identify(self, requirement_or_candidate: Need | Candidate) -> str:
        return requirement_or_candidate.package

    def get_preference(
        self,
        identifier: str,
        resolutions: Mapping[str, Candidate],  # noqa: ARG002 - resolvelib names the arguments
        candidates: Mapping[str, Iterator[Candidate]],
        information: Mapping[str, Iterator[RequirementInformation[Need, Candidate]]],
        backtrack_causes: Sequence[RequirementInformation[Need, Candidate]],
    ) -> tuple[bool, int, bool, int, str]:
        """Say what to choose next, least first: what may stay absent comes last, when all that want it are known."""
        optional = all(i.requirement.only_if_there for i in information[identifier])
        to_blame = any(i.requirement.package == identifier for i in backtrack_causes)
        rank = self._rank.get(identifier, len(self._rank))
        return optional, rank, not to_blame, sum(1 for _ in candidates[identifier]), identifier

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Need]],
        incompatibilities: Mapping[str, Iterator[Candidate]],
    ) -> list[Candidate]:
        needs = list(requirements[identifier])
        tried = set(incompatibilities[identifier])
        absent = [Candidate(identifier)] if all(need.only_if_there for need in needs) else []
        offered = (*absent, *self._needs.shelf.candidates(identifier))
        return [c for c in offered if c not in tried and all(self.is_satisfied_by(need, c) for need in needs)]

    def is_satisfied_by(self, requirement: Need, candidate: Candidate) -> bool:
        return self._needs.satisfied(requirement, candidate)

    def get_dependencies(self, candidate: Candidate) -> tuple[Need, ...]:
        return self._needs.of(candidate)


def _chosen(
    matrix: Matrix,
    machine: Machine,
    wishes: Sequence[Wish],
    mapping: Mapping[str, Candidate],
    criteria: Mapping[str, Any],
) -> Chosen:
    order = {wish.package: rank for rank, wish in enumerate(wishes)}
    installed = [c for c in mapping.values() if c.version]
    installed.sort(key=lambda c: (order.get(c.package, len(order)), c.package.startswith("nvidia-"), c.package))
    asked = {c.package: tuple(criteria[c.package].information) for c in installed}
    return Chosen(
        candidates=tuple(installed),
        because={name: tuple(_sentences(information)) for name, information in asked.items()},
        facts=tuple(sorted({fact for known in asked.values() for i in known for fact in i.requirement.facts})),
        left=tuple(sorted({text for c in installed for text in left_to_installer(matrix, machine, c)})),
    )


def _sentences(information: Iterable[RequirementInformation[Need, Candidate]]) -> dict[str, None]:
    """Return why a package is there, each reason once."""
    real = [i for i in information if not i.requirement.only_if_there]
    return dict.fromkeys(f"{i.parent} {i.requirement.because}" if i.parent else i.requirement.because for i in real)
