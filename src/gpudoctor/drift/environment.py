"""Differences in what is installed and set: distributions, interpreter, driver, LD_LIBRARY_PATH. Pure."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable

from gpudoctor.drift.difference import NOT_INSTALLED, UNSET, Comparison, Difference, Key, Sides
from gpudoctor.drift.lock import UNKNOWN_VERSION, LockedGpus, LockedSearchElement, capability_of
from gpudoctor.drift.rules import DISTRIBUTION_DRIFT, DRIVER_DRIFT, GPU_DRIFT, INTERPRETER_DRIFT, SEARCH_PATH_DRIFT
from gpudoctor.matrix.versions import driver_tuple
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evidence, Fix, Level, Subject
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.remedies import pip_command

SEARCH_PATH: Key = ("search-path",)

# As many additions are told one by one; names of them that a message holds.
_TOGETHER, _SHOWN = 3, 5
_INSTALLABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")


def distribution_key(name: str) -> Key:
    """Return the key of a distribution's difference."""
    return ("distribution", name)


def compare_distributions(sides: Sides) -> Comparison:
    """Compare what is installed, name by name."""
    found = Comparison()
    for state, other in ((sides.snapshot, sides.locked), (sides.before, sides.now)):
        if state is not None and not isinstance(state.interpreter, Present):
            if other.distributions.all():
                found.ask(DISTRIBUTION_DRIFT, "", f"no distributions could be read: {_no_interpreter(state)}")
            return found
    before, now = sides.locked.distributions.all(), sides.now.distributions.all()
    for name in sorted(before.keys() | now.keys()):
        _compare_distribution(found, sides, name, before.get(name), now.get(name))
    return found


def _compare_distribution(found: Comparison, sides: Sides, name: str, old: str | None, new: str | None) -> None:
    hidden = _hidden(sides.snapshot) if new is None else _hidden(sides.before) if old is None else ()
    if UNKNOWN_VERSION in (old, new) and old is not None and new is not None:
        found.ask(DISTRIBUTION_DRIFT, name, f"the version of {name} could not be read: {_both(sides, old, new)}")
    elif hidden:
        seen = sides.words.then if new is None else sides.words.now
        found.ask(DISTRIBUTION_DRIFT, name, f"{name} was seen {seen} only, but not all of sys.path: {hidden[0]}")
    elif old != new:
        found.differences.append(_distribution_difference(sides, name, old, new))


def _hidden(snapshot: Snapshot | None) -> tuple[str, ...]:
    """Return why not all of a state's sys.path is known."""
    interpreter = value_of(snapshot.interpreter) if snapshot else None
    return interpreter.path_unknowns if interpreter else ()


def _both(sides: Sides, old: str | None, new: str | None) -> str:
    return f"{old} {sides.words.then}, {new} {sides.words.now}"


def _distribution_difference(sides: Sides, name: str, old: str | None, new: str | None) -> Difference:
    relevant = name in sides.locked.distributions.gpu or name in sides.now.distributions.gpu
    level: Level = "error" if relevant or old is not None else "warning"
    if old is None:
        message = f"{name} {new} {sides.words.added}."
    elif new is None:
        message = f"{name} {old} {sides.words.removed}."
    else:
        message = f"{name} was {old} {sides.words.then} and is {new} {sides.words.now}."
    values = (old or NOT_INSTALLED, new or NOT_INSTALLED)
    return Difference(
        key=distribution_key(name),
        rule=DISTRIBUTION_DRIFT,
        level=level,
        subject=Subject(kind="distribution", name=name),
        message=message,
        evidence=tuple(Evidence(label=label, value=v) for label, v in zip(sides.words.labels, values, strict=True)),
        fixes=way_back(sides.snapshot, name, old),
        values=values,
    )


def way_back(snapshot: Snapshot | None, name: str, version: str | None) -> tuple[Fix, ...]:
    """Return the command that makes a distribution what it was: installs a version, or removes it for None."""
    if snapshot is None:
        return ()
    install, remove = f"{name}=={version}", f"-y {name}"
    command = pip_command(snapshot, install) if version else pip_command(snapshot, remove, "uninstall")
    if not all(_INSTALLABLE.fullmatch(word) for word in (name, version or "0")) or version in (UNKNOWN_VERSION, "none"):
        return ()
    title = "Install the locked version" if version else "Remove what the lock does not have"
    return (Fix(title=title, applicability="display-only", commands=(command,)),)


