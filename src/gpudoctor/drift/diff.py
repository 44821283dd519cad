"""Two states, of any sort, compared as a lock is with the present state. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from gpudoctor.drift.compare import AREAS
from gpudoctor.drift.difference import Comparison, Difference, Sides, Words, headlines
from gpudoctor.drift.identity import likeness
from gpudoctor.drift.lock import Lock, LockedLibrary
from gpudoctor.drift.outcomes import compare_outcomes
from gpudoctor.drift.places import Places
from gpudoctor.drift.record import NO_DIGESTS, build_lock, library_places, ordered
from gpudoctor.drift.weight import errors_of, is_beside, is_patch, judged_packages, speaks_of, words_of
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.diff import DiffArea, DiffDocument, DiffEntry, DiffEqual, DiffSide
from gpudoctor.model.fact import Absent, Fact, Present
from gpudoctor.model.finding import Finding
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge

WORDS = Words(then="in A", now="in B", added="is in B and not in A", removed="is in A and not in B", labels=("A", "B"))
_RANK = {"error": 0, "warning": 1, "note": 2}
_AREA_OF: Mapping[str, DiffArea] = {
    "GPD451": "distribution",
    "GPD251": "library",
    "GPD252": "resolution",
    "GPD551": "variable",
    "GPD452": "interpreter",
}
# What an environment's own folder is called says nothing.
_OF_THE_PLACE = ("LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX")
_NOT_SET = "not set"


class State(msgspec.Struct, frozen=True):
    """One of two states that are compared.

    Attributes:
        side: How the user named it, and what it is.
        lock: What is compared.
        snapshot: All that is known; None for a lock file.
        digests: Digests of its libraries by path.
    """

    side: DiffSide
    lock: Lock
    snapshot: Snapshot | None = None
    digests: Mapping[str, str] = NO_DIGESTS


def state_of(side: DiffSide, snapshot: Snapshot, matrix: Matrix, digests: Mapping[str, str] = NO_DIGESTS) -> State:
    """Return a state that was looked at, or read from a snapshot file."""
    lock = build_lock(snapshot, matrix.version, digests=digests)
    errors = tuple(words_of(error) for error in errors_of(snapshot, matrix))
    return State(side, msgspec.structs.replace(lock, errors=errors), snapshot, digests)


def compare_states(
    left: State, right: State, matrix: Matrix, *, consumers: tuple[str, ...] = (), everything: bool = False
) -> DiffDocument:
    """Compare two states.

    Args:
        left: A.
        right: B.
        matrix: The facts to judge by.
        consumers: Compare only what these load; empty for all.
        everything: Name what is equal, too.
    """
    outcomes = compare_outcomes(left.lock, right.lock, matrix, consumers)
    changed = {o.consumer for o in outcomes if o.changed}
    same_platform = left.lock.platform == right.lock.platform
    sides = _sides(left, right, consumers)
    found = Comparison()
    for area in AREAS if same_platform else ():
        found.join(area(sides))
    entries = [_entry(head, below, changed) for head, below in headlines(found.differences)]
    entries = _weighed(entries, sides, matrix)
    questions = [q.evaluation.reason for q in found.questions]
    for more, asked in (_machine(left, right), _platform(left, right), _variables(left, right)):
        entries += more
        questions += asked
    entries += _findings(left, right, matrix)
    return DiffDocument(
        left=left.side,
        right=right.side,
        outcomes=outcomes,
        differences=tuple(sorted(entries, key=_order)),
        equal=tuple(_equal(left, right, sides, everything)) if same_platform else (),
        open=tuple(dict.fromkeys(questions)),
        exit_status=1 if entries or changed else 0,
    )


def _order(entry: DiffEntry) -> tuple[bool, bool, int, str, str]:
    return (entry.area != "finding", not entry.matters, _RANK[entry.level], entry.area, entry.subject)


def _sides(left: State, right: State, consumers: tuple[str, ...]) -> Sides:
    return Sides(
        locked=left.lock,
        now=right.lock,
        snapshot=right.snapshot,
        before=left.snapshot,
        locked_files={library.path: library for library in left.lock.library},
        files=_files(right),
        answers=ordered(right.snapshot) if right.snapshot else (),
        consumers=consumers,
        words=WORDS,
    )


def _files(state: State) -> Mapping[str, LockedLibrary]:
    if state.snapshot is None:
        return {library.path: library for library in state.lock.library}
    return library_places(state.snapshot, Places(state.snapshot), state.digests)


def _entry(head: Difference, below: tuple[Difference, ...], changed: set[str]) -> DiffEntry:
    behind = {d.key[1] for d in (head, *below) if d.key[0] == "resolution"}
    return DiffEntry(
        area=_AREA_OF[head.rule.id],
        subject=_subject(head),
        level=head.level,
        matters=bool(behind & changed),
        left=head.values[0],
        right=head.values[1],
        message=head.message,
        follows=tuple(d.message for d in below),
    )


def _subject(head: Difference) -> str:
    """Name what differs; of a consumer's answers also which libraries they are about."""
    roles = dict.fromkeys(e.label.partition(" (")[0] for e in head.evidence) if head.key[0] == "resolution" else ()
    return f"{head.subject.name}: {', '.join(roles)}" if roles else head.subject.name


