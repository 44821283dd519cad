"""Holds what the emulated loader said against what was mapped in the real processes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gpudoctor.canary.listing import PROVIDER
from gpudoctor.canary.listing import STEP as LISTED
from gpudoctor.canary.steps import DRIVER, ENGINES, IMPORT
from gpudoctor.matrix.index import Matrix, stem_of
from gpudoctor.model.canary import CanaryStep, Disagreement
from gpudoctor.model.loading import Resolution
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

# Words in which a consumer says that a library did not load, as opposed to a death for another reason.
NOT_LOADED = re.compile(
    r"Unable to load any of|Could not load library|is not found or cannot be loaded|cannot open shared object"
    r"|undefined symbol|invalid ELF header|file too short|version `[^']*' not found"
)
# cuDNN 8's parts link libcuda: without a driver they cannot load, which is the driver's cause and no disagreement.
_NO_DRIVER = re.compile(r"libcuda\.so\.1: cannot open shared object")
_LIBRARY = re.compile(r"(lib[A-Za-z0-9_+-]+)\.so")


@dataclass(frozen=True, slots=True)
class Difference:
    """A disagreement, and the step that showed it.

    Attributes:
        step: The step.
        disagreement: As reported; its trace is still to come.
    """

    step: CanaryStep
    disagreement: Disagreement


def compare(
    system: ReadSystem, matrix: Matrix, steps: tuple[CanaryStep, ...], resolutions: tuple[Resolution, ...]
) -> tuple[Difference, ...]:
    """Return where the emulator and reality differ: one difference a library, consumer and scenario.

    Only what a step really exercised is compared: a library that nobody opened proves nothing.
    """
    found: dict[tuple[str, str, str], Difference] = {}
    for resolution in resolutions:
        family = matrix.families.get(resolution.family)
        if resolution.outcome == "unknown" or (family is not None and family.from_driver):
            continue
        ours = tuple(
            s
            for s in steps
            if (s.consumer, s.scenario) == (resolution.consumer, resolution.scenario) and s.consumer != DRIVER
        )
        difference = _difference(system, resolution, ours)
        if difference is not None:
            key = (resolution.consumer, resolution.scenario, library_of(resolution))
            found.setdefault(key, difference)
    return tuple(found.values())


def library_of(resolution: Resolution) -> str:
    """Return the stem of the library that a resolution is about."""
    return stem_of(resolution.soname) or resolution.soname


def libraries_named(step: CanaryStep) -> tuple[str, ...]:
    """Return the stems of the libraries that a step's last words name."""
    words = f"{step.reason or ''}\n{step.stderr_excerpt or ''}"
    return tuple(dict.fromkeys(_LIBRARY.findall(words)))


def _difference(system: ReadSystem, resolution: Resolution, steps: tuple[CanaryStep, ...]) -> Difference | None:
    stem = library_of(resolution)
    for step in _exercising(resolution, stem, steps):
        observed = _observed(system, resolution, stem, step)
        if observed is None:
            return None
        if observed:
            return Difference(step, _disagreement(resolution, step, observed))
    return None


def _exercising(resolution: Resolution, stem: str, steps: Iterable[CanaryStep]) -> Iterator[CanaryStep]:
    """Yield the steps that open a library, the earliest first."""
    for step in steps:
        if step.name == LISTED:
            # A listing runs no code: what the provider opens by itself later is not in it.
            if resolution.requester == posixpath.basename(PROVIDER) and resolution.link == "needed":
                yield step
        elif step.name == IMPORT:
            if resolution.link == "needed" and resolution.when == "at import":
                yield step
        elif stem in step.libraries and resolution.link == "dlopen":
            yield step


def _observed(system: ReadSystem, resolution: Resolution, stem: str, step: CanaryStep) -> str | None:
    """Return what contradicts the emulator; None when the step bears it out, empty when it tells nothing."""
    mapped = [path for path in step.maps if stem_of(posixpath.basename(path)) == stem]
    if resolution.outcome == "present":
        if any(_same_file(system, path, resolution.path) for path in mapped):
            return None
        if step.name == ENGINES and not mapped and step.outcome == "ok":
            return ""  # some releases open an engine later; only a refusal tells
        if step.outcome == "ok" or step.name == LISTED:
            return f"{mapped[0]} was loaded" if mapped else "it was not loaded"
        blamed = step.outcome in ("failed", "crashed") and stem in libraries_named(step)
        words = f"{step.reason or ''}\n{step.stderr_excerpt or ''}"
        refused = blamed and NOT_LOADED.search(words) and not _NO_DRIVER.search(words)
        return "it was not loaded: " + _last_words(step) if refused else ""
    # Of a library whose dependency is missing, the listing shows the file all the same.
    itself = resolution.failure == "missing" and (resolution.culprit is None or stem_of(resolution.culprit) == stem)
    if mapped and (step.outcome == "ok" or (step.name == LISTED and itself)):
        return f"{mapped[0]} was loaded"
    return None if step.outcome in ("failed", "crashed") else ""


def _same_file(system: ReadSystem, one: str, other: str | None) -> bool:
    if other is None:
        return False
    if one in (other, system.realpath(other)):
        return True
    try:
        return system.stat(one).identity == system.stat(other).identity
    except (NotThere, CannotLook):
        return False


def _last_words(step: CanaryStep) -> str:
    words = step.reason or step.stderr_excerpt or step.signal or step.outcome
    return words if len(words) <= 300 else words[:300] + "…"


def _disagreement(resolution: Resolution, step: CanaryStep, observed: str) -> Disagreement:
    if resolution.outcome == "present":
        predicted = f"{resolution.path} will be loaded ({resolution.found_via})"
    else:
        predicted = f"it will not load: {resolution.reason or resolution.failure or 'not found'}"
    return Disagreement(
        consumer=resolution.consumer,
        scenario=resolution.scenario,
        step=step.name,
        library=resolution.soname,
        predicted=predicted,
        observed=observed,
    )
