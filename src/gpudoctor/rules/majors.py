"""GPD202, GPD203: a consumer that needs another major version than the one that is installed."""

from __future__ import annotations

import posixpath

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, NotApplicable, Open, Pass
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.libraries import (
    after_torch,
    fate,
    group_consequences,
    group_evidence,
    group_facts,
    no_loader,
)
from gpudoctor.rules.misses import Group, Miss, broken_consumers, is_unreached, library_groups
from gpudoctor.rules.pages import libraries as pages
from gpudoctor.rules.reading import consumer_subject, label, listed, major_of, sys_path_doubt
from gpudoctor.rules.remedies import install_fixes


def _wrong_cudnn(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    return _wrong_major(wrong_cudnn_major, snapshot, matrix)


def _wrong_cuda(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    return _wrong_major(wrong_cuda_major, snapshot, matrix)


def _wrong_major(rule: Rule, snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if (answer := no_loader(snapshot)) is not None:
        return answer
    ours = tuple(g for g in library_groups(snapshot, matrix) if g.rule == rule.id)
    if ours:
        return tuple(_other_major(rule, snapshot, matrix, g) for g in ours)
    cudnn = rule is wrong_cudnn_major
    relevant = [r for r in snapshot.resolutions if (r.family == "cudnn") == cudnn]
    if not relevant:
        return (NotApplicable(f"no consumer here opens {'cuDNN' if cudnn else 'a CUDA library'}"),)
    broken = broken_consumers(snapshot)
    reached = [r for r in relevant if not (r.consumer in broken and is_unreached(r))]
    if not reached:
        return (NotApplicable("they are never reached, for another library is missing first"),)
    unknown = next((r for r in reached if r.outcome == "unknown"), None)
    if unknown:
        return (Open(f"{unknown.consumer}: {unknown.soname}: {unknown.reason or 'could not look'}", unknown.consumer),)
    return (Pass(),)


def _other_major(rule: Rule, snapshot: Snapshot, matrix: Matrix, group: Group) -> Evaluation:
    head = group.head
    doubt = sys_path_doubt(snapshot)
    who = label(snapshot, matrix, group.consumer)
    if doubt:
        return Open(f"{who}: {listed(group.names)} was not seen, but more may be on sys.path: {doubt}", group.consumer)
    title = head.family.title if head.family else head.blamed
    wanted, there = major_of(head.blamed) or "?", _majors(head)
    message = (
        f"{after_torch(snapshot, matrix, group)}{who} needs {title} {wanted} ({listed(group.names)}), "
        f"but only {title} {there} is installed, at {_folder(head)}; {fate(group)}."
    )
    return rule.fail(
        consumer_subject(group.consumer),
        message,
        cause=group.cause,
        level=group.level,
        evidence=group_evidence(group),
        facts=group_facts(group),
        consequences=group_consequences(group),
        fixes=install_fixes(snapshot, matrix, group),
    )


def _majors(miss: Miss) -> str:
    majors = {m for x in miss.others if (m := major_of(posixpath.basename(x.path)))}
    return listed(sorted(majors, key=int))


def _folder(miss: Miss) -> str:
    owned = sorted(miss.others, key=lambda x: x.owner is None)
    return posixpath.dirname(owned[0].path)


wrong_cudnn_major = Rule(
    id="GPD202",
    name="wrong-cudnn-major",
    title="A consumer needs another major version of cuDNN than the one installed",
    level="error",
    causes=("cudnn-major-mismatch",),
    page=pages.GPD202,
    evaluate=_wrong_cudnn,
)
wrong_cuda_major = Rule(
    id="GPD203",
    name="wrong-cuda-major",
    title="A consumer was built for another CUDA major version than the CUDA libraries installed",
    level="error",
    causes=("cuda-major-mismatch",),
    page=pages.GPD203,
    evaluate=_wrong_cuda,
)
