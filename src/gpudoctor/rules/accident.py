"""GPD206: a library that is found only because torch was imported first."""

from __future__ import annotations

import posixpath

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, Fix, Level, NotApplicable, Open, Pass
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.elsewhere import own_fixes
from gpudoctor.rules.libraries import condensed, no_loader
from gpudoctor.rules.misses import (
    deciding_scenario,
    is_optional,
    is_unreached,
    library_groups,
    resolved_roles,
    rows,
    tidy_path,
)
from gpudoctor.rules.pages import libraries as pages
from gpudoctor.rules.reading import (
    TORCH_FIRST,
    belongs_to_driver,
    consumer_subject,
    evidence,
    is_installed,
    label,
    listed,
    plain_name,
    unique,
)
from gpudoctor.rules.remedies import BEFORE_START, export_command


def _evaluate(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if (answer := no_loader(snapshot)) is not None:
        return answer
    both = unique(r.consumer for r in snapshot.resolutions if r.scenario == "after-torch")
    if not both:
        return (NotApplicable("torch is not installed, so nothing can depend on it"),)
    return tuple(_judge(snapshot, matrix, consumer) for consumer in both)


def _judge(snapshot: Snapshot, matrix: Matrix, consumer: str) -> Evaluation:
    alone = rows(snapshot, consumer, "alone")
    after = resolved_roles(snapshot, consumer, "after-torch")
    lucky = tuple(
        r
        for r in alone
        if r.outcome == "absent"
        and r.role in after
        and not is_optional(matrix, r)
        and not belongs_to_driver(matrix, r.culprit or r.soname)
    )
    if lucky:
        return _fail(snapshot, matrix, consumer, lucky)
    if any(fault.consumer == consumer for fault in snapshot.import_faults):
        return NotApplicable(f"{consumer} cannot be imported, for another reason")
    broken = any(r.outcome == "absent" for r in alone)
    unknown = next((r for r in alone if r.outcome == "unknown" and not (broken and is_unreached(r))), None)
    if unknown:
        return Open(f"{consumer}: {unknown.soname}: {unknown.reason or 'could not look'}", consumer)
    return Pass(consumer)


def _fail(snapshot: Snapshot, matrix: Matrix, consumer: str, lucky: tuple[Resolution, ...]) -> Evaluation:
    level, tail = _weight(snapshot, matrix, consumer)
    who, names = label(snapshot, matrix, consumer), unique(plain_name(r) for r in lucky)
    provided = {r.role: r.path for r in rows(snapshot, consumer, "after-torch")}
    files = unique(_tidy(snapshot, path) for r in lucky if (path := provided.get(r.role)))
    family = matrix.families.get(lucky[0].family)
    folders = unique(posixpath.dirname(f) for f in files)
    own = own_fixes(snapshot, matrix, consumer, library_groups(snapshot, matrix), "unsafe")
    fixes = (
        *own,
        Fix(
            title=f"{'Or set' if own else 'Set'} LD_LIBRARY_PATH {BEFORE_START}",
            applicability="unsafe",
            commands=(export_command(folders),),
        ),
        Fix(title=f"Or import torch before {consumer} in every program", applicability="display-only"),
    )
    return works_by_accident.fail(
        consumer_subject(consumer),
        f"{who} cannot find {listed(names)} by itself, only in a process where torch was imported before and had "
        f"loaded {'it' if len(names) == 1 else 'them'}: {tail}.",
        cause=family.cause if family else "cuda-lib-not-loadable",
        level=level,
        evidence=evidence(
            ("wanted", ", ".join(names)),
            ("after torch", ", ".join(files)),
            ("alone, searched", condensed(lucky[0].searched)),
        ),
        facts=unique(r.fact for r in lucky if r.fact),
        fixes=fixes if folders else fixes[1:],
    )


def _tidy(snapshot: Snapshot, path: str) -> str:
    library = snapshot.library(path)
    return tidy_path(library) if library else path


def _weight(snapshot: Snapshot, matrix: Matrix, consumer: str) -> tuple[Level, str]:
    if deciding_scenario(snapshot, matrix, consumer) == "after-torch":
        return "note", f"this release of {consumer} imports torch itself, so it works until torch or {consumer} changes"
    if consumer == "onnxruntime":
        return "warning", "a program that does not import torch first will run on the CPU"
    if is_installed(snapshot, *TORCH_FIRST):
        first = next(name for name in TORCH_FIRST if is_installed(snapshot, name))
        return "warning", f"{first} imports torch first and works, any program that does not will fail"
    return "error", "a program that does not import torch first will fail at its first use of the GPU"


works_by_accident = Rule(
    id="GPD206",
    name="works-by-accident",
    title="A consumer finds a library only because torch was imported first",
    level="error",
    causes=("cuda-lib-not-loadable", "cudnn-not-loadable"),
    page=pages.GPD206,
    evaluate=_evaluate,
)