def ways_of_lock(sides: Sides, difference: Difference, path: str | None) -> tuple[Fix, ...]:
    """Return the ways out of a drift that the lock gives: back to its GPU packages, or on to a new lock.

    Args:
        sides: Both states.
        difference: What differs: `fix --packages --to` leads back from another GPU package, and from nothing else.
        path: The lock's file; None where nobody knows it.
    """
    snapshot, name = sides.snapshot, difference.subject.name
    if snapshot is None:
        return ()
    leads_back = difference.key == distribution_key(name) and name in sides.locked.distributions.gpu
    interpreter = value_of(snapshot.interpreter)
    target = f" --python {shlex.quote(interpreter.executable)}" if interpreter else ""
    file = shlex.quote(path) if path else "gpudoctor.lock"
    back = Fix(
        title="Let gpudoctor install the locked GPU packages again (without --apply it shows the plan)",
        applicability="display-only",
        commands=(f"gpudoctor fix{target} --packages --to {file} --apply",),
    )
    mended = "This state is the better one: write" if difference.mended else "If the change is wanted, write"
    again = Fix(
        title=f"{mended} the lock again and review the diff",
        applicability="display-only",
        commands=(f"gpudoctor lock{target} -o {file}",),
    )
    return (back, again) if interpreter and leads_back and not difference.mended else (again,)


def with_added_together(differences: Iterable[Difference]) -> list[Difference]:
    """Return differences with the packages that were added and have nothing to do with the GPU as one of them."""
    kept = [d for d in differences if not _is_mere_addition(d)]
    added = [d for d in differences if _is_mere_addition(d)]
    if len(added) < _TOGETHER:
        return [*kept, *added]
    first = added[0]
    names = [f"{d.subject.name} {d.values[1]}" for d in added]
    shown = ", ".join(d.subject.name for d in added[:_SHOWN])
    rest = f" and {len(added) - _SHOWN} more" if len(added) > _SHOWN else ""
    together = Difference(
        key=("distributions",),
        rule=first.rule,
        level=first.level,
        subject=Subject(kind="distribution", name=", ".join(d.subject.name for d in added)),
        message=f"{len(added)} distributions are installed that the lock does not have, none of them of the GPU stack: "
        f"{shown}{rest}.",
        evidence=(Evidence(label="found", value=", ".join(names)),),
    )
    return [*kept, together]


def _is_mere_addition(difference: Difference) -> bool:
    return difference.rule is DISTRIBUTION_DRIFT and difference.level == "warning"


def _no_interpreter(snapshot: Snapshot | None) -> str:
    fact = snapshot.interpreter if snapshot else None
    return fact.reason if isinstance(fact, Unknown) else "no interpreter was judged"


def compare_interpreter(sides: Sides) -> Comparison:
    """Compare the Python version and implementation."""
    found = Comparison()
    old, new = sides.locked.interpreter, sides.now.interpreter
    if old is None or old == new:
        if old is not None and old.version == UNKNOWN_VERSION:
            found.ask(INTERPRETER_DRIFT, "", "the Python version could not be read, now or when the lock was written")
        return found
    if new is None:
        found.ask(INTERPRETER_DRIFT, "", _no_interpreter(sides.snapshot))
    elif UNKNOWN_VERSION in (old.version, new.version):
        found.ask(INTERPRETER_DRIFT, "", f"the Python version: {_both(sides, old.version, new.version)}")
    else:
        same_wheels = old.implementation == new.implementation and _minor(old.version) == _minor(new.version)
        values = (f"{old.implementation} {old.version}", f"{new.implementation} {new.version}")
        message = f"Python was {values[0]} {sides.words.then} and is {values[1]} {sides.words.now}."
        found.differences.append(
            Difference(
                key=("interpreter",),
                rule=INTERPRETER_DRIFT,
                level="warning" if same_wheels else "error",
                subject=Subject(kind="target", name="python"),
                message=message,
                values=values,
            )
        )
    return found


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def compare_driver(sides: Sides) -> Comparison:
    """Compare the driver release as the lock's policy asks."""
    found = Comparison()
    if sides.snapshot is None:
        return found
    locked, fact = sides.locked.driver, sides.snapshot.driver.release
    if locked.policy == "recorded" or locked.release is None:
        return found
    if isinstance(fact, (Absent, Unknown)):
        why = fact.reason if isinstance(fact, Unknown) else "this machine has no NVIDIA driver"
        found.ask(DRIVER_DRIFT, "driver", f"driver {locked.release} is locked ({locked.policy}): {why}")
        return found
    try:
        now, wanted = driver_tuple(fact.value), driver_tuple(locked.release)
    except ValueError:
        found.ask(DRIVER_DRIFT, "driver", f"the driver release {fact.value} is not dotted whole numbers")
        return found
    if now < wanted or (locked.policy == "exact" and now != wanted):
        relation = "or a later one" if locked.policy == "minimum" else "exactly"
        found.differences.append(
            Difference(
                key=("driver",),
                rule=DRIVER_DRIFT,
                level="error",
                subject=Subject(kind="driver", name="driver"),
                message=f"The lock wants driver {locked.release} {relation}; this machine has {fact.value}.",
            )
        )
    return found


