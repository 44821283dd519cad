"""A chosen set, or its absence, as the document that all formats show."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gpudoctor import __version__
from gpudoctor.matrix.claims import HasGpuCode, NeedsLibrary, PairsWith, Requires
from gpudoctor.matrix.index import Matrix, matches_version
from gpudoctor.model.finding import OpenQuestion, Tool
from gpudoctor.model.pins import (
    PINS_SCHEMA_VERSION,
    Pin,
    PinsConflict,
    PinsDocument,
    PinsMachine,
    PinsWay,
    Verification,
)
from gpudoctor.pins.beyond import platform_notes
from gpudoctor.pins.types import LISTED, Chosen, Conflict, Machine, WayRound, Wish

EXIT_NO_SET = 1
EXIT_OPEN = 3
TORCH_INDEX = "https://download.pytorch.org/whl/"


def make_document(
    matrix: Matrix,
    machine: Machine,
    wishes: tuple[Wish, ...],
    outcome: Chosen | Conflict,
    *,
    installed: dict[str, str],
    way: WayRound | None = None,
    strict: bool = False,
) -> PinsDocument:
    """Return the document of a set, or of its absence.

    Args:
        matrix: By which facts.
        machine: What it is for.
        wishes: What was asked for.
        outcome: What was found.
        installed: Releases that are installed, by package.
        way: What works in two steps where there is no set.
        strict: Give exit status 3 when something could not be judged.
    """
    chosen = outcome if isinstance(outcome, Chosen) else None
    pins = _pins(matrix, chosen, wishes, installed) if chosen else ()
    questions = (*_open_questions(machine), *(_hearsay(matrix, machine, chosen) if chosen else ()))
    return PinsDocument(
        schema_version=PINS_SCHEMA_VERSION,
        tool=Tool(name="gpudoctor", version=__version__),
        matrix_version=matrix.version,
        machine=PinsMachine(
            python=machine.python,
            platform=machine.platform,
            driver=machine.driver,
            gpus=tuple(name for name, _ in machine.gpus),
        ),
        pins=pins,
        left_to_installer=chosen.left if chosen else (),
        library_directories=_library_directories(matrix, machine, chosen) if chosen else (),
        notes=platform_notes(matrix, machine, chosen) if chosen else (),
        conflict=None
        if isinstance(outcome, Chosen)
        else _conflict(outcome, _way(matrix, machine, way, wishes, installed) if way else None),
        open=questions,
        facts=outcome.facts,
        exit_status=_status(outcome, strict=strict and bool(questions)),
    )


def with_verification(document: PinsDocument, verification: Verification) -> PinsDocument:
    """Return a document with what an installer said of its set."""
    status = EXIT_NO_SET if verification.accepted is False else document.exit_status
    return msgspec.structs.replace(document, verification=verification, exit_status=status)


def _status(outcome: Chosen | Conflict, *, strict: bool) -> int:
    if isinstance(outcome, Conflict):
        return EXIT_NO_SET
    return EXIT_OPEN if strict else 0


def _pins(matrix: Matrix, chosen: Chosen, wishes: tuple[Wish, ...], installed: dict[str, str]) -> tuple[Pin, ...]:
    extras = {wish.package: wish.extras for wish in wishes}
    stack = _stack(matrix)
    return tuple(
        Pin(
            package=c.package,
            version=c.release,
            exact=c.package in extras or c.package in stack or c.package.startswith(("nvidia-", "cuda-")),
            extras=extras.get(c.package, ()),
            index=f"{TORCH_INDEX}{c.build}" if c.build else None,
            kept=installed.get(c.package) == c.release,
            because=chosen.because.get(c.package, ()),
        )
        for c in chosen.candidates
    )


def _stack(matrix: Matrix) -> frozenset[str]:
    """Return the packages that a release must be named of: those with GPU code, and those that are built on one."""
    facts = matrix.data.facts
    core = {f.subject for f in facts if isinstance(f.claim, (HasGpuCode, NeedsLibrary, PairsWith))}
    built_on = {f.subject for f in facts if isinstance(f.claim, Requires) and f.claim.package in core}
    return frozenset(core | built_on)


def _conflict(conflict: Conflict, way: PinsWay | None) -> PinsConflict:
    return PinsConflict(between=conflict.between, reasons=conflict.reasons, facts=conflict.facts, way=way)


def _way(
    matrix: Matrix, machine: Machine, way: WayRound, wishes: tuple[Wish, ...], installed: dict[str, str]
) -> PinsWay:
    pins = _pins(matrix, way.chosen, wishes, installed)
    return PinsWay(
        pins=tuple(pin for pin in pins if pin.package != way.last.package),
        last=next(pin for pin in pins if pin.package == way.last.package),
        over=way.over.package,
        library_directories=_library_directories(matrix, machine, way.chosen),
    )


def _open_questions(machine: Machine) -> tuple[OpenQuestion, ...]:
    looked = machine.platform.partition("-")[0] != "macos"  # NVIDIA makes no driver for it
    missing = [
        f"no {what} is known, so nothing was judged against one; {option} judges for the machine that it will run on"
        for what, option, known in (
            ("driver", "--assume-driver RELEASE", machine.driver is not None),
            ("GPU", "--assume-gpu NAME", bool(machine.gpus)),
        )
        if looked and not known
    ]
    if machine.platform != LISTED:
        missing.append(
            f"the matrix lists the releases that have wheels for {LISTED}; whether they have some for "
            f"{machine.platform}, and with code for which GPUs, was not looked at; --verify asks an installer for the "
            "former"
        )
    if machine.tegra:
        missing.append("a Jetson runs only builds that NVIDIA makes for it (JetPack), which the matrix does not list")
    return tuple(OpenQuestion(rule="pins", reason=reason) for reason in missing)


def _hearsay(matrix: Matrix, machine: Machine, chosen: Chosen) -> Iterator[OpenQuestion]:
    """Yield the builds of a set of which the matrix has nothing but reports."""
    for c in chosen.candidates:
        facts = matrix.facts(c.package, HasGpuCode, c.release, machine.platform, machine.python)
        if any(fact.status == "reported" for fact, _ in facts):
            reason = f"nobody has read {c}: that this build exists, and its GPU code, is known from reports only"
            yield OpenQuestion(rule="pins", reason=reason)


def _library_directories(matrix: Matrix, machine: Machine, chosen: Chosen) -> tuple[str, ...]:
    """Return the folders of the wheels whose libraries a package of the set needs and never searches for.

    Those are the wheels that its metadata does not require: what it opens by bare name or links without a path. torch
    is left out: it loads its own by path, before anything else opens them.
    """
    releases = {c.package: c.version for c in chosen.candidates}
    needed = {
        claim.package
        for c in chosen.candidates
        for _, claim in matrix.facts(c.package, Requires, c.release, machine.platform, machine.python)
        if not claim.declared
    }
    found = {
        provider.directory: None
        for family in matrix.families.values()
        for provider in family.providers
        if provider.distribution in needed
        and provider.distribution in releases
        and matches_version(provider.versions, releases[provider.distribution])
    }
    return tuple(found)
