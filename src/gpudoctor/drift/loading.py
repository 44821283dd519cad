"""Differences in what is loaded: the loader's answers by role, and the content behind them. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

import msgspec

from gpudoctor.drift.difference import Comparison, Difference, Key, Sides, Words
from gpudoctor.drift.environment import SEARCH_PATH, distribution_key, way_back
from gpudoctor.drift.identity import likeness
from gpudoctor.drift.lock import Lock, LockedLibrary, LockedResolution
from gpudoctor.drift.places import is_elsewhere, same_place
from gpudoctor.drift.rules import LIBRARY_DRIFT, RESOLUTION_DRIFT
from gpudoctor.model.finding import Evidence, Fix, Subject
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot

# What only the hardware answers; without it the loader is emulated all the same.
_HARDWARE_PROBES = ("nvml", "cuda", "libcuda", "driver", "gpus", "gpu")

Role = tuple[str, str, str, str]


class _Change(msgspec.Struct, frozen=True, kw_only=True):
    """One opening that is answered differently; None for a side that does not have it."""

    role: Role
    old: LockedResolution | None
    new: LockedResolution | None
    answer: Resolution | None


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    """The file in one place, then and now, and whether it is still the one that loads."""

    locked: LockedLibrary
    now: LockedLibrary
    loaded: bool


def compare_loading(sides: Sides) -> Comparison:
    """Compare the loader's answers and the content of the files they lead to."""
    found = Comparison()
    old = _by_role(sides.locked.resolution, sides.consumers)
    new = _by_role(sides.now.resolution, sides.consumers)
    answers = dict(zip(_roles(sides.now.resolution), sides.answers, strict=True)) if sides.answers else {}
    pairs: dict[str, _Pair] = {}
    changes: list[_Change] = []
    for role in sorted(old.keys() | new.keys()):
        before, now = old.get(role), new.get(role)
        if _cannot_compare(found, sides, role, before, now, answers.get(role)):
            continue
        _pair_files(pairs, sides, before, now)
        if before is None or now is None or not _same_answer(before, now):
            changes.append(_Change(role=role, old=before, new=now, answer=answers.get(role)))
    _compare_files(found, sides, pairs)
    found.differences.extend(_group(sides, changes))
    return found


def _roles(resolutions: Iterable[LockedResolution]) -> list[Role]:
    """Return the key of each resolution; a role that occurs twice is numbered in the lock's order."""
    seen: dict[tuple[str, str, str], int] = {}
    roles: list[Role] = []
    for r in resolutions:
        name = (r.consumer, r.scenario, r.role)
        seen[name] = seen.get(name, 0) + 1
        roles.append((*name, str(seen[name])))
    return roles


def _by_role(resolutions: tuple[LockedResolution, ...], consumers: tuple[str, ...]) -> dict[Role, LockedResolution]:
    pairs = zip(_roles(resolutions), resolutions, strict=True)
    return {role: r for role, r in pairs if not consumers or r.consumer in consumers}


def _same_answer(old: LockedResolution, new: LockedResolution) -> bool:
    return (old.outcome, old.found_via) == (new.outcome, new.found_via) and same_place(old.path, new.path)


# --- what cannot be told ---------------------------------------------------------------------------------------------


def _cannot_compare(
    found: Comparison,
    sides: Sides,
    role: Role,
    old: LockedResolution | None,
    new: LockedResolution | None,
    answer: Resolution | None,
) -> bool:
    name = f"{role[0]} ({role[1]}) {role[2]}"
    reason = None
    if old is not None and old.outcome == "unknown":
        reason = f"{name}: what it loads was not known {sides.words.then}"
    elif new is not None and new.outcome == "unknown":
        why = answer.reason if answer and answer.reason else "no reason was recorded"
        reason = f"{name}: what it loads cannot be told {sides.words.now}: {why}"
    elif new is None:
        reason = _why_unseen(sides.snapshot, name) or _other_matrix(sides, role, name)
    elif old is None:
        reason = _why_unseen(sides.before, name) or _other_matrix(sides, role, name)
    if reason is not None:
        found.ask(RESOLUTION_DRIFT, role[0], reason)
    return reason is not None


def _why_unseen(snapshot: Snapshot | None, name: str) -> str | None:
    for probe in snapshot.probes if snapshot else ():
        if probe.status in ("timeout", "crashed", "failed") and probe.probe not in _HARDWARE_PROBES:
            return f"{name}: seen on one side only, but the probe {probe.probe} failed: {probe.detail or probe.status}"
    return None


def _other_matrix(sides: Sides, role: Role, name: str) -> str | None:
    """Explain an opening that only one side has by the matrix, when the consumer itself is the same."""
    locked, now = sides.locked, sides.now
    owner = locked.consumers.get(role[0])
    same_consumer = (
        owner is not None
        and owner == now.consumers.get(role[0])
        and locked.distributions.version(owner) == now.distributions.version(owner)
    )
    torch_same = locked.distributions.version("torch") == now.distributions.version("torch")
    if locked.matrix_version == now.matrix_version or not same_consumer or not torch_same:
        return None
    return (
        f"{name}: the lock was written with compatibility matrix {locked.matrix_version}, this is "
        f"{now.matrix_version}, and only one of them knows this opening; write the lock again"
    )


