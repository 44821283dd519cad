"""GPD403, GPD405: releases that must not meet, and releases without a wheel for this Python."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fix, NotApplicable, Open, Pass, Subject
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.gpu_code import platform_of
from gpudoctor.rules.pages import packages as pages
from gpudoctor.rules.reading import evidence, installed_versions
from gpudoctor.rules.releases import (
    Clash,
    WrongPython,
    clashes,
    is_own_build,
    other_side,
    possible_clashes,
    upper_bound,
    wrong_pythons,
)
from gpudoctor.rules.remedies import pip_command, quoted

# What the files themselves tell (cuDNN's majors, torch's family) other rules judge by them, not by a table.
_CAUSES = ("numpy-abi", "python-api-removed", "torch-weights-only")
_NO_CAUSE = "none of the taxonomy's causes fits"


# --- GPD403 ----------------------------------------------------------------------------------------------------------


def _conflicts(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    versions = installed_versions(snapshot)
    possible = [(f.subject, c.package) for f, c in possible_clashes(matrix, versions) if c.cause in (None, *_CAUSES)]
    if not possible:
        return (NotApplicable("no two packages are installed that conflict at any release"),)
    found = [c for c in clashes(matrix, versions, platform_of(snapshot)) if c.claim.cause in (None, *_CAUSES)]
    evaluations: list[Evaluation] = [_clash(snapshot, c) for c in found]
    evaluations += _unjudged(versions, possible)
    return tuple(evaluations) or (Pass("distributions"),)


def _unjudged(versions: dict[str, str | None], possible: list[tuple[str, str]]) -> Iterator[Open]:
    """Yield the pairs of which a release cannot be told, each package once."""
    told: set[str] = set()
    for name in (name for pair in possible for name in pair):
        version = versions[name]
        if name in told or (version is not None and not is_own_build(version)):
            continue
        told.add(name)
        why = f"{name} {version} is a build of somebody's own" if version else f"the release of {name} is not known"
        yield Open(f"{why}: whether it gets along with the packages beside it cannot be told", name)


def _clash(snapshot: Snapshot, clash: Clash) -> Evaluation:
    fact, claim = clash.fact, clash.claim
    one, other = f"{fact.subject} {clash.version}", f"{claim.package} {clash.other}"
    return conflicting_releases.fail(
        Subject(kind="distribution", name=fact.subject),
        f"{one} does not work with {other}: {claim.symptom or fact.note or 'see the sources of this fact'}.",
        cause=claim.cause,
        reason=None if claim.cause else _NO_CAUSE,
        confidence="table",
        level=claim.level,
        evidence=evidence(
            ("installed", f"{one}, {other}"),
            ("conflict", f"{fact.subject} {fact.when.versions} with {claim.package} {claim.versions}".strip()),
            ("known from", ", ".join(s.ref for s in fact.sources[:2])),
            ("status", fact.status),
        ),
        facts=(fact.id,),
        fixes=tuple(_ways_out(snapshot, clash)),
    )


def _ways_out(snapshot: Snapshot, clash: Clash) -> Iterator[Fix]:
    fact, claim = clash.fact, clash.claim
    newer, older = upper_bound(fact.when.versions), other_side(claim.versions)
    if newer:
        yield Fix(
            title=f"Install {fact.subject} {newer} or newer, where the rest of the environment allows it",
            applicability="unsafe",
            commands=(pip_command(snapshot, f'"{fact.subject}>={newer}"'),),
        )
    if older:
        yield Fix(
            title=f"Keep {fact.subject} {clash.version}, and install {claim.package}{older}",
            applicability="unsafe",
            commands=(pip_command(snapshot, f'{quoted(f"{fact.subject}=={clash.version}")} "{claim.package}{older}"'),),
        )
    if not newer and not older:
        yield Fix(title=f"Install another release of {fact.subject} or {claim.package}", applicability="display-only")


# --- GPD405 ----------------------------------------------------------------------------------------------------------


def _python(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    versions = {name: v for name, v in installed_versions(snapshot).items() if matrix.knows(name)}
    if not versions:
        return (NotApplicable("no package of the matrix is installed"),)
    interpreter = value_of(snapshot.interpreter)
    python = interpreter.version if interpreter else Unknown("no interpreter is judged")
    if not isinstance(python, Present):
        return (Open("the version of the interpreter is not known"),)
    found = tuple(wrong_pythons(matrix, versions, python.value, platform_of(snapshot)))
    return tuple(_wrong_python(snapshot, w, python.value) for w in found) or (Pass("distributions"),)


def _wrong_python(snapshot: Snapshot, wrong: WrongPython, python: str) -> Evaluation:
    subject = wrong.fact.subject
    return python_without_wheels.fail(
        Subject(kind="distribution", name=subject),
        f"{subject} {wrong.version} is made for Python {wrong.claim.versions}, but this environment runs {python}: "
        "no installer would have put it here, so it was copied, forced or built from source.",
        cause="no-wheel-for-python",
        confidence="table",
        evidence=evidence(
            ("installed", f"{subject} {wrong.version}"),
            ("Python", python),
            ("made for", wrong.claim.versions),
        ),
        facts=(wrong.fact.id,),
        fixes=(
            Fix(
                title=f"Make the environment with a Python that has wheels ({wrong.claim.versions}), or install a "
                f"newer {subject}",
                applicability="display-only",
                commands=(pip_command(snapshot, f"--upgrade {subject}"),),
            ),
        ),
    )


conflicting_releases = Rule(
    id="GPD403",
    name="conflicting-releases",
    title="Two installed releases that are known not to work together",
    level="error",
    causes=_CAUSES,
    page=pages.GPD403,
    evaluate=_conflicts,
)
python_without_wheels = Rule(
    id="GPD405",
    name="python-without-wheels",
    title="An installed release has no wheel for this Python",
    level="note",
    causes=("no-wheel-for-python",),
    page=pages.GPD405,
    evaluate=_python,
    required=False,
)
