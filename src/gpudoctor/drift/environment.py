"""Differences in what is installed and set: distributions, interpreter, driver, LD_LIBRARY_PATH. Pure."""

from __future__ import annotations

import posixpath
import re

from gpudoctor.drift.difference import Comparison, Difference, Key, Sides
from gpudoctor.drift.lock import UNKNOWN_VERSION, LockedSearchElement
from gpudoctor.drift.rules import DISTRIBUTION_DRIFT, DRIVER_DRIFT, INTERPRETER_DRIFT, SEARCH_PATH_DRIFT
from gpudoctor.matrix.index import driver_tuple
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.finding import Evidence, Fix, Level, Subject

SEARCH_PATH: Key = ("search-path",)

_INSTALLABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")


def distribution_key(name: str) -> Key:
    """Return the key of a distribution's difference."""
    return ("distribution", name)


def compare_distributions(sides: Sides) -> Comparison:
    """Compare what is installed, name by name."""
    found = Comparison()
    if not isinstance(sides.snapshot.interpreter, Present):
        if sides.locked.distributions.all():
            found.ask(DISTRIBUTION_DRIFT, "", f"no distributions could be read: {_no_interpreter(sides)}")
        return found
    before, now = sides.locked.distributions.all(), sides.now.distributions.all()
    for name in sorted(before.keys() | now.keys()):
        _compare_distribution(found, sides, name, before.get(name), now.get(name))
    return found


def _compare_distribution(found: Comparison, sides: Sides, name: str, old: str | None, new: str | None) -> None:
    hidden = sides.snapshot.interpreter.value.path_unknowns if isinstance(sides.snapshot.interpreter, Present) else ()
    if UNKNOWN_VERSION in (old, new) and old is not None and new is not None:
        found.ask(DISTRIBUTION_DRIFT, name, f"the version of {name} could not be read: {old} locked, {new} now")
    elif new is None and hidden:
        found.ask(DISTRIBUTION_DRIFT, name, f"{name} is locked and was not seen, but not all of sys.path: {hidden[0]}")
    elif old != new:
        found.differences.append(_distribution_difference(sides, name, old, new))


def _distribution_difference(sides: Sides, name: str, old: str | None, new: str | None) -> Difference:
    relevant = name in sides.locked.distributions.gpu or name in sides.now.distributions.gpu
    level: Level = "error" if relevant or old is not None else "warning"
    if old is None:
        message = f"{name} {new} is installed; the lock does not have it."
    elif new is None:
        message = f"{name} {old} is locked and no longer installed."
    else:
        message = f"{name} was {old} when locked and is {new} now."
    return Difference(
        key=distribution_key(name),
        rule=DISTRIBUTION_DRIFT,
        level=level,
        subject=Subject(kind="distribution", name=name),
        message=message,
        evidence=(
            Evidence(label="locked", value=old or "not installed"),
            Evidence(label="found", value=new or "not installed"),
        ),
        fixes=_way_back(name, old),
    )


def _way_back(name: str, version: str | None) -> tuple[Fix, ...]:
    command = f"python -m pip install {name}=={version}" if version else f"python -m pip uninstall {name}"
    if not all(_INSTALLABLE.fullmatch(word) for word in (name, version or "0")) or version in (UNKNOWN_VERSION, "none"):
        return ()
    title = "Install the locked version" if version else "Remove what the lock does not have"
    return (Fix(title=title, applicability="display-only", commands=(command,)),)


def _no_interpreter(sides: Sides) -> str:
    fact = sides.snapshot.interpreter
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
        found.ask(INTERPRETER_DRIFT, "", _no_interpreter(sides))
    elif UNKNOWN_VERSION in (old.version, new.version):
        found.ask(INTERPRETER_DRIFT, "", f"the Python version: {old.version} locked, {new.version} now")
    else:
        same_wheels = old.implementation == new.implementation and _minor(old.version) == _minor(new.version)
        message = f"Python was {old.implementation} {old.version} when locked and is {new.implementation} {new.version}"
        found.differences.append(
            Difference(
                key=("interpreter",),
                rule=INTERPRETER_DRIFT,
                level="warning" if same_wheels else "error",
                subject=Subject(kind="target", name="python"),
                message=f"{message} now.",
            )
        )
    return found


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def compare_driver(sides: Sides) -> Comparison:
    """Compare the driver release as the lock's policy asks."""
    found = Comparison()
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


def compare_search_path(sides: Sides) -> Comparison:
    """Compare LD_LIBRARY_PATH element by element."""
    found = Comparison()
    old, new = sides.locked.search_path, sides.now.search_path
    if old == new:
        return found
    before, now = _written(old), _written(new)
    message = f"LD_LIBRARY_PATH was {before} when locked and is {now} now."
    if before == now:
        message = f"LD_LIBRARY_PATH has the same elements ({now}), but a folder in it holds other GPU libraries now."
    evidence = [
        Evidence(label=label, value=f"{e.directory}: {', '.join(e.libraries)}")
        for label, elements in (("locked", old), ("found", new))
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
        )
    )
    return found


def _written(elements: tuple[LockedSearchElement, ...]) -> str:
    words = [e.directory if e.state == "directory" else f"{e.directory} ({e.state})" for e in elements]
    return ":".join(words) if words else "unset"


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