# --- content ---------------------------------------------------------------------------------------------------------


def _pair_files(
    pairs: dict[str, _Pair], sides: Sides, old: LockedResolution | None, new: LockedResolution | None
) -> None:
    """Find the file now in the place that was locked, even when it is no longer the one that loads."""
    if old is None or old.path is None:
        return
    loads = new.path if new is not None and same_place(old.path, new.path) else None
    place = loads or (None if is_elsewhere(old.path) else old.path)
    locked, now = sides.locked_files.get(old.path), sides.files.get(place) if place else None
    if locked is not None and now is not None and (loads or old.path not in pairs):
        pairs[old.path] = _Pair(locked=locked, now=now, loaded=loads is not None)


def _compare_files(found: Comparison, sides: Sides, pairs: Mapping[str, _Pair]) -> None:
    groups: dict[Key, list[_Pair]] = {}
    unverified: list[str] = []
    for place in sorted(pairs):
        pair = pairs[place]
        answer = likeness(pair.locked, pair.now)
        if answer == "different":
            groups.setdefault(_file_key(place, pair.locked.family), []).append(pair)
        elif answer == "unverified" and pair.loaded:  # of what is no longer loaded, the resolution says enough
            unverified.append(posixpath.basename(place))
    found.differences.extend(_file_difference(sides, key, members) for key, members in groups.items())
    if unverified:
        found.ask(
            LIBRARY_DRIFT,
            "",
            f"size and version agree, but the content could not be compared (a snapshot file carries no digests): "
            f"{', '.join(unverified)}",
        )


def _file_key(place: str, family: str) -> Key:
    return ("library", posixpath.dirname(place), family)


def _file_difference(sides: Sides, key: Key, members: list[_Pair]) -> Difference:
    words = sides.words
    old, new = members[0].locked, members[0].now
    values = (_content(old, new), _content(new, old))
    names = ", ".join(posixpath.basename(pair.locked.path) for pair in members)
    owners = sorted({x.owner for pair in members for x in (pair.locked, pair.now) if x.owner})
    parents = [distribution_key(owner) for owner in owners]
    if is_elsewhere(key[1]):
        parents.append(SEARCH_PATH)
    return Difference(
        key=key,
        rule=LIBRARY_DRIFT,
        level="error",
        subject=Subject(kind="library", name=key[2]),
        message=f"{names} in {key[1]}: was {values[0]} {words.then} and is {values[1]} {words.now}.",
        values=values,
        parents=tuple(parents),
        evidence=tuple(_file_evidence(words, pair) for pair in members),
        fixes=tuple(fix for owner in owners for fix in _reinstall(sides, owner)),
    )


def _reinstall(sides: Sides, owner: str) -> Iterable[Fix]:
    """Yield the way back to the files of a distribution that is of the locked release, and whose files are not."""
    version = sides.locked.distributions.version(owner)
    way = way_back(sides.snapshot, owner, version) if version == sides.now.distributions.version(owner) else ()
    for fix in way if version else ():
        again = fix.commands[0].replace(" install ", " install --force-reinstall --no-deps ", 1)
        yield Fix(title=f"Install {owner} again", applicability=fix.applicability, commands=(again,))


def _file_evidence(words: Words, pair: _Pair) -> Evidence:
    was, found = f"{_details(pair.locked)} {words.labels[0]}", f"{_details(pair.now)} {words.labels[1]}"
    return Evidence(label="file", value=f"{posixpath.basename(pair.locked.path)}: {was}, {found}")


def _content(library: LockedLibrary, other: LockedLibrary) -> str:
    """Name a content by the first thing that tells it from the other one."""
    if library.version and library.version != other.version:
        return f"version {library.version}"
    if library.build_id and library.build_id != other.build_id:
        return f"build {library.build_id[:12]}"
    if library.size_bytes != other.size_bytes:
        return f"{library.size_bytes} bytes"
    return f"content {library.digest}"


def _details(library: LockedLibrary) -> str:
    parts = [f"{library.size_bytes} bytes"]
    if library.version:
        parts.insert(0, library.version)
    if library.build_id:
        parts.append(f"build id {library.build_id}")
    elif library.digest:
        parts.append(library.digest)
    return " ".join(parts)


# --- the loader's answers --------------------------------------------------------------------------------------------


def _group(sides: Sides, changes: list[_Change]) -> Iterable[Difference]:
    """Put what changed in the same way together: seven cuDNN parts that moved together are one difference."""
    groups: dict[Key, list[_Change]] = {}
    parents: dict[Key, tuple[Key, ...]] = {}
    for change in changes:
        explained = _parents(sides, change)
        side = change.new or change.old
        family = side.family if side else ""
        key = ("resolution", change.role[0], family, _manner(change.old), _manner(change.new), str(explained))
        groups.setdefault(key, []).append(change)
        parents[key] = explained
    return [_difference(sides, key, members, parents[key]) for key, members in groups.items()]


