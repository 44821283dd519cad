"""What fails on this machine only because no driver is here: no fault of a library, and nothing that was shown."""

from __future__ import annotations

import msgspec

from gpudoctor.canary.compare import libraries_named, library_of
from gpudoctor.canary.steps import DRIVER
from gpudoctor.loader.elf import ElfError, read_elf
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.canary import CanaryStep
from gpudoctor.model.loading import Resolution
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem


def without_driver(
    system: ReadSystem, matrix: Matrix, steps: tuple[CanaryStep, ...], resolutions: tuple[Resolution, ...]
) -> tuple[CanaryStep, ...]:
    """Return the steps, those as skipped that failed on a library which links a driver's library that is not here.

    cuDNN's engines that compile at run time link libcuda.so.1 in some releases (9.28 does, 9.1 does not).
    """
    if not any(s.consumer == DRIVER and "cannot open shared object" in (s.reason or "") for s in steps):
        return steps
    return tuple(_excused(system, matrix, step, resolutions) for step in steps)


def _excused(system: ReadSystem, matrix: Matrix, step: CanaryStep, resolutions: tuple[Resolution, ...]) -> CanaryStep:
    if step.outcome not in ("failed", "crashed") or step.consumer == DRIVER:
        return step
    ours = {library_of(r): r for r in resolutions if (r.consumer, r.scenario) == (step.consumer, step.scenario)}
    why: list[str] = []
    for stem in libraries_named(step):
        resolution = ours.get(stem)
        needed = _driver_library(system, matrix, resolution.path) if resolution and resolution.path else None
        if resolution is None or needed is None:
            return step
        why.append(f"{resolution.soname} links {needed}, which only a driver brings, and there is none here")
    if not why:
        return step
    reason = "; ".join(why)
    return msgspec.structs.replace(step, outcome="skipped", signal=None, failed_call=None, reason=reason)


def _driver_library(system: ReadSystem, matrix: Matrix, path: str) -> str | None:
    try:
        needed = read_elf(system, path).needed
    except (ElfError, NotThere, CannotLook):
        return None
    families = ((name, matrix.family_of(name)) for name in needed)
    return next((name for name, family in families if family is not None and family.from_driver), None)