def compare_gpus(sides: Sides) -> Comparison:
    """Compare the GPUs as the lock's policy asks."""
    found = Comparison()
    if sides.snapshot is None:
        return found
    locked, fact = sides.locked.gpus, sides.snapshot.gpus
    if locked.policy == "recorded":
        return found
    wanted = ", ".join(locked.devices)
    if not isinstance(fact, Present):
        why = fact.reason if isinstance(fact, Unknown) else "this machine has no NVIDIA GPU"
        found.ask(GPU_DRIFT, "gpus", f"{wanted} is locked ({locked.policy}): {why}")
        return found
    devices = sides.now.gpus.devices
    doubtful = [d for d in devices if capability_of(d) is None]
    if doubtful and locked.policy == "minimum":
        found.ask(GPU_DRIFT, "gpus", f"the compute capability of {doubtful[0]} could not be read")
        return found
    if _gpus_meet(locked, devices):
        return found
    relation = "or better" if locked.policy == "minimum" else "exactly"
    found.differences.append(
        Difference(
            key=("gpus",),
            rule=GPU_DRIFT,
            level="error",
            subject=Subject(kind="gpu", name="gpus"),
            message=f"The lock wants {wanted} {relation}; this machine has {', '.join(devices) or 'no GPU'}.",
        )
    )
    return found


def _gpus_meet(locked: LockedGpus, devices: tuple[str, ...]) -> bool:
    if locked.policy == "exact":
        return sorted(locked.devices) == sorted(devices)
    least = min((c for d in locked.devices if (c := capability_of(d)) is not None), default=())
    return len(devices) >= len(locked.devices) and all((capability_of(d) or ()) >= least for d in devices)


def compare_search_path(sides: Sides) -> Comparison:
    """Compare LD_LIBRARY_PATH element by element."""
    found = Comparison()
    old, new = sides.locked.search_path, sides.now.search_path
    if old == new:
        return found
    before, now = _written(old), _written(new)
    words = sides.words
    message = f"LD_LIBRARY_PATH was {before} {words.then} and is {now} {words.now}."
    if before == now:
        other = f"a folder in it holds other GPU libraries {words.now}"
        message = f"LD_LIBRARY_PATH has the same elements ({now}), but {other}."
    evidence = [
        Evidence(label=label, value=f"{e.directory}: {', '.join(e.libraries)}")
        for label, elements in zip(words.labels, (old, new), strict=True)
        for e in elements
        if e.libraries
    ]
    found.differences.append(
        Difference(
            key=SEARCH_PATH,
            rule=SEARCH_PATH_DRIFT,
            level="error",
            subject=Subject(kind="variable", name="LD_LIBRARY_PATH"),
            message=message,
            parents=_owners_below(sides, old, new),
            evidence=tuple(evidence),
            values=(before, now),
        )
    )
    return found


def _written(elements: tuple[LockedSearchElement, ...]) -> str:
    words = [e.directory if e.state == "directory" else f"{e.directory} ({e.state})" for e in elements]
    return ":".join(words) if words else UNSET


def _owners_below(
    sides: Sides, old: tuple[LockedSearchElement, ...], new: tuple[LockedSearchElement, ...]
) -> tuple[Key, ...]:
    """Return the distributions that explain that an element is (no longer) there: the value itself is the same."""
    if [e.directory for e in old] != [e.directory for e in new]:
        return ()
    changed = {b.directory for a, b in zip(old, new, strict=True) if a != b}
    owners = {
        library.owner
        for library in (*sides.locked.library, *sides.now.library)
        if library.owner and posixpath.dirname(library.path) in changed
    }
    return tuple(distribution_key(owner) for owner in sorted(owners))