def _manner(answer: LockedResolution | None) -> str:
    """Say where a file is found and by which rule, without its name."""
    if answer is None:
        return "never opened"
    if answer.path is None:
        return "not found" if answer.outcome == "absent" else answer.outcome
    where = posixpath.dirname(answer.path) or answer.path
    how = f" ({answer.found_via})" if answer.found_via else ""
    return f"{where}{how}" if answer.outcome == "present" else f"{where}{how}, which does not load"


def _difference(sides: Sides, key: Key, members: list[_Change], parents: tuple[Key, ...]) -> Difference:
    consumer, words = key[1], sides.words
    roles = ", ".join(dict.fromkeys(change.role[2] for change in members))
    return Difference(
        key=key,
        rule=RESOLUTION_DRIFT,
        level="error",
        subject=Subject(kind="consumer", name=consumer),
        message=f"{consumer} loads {roles} from another place: {key[3]} {words.then}, {key[4]} {words.now}."
        if _both_load(members[0])
        else f"For {consumer}, {roles} was {key[3]} {words.then} and is {key[4]} {words.now}.",
        values=(key[3], key[4]),
        parents=parents,
        evidence=tuple(_evidence(words, change) for change in members),
        mended=_is_mended(sides.locked, consumer, members),
    )


def _is_mended(locked: Lock, consumer: str, members: Iterable[_Change]) -> bool:
    """Tell whether something was missing, the locked state was wrong for its consumer, and it is found now."""
    was_wrong = any(error.split(" ")[1:2] == [consumer] for error in locked.errors)
    return was_wrong and all(
        c.old is not None and c.old.outcome == "absent" and c.new is not None and c.new.outcome == "present"
        for c in members
    )


def _both_load(change: _Change) -> bool:
    return all(side is not None and side.outcome == "present" for side in (change.old, change.new))


def _evidence(words: Words, change: _Change) -> Evidence:
    reason = f": {change.answer.reason}" if change.answer and change.answer.reason else ""
    before, now = _answer(change.old), _answer(change.new)
    return Evidence(label=f"{change.role[2]} ({change.role[1]})", value=f"{before} {words.then}, {now}{reason}")


def _answer(answer: LockedResolution | None) -> str:
    if answer is None or answer.path is None:
        return _manner(answer)
    return f"{answer.path} ({answer.found_via})" if answer.found_via else answer.path


def _parents(sides: Sides, change: _Change) -> tuple[Key, ...]:
    """Return what would explain a changed answer, best first."""
    behind = [distribution_key(name) for name in _distributions_behind(sides, change)]
    keys = [distribution_key(name) for name in _removed_owner(sides, change)]
    if change.old is None or change.new is None:
        keys.extend(behind)  # an opening comes and goes with its consumer, wherever its file is found
    if _by_search_path(sides, change):
        keys.append(SEARCH_PATH)
    if change.old is not None and change.old.path is not None:
        keys.append(_file_key(change.old.path, change.old.family))
    keys.extend(_culprit_keys(sides, change))
    keys.extend(behind)
    return tuple(dict.fromkeys(keys))


def _removed_owner(sides: Sides, change: _Change) -> Iterable[str]:
    """Return the distribution that took the locked file away with it."""
    owner = _owner(sides.locked_files, change.old)
    if owner and sides.now.distributions.version(owner) is None:
        yield owner


def _owner(files: Mapping[str, LockedLibrary], side: LockedResolution | None) -> str | None:
    library = files.get(side.path) if side is not None and side.path is not None else None
    return library.owner if library is not None else None


def _by_search_path(sides: Sides, change: _Change) -> bool:
    folders = {e.directory for e in (*sides.locked.search_path, *sides.now.search_path)}
    for side in (change.old, change.new):
        if side is None or side.path is None:
            continue
        if side.found_via == "ld-library-path" or posixpath.dirname(side.path) in folders:
            return True
    return False


def _culprit_keys(sides: Sides, change: _Change) -> Iterable[Key]:
    """Return the keys of the dependency that is really at fault, wherever it was locked."""
    culprit = change.answer.culprit if change.answer else None
    for library in sides.locked.library:
        if culprit and culprit in (library.soname, posixpath.basename(library.path)):
            yield _file_key(library.path, library.family)


def _distributions_behind(sides: Sides, change: _Change) -> Iterable[str]:
    if change.role[1] == "after-torch":
        yield "torch"
    for lock in (sides.locked, sides.now):
        if change.role[0] in lock.consumers:
            yield lock.consumers[change.role[0]]
    for files, side in ((sides.locked_files, change.old), (sides.files, change.new)):
        owner = _owner(files, side)
        if owner:
            yield owner
