"""GPD501 to GPD505: what LD_LIBRARY_PATH really says to the loader."""

from __future__ import annotations

import posixpath
import re
import shlex

from gpudoctor.loader.search import TOKEN
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import SearchElement
from gpudoctor.model.fact import Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fix, Level, NotApplicable, Open, Pass, Subject
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.misses import deciding_rows, library_groups
from gpudoctor.rules.pages import environment as pages
from gpudoctor.rules.reading import (
    consumer_subject,
    evidence,
    label,
    library_version,
    listed,
    plain_name,
    same_release,
    unique,
)

VARIABLE = Subject(kind="variable", name="LD_LIBRARY_PATH")

_GPU_FOLDER = re.compile(r"cuda|cudnn|cublas|nvidia", re.IGNORECASE)


def _unset(snapshot: Snapshot) -> NotApplicable | Open | None:
    if snapshot.host.os != "linux":
        return NotApplicable("LD_LIBRARY_PATH means something to the Linux loader only")
    if not snapshot.variable("LD_LIBRARY_PATH"):
        return NotApplicable("LD_LIBRARY_PATH is not set")
    match snapshot.host.libc:
        case Present(value=libc) if libc.name == "glibc":
            return None
        case Present(value=libc):
            return Open(f"gpudoctor knows how glibc reads LD_LIBRARY_PATH, not how {libc.name} does", VARIABLE.name)
        case Unknown(reason=reason):
            return Open(f"nobody can tell which loader reads LD_LIBRARY_PATH: {reason}", VARIABLE.name)
        case _:
            return None


def literal_fault(raw: str) -> str | None:
    """Return why an element is taken literally although its author meant something else."""
    if raw.startswith("~"):
        return "the loader does not expand ~"
    if '"' in raw or "'" in raw:
        return "the quotation marks are taken as part of the name"
    if "$" in TOKEN.sub("", raw):
        return "the loader does not expand variables"
    return None


# --- GPD501 ----------------------------------------------------------------------------------------------------------

_STATES = {
    "missing": "does not exist",
    "not-a-directory": "is not a folder",
}


