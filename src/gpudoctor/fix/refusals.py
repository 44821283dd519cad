"""Why there are no settings, in one sentence."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from gpudoctor.fix.candidates import Candidates, Scene
from gpudoctor.fix.trials import Bench, Problem, Trial, key_of
from gpudoctor.loader.search import inexpressible
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.loading import Resolution
from gpudoctor.rules.reading import listed, major_of, unique

RefusalKind = Literal[
    "not-installed",
    "other-cuda",
    "conflict",
    "inexpressible",
    "ignored",
    "unknown",
    "breaks-another",
    "no-place",
    "outside",
]


class Refusal(msgspec.Struct, frozen=True):
    """Why no value of LD_LIBRARY_PATH helps.

    Attributes:
        kind: Sort of reason.
        reason: One sentence, without its full stop.
        consumers: Whom it concerns; for a conflict the one that would be served, then the one that would pay for it.
        library: The library it is about.
    """

    kind: RefusalKind
    reason: str
    consumers: tuple[str, ...] = ()
    library: str | None = None


def way_out(refusal: Refusal, command: str) -> str:
    """Return what `gpudoctor fix` does where no variable helps, as the end of a sentence; empty where it does not.

    Args:
        refusal: Why no variable helps.
        command: `gpudoctor fix` with all that names the target; empty where there is none that it could repair.
    """
    if command and refusal.kind == "inexpressible":
        return f"; `{command}` may repair it without the variable"
    return f"; `{command} --packages --apply` can install it" if command and refusal.kind == "not-installed" else ""


def ignored(consumers: Iterable[str], executable: str) -> Refusal:
    """Return the refusal for an executable with set-id bits or file capabilities."""
    names = unique(consumers)
    return Refusal(
        kind="ignored",
        reason=f"{listed(names)} cannot be helped with LD_LIBRARY_PATH: {executable} has a set-user-id bit or file "
        "capabilities, which make the loader ignore it",
        consumers=names,
    )


def not_emulated(rows: Sequence[Resolution]) -> Refusal:
    """Return the refusal where the loader could not be emulated at all."""
    names = unique(r.consumer for r in rows)
    reason = next((r.reason for r in rows if r.reason), "the loader could not be emulated")
    return Refusal(kind="unknown", reason=f"what {listed(names)} will load is not known: {reason}", consumers=names)


def not_here(matrix: Matrix, scene: Scene, candidates: Candidates, problem: Problem) -> Refusal:
    """Return the refusal for a library that lies nowhere that LD_LIBRARY_PATH could name."""
    name = problem.plain
    needs = "may open" if problem.resolution.assumed else "needs"
    foreign = scene.foreign(matrix, problem.resolution, problem.blamed)
    unusable = candidates.unusable(problem.blamed, foreign)
    if unusable is not None:
        kind: RefusalKind = "inexpressible"
        reason = (
            f"{problem.consumer} {needs} {name}, which lies in {unusable!r}, and LD_LIBRARY_PATH cannot name that "
            f"folder: {inexpressible(unusable)}; give the environment another folder name"
        )
    elif foreign:
        kind = "other-cuda"
        path, cuda = next(iter(foreign.items()))
        # Not installed beside it: the packages of the two have the same file names.
        reason = (
            f"{problem.consumer} {needs} {name}, and {path} is built for CUDA {cuda}; `gpudoctor check` says what to do"
        )
    else:
        kind = "not-installed"
        reason = (
            f"{problem.consumer} {needs} {name}, and no usable file of that name is here"
            f"{_instead(scene, name)}; {_remedy(matrix, scene, problem)}"
        )
    return Refusal(kind=kind, reason=reason, consumers=(problem.consumer,), library=name)


def _instead(scene: Scene, name: str) -> str:
    """Return which other major versions of the library are there, as a parenthesis."""
    stem = name.partition(".so")[0]
    others = (posixpath.basename(x.path) for x in scene.libraries)
    found = unique(o for o in others if o.partition(".so")[0] == stem and major_of(o) not in (None, major_of(name)))
    return f" ({listed(found)} is of another major version)" if found else ""


def _remedy(matrix: Matrix, scene: Scene, problem: Problem) -> str:
    """Return what would bring a library, else where to read on."""
    family, major = matrix.family_of(problem.plain), major_of(problem.plain)
    cuda = next((major_of(r.soname) for r in scene.resolutions if _tells_cuda(r, problem.consumer)), None)
    provider = matrix.provider(family.name, major, cuda) if family and major else None
    return (
        f"{provider.distribution}{provider.versions} would bring it"
        if provider
        else "no package that gpudoctor knows would bring it"
        if problem.resolution.assumed
        else "`gpudoctor check` says what to do"
    )


def _tells_cuda(row: Resolution, consumer: str) -> bool:
    return row.consumer == consumer and row.family in ("cudart", "cublas", "nvrtc")


def conflict(bench: Bench, candidates: Candidates, best: Trial, trials: Sequence[Trial]) -> Refusal:
    """Return the refusal where every order leaves somebody worse off.

    Args:
        bench: What was wrong before.
        candidates: Versions of files.
        best: The proposal that came nearest.
        trials: All that were tried.
    """
    problem = best.problems[0]
    served = _served(bench, best, trials, problem)
    who = f"{served} and {problem.consumer}" if served != problem.consumer else problem.consumer
    return Refusal(
        kind="conflict",
        reason=f"no LD_LIBRARY_PATH satisfies {who}: {_told(candidates, problem, served)}"
        + (f"; name the one that the process uses with --for {served}" if served != problem.consumer else ""),
        consumers=unique((served, problem.consumer)),
        library=problem.plain,
    )


def _served(bench: Bench, best: Trial, trials: Sequence[Trial], problem: Problem) -> str:
    """Return the consumer on whose behalf the directory that makes the problem is there."""
    culprit = posixpath.dirname(problem.resolution.path or "")
    wrong = {key_of(p.resolution) for p in best.problems}
    healed = [r for r in best.resolutions if key_of(r) in bench.faults and key_of(r) not in wrong]
    near = [r for r in healed if r.path and posixpath.dirname(r.path) == culprit]
    for row in (*near, *healed):
        if row.consumer != problem.consumer:
            return row.consumer
    # The other order helped somebody else: that is the one it cannot be reconciled with.
    others = (p.consumer for t in trials for p in t.problems if p.consumer != problem.consumer)
    return next(others, problem.consumer)


def _told(candidates: Candidates, problem: Problem, served: str) -> str:
    row = problem.resolution
    if problem.before is not None and row.path is not None:
        return (
            f"the folder that {served} needs would give {problem.consumer} {_build(candidates, row.path)} instead of "
            f"{_build(candidates, problem.before)}"
        )
    if problem.before is not None:
        return f"{problem.consumer} would lose {problem.plain} of {problem.before}: {row.reason or 'not found'}"
    if problem.kind == "missing":
        return f"{problem.consumer} would still lack {problem.plain}: {row.reason or 'not found'}"
    return f"{problem.consumer} would get parts of different builds, such as {_build(candidates, row.path or '')}"


def _build(candidates: Candidates, path: str) -> str:
    version = candidates.version(path)
    return f"{path} ({version})" if version else path
