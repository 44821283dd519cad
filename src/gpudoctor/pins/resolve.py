"""The newest set that satisfies every need, found by resolvelib; or the fewest things that cannot hold together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from packaging.version import Version
from resolvelib import AbstractProvider, BaseReporter, ResolutionImpossible, ResolutionTooDeep, Resolver

from gpudoctor.matrix.index import Matrix, matches_version
from gpudoctor.model.errors import GpuDoctorError, UsageError
from gpudoctor.pins.candidates import Shelf
from gpudoctor.pins.needs import left_to_installer, needs_of
from gpudoctor.pins.types import Candidate, Chosen, Conflict, Machine, Need, Rejection, Wish

if TYPE_CHECKING:
    from resolvelib.structs import RequirementInformation

_ROUNDS = 5_000
_MOST_REASONS = 8
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
    if (impossible := unserved(matrix, machine)) is not None:
        return impossible
    plain = _choose(matrix, machine, wishes, installed, from_package_index=True)
    if from_package_index:
        return plain
    newest = _choose(matrix, machine, wishes, installed, from_package_index=False)
    if isinstance(plain, Chosen) and isinstance(newest, Chosen):
        return plain if _versions(plain, wishes) == _versions(newest, wishes) else newest
    return newest


def _versions(chosen: Chosen, wishes: Sequence[Wish]) -> list[str]:
    wished = {wish.package for wish in wishes}
    return [candidate.version for candidate in chosen.candidates if candidate.package in wished]


def _refuse_unknown(matrix: Matrix, wishes: Sequence[Wish]) -> None:
    for wish in wishes:
        if not matrix.releases(wish.package):
            raise UsageError(
                f"{wish.package}: the matrix knows no releases of it; `gpudoctor matrix list` names the packages "
                "that it speaks of, and an installer finds the others"
            )


def _choose(
    matrix: Matrix,
    machine: Machine,
    wishes: Sequence[Wish],
    installed: dict[str, str] | None,
    *,
    from_package_index: bool,
) -> Chosen | Conflict:
    def attempt(machine: Machine, wishes: Sequence[Wish]) -> Chosen | _Failure:
        shelf = Shelf(matrix, machine, from_package_index=from_package_index, installed=installed)
        provider = _Provider(matrix, machine, shelf, [w.package for w in wishes])
        try:
            result = Resolver(provider, BaseReporter()).resolve(list(_wanted(wishes)), max_rounds=_ROUNDS)
        except ResolutionImpossible as error:
            return _Failure(error.causes, shelf, provider)
        except ResolutionTooDeep as error:
            raise GpuDoctorError(
                "no set was found within reasonable time; pin one of the packages and ask again"
            ) from error
        return _chosen(matrix, machine, wishes, result.mapping, result.criteria)

    outcome = attempt(machine, wishes)
    return outcome if isinstance(outcome, Chosen) else _conflict(machine, wishes, attempt)


def unserved(matrix: Matrix, machine: Machine) -> Conflict | None:
    """Return why a machine's driver does not serve one of its GPUs at all: no package can mend that."""
    served = matrix.cuda_of_driver(machine.driver) if machine.driver else None
    for name, capability in machine.gpus if served else ():
        model = next((m for m in matrix.data.gpus if m.compute_capability == capability), None)
        least = model.first_cuda if model else None
        if served and least and _release(served) < _release(least):
            reason = (
                f"{name} (compute capability {capability}) needs a driver for CUDA {least} or newer; driver "
                f"{machine.driver} serves CUDA up to {served}"
            )
            return Conflict((name, f"driver {machine.driver}"), (reason,), ())
    return None


def _release(cuda: str) -> tuple[int, ...]:
    return tuple(int(part) for part in cuda.split("."))


def _wanted(wishes: Iterable[Wish]) -> Iterator[Need]:
    for wish in wishes:
        yield Need(package=wish.package, versions=wish.versions, because="asked for")


class _Provider(AbstractProvider[Need, Candidate, str]):
    """Needs and candidates, as resolvelib asks for them."""

    def __init__(self, matrix: Matrix, machine: Machine, shelf: Shelf, order: Sequence[str]) -> None:
        self._matrix = matrix
        self._machine = machine
        self._shelf = shelf
        ranked = (*order, *(p for p in _DECISIVE if p not in order))
        self._rank = {package: rank for rank, package in enumerate(ranked)}
        self.asked: dict[tuple[Candidate, Need], None] = {}

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
        offered = (*absent, *self._shelf.candidates(identifier))
        return [c for c in offered if c not in tried and all(self.is_satisfied_by(need, c) for need in needs)]

    def is_satisfied_by(self, requirement: Need, candidate: Candidate) -> bool:
        if not candidate.version:
            return requirement.only_if_there
        if requirement.build is not None and candidate.build != requirement.build:
            return False
        if matches_version(requirement.versions, candidate.version) == requirement.excluded:
            return False
        return self._agrees(requirement, candidate)

    def _agrees(self, need: Need, candidate: Candidate) -> bool:
        if need.cuda is None or need.cuda_agreement is None:
            return True
        own = self._shelf.cuda_of(candidate)
        if own is None or need.cuda_agreement == "same-release":
            return own in (None, need.cuda)
        return own.partition(".")[0] == need.cuda.partition(".")[0]

    def get_dependencies(self, candidate: Candidate) -> list[Need]:
        needs = list(needs_of(self._matrix, self._machine, self._shelf, candidate))
        self.asked |= dict.fromkeys((candidate, need) for need in needs)
        return needs


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