def _missing(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if (unset := _unset(snapshot)) is not None:
        return (unset,)
    gone = [e for e in snapshot.search_elements if e.state in _STATES and not literal_fault(e.raw)]
    closed = tuple(
        Open(
            f"{e.raw} in LD_LIBRARY_PATH cannot be {'read by this user' if e.directory else 'expanded'}", VARIABLE.name
        )
        for e in snapshot.search_elements
        if e.state == "unreadable"
    )
    if not gone:
        return closed or (Pass(VARIABLE.name),)
    hungry = unique(g.consumer for g in library_groups(snapshot, matrix))
    return (*(_gone(e, hungry) for e in gone), *closed)


def _gone(element: SearchElement, hungry: tuple[str, ...]) -> Evaluation:
    # A stale folder is harmless, unless it is where a library that is missed was meant to lie.
    serious = bool(hungry) and _GPU_FOLDER.search(element.raw)
    tail = f", and {listed(hungry)} misses libraries that may have been meant to lie there" if serious else ""
    return missing_directory.fail(
        VARIABLE,
        f"LD_LIBRARY_PATH names {element.raw}, which {_STATES[element.state]}: the loader passes over it{tail}.",
        cause=None,
        reason="a folder that is gone breaks nothing by itself",
        level="warning" if serious else "note",
        evidence=evidence(("element", f"{element.index + 1}: {element.raw}"), ("read as", element.directory)),
        fixes=(
            Fix(
                title="Correct or remove this element where LD_LIBRARY_PATH is set (profile, unit file, Dockerfile)",
                applicability="display-only",
            ),
        ),
    )


# --- GPD502 ----------------------------------------------------------------------------------------------------------


def _empty(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    if (unset := _unset(snapshot)) is not None:
        return (unset,)
    risky = [e for e in snapshot.search_elements if e.state in ("empty", "relative") and not literal_fault(e.raw)]
    if not risky:
        return (Pass(VARIABLE.name),)
    empty = [e for e in risky if e.state == "empty"]
    named = f"relative folders ({listed([e.raw for e in risky if e.state == 'relative'])})"
    kinds = " and ".join(
        part for part in ("an empty element" if empty else "", named if len(empty) < len(risky) else "") if part
    )
    return (
        empty_element.fail(
            VARIABLE,
            f"LD_LIBRARY_PATH has {kinds}, so libraries are also loaded from wherever the program is started: what it "
            "loads depends on the current folder, and whoever can write there can run code in it.",
            cause=None,
            reason="a danger, not yet a failure",
            evidence=evidence(
                ("value", snapshot.variable("LD_LIBRARY_PATH")),
                ("elements", ", ".join(f"{e.index + 1}: {e.raw!r}" for e in risky)),
            ),
            fixes=(
                Fix(
                    title="Leave no colon at an end: prepend with ${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}, and name "
                    "folders in full",
                    applicability="display-only",
                    commands=('export LD_LIBRARY_PATH="/new/folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"',),
                ),
            ),
        ),
    )


# --- GPD503 ----------------------------------------------------------------------------------------------------------


def _shadows(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if (unset := _unset(snapshot)) is not None:
        return (unset,)
    evaluations = [
        e
        for c in unique(r.consumer for r in snapshot.resolutions)
        if (e := _judge_shadow(snapshot, matrix, c)) is not None
    ]
    return tuple(evaluations) or (Pass(VARIABLE.name),)


def _judge_shadow(snapshot: Snapshot, matrix: Matrix, consumer: str) -> Evaluation | None:
    hidden = [r for r in deciding_rows(snapshot, matrix, consumer) if r.shadowed]
    broken = [r for r in hidden if r.outcome == "absent"]
    other = [r for r in hidden if r.outcome == "present" and _versions_differ(snapshot, r)]
    if broken or other:
        return _shadow(snapshot, matrix, tuple(broken or other), "error" if broken else "warning")
    blind = next((r for r in hidden if r.outcome == "present" and _same_version(snapshot, r) is None), None)
    if blind:
        return Open(f"{consumer}: {plain_name(blind)} is taken from LD_LIBRARY_PATH, of an unknown release", consumer)
    return None


def _same_version(snapshot: Snapshot, r: Resolution) -> bool | None:
    one, two = snapshot.library(r.path), snapshot.library(r.shadowed)
    if one and two and one.real_path == two.real_path:
        return True
    a, b = library_version(snapshot, r.path), library_version(snapshot, r.shadowed)
    return same_release(a, b) if a and b else None


def _versions_differ(snapshot: Snapshot, r: Resolution) -> bool:
    return _same_version(snapshot, r) is False


def _shadow(snapshot: Snapshot, matrix: Matrix, hidden: tuple[Resolution, ...], level: Level) -> Evaluation:
    head = hidden[0]
    family = matrix.families.get(head.family)
    names = unique(plain_name(r) for r in hidden)
    taken = posixpath.dirname(head.path) if head.path else "LD_LIBRARY_PATH"
    old, new = library_version(snapshot, head.shadowed), library_version(snapshot, head.path)
    versions = f" ({new} instead of {old})" if old and new else ""
    outcome = "which cannot be loaded" if level == "error" else "which hides the one it was installed with"
    cause = {"cudnn": "cudnn-mixed"}.get(head.family, "cuda-libs-mixed")
    return shadowing.fail(
        consumer_subject(head.consumer),
        f"LD_LIBRARY_PATH makes {label(snapshot, matrix, head.consumer)} take {listed(names)} from {taken}"
        f"{versions}, {outcome}.",
        cause=cause if family else None,
        reason=None if family else "the library is no CUDA library",
        level=level,
        evidence=evidence(("taken", head.path), ("hidden", head.shadowed), ("libraries", ", ".join(names))),
        fixes=(
            Fix(
                title=f"Take {taken} out of LD_LIBRARY_PATH for this program, if you mean the hidden release",
                applicability="display-only",
            ),
        ),
    )


# --- GPD504 ----------------------------------------------------------------------------------------------------------


def _ignored(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if (unset := _unset(snapshot)) is not None:
        return (unset,)
    interpreter = value_of(snapshot.interpreter)
    if interpreter is None:
        return (NotApplicable("no interpreter is judged"),)
    match interpreter.secure_execution:
        case Present(value=True):
            return (_dropped(snapshot, matrix, interpreter.real_executable),)
        case Unknown(reason=reason):
            return (Open(f"nobody can tell whether the loader heeds LD_LIBRARY_PATH: {reason}", VARIABLE.name),)
        case _:
            return (Pass(VARIABLE.name),)


def unheard_of(snapshot: Snapshot, matrix: Matrix) -> tuple[str, ...]:
    """Return the consumers that miss what lies in a folder of LD_LIBRARY_PATH."""
    folders = {e.directory for e in snapshot.search_elements}
    return unique(
        g.consumer
        for g in library_groups(snapshot, matrix)
        if any(m.found and posixpath.dirname(m.found.path) in folders for m in g.misses)
    )


def _dropped(snapshot: Snapshot, matrix: Matrix, executable: str) -> Evaluation:
    hungry = unheard_of(snapshot, matrix)
    tail = f", so {listed(hungry)} misses libraries that lie in its folders" if hungry else ""
    return path_ignored.fail(
        VARIABLE,
        f"The loader ignores LD_LIBRARY_PATH for {executable}, for that file has a set-user-id bit or file "
        f"capabilities{tail}.",
        cause="cuda-lib-not-loadable" if hungry else None,
        reason=None if hungry else "a variable without effect breaks nothing by itself",
        level="error" if hungry else "warning",
        evidence=evidence(("interpreter", executable), ("value", snapshot.variable("LD_LIBRARY_PATH"))),
        fixes=(
            Fix(
                title="Take the capabilities off (give them to the service unit instead), or make the folders known "
                "with ldconfig",
                applicability="display-only",
                commands=(f"getcap {shlex.quote(executable)}", f"sudo setcap -r {shlex.quote(executable)}"),
            ),
        ),
    )


# --- GPD505 ----------------------------------------------------------------------------------------------------------


def _literal(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    if (unset := _unset(snapshot)) is not None:
        return (unset,)
    faults = [(e, fault) for e in snapshot.search_elements if (fault := literal_fault(e.raw))]
    if not faults:
        return (Pass(VARIABLE.name),)
    return tuple(
        literal_element.fail(
            VARIABLE,
            f"LD_LIBRARY_PATH contains {e.raw} as written: {fault}, so the folder that is meant is not searched.",
            cause=None,
            reason="what is missed because of it is a finding of its own",
            evidence=evidence(("element", f"{e.index + 1}: {e.raw}"), ("read as", e.directory)),
            fixes=(
                Fix(
                    title="Write the folder's full path, without ~, $ or quotation marks", applicability="display-only"
                ),
            ),
        )
        for e, fault in faults
    )


missing_directory = Rule(
    id="GPD501",
    name="ld-library-path-missing-directory",
    title="LD_LIBRARY_PATH names a folder that is not there",
    level="note",
    causes=(),
    page=pages.GPD501,
    evaluate=_missing,
)
empty_element = Rule(
    id="GPD502",
    name="ld-library-path-empty-element",
    title="LD_LIBRARY_PATH makes the loader search the current folder",
    level="warning",
    causes=(),
    page=pages.GPD502,
    evaluate=_empty,
)
shadowing = Rule(
    id="GPD503",
    name="ld-library-path-shadows",
    title="LD_LIBRARY_PATH hides the release of a library that a consumer was installed with",
    level="warning",
    causes=("cudnn-mixed", "cuda-libs-mixed"),
    page=pages.GPD503,
    evaluate=_shadows,
)
path_ignored = Rule(
    id="GPD504",
    name="ld-library-path-ignored",
    title="The loader ignores LD_LIBRARY_PATH for this interpreter",
    level="warning",
    causes=("cuda-lib-not-loadable",),
    page=pages.GPD504,
    evaluate=_ignored,
)
literal_element = Rule(
    id="GPD505",
    name="ld-library-path-literal",
    title="LD_LIBRARY_PATH contains ~, quotation marks or variables that nobody expands",
    level="warning",
    causes=(),
    page=pages.GPD505,
    evaluate=_literal,
)