def _weighed(entries: list[DiffEntry], sides: Sides, matrix: Matrix) -> list[DiffEntry]:
    """Give what harms nobody in B the level that `check --against` gives it: patch releases, and what nothing judges.

    Of a lock as B nobody knows what is wrong, so that its patch releases keep their level.
    """
    errors = errors_of(sides.snapshot, matrix) if sides.snapshot is not None else ()
    gpu = frozenset((*sides.locked.gpu_names(), *sides.now.gpu_names()))
    judged = judged_packages(matrix)

    def harmless(entry: DiffEntry) -> bool:
        if entry.area != "distribution":
            return False
        if sides.snapshot is not None and not errors and is_patch(entry.left, entry.right):
            return True
        beside = is_beside(entry.subject, gpu, judged) and not entry.follows
        return beside and not any(speaks_of(error, entry.subject) for error in errors)

    return [msgspec.structs.replace(e, level="warning") if harmless(e) else e for e in entries]


def _plain(area: DiffArea, subject: str, left: str, right: str, *, level: str = "note") -> DiffEntry:
    return msgspec.convert(
        {
            "area": area,
            "subject": subject,
            "level": level,
            "matters": False,
            "left": left,
            "right": right,
            "message": f"{subject}: {left} in A, {right} in B.",
        },
        DiffEntry,
    )


Found = tuple[list[DiffEntry], list[str]]


def _platform(left: State, right: State) -> Found:
    one, other = left.lock.platform, right.lock.platform
    if one == other:
        return [], []
    return [_plain("platform", "platform", one, other, level="error")], [
        f"A is of {one} and B of {other}: packages, libraries and answers of the loader cannot be compared"
    ]


def _machine(left: State, right: State) -> Found:
    """Compare driver and GPUs; those of a lock count only as far as its policies say."""
    entries: list[DiffEntry] = []
    asked: list[str] = []
    pairs: tuple[tuple[DiffArea, str | None, str | None], ...] = (
        ("driver", _driver(left), _driver(right)),
        ("gpu", _gpus(left), _gpus(right)),
    )
    for area, one, other in pairs:
        if not _counts(left.lock, area, left.snapshot) or not _counts(right.lock, area, right.snapshot):
            continue
        if one is None and other is None:
            continue
        if one is None or other is None:
            asked.append(f"the {area}: not known in {'A' if one is None else 'B'}")
        elif one != other:
            entries.append(_plain(area, area, one, other))
    return entries, asked


def _counts(lock: Lock, area: str, snapshot: Snapshot | None) -> bool:
    policy = lock.driver.policy if area == "driver" else lock.gpus.policy
    return snapshot is not None or policy != "recorded"


