"""Snapshot -> lock: what of a state is worth keeping, under names that hold anywhere. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

from gpudoctor.drift.lock import (
    ABSENT_VERSION,
    UNKNOWN_VERSION,
    DriverPolicy,
    GpuPolicy,
    Lock,
    LockedDistributions,
    LockedDriver,
    LockedGpus,
    LockedInterpreter,
    LockedLibrary,
    LockedResolution,
    LockedSearchElement,
)
from gpudoctor.drift.places import Places, clean, is_elsewhere
from gpudoctor.model.environment import SearchElement
from gpudoctor.model.fact import Fact, Present, Unknown, value_of
from gpudoctor.model.loading import Library, Resolution
from gpudoctor.model.snapshot import Snapshot

NO_DIGESTS: Mapping[str, str] = {}


def build_lock(
    snapshot: Snapshot,
    matrix_version: str,
    *,
    digests: Mapping[str, str] = NO_DIGESTS,
    driver_policy: DriverPolicy = "recorded",
    gpu_policy: GpuPolicy = "recorded",
    places: Places | None = None,
) -> Lock:
    """Return the lock of a state.

    Args:
        snapshot: The state.
        matrix_version: Matrix that it was taken with.
        digests: Digests of loaded libraries by path, from gpudoctor.drift.identity.digest_libraries.
        driver_policy: How later machines' drivers are compared.
        gpu_policy: How later machines' GPUs are compared.
        places: Where to number unnamed folders, when the caller has more places of this snapshot to name.
    """
    places = places or Places(snapshot)
    search_path = tuple(_search_element(e, places) for e in snapshot.search_elements)
    resolutions = _resolutions(snapshot, places)
    loaded = {r.path for r in resolutions}
    libraries = library_places(snapshot, places, digests)
    return Lock(
        schema_version=1,
        matrix_version=matrix_version,
        platform=platform_of(snapshot),
        interpreter=_interpreter(snapshot),
        driver=_driver(snapshot, driver_policy),
        gpus=LockedGpus(policy=gpu_policy, devices=tuple(_devices(snapshot))),
        consumers={clean(b.package): clean(b.distribution) for b in snapshot.builds},
        distributions=_distributions(snapshot),
        search_path=search_path,
        library=tuple(library for place, library in sorted(libraries.items()) if place in loaded),
        resolution=resolutions,
    )


def platform_of(snapshot: Snapshot) -> str:
    """Return operating system and architecture, as the matrix names platforms."""
    return clean(f"{snapshot.host.os}-{snapshot.host.machine}")


def library_places(snapshot: Snapshot, places: Places, digests: Mapping[str, str]) -> dict[str, LockedLibrary]:
    """Return every library of a snapshot by its place, whether somebody loads it or not."""
    roles: dict[str, set[str]] = {}
    for resolution in snapshot.resolutions:
        if resolution.path is not None:
            # By place, not by path: the loader opens `…/ctranslate2/../ctranslate2.libs/…`.
            place = places.of_file(resolution.path)
            roles.setdefault(place, set()).add(clean(f"{resolution.consumer}/{resolution.role}"))
    found: dict[str, LockedLibrary] = {}
    # A file seen under two spellings of its path counts once: as the one whose header was read.
    for library in sorted(snapshot.libraries, key=lambda x: (value_of(x.elf) is None, x.path)):
        place = places.of_file(library.path)
        found.setdefault(place, _library(library, place, roles.get(place, set()), digests.get(library.path)))
    return found


def ordered(snapshot: Snapshot) -> tuple[Resolution, ...]:
    """Return the resolutions in the order of a lock."""
    return tuple(
        sorted(snapshot.resolutions, key=lambda r: (r.consumer, r.scenario, r.family, r.role, r.soname, r.requester))
    )


def _interpreter(snapshot: Snapshot) -> LockedInterpreter | None:
    interpreter = value_of(snapshot.interpreter)
    if interpreter is None:
        return None
    name = posixpath.basename(interpreter.real_executable.replace("\\", "/")).lower()
    implementation = "pypy" if name.startswith("pypy") else "cpython"
    return LockedInterpreter(implementation=implementation, version=_version(interpreter.version))


def _version(fact: Fact[str]) -> str:
    if isinstance(fact, Present):
        return clean(fact.value)
    return UNKNOWN_VERSION if isinstance(fact, Unknown) else ABSENT_VERSION


def _driver(snapshot: Snapshot, policy: DriverPolicy) -> LockedDriver:
    release = value_of(snapshot.driver.release)
    return LockedDriver(policy=policy, release=clean(release) if release else None)


def _devices(snapshot: Snapshot) -> Iterator[str]:
    for gpu in value_of(snapshot.gpus) or ():
        name, capability = value_of(gpu.name), value_of(gpu.compute_capability)
        yield clean(f"{name or 'unknown'} ({capability or 'unknown'})")


def _distributions(snapshot: Snapshot) -> LockedDistributions:
    relevant = {b.distribution for b in snapshot.builds} | {x.owner for x in snapshot.libraries if x.owner}
    gpu: dict[str, str] = {}
    other: dict[str, str] = {}
    for distribution in sorted(snapshot.distributions, key=lambda d: d.name):  # stable: the first of a name wins
        name = distribution.name
        counts = name in relevant or bool(distribution.requires) or name.startswith("nvidia-")
        if name not in gpu and name not in other:
            (gpu if counts else other)[name] = _version(distribution.version)
    return LockedDistributions(gpu={clean(n): v for n, v in gpu.items()}, other={clean(n): v for n, v in other.items()})


def _search_element(element: SearchElement, places: Places) -> LockedSearchElement:
    if element.state in ("empty", "relative"):
        return LockedSearchElement(directory="{cwd}", state=element.state)
    if element.directory is None:
        return LockedSearchElement(directory="{unexpanded}", state=element.state)
    place = places.of_directory(element.directory)
    libraries = tuple(sorted(clean(name) for name in element.libraries)) if is_elsewhere(place) else ()
    return LockedSearchElement(directory=place, state=element.state, libraries=libraries)


def _library(library: Library, place: str, roles: set[str], digest: str | None) -> LockedLibrary:
    facts, version = value_of(library.elf), value_of(library.version)
    return LockedLibrary(
        path=place,
        family=clean(library.family),
        soname=clean(facts.soname) if facts and facts.soname else None,
        roles=tuple(sorted(roles)),
        owner=clean(library.owner) if library.owner else None,
        version=clean(version) if version else None,
        size_bytes=library.size_bytes,
        build_id=clean(facts.build_id) if facts and facts.build_id else None,
        digest=digest,
    )


def _resolutions(snapshot: Snapshot, places: Places) -> tuple[LockedResolution, ...]:
    return tuple(
        LockedResolution(
            consumer=clean(r.consumer),
            scenario=r.scenario,
            role=clean(r.role),
            family=clean(r.family),
            outcome=r.outcome,
            found_via=r.found_via,
            path=places.of_file(r.path) if r.path is not None else None,
        )
        for r in ordered(snapshot)
    )
