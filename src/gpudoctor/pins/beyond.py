"""What a set of pins cannot say: what else another platform needs, and a way where packages share their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from gpudoctor.matrix.claims import Conflicts, HasGpuCode, Requires
from gpudoctor.matrix.index import Matrix
from gpudoctor.pins.resolve import choose
from gpudoctor.pins.types import LISTED, Candidate, Chosen, Conflict, Machine, WayRound, Wish
from gpudoctor.rules.reading import listed


def platform_notes(matrix: Matrix, machine: Machine, chosen: Chosen) -> tuple[str, ...]:
    """Return what of a set runs on the CPU only, or misses libraries that no package of the set brings.

    The matrix knows the libraries of the wheels for one platform; on another one the set holds nothing in their place.
    """
    if machine.platform.startswith("macos"):
        return ("there is no CUDA on macOS: nothing of this set runs on an NVIDIA GPU",)
    return tuple(dict.fromkeys(note for c in chosen.candidates for note in _notes(matrix, machine, c)))


def _notes(matrix: Matrix, machine: Machine, candidate: Candidate) -> Iterator[str]:
    code = [_has_code(matrix, candidate, platform, machine.python) for platform in (machine.platform, LISTED)]
    if code[0] is False and code[1]:
        yield f"{candidate} for {machine.platform} is built without CUDA: it runs on the CPU only"
    if code[0] is False:
        return
    here, there = (_forgotten(matrix, candidate, platform, machine.python) for platform in (machine.platform, LISTED))
    if missing := [name for name in there if name not in here]:
        names = listed([_title(matrix, name) for name in missing], most=len(missing))
        brought = listed(missing, most=len(missing))
        where = "PATH" if machine.platform.startswith("windows") else "the loader's path"
        yield (
            f"on a GPU {candidate} needs {names} (on {LISTED} from {brought}), which no package of this set is known "
            f"to bring on {machine.platform}: install that from NVIDIA and put its folder on {where}; without it "
            f"{candidate.package} runs on the CPU only"
        )


def _has_code(matrix: Matrix, candidate: Candidate, platform: str, python: str) -> bool | None:
    """Tell whether a build has GPU code; None where nobody knows."""
    found = [claim for _, claim in matrix.facts(candidate.package, HasGpuCode, candidate.release, platform, python)]
    return any(claim.cuda is not None or claim.sass for claim in found) if found else None


def _forgotten(matrix: Matrix, candidate: Candidate, platform: str, python: str) -> tuple[str, ...]:
    """Return the packages of GPU libraries that a release needs on a platform and does not require by its metadata."""
    brought = {provider.distribution for family in matrix.families.values() for provider in family.providers}
    claims = matrix.facts(candidate.package, Requires, candidate.release, platform, python)
    return tuple(dict.fromkeys(c.package for _, c in claims if not c.declared and c.package in brought))


def _title(matrix: Matrix, distribution: str) -> str:
    families = matrix.families.values()
    return next(f.title for f in families if any(p.distribution == distribution for p in f.providers))


def way_round(
    matrix: Matrix,
    machine: Machine,
    wishes: Sequence[Wish],
    *,
    installed: dict[str, str] | None = None,
    from_package_index: bool = False,
) -> WayRound | None:
    """Return the set that works when a package is installed last, over the files that it shares with another one.

    Args:
        matrix: Facts and published releases.
        machine: What the set must run on.
        wishes: Wishes of which no set was found.
        installed: Releases by package to keep where possible.
        from_package_index: Leave out builds that only PyTorch's own index has.

    Returns:
        The set, in which both are of one release; None where nothing asked for is such a package, or no set is found.
    """
    wished = {wish.package for wish in wishes} if machine.platform == LISTED else set()
    for fact in matrix.data.facts:
        claim = fact.claim
        if not isinstance(claim, Conflicts) or claim.keep not in wished or not claim.shares_files:
            continue
        over = fact.subject if claim.keep == claim.package else claim.package
        rest = tuple(f for f in matrix.data.facts if f is not fact)
        beside = Matrix(msgspec.structs.replace(matrix.data, facts=rest))
        search = partial(choose, beside, machine, installed=installed, from_package_index=from_package_index)
        if (found := _of_one_release(search, wishes, claim.keep, over)) is not None:
            return found
    return None


def _of_one_release(
    search: Callable[[Sequence[Wish]], Chosen | Conflict], wishes: Sequence[Wish], keep: str, over: str
) -> WayRound | None:
    outcome = search(wishes)
    last = _of(outcome, keep)
    if last is not None and over not in {wish.package for wish in wishes}:
        outcome = search((*wishes, Wish(over, f"=={last.version}")))
    under = _of(outcome, over)
    if isinstance(outcome, Conflict) or last is None or under is None or last.version != under.version:
        return None
    return WayRound(chosen=outcome, last=last, over=under)


def _of(outcome: Chosen | Conflict, package: str) -> Candidate | None:
    candidates = outcome.candidates if isinstance(outcome, Chosen) else ()
    return next((c for c in candidates if c.package == package), None)
