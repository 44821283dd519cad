"""What each consumer's process will load: the start of the interpreter, the import, then each library it opens.

Which objects a consumer imports and which names it opens, on whose behalf, is data of the matrix.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gpudoctor.loader.answers import unknown
from gpudoctor.loader.consumer_run import ConsumerRun, Installed, asking_for, openings_of
from gpudoctor.loader.elf import ElfObject
from gpudoctor.loader.emulation import CannotEmulate, Emulation
from gpudoctor.loader.search import LoadError
from gpudoctor.loader.sites import Sites
from gpudoctor.loader.target import LoaderAnswer, Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.loading import ElfFacts, ImportFault, Resolution, Scenario
from gpudoctor.system.protocol import ReadSystem


def resolve_consumers(
    system: ReadSystem,
    matrix: Matrix,
    target: Target,
    names: tuple[str, ...] | None = None,
    emulation: Emulation | None = None,
) -> LoaderAnswer:
    """Say for every installed consumer which file each of its GPU libraries will be.

    Args:
        system: The machine to look at.
        matrix: What consumers open.
        target: The process to emulate.
        names: Consumers to judge; None for all that are installed.
        emulation: The target's loader, where the caller started it already.

    Returns:
        One resolution per consumer, scenario and library. Never raises for the state of the machine.
    """
    sites = Sites(system, target.site_dirs)
    installed = tuple(_installed(matrix, sites))
    wanted = tuple(i for i in installed if names is None or i.consumer.name in names)
    try:
        emulation = emulation or Emulation(system, target)
    except CannotEmulate as error:
        return _not_emulated(matrix, system, wanted, error.reason)
    return _Judge(system, matrix, target, sites, emulation, installed).answer(wanted)


def _installed(matrix: Matrix, sites: Sites) -> Iterable[Installed]:
    for consumer in matrix.consumers.values():
        steps = [s for s in consumer.entry if not s.preload]
        if not any(sites.first(step.glob) for step in steps):
            continue
        found = ((found[0], name) for name in consumer.distributions if (found := sites.version(name)))
        version, distribution = next(found, (None, None))
        yield Installed(consumer, version, distribution)


def _not_emulated(matrix: Matrix, system: ReadSystem, wanted: tuple[Installed, ...], reason: str) -> LoaderAnswer:
    resolutions: list[Resolution] = []
    for item in wanted:
        for fact, claim in openings_of(matrix, item, f"linux-{system.machine}"):
            for opening in claim.opens:
                resolutions.append(unknown(asking_for(item, "alone", claim, opening, opening.names, fact), reason))
    return LoaderAnswer(tuple(resolutions), {}, (reason,))


def _identity(r: Resolution) -> tuple[str, str, tuple[str, ...]]:
    """Return what makes two answers answers to one question; linked libraries of two majors share a role."""
    return r.role, r.link, r.names if r.link == "needed" else ()


class _Judge:
    """Judges the consumers of one target."""

    def __init__(
        self,
        system: ReadSystem,
        matrix: Matrix,
        target: Target,
        sites: Sites,
        emulation: Emulation,
        installed: tuple[Installed, ...],
    ) -> None:
        self._system = system
        self._matrix = matrix
        self._target = target
        self._sites = sites
        self._emulation = emulation
        self._installed = {i.consumer.name: i for i in installed}
        self._unknowns: list[str] = []
        self._import_faults: list[ImportFault] = []
        self._elf: dict[str, ElfFacts] = {}

    def answer(self, wanted: tuple[Installed, ...]) -> LoaderAnswer:
        """Return the answer for the consumers asked for."""
        self._emulation.prepare()
        resolutions: list[Resolution] = []
        for item in wanted:
            resolutions += self._judge(item, "alone")
            if item.consumer.name != "torch" and "torch" in self._installed:
                resolutions += self._judge(item, "after-torch")
        unknowns = (*self._emulation.unknowns, *self._unknowns)
        return LoaderAnswer(tuple(resolutions), self._elf, unknowns, tuple(self._import_faults))

    def _judge(self, item: Installed, scenario: Scenario) -> tuple[Resolution, ...]:
        found = self._run(item, scenario, library_path=True)
        if not self._target.environment.get("LD_LIBRARY_PATH") or self._target.secure_execution:
            return found
        others = {_identity(r): r for r in self._run(item, scenario, library_path=False, record=False)}
        return tuple(self._shadow(r, others.get(_identity(r))) for r in found)

    def _shadow(self, found: Resolution, other: Resolution | None) -> Resolution:
        if other is None or other.path is None or found.path in (None, other.path):
            return found
        one, two = self._emulation.files.look(found.path or ""), self._emulation.files.look(other.path)
        if isinstance(one, ElfObject) and isinstance(two, ElfObject) and one.identity == two.identity:
            return found
        return msgspec.structs.replace(found, shadowed=other.path)

    def _run(
        self, item: Installed, scenario: Scenario, *, library_path: bool, record: bool = True
    ) -> tuple[Resolution, ...]:
        run = ConsumerRun(self._matrix, self._sites, self._emulation, item, scenario, self._system.machine)
        try:
            run.start(library_path, tuple(self._before(item, scenario)))
        except LoadError as error:
            if record:
                self._unknowns.append(f"{item.consumer.name}, {scenario}: {error.reason}")
            return run.not_reached(error) if scenario == "alone" else ()
        found = run.resolve()
        if record:
            self._import_faults += run.import_faults
            self._elf.update((m.path, m.elf.facts()) for m in run.process.maps if not m.phantom)
        return found

    def _before(self, item: Installed, scenario: Scenario) -> Iterable[Installed]:
        """Yield the consumers that are imported before this one in its scenario."""
        names = [p.package for p in item.consumer.imports_first if not p.versions]
        if scenario == "after-torch":
            names.append("torch")
        for name in dict.fromkeys(names):
            if name in self._installed and name != item.consumer.name:
                yield self._installed[name]
