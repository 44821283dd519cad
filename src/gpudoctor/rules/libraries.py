"""GPD201: a library that a consumer opens and will not get; and what the other rules on libraries share with it."""

from __future__ import annotations

import posixpath
import re

from gpudoctor.matrix.index import Matrix, stem_of
from gpudoctor.model.environment import Distribution
from gpudoctor.model.fact import Absent, value_of
from gpudoctor.model.finding import Evaluation, Evidence, Fix, NotApplicable, Open, Pass
from gpudoctor.model.loading import Resolution, SearchStep
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.elsewhere import elsewhere_fixes
from gpudoctor.rules.misses import (
    Group,
    Miss,
    culprit_of,
    deciding_rows,
    deciding_scenario,
    is_unreached,
    library_groups,
    resolved_roles,
    tidy_path,
)
from gpudoctor.rules.origins import cuda_major, other_cuda_of
from gpudoctor.rules.pages import libraries as pages
from gpudoctor.rules.reading import (
    consumer_subject,
    evidence,
    gpu_consumers,
    is_bundled,
    label,
    listed,
    plain_name,
    sys_path_doubt,
    unique,
)
from gpudoctor.rules.remedies import damaged_distribution, install_fixes, reinstall_fix

_MOST_PLACES = 8
_FEATURES = re.compile(
    r"(/glibc-hwcaps/[^/]+|(/tls)?(/haswell|/avx512_1|/xeon_phi)*(/x86_64|/aarch64|/atomics)*|/tls)$"
)


def no_loader(snapshot: Snapshot) -> tuple[Evaluation, ...] | None:
    """Return the answer of every library rule where no loader could be emulated; None where one was."""
    if snapshot.resolutions:
        return None
    consumers = gpu_consumers(snapshot)
    if not consumers:
        return (NotApplicable("no installed package opens GPU libraries"),)
    if snapshot.host.os != "linux":
        return (Open(f"gpudoctor emulates only the glibc loader, not the one of {snapshot.host.os}", consumers[0]),)
    libc = value_of(snapshot.host.libc)
    if libc and libc.name != "glibc":
        return (Open(f"gpudoctor emulates only the glibc loader, not the one of {libc.name}", consumers[0]),)
    why = _loader_trouble(snapshot) or "the snapshot holds no answer of the loader"
    return (Open(f"{', '.join(consumers)}: libraries were not judged: {why}", consumers[0]),)


def _loader_trouble(snapshot: Snapshot) -> str | None:
    failed = next((p for p in snapshot.probes if p.probe in ("loader", "libraries") and p.status != "ok"), None)
    return (failed.detail or failed.status) if failed else None


def _unseen(snapshot: Snapshot) -> Open | None:
    """Return why there may be a consumer although none was seen; None when its absence is sure."""
    if gpu_consumers(snapshot):
        return None
    if isinstance(snapshot.interpreter, Absent):
        why = _loader_trouble(snapshot)
        return Open(f"the program's libraries were not judged: {why}") if why else None
    doubt = sys_path_doubt(snapshot)
    return (
        Open(f"no package that opens GPU libraries was seen, but more may be on sys.path: {doubt}") if doubt else None
    )


# --- GPD201 ----------------------------------------------------------------------------------------------------------