def _driver(state: State) -> str | None:
    if state.snapshot is None:
        return state.lock.driver.release
    return _known(state.snapshot.driver.release, "none")


def _known(fact: Fact[str], absent: str) -> str | None:
    if isinstance(fact, Present):
        return fact.value
    return absent if isinstance(fact, Absent) else None


def _gpus(state: State) -> str | None:
    if state.snapshot is None or isinstance(state.snapshot.gpus, Present):
        return ", ".join(state.lock.gpus.devices) or "none"
    return "none" if isinstance(state.snapshot.gpus, Absent) else None


def _variables(left: State, right: State) -> Found:
    """Compare the other variables, by place; a lock has none but LD_LIBRARY_PATH."""
    if left.snapshot is None or right.snapshot is None:
        return [], []
    one, other = _values(left.snapshot), _values(right.snapshot)
    names = sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))
    return [_plain("variable", n, one.get(n, _NOT_SET), other.get(n, _NOT_SET), level="warning") for n in names], []


def _values(snapshot: Snapshot) -> dict[str, str]:
    places = Places(snapshot)
    return {
        v.name: places.of_directory(v.value) if v.value.startswith("/") and ":" not in v.value else v.value
        for v in snapshot.variables
        if v.name not in _OF_THE_PLACE
    }


def _findings(left: State, right: State, matrix: Matrix) -> Iterable[DiffEntry]:
    """Yield what the rules say of one side alone, where both can be judged."""
    if left.snapshot is None or right.snapshot is None:
        return
    one, other = _judged(left.snapshot, matrix), _judged(right.snapshot, matrix)
    for key in sorted(one.keys() ^ other.keys()):
        finding = one.get(key) or other[key]
        told = f"{finding.level} {finding.rule} {finding.name}"
        where, values = ("A", (told, "-")) if key in one else ("B", ("-", told))
        yield DiffEntry(
            area="finding",
            subject=finding.subject.name,
            level=finding.level if where == "B" else "note",
            matters=True,
            left=values[0],
            right=values[1],
            message=f"Only in {where}: {finding.message}",
        )


def _judged(snapshot: Snapshot, matrix: Matrix) -> dict[tuple[str, str, str], Finding]:
    findings = judge(snapshot, matrix).findings
    return {(f.rule, f.subject.name, f.cause or ""): f for f in findings if f.level != "note"}


def _equal(left: State, right: State, sides: Sides, everything: bool) -> Iterable[DiffEqual]:
    """Yield what is the same, sort by sort."""
    one, other = left.lock, right.lock
    a, b = one.distributions.all(), other.distributions.all()
    wanted = sides.consumers
    rows = {(r.consumer, r.scenario, r.role, r.outcome, r.path) for r in one.resolution}
    found: tuple[tuple[str, list[str]], ...] = (
        ("distribution", [f"{n} {v}" for n, v in sorted(a.items()) if b.get(n) == v]),
        ("library", [f.path for f in one.library if _alike(f, sides.files.get(f.path))]),
        (
            "resolution",
            [
                f"{r.consumer} ({r.scenario}) {r.role}"
                for r in other.resolution
                if (r.consumer, r.scenario, r.role, r.outcome, r.path) in rows and (not wanted or r.consumer in wanted)
            ],
        ),
        ("variable", ["LD_LIBRARY_PATH"] if one.search_path == other.search_path else []),
        ("interpreter", _same(one.interpreter, other.interpreter)),
        ("driver", _same(_driver(left), _driver(right))),
        ("gpu", _same(_gpus(left), _gpus(right))),
    )
    for area, items in found:
        if items:
            yield msgspec.convert(
                {"area": area, "count": len(items), "items": tuple(items) if everything else ()}, DiffEqual
            )


def _alike(one: LockedLibrary, other: LockedLibrary | None) -> bool:
    return other is not None and likeness(one, other) == "same"


def _same(one: object, other: object) -> list[str]:
    if one is None or one != other:
        return []
    version = getattr(one, "version", None)
    return [f"{getattr(one, 'implementation', '')} {version}" if version else str(one)]
