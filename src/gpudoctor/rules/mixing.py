"""GPD204, GPD205: parts of two builds meet in one process."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from gpudoctor.matrix.index import Matrix, stem_of
from gpudoctor.model.fact import value_of
from gpudoctor.model.finding import Evaluation, Evidence, Fix, NotApplicable, Open, Pass
from gpudoctor.model.loading import Resolution
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
from gpudoctor.rules.misses import Group, broken_consumers, culprit_of, deciding_rows, is_unreached, library_groups
from gpudoctor.rules.origins import cuda_major, toolkit_of
from gpudoctor.rules.pages import libraries as pages
from gpudoctor.rules.reading import (
    consumer_subject,
    evidence,
    label,
    library_version,
    listed,
    major_of,
    numbers,
    plain_name,
    same_release,
    unique,
)


def _one_folder(rows: Iterable[Resolution]) -> Fix:
    """Return the way out, with the folders of LD_LIBRARY_PATH that some of the parts come from."""
    taken = unique(posixpath.dirname(r.path) for r in rows if r.path and r.found_via == "ld-library-path")
    other = listed(taken) if taken else "the folder of the other build"
    return Fix(
        title=f"Let all parts come from one folder: take {other} out of LD_LIBRARY_PATH before the process starts, or "
        "put the complete one first",
        applicability="display-only",
    )


def _cudnn(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    return _judge(mixed_cudnn, ("cudnn",), snapshot, matrix)


def _cuda(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    families = tuple(f.name for f in matrix.data.families if f.name != "cudnn" and not f.from_driver)
    return _judge(mixed_cuda_libraries, families, snapshot, matrix)


def _judge(rule: Rule, families: tuple[str, ...], snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if (answer := no_loader(snapshot)) is not None:
        return answer
    broken = tuple(g for g in library_groups(snapshot, matrix) if g.rule == rule.id)
    evaluations: list[Evaluation] = [_unloadable(rule, snapshot, matrix, g) for g in broken]
    seen = False
    for consumer in unique(r.consumer for r in snapshot.resolutions):
        rows = tuple(r for r in deciding_rows(snapshot, matrix, consumer) if r.family in families)
        seen = seen or bool(rows)
        if rows and not any(g.consumer == consumer for g in broken):
            evaluations.append(_judge_builds(rule, families, snapshot, matrix, rows))
    if not seen and not evaluations:
        return (NotApplicable("no consumer here opens these libraries"),)
    return tuple(evaluations) or (Pass(),)


def _unloadable(rule: Rule, snapshot: Snapshot, matrix: Matrix, group: Group) -> Evaluation:
    """The linker itself refuses: an undefined symbol, or a symbol version that the other part lacks."""
    head = group.head
    who = label(snapshot, matrix, group.consumer)
    message = (
        f"{after_torch(snapshot, matrix, group)}{who} gets parts of two builds: {plain_name(head.resolution)} cannot "
        f"be loaded, for {culprit_of(head.resolution) or 'another part'} lacks a symbol that it needs; {fate(group)}."
    )
    return rule.fail(
        consumer_subject(group.consumer),
        message,
        cause=group.cause,
        level=group.level,
        evidence=(*group_evidence(group), *_other_parts(snapshot, matrix, group)),
        facts=group_facts(group),
        consequences=group_consequences(group),
        fixes=(_one_folder(deciding_rows(snapshot, matrix, group.consumer)),),
    )


def _other_parts(snapshot: Snapshot, matrix: Matrix, group: Group) -> tuple[Evidence, ...]:
    """Return where the parts that do load come from: the other build."""
    family = group.head.family
    if family is None:
        return ()
    parts = _parts(snapshot, matrix, family.name, deciding_rows(snapshot, matrix, group.consumer))
    return evidence(*((posixpath.basename(path), f"{version or '?'}, {path}") for path, version in parts))


def _judge_builds(
    rule: Rule, families: tuple[str, ...], snapshot: Snapshot, matrix: Matrix, rows: tuple[Resolution, ...]
) -> Evaluation:
    consumer = rows[0].consumer
    broken = consumer in broken_consumers(snapshot)
    reached = tuple(r for r in rows if not (broken and is_unreached(r)))
    if not reached:
        return NotApplicable(f"{consumer} never reaches them, for another library is missing first")
    unknown = next((r for r in reached if r.outcome == "unknown"), None)
    if unknown:
        return Open(f"{consumer}: {unknown.soname}: {unknown.reason or 'could not look'}", consumer)
    for name, parts in ((n, one) for n in families for one in _sets(_parts(snapshot, matrix, n, rows))):
        versions = unique(version for _, version in parts if version)
        if any(not same_release(versions[0], v) for v in versions[1:]):
            return _two_builds(rule, snapshot, matrix, consumer, name, parts)
    if rule is mixed_cudnn and (newer := _newer_dispatcher(snapshot, rows)):
        return _newer_shim(snapshot, matrix, consumer, rows, *newer)
    if rule is mixed_cuda_libraries and (found := _toolkits(snapshot, matrix, rows)):
        return _two_toolkits(snapshot, matrix, consumer, found)
    return Pass(consumer)


def _toolkits(snapshot: Snapshot, matrix: Matrix, rows: tuple[Resolution, ...]) -> tuple[tuple[str, str, str], ...]:
    """Return library, toolkit and its release, where one consumer's libraries come out of more than one release.

    That two toolkits are installed is no fault, and a library of another CUDA major is GPD210's.
    """
    mine = cuda_major(snapshot, matrix, rows[0].consumer)
    found: list[tuple[str, str, str]] = []
    for row in rows:
        library = snapshot.library(row.path) if row.outcome == "present" else None
        toolkit = toolkit_of(snapshot, library) if library else None
        version = value_of(toolkit.version) if toolkit else None
        if toolkit and version and str(numbers(version)[:1] and numbers(version)[0]) == mine:
            found.append((plain_name(row), toolkit.directory, version))
    return tuple(found) if any(not same_release(found[0][2], v) for _, _, v in found[1:]) else ()


def _two_toolkits(
    snapshot: Snapshot, matrix: Matrix, consumer: str, found: tuple[tuple[str, str, str], ...]
) -> Evaluation:
    folders = unique(directory for _, directory, _ in found)
    return mixed_cuda_libraries.fail(
        consumer_subject(consumer),
        f"{label(snapshot, matrix, consumer)} takes its libraries out of {len(folders)} CUDA toolkits "
        f"({listed(folders)}): they load, but which of them gives which depends on the order of the folders, and the "
        "next update may change it.",
        cause="cuda-libs-mixed",
        level="note",
        evidence=evidence(*((name, f"{version}, {directory}") for name, directory, version in found)),
        fixes=(
            Fix(
                title=f"Name one of them alone, with all that {consumer} opens, in LD_LIBRARY_PATH or in the loader's "
                "configuration",
                applicability="display-only",
            ),
        ),
    )


def _parts(
    snapshot: Snapshot, matrix: Matrix, family: str, rows: tuple[Resolution, ...]
) -> tuple[tuple[str, str | None], ...]:
    """Return the files of a family that must come from one build, with their versions."""
    stems = matrix.families[family].parts
    paths = unique(
        r.path for r in rows if r.path and r.outcome == "present" and stem_of(posixpath.basename(r.path)) in stems
    )
    return tuple((path, library_version(snapshot, path)) for path in paths)


def _sets(parts: tuple[tuple[str, str | None], ...]) -> tuple[tuple[tuple[str, str | None], ...], ...]:
    """Part the files by the major in their names: libcublas.so.12 and .so.13 are two libraries, and get along."""
    sets: dict[str | None, list[tuple[str, str | None]]] = {}
    for part in parts:
        sets.setdefault(major_of(posixpath.basename(part[0])), []).append(part)
    return tuple(map(tuple, sets.values()))


def _two_builds(
    rule: Rule,
    snapshot: Snapshot,
    matrix: Matrix,
    consumer: str,
    family: str,
    parts: tuple[tuple[str, str | None], ...],
) -> Evaluation:
    title = matrix.families[family].title
    versions = sorted({v for _, v in parts if v}, key=numbers)
    folders = unique(posixpath.dirname(path) for path, _ in parts)
    return rule.fail(
        consumer_subject(consumer),
        f"{label(snapshot, matrix, consumer)} gets parts of {title} from different releases ({listed(versions)}), "
        f"out of {listed(folders)}: they load, but NVIDIA supports only parts of one release together, "
        "and a wrong result or a crash later on is possible.",
        cause=rule.causes[0],
        level="warning",
        evidence=evidence(*((posixpath.basename(path), f"{version or '?'}, {path}") for path, version in parts)),
        fixes=(_one_folder(r for r in deciding_rows(snapshot, matrix, consumer) if r.path in dict(parts)),),
    )


def _newer_dispatcher(snapshot: Snapshot, rows: tuple[Resolution, ...]) -> tuple[str, str] | None:
    """Return the releases of cuDNN's dispatch library and of its parts, when the parts are older."""
    shim = _dispatcher_version(snapshot, rows)
    part = next(
        (v for r in rows if stem_of(r.soname) == "libcudnn_graph" and (v := library_version(snapshot, r.path))), None
    )
    if shim and part and numbers(shim)[0] == numbers(part)[0] and numbers(part)[:2] < numbers(shim)[:2]:
        return shim, part
    return None