def _unresolved(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if (answer := no_loader(snapshot)) is not None:
        unseen = _unseen(snapshot)  # said once, by this rule
        return (unseen,) if unseen else answer
    groups = library_groups(snapshot, matrix)
    ours = tuple(g for g in groups if g.rule == "GPD201")
    evaluations: list[Evaluation] = [_judge_group(snapshot, matrix, g, groups) for g in ours]
    failed = {g.consumer for g in groups}
    stopped = {f.consumer for f in snapshot.import_faults}
    evaluations += [Open(f"not everything was looked at: {why}") for why in _not_read(snapshot)]
    for consumer in unique(r.consumer for r in snapshot.resolutions):
        answers = deciding_rows(snapshot, matrix, consumer)
        # What was never reached follows from the library that should have asked for it: no question of its own.
        settled = {r.role for r in answers} if consumer in failed else resolved_roles(snapshot, consumer, "after-torch")
        unknown = tuple(r for r in answers if r.outcome == "unknown" and not (is_unreached(r) and r.role in settled))
        if unknown and all(is_unreached(r) for r in unknown) and consumer in stopped:
            evaluations.append(NotApplicable(f"{consumer} cannot be imported, for another reason"))
        elif unknown:
            evaluations.append(Open(_unknown_reason(snapshot, matrix, consumer, unknown), consumer))
        elif perhaps := _perhaps_missing(answers, groups):
            evaluations.append(
                Open(f"{consumer} holds {perhaps}: whether it opens any of them, its files do not tell", consumer)
            )
        elif consumer not in failed:
            evaluations.append(Pass(consumer))
    return tuple(evaluations) or (Pass(),)


def _perhaps_missing(answers: tuple[Resolution, ...], groups: tuple[Group, ...]) -> str | None:
    """Return the libraries that are nowhere and that a native program perhaps never opens, as a phrase."""
    judged = {m.resolution for g in groups for m in g.misses}
    names = unique(plain_name(r) for r in answers if r.assumed and r.outcome == "absent" and r not in judged)
    return f"the name of {listed(names)}, found nowhere" if names else None


def _not_read(snapshot: Snapshot) -> tuple[str, ...]:
    """Return what of a folder was not looked at."""
    return tuple(p.detail or p.status for p in snapshot.probes if p.probe == "folder" and p.status != "ok")


def _unknown_reason(snapshot: Snapshot, matrix: Matrix, consumer: str, unknown: tuple[Resolution, ...]) -> str:
    names = listed(unique(plain_name(r) for r in unknown))
    why = next((r.reason for r in unknown if r.reason), "the loader could not be emulated")
    return f"{label(snapshot, matrix, consumer)}: nobody can tell whether {names} will load: {why}"


def _judge_group(snapshot: Snapshot, matrix: Matrix, group: Group, groups: tuple[Group, ...]) -> Evaluation:
    doubt = sys_path_doubt(snapshot)
    foreign = _other_cuda(snapshot, matrix, group)
    if group.state == "not-installed" and doubt:
        who = label(snapshot, matrix, group.consumer)
        return Open(f"{who}: {listed(group.names)} was not seen, but more may be on sys.path: {doubt}", group.consumer)
    match group.state:
        case "elsewhere" if not foreign:
            fixes = elsewhere_fixes(snapshot, matrix, group, groups)
        case "broken":
            fixes = (_repair(snapshot, group.head),) if _culprit_file(group.head) else ()
        case _:
            fixes = install_fixes(snapshot, matrix, group)
    return unresolved_library.fail(
        consumer_subject(group.consumer),
        _message(snapshot, matrix, group),
        cause="cudnn-cuda-mismatch" if foreign and group.cause == "cudnn-not-loadable" else group.cause,
        reason=None if group.cause else "the library is no CUDA library, so no cause of the taxonomy fits",
        level=group.level,
        evidence=group_evidence(group),
        facts=group_facts(group),
        consequences=(*group_consequences(group), *_judged_later(snapshot, matrix, group, groups)),
        fixes=fixes,
    )


def _judged_later(snapshot: Snapshot, matrix: Matrix, group: Group, groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Say once for each consumer what nobody can tell before this is mended."""
    ours = [g for g in groups if g.consumer == group.consumer]
    blamed = {stem_of(name) for g in ours for name in g.names}
    late: list[str] = []
    for r in deciding_rows(snapshot, matrix, group.consumer):
        name = plain_name(r)
        if not is_unreached(r) or stem_of(name) in blamed:
            continue
        same = (g for g in ours if g.head.family and g.head.family.name == r.family)
        if next(same, ours[0]) is group:
            late.append(name)
    return (f"{listed(unique(late))} can be judged only after that",) if late else ()


def _message(snapshot: Snapshot, matrix: Matrix, group: Group) -> str:
    who, head = label(snapshot, matrix, group.consumer), group.head
    opening = f"{after_torch(snapshot, matrix, group)}{who} cannot load {what(group)}"
    damaged = damaged_distribution(snapshot, matrix, group)
    foreign = _other_cuda(snapshot, matrix, group)
    built = f", and built for CUDA {foreign[0]}, not for CUDA {foreign[1]} as {group.consumer} is" if foreign else ""
    return f"{opening}: {_gone(damaged, group) if damaged else _why(group, head)}{built}; {fate(group)}."


def _other_cuda(snapshot: Snapshot, matrix: Matrix, group: Group) -> tuple[str, str] | None:
    """Return the CUDA of the file that lies elsewhere and the consumer's, where they differ: no path mends that."""
    head = group.head
    theirs = other_cuda_of(snapshot, matrix, head.resolution, head.found) if head.found else None
    mine = cuda_major(snapshot, matrix, group.consumer)
    return (theirs, mine) if theirs and mine else None


def _gone(damaged: Distribution, group: Group) -> str:
    version = value_of(damaged.version) or "?"
    files = "these files of it are" if len(group.names) > 1 else "this file of it is"
    return f"{damaged.name} {version} is installed, but {files} gone"


def _why(group: Group, head: Miss) -> str:
    many = len(group.names) > 1
    match group.state:
        case "elsewhere" if head.found:
            folders = unique(posixpath.dirname(tidy_path(m.found)) for m in group.misses if m.found)
            verb = "they are" if many else "it is"
            if len(folders) > 1:
                root = posixpath.commonpath(folders)
                return f"{verb} installed in folders below {root}, which {group.consumer} never searches"
            return f"{verb} installed at {folders[0]}, which {group.consumer} never searches"
        case "broken":
            file = _culprit_file(head)
            reason = head.resolution.reason or f"it is {head.resolution.failure}"
            return f"the loader stops at {file}: {reason}" if file else reason
        case _:
            return "they are not installed" if many else "it is not installed"


def what(group: Group) -> str:
    """Return what cannot be loaded, as a phrase: the library asked for, and the one really at fault."""
    r = group.head.resolution
    if culprit := culprit_of(r):
        return f"{plain_name(r)}, because {culprit}, which it needs, cannot be loaded"
    return listed(group.names)


def after_torch(snapshot: Snapshot, matrix: Matrix, group: Group) -> str:
    """Return the beginning of a sentence on a fault that shows only after torch was imported."""
    scenario = group.head.resolution.scenario
    if scenario == "after-torch" and deciding_scenario(snapshot, matrix, group.consumer) == "alone":
        return "In a process that imported torch first, "
    return ""


def fate(group: Group) -> str:
    """Return what the user will see."""
    r = group.head.resolution
    if r.assumed:
        return "should it open that by name, as the name in its file suggests, it will fail"
    family = group.head.family.name if group.head.family else ""
    if group.consumer == "onnxruntime":
        return "it will fall back to the CPU, with no more than a line in its log"
    if group.consumer == "ctranslate2" and family == "cudnn":
        return "the first transcription on the GPU will abort the process"
    if group.consumer == "ctranslate2" and family == "cublas":
        return f"the first transcription on the GPU will stop with “Library {plain_name(r)} is not found”"
    if "import" in r.when:
        return f"`import {group.consumer}` will fail"
    return f"it will fail {r.when}"


def _culprit_file(miss: Miss) -> str | None:
    """Return the file at which the loader stopped."""
    bad = [s for s in miss.resolution.searched if s.result not in ("missing", "found", "wrong-machine", "wrong-class")]
    if not bad and miss.resolution.failure == "truncated":  # found, and then it is the kernel that stops
        bad = [s for s in miss.resolution.searched if s.result == "found"]
    return bad[-1].path if bad else miss.resolution.path


def _repair(snapshot: Snapshot, miss: Miss) -> Fix:
    path = _culprit_file(miss) or miss.blamed
    library = snapshot.library(path)
    return reinstall_fix(snapshot, library.owner if library else None, path)


# --- shared by the rules on libraries --------------------------------------------------------------------------------


def group_evidence(group: Group) -> tuple[Evidence, ...]:
    """Return what a finding on a group rests on: wanted, found, searched, the loader's reason."""
    head = group.head
    folders = unique(posixpath.dirname(tidy_path(m.found)) for m in group.misses if m.found)
    others = unique(x.path for x in head.others if not is_bundled(x.path))
    return evidence(
        ("wanted", ", ".join(group.names)),
        ("asked by", f"{head.resolution.requester}, {head.resolution.when}"),
        *(("installed at", folder) for folder in folders),
        ("installed instead", listed(others, 2)),
        ("reason", head.resolution.reason),
        ("file", _culprit_file(head) if group.state in ("broken", "mixed") else None),
        ("searched", condensed(head.resolution.searched)),
    )


def condensed(searched: tuple[SearchStep, ...]) -> str:
    """Return the places tried as one line: each folder once, under the rule that led there."""
    places = unique((s.rule, _folder_of(s.path), s.result) for s in searched)
    shown: dict[tuple[str, str], list[str]] = {}
    for rule, folder, result in places[:_MOST_PLACES]:
        shown.setdefault((rule, result), []).append(folder)
    parts = [f"{rule}: {', '.join(folders)} ({result})" for (rule, result), folders in shown.items()]
    if len(places) > _MOST_PLACES:
        parts.append(f"and {len(places) - _MOST_PLACES} more places (gpudoctor libs -v lists them)")
    return "; ".join(parts)


def _folder_of(path: str) -> str:
    """Return the folder of a place tried, without the loader's subfolders for processor features."""
    folder = posixpath.normpath(posixpath.dirname(path) or ".")
    # An empty or relative element of LD_LIBRARY_PATH leads to `tls/x86_64/libcublas.so.12`.
    plain = _FEATURES.sub("", folder if folder.startswith("/") else f"./{folder}")
    return "the current folder" if plain in (".", "./.") else plain


def group_facts(group: Group) -> tuple[str, ...]:
    """Return the ids of the facts that say that the consumer opens these libraries."""
    return unique(m.resolution.fact for m in group.misses if m.resolution.fact)


def group_consequences(group: Group) -> tuple[str, ...]:
    """Return what else will not load for the same cause."""
    headline = {m.blamed for m in group.misses if m.state == group.state} | {plain_name(group.head.resolution)}
    asked_for = unique(plain_name(m.resolution) for m in group.misses)
    return tuple(f"{name} will not load either" for name in asked_for if name not in headline)


unresolved_library = Rule(
    id="GPD201",
    name="unresolved-library",
    title="A library that a consumer opens will not be found or cannot be loaded",
    level="error",
    causes=("cudnn-not-loadable", "cuda-lib-not-loadable", "cudnn-cuda-mismatch", "glibc-too-old", "libstdcxx-too-old"),
    page=pages.GPD201,
    evaluate=_unresolved,
)