# --- no set ----------------------------------------------------------------------------------------------------------


class _Failure(msgspec.Struct, frozen=True):
    """What is known after an attempt that found no set."""

    causes: Collection[Any]
    shelf: Shelf
    provider: _Provider


def _conflict(machine: Machine, wishes: Sequence[Wish], attempt: Any) -> Conflict:
    """Leave out one thing after another for as long as there is no set: what is left cannot hold together."""
    for wish in tuple(wishes):
        fewer = [w for w in wishes if w is not wish]
        if fewer and not isinstance(attempt(machine, fewer), Chosen):
            wishes = fewer
    for without in _relaxed(machine):
        if not isinstance(attempt(without(machine), wishes), Chosen):
            machine = without(machine)
    return Conflict(_between(machine, wishes, attempt), *_explained(attempt(machine, wishes), wishes))


def _relaxed(machine: Machine) -> list[Any]:
    """Return ways to ask less of the machine, one thing each."""
    ways: list[Any] = []
    if machine.driver is not None:
        ways.append(lambda m: msgspec.structs.replace(m, driver=None))
    for gpu in machine.gpus:
        ways.append(lambda m, gpu=gpu: msgspec.structs.replace(m, gpus=tuple(g for g in m.gpus if g != gpu)))
    return ways


def _between(machine: Machine, wishes: Sequence[Wish], attempt: Any) -> tuple[str, ...]:
    parts = [str(wish) for wish in wishes]
    parts += [f"{name} (compute capability {cc})" for name, cc in machine.gpus]
    if machine.driver is not None:
        parts.append(f"driver {machine.driver}")
    others = (f"3.{minor}" for minor in range(9, 16))
    if any(isinstance(attempt(msgspec.structs.replace(machine, python=p), wishes), Chosen) for p in others):
        parts.append(f"Python {machine.python}")
    return tuple(parts)


def _explained(failure: _Failure, wishes: Sequence[Wish]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sentences and facts that lead to the contradiction.

    The resolver names the last needs that met; those of the wished releases on the packages that state them come first.
    """
    last = [(cause.parent, cause.requirement) for cause in failure.causes if cause.parent is not None]
    wished = {wish.package for wish in wishes}
    packages = dict.fromkeys((*(parent.package for parent, _ in last), *(need.package for _, need in last)))
    first = [
        (asking, need)
        for asking, need in failure.provider.asked
        if asking.package in wished and need.package in packages and not need.only_if_there
    ]
    met = {*packages, *(need.package for _, need in first)}
    against = [(a, n) for a, n in failure.provider.asked if n.excluded and a.package in met and n.package in met]
    rejections = _relevant(failure, wishes, packages, last)
    # That a release is too old for this Python, or unknown, explains only where nothing else does.
    telling = [r for r in rejections if r.facts]
    said = [(asking, need.because, need.facts) for asking, need in dict.fromkeys((*first, *against, *last))]
    said += [
        (rejection.candidate, rejection.reason, rejection.facts)
        for rejection in telling or ([] if said else rejections)
    ]
    facts = {fact for _, _, names in said for fact in names}
    return tuple(_grouped((asking, clause) for asking, clause, _ in said))[:_MOST_REASONS], tuple(sorted(facts))


def _relevant(
    failure: _Failure, wishes: Sequence[Wish], packages: Iterable[str], last: Sequence[tuple[Candidate, Need]]
) -> list[Rejection]:
    """Return why releases that would have been wanted are none for this machine."""
    wanted = {wish.package: [wish.versions] for wish in wishes}
    for _, need in last:
        wanted.setdefault(need.package, []).extend([] if need.excluded else [need.versions])
    return [
        rejection
        for package in dict.fromkeys((*packages, *wanted))
        for rejection in failure.shelf.rejections.get(package, ())
        if all(matches_version(versions, rejection.candidate.version) for versions in wanted.get(package, ()))
    ]


def _grouped(said: Iterable[tuple[Candidate, str]]) -> Iterator[str]:
    """Yield one sentence for all releases of a package of which the same is said: `torch 2.9.0 to 2.15.0 needs …`."""
    groups: dict[tuple[str, str], list[Candidate]] = {}
    for candidate, clause in said:
        groups.setdefault((candidate.package, clause), []).append(candidate)
    for (package, clause), candidates in groups.items():
        releases = sorted({c.version for c in candidates}, key=Version)
        yield f"{package} {releases[0] if len(releases) == 1 else f'{releases[0]} to {releases[-1]}'} {clause}"