def _dispatcher_version(snapshot: Snapshot, rows: tuple[Resolution, ...]) -> str | None:
    for r in rows:
        if stem_of(r.soname) == "libcudnn" and (version := library_version(snapshot, r.path)):
            return version
    for r in rows:
        version = r.requester.partition(".so.")[2]
        # A bundled dispatch library carries its release in its name: libcudnn-74a4c495.so.9.1.0.
        if stem_of(r.requester) == "libcudnn" and len(numbers(version)) >= 2:
            return version
    return None


def _newer_shim(
    snapshot: Snapshot, matrix: Matrix, consumer: str, rows: tuple[Resolution, ...], shim: str, part: str
) -> Evaluation:
    graph = next(r for r in rows if stem_of(r.soname) == "libcudnn_graph")
    return mixed_cudnn.fail(
        consumer_subject(consumer),
        f"{label(snapshot, matrix, consumer)} has cuDNN's dispatch library of release {shim} but its parts of the "
        f"older release {part}, at {posixpath.dirname(graph.path or '')}: the first cuDNN call will abort the process.",
        cause="cudnn-mixed",
        evidence=evidence(
            ("dispatch library", shim), ("libcudnn_graph", f"{part}, {graph.path}"), ("found via", graph.found_via)
        ),
        fixes=(_one_folder(r for r in rows if r.family == "cudnn"),),
    )


mixed_cudnn = Rule(
    id="GPD204",
    name="mixed-cudnn",
    title="Parts of two cuDNN builds meet in one process",
    level="error",
    causes=("cudnn-mixed",),
    page=pages.GPD204,
    evaluate=_cudnn,
)
mixed_cuda_libraries = Rule(
    id="GPD205",
    name="mixed-cuda-libraries",
    title="Parts of two CUDA toolkit releases (such as cuBLAS and cuBLASLt) meet in one process",
    level="error",
    causes=("cuda-libs-mixed",),
    page=pages.GPD205,
    evaluate=_cuda,
)
