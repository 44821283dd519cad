"""From a finding to a plan: choose a strategy, and judge for every consumer what it would make of the machine."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Mapping

import msgspec

from gpudoctor.fix.candidates import Candidates, Scene
from gpudoctor.fix.journal import Writer
from gpudoctor.fix.native import Native, answering
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.settings import VARIABLE, Settings, compute_settings
from gpudoctor.fix.strategies.base import Proposal, Situation, folder_states, refused
from gpudoctor.fix.strategies.hook import propose_hook
from gpudoctor.fix.strategies.links import propose_links
from gpudoctor.fix.strategies.variable import (
    propose_activate,
    propose_conda,
    propose_env_file,
    propose_show,
    propose_wrapper,
)
from gpudoctor.fix.trials import Bench, Key, Problem, key_of
from gpudoctor.fix.types import FindingKey, Plan, StrategyName
from gpudoctor.loader.consumers import resolve_consumers
from gpudoctor.loader.search import inexpressible
from gpudoctor.loader.target import LoaderAnswer, Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import Interpreter
from gpudoctor.model.errors import UsageError
from gpudoctor.model.finding import Finding
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from gpudoctor.system.overlay import RenamedSystem
from gpudoctor.system.protocol import ReadSystem, may_be_there

Propose = Callable[[Situation], Proposal | Refusal]

# In the order in which they are tried where the user names none.
STRATEGIES: Mapping[StrategyName, Propose] = {
    "hook": propose_hook,
    "links": propose_links,
    "activate": propose_activate,
    "conda": propose_conda,
    "env-file": propose_env_file,
    "wrapper": propose_wrapper,
    "show": propose_show,
}
# Those that work whoever starts the interpreter; the last changes nothing and says what to do.
_DEFAULTS: tuple[StrategyName, ...] = ("hook", "links", "show")
# For a native program: the links work whoever starts it; a folder of libraries has no program to be wrapped.
_NATIVE: tuple[StrategyName, ...] = ("links", "wrapper", "env-file", "show")
# Those that set no variable, so that any folder can be served.
_BY_PATH: tuple[StrategyName, ...] = ("hook", "links")
_WHY: Mapping[str, str] = {
    "hook": "it works however the interpreter is started: by another program, without activation, under any "
    "LD_LIBRARY_PATH, and costs nothing at a start that imports none of the packages",
    "links": "they work however the process is started",
    "wrapper": "it works for whoever starts it in the program's place, and changes no file that is there",
    "env-file": "the variables are for whoever starts the process that loads these libraries",
    "show": "nothing that gpudoctor may do itself helps here",
}


class FixRequest(msgspec.Struct, frozen=True):
    """What is to be repaired.

    Attributes:
        target: The process as the service will start it.
        interpreter: Its interpreter; for a native program the one whose packages may serve it, if any.
        snapshot: The facts, for every installed consumer.
        consumers: Whom to serve; empty for all. The others are protected all the same.
        strategy: How; None to choose.
        native: The native program or folder that is to be served instead of a Python environment.
    """

    target: Target
    interpreter: Interpreter | None
    snapshot: Snapshot
    consumers: tuple[str, ...] = ()
    strategy: StrategyName | None = None
    native: Native | None = None

    @property
    def python(self) -> Interpreter:
        """Return the interpreter.

        Raises:
            UsageError: There is none.
        """
        if self.interpreter is None:
            raise UsageError("packages are those of a Python environment; leave out --binary")
        return self.interpreter


class NothingToDo(msgspec.Struct, frozen=True):
    """Every library is found as it is, or the repair is there and only not in use.

    Attributes:
        unmet: Who cannot be helped here, and why.
        reason: Why there is nothing to do, where libraries are still missed; one clause.
    """

    unmet: tuple[str, ...] = ()
    reason: str | None = None


def snapshot_digest(snapshot: Snapshot) -> str:
    """Return the digest of the facts that a repair rests on; free memory and the time of day are none of them."""
    facts = (
        snapshot.interpreter,
        snapshot.distributions,
        snapshot.variables,
        snapshot.libraries,
        snapshot.resolutions,
    )
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


def finding_key(finding: Finding) -> FindingKey:
    """Return what makes a finding the same one before and after a repair."""
    return finding.rule, finding.subject.name, finding.cause or ""


def plan_fix(system: ReadSystem, changes: Writer, matrix: Matrix, request: FixRequest) -> Plan | NothingToDo | Refusal:
    """Return the plan that repairs what a snapshot shows, or why there is none. Changes nothing.

    Args:
        system: The machine.
        changes: The machine, to look at what a plan would replace.
        matrix: The compatibility matrix.
        request: What to repair.
    """
    # The import hook opens by absolute path, which set-id bits do not hinder: whether the loader would read the
    # variable is for the strategies that set it.
    target = msgspec.structs.replace(request.target, secure_execution=False)
    resolve = answering(system, matrix, request.native) if request.native else None
    settings = compute_settings(system, matrix, target, _served(request), resolve=resolve)
    if isinstance(settings, Refusal):
        if settings.kind == "inexpressible" and request.strategy in (None, *_BY_PATH):
            return _plan_by_path(system, changes, matrix, request, settings)
        return settings
    if settings.directories:
        return _Planner(system, changes, matrix, request, settings).plan()
    if request.strategy in (None, "hook") and _names_vanished(system, target):
        return _Planner(system, changes, matrix, request, settings).refresh()
    if not request.snapshot.resolutions:
        return NothingToDo((f"no package in {target.prefix} opens GPU libraries; --python names another environment",))
    return NothingToDo(settings.left_over)


def _plan_by_path(
    system: ReadSystem, changes: Writer, matrix: Matrix, request: FixRequest, refusal: Refusal
) -> Plan | Refusal:
    """Return the plan that needs no LD_LIBRARY_PATH, where a folder cannot be named in one.

    What is needed is told by emulating the loader all the same, with a second name for each such folder.
    """
    folders = dict.fromkeys(posixpath.dirname(x.real_path) for x in request.snapshot.libraries)
    names = {f: f"/gpudoctor-{n}" for n, f in enumerate(folders) if inexpressible(f) is not None}
    renamed = RenamedSystem(system, {name: folder for folder, name in names.items()})
    resolve = answering(renamed, matrix, request.native) if request.native else None
    target = msgspec.structs.replace(request.target, secure_execution=False)
    settings = compute_settings(renamed, matrix, target, _served(request), resolve=resolve, second_names=names)
    if isinstance(settings, Refusal) or not settings.directories:
        return refusal
    planner = _Planner(renamed, changes, matrix, request, settings, {name: folder for folder, name in names.items()})
    found = planner.plan()
    if isinstance(found, Plan):
        return found
    return (
        msgspec.structs.replace(refusal, reason=f"{refusal.reason}; {found.reason}")
        if isinstance(found, Refusal)
        else refusal
    )


def _names_vanished(system: ReadSystem, target: Target) -> bool:
    """Tell whether a hook of ours names a file that is no longer there: it says so on standard error at each import."""
    return any(not may_be_there(system, path) for preload in target.preloads for path in preload.paths)


def _served(request: FixRequest) -> Snapshot:
    rows = request.snapshot.resolutions
    wanted = tuple(r for r in rows if not request.consumers or r.consumer in request.consumers)
    return msgspec.structs.replace(request.snapshot, resolutions=wanted)


class _Planner:
    """Finds the first strategy that works here and hurts nobody."""

    def __init__(
        self,
        system: ReadSystem,
        changes: Writer,
        matrix: Matrix,
        request: FixRequest,
        settings: Settings,
        second_names: Mapping[str, str] | None = None,
    ) -> None:
        self._by_path = bool(second_names)
        self._matrix = matrix
        self._request = request
        self._settings = settings
        snapshot = request.snapshot
        scene = Scene.of(snapshot)
        self._bench = Bench(matrix, Candidates(system, request.target, scene, None), scene)
        solved = self._solve(system)
        self._tolerated = self._leftovers(solved.resolutions)
        self._situation = Situation(
            system=system,
            changes=changes,
            matrix=matrix,
            target=request.target,
            interpreter=request.interpreter,
            native=request.native,
            snapshot=snapshot,
            settings=settings,
            solved=solved,
            needed=self._needed(solved.resolutions),
            second_names=second_names or {},
        )

    def plan(self) -> Plan | NothingToDo | Refusal:
        """Return the plan of the named strategy, or of the first default one that has none of a reason against it."""
        named = self._request.strategy
        refusals: list[Refusal] = []
        for name in (named,) if named else self._strategies():
            proposal = self._proposal(name)
            refusal = proposal if isinstance(proposal, Refusal) else self._objection(proposal)
            if refusal is None and isinstance(proposal, Proposal):
                if not proposal.actions and not proposal.commands:
                    reason = f"this repair is there already; it reaches {proposal.scope}"
                    return NothingToDo(self._settings.left_over, reason)
                return self._written(proposal, tuple(refusals))
            if refusal is not None:
                refusals.append(refusal)
        first = refusals[0]
        return (
            first
            if len(refusals) == 1
            else msgspec.structs.replace(first, reason="; ".join(r.reason for r in refusals))
        )

    def _strategies(self) -> tuple[StrategyName, ...]:
        if self._request.native:
            return ("links",) if self._by_path else _NATIVE
        return _BY_PATH if self._by_path else _DEFAULTS

    def refresh(self) -> Plan | NothingToDo:
        """Return the plan that takes vanished files out of a hook, where that changes nothing for anybody."""
        proposal = propose_hook(self._situation)
        if isinstance(proposal, Refusal) or not proposal.actions or self._objection(proposal) is not None:
            return NothingToDo(self._settings.left_over)
        plan = self._written(proposal, ())
        return msgspec.structs.replace(plan, why="the hook that is there names files that are gone")

    def _proposal(self, name: StrategyName) -> Proposal | Refusal:
        if self._request.native and name not in _NATIVE:
            return refused(name, f"it is for a Python environment; for a native program there are {', '.join(_NATIVE)}")
        return STRATEGIES[name](self._situation)

    def _resolved(self, system: ReadSystem, target: Target) -> LoaderAnswer:
        if self._request.native:
            return answering(system, self._matrix, self._request.native)(target)
        return resolve_consumers(system, self._matrix, target)

    # --- what is needed

    def _solve(self, system: ReadSystem) -> LoaderAnswer:
        environment = {**self._request.target.environment, VARIABLE: self._settings.library_path or ""}
        target = msgspec.structs.replace(self._request.target, environment=environment, secure_execution=False)
        if self._request.native:
            return self._resolved(system, target)
        return resolve_consumers(system, self._matrix, target, self._request.consumers or None)

    def _needed(self, solved: tuple[Resolution, ...]) -> tuple[Resolution, ...]:
        """Return the answers that the loader gives only with the settings."""
        before = {key_of(r): r for r in self._request.snapshot.resolutions}
        return tuple(r for r in solved if r.outcome == "present" and self._is_needed(before.get(key_of(r))))

    def _is_needed(self, before: Resolution | None) -> bool:
        return before is None or before.outcome != "present" or key_of(before) in self._bench.faults

    def _leftovers(self, rows: tuple[Resolution, ...]) -> frozenset[Key]:
        """Return what even the settings do not repair: no strategy has to."""
        asked = {key_of(r) for r in rows}
        left = {key_of(p.resolution) for p in self._bench.problems(rows) if p.kind != "changed"}
        return frozenset({key for key in self._bench.faults if key not in asked or key in left})

    # --- the judgement

    def _objection(self, proposal: Proposal) -> Refusal | None:
        """Return why a proposal must not be carried out, judged for all consumers."""
        for target in (proposal.target, *proposal.others):
            rows = self._resolved(proposal.system, target).resolutions
            for problem in self._bench.problems(rows):
                if problem.kind == "changed" or key_of(problem.resolution) not in self._tolerated:
                    return _breaks(proposal, problem)
        return None

    def _written(self, proposal: Proposal, refusals: tuple[Refusal, ...]) -> Plan:
        situation = self._situation
        folders = (*(posixpath.dirname(a.path) for a in proposal.actions), *(x.folder for x in proposal.litter))
        why = _WHY.get(proposal.strategy, "it was asked for")
        if self._request.strategy:
            why = f"asked for with --strategy {proposal.strategy}"
        elif refusals:
            why += f" (not {'; not '.join(r.reason for r in refusals)})"
        return Plan(
            prefix=self._request.native.path if self._request.native else situation.target.prefix,
            python=situation.target.executable,
            snapshot_digest=snapshot_digest(situation.snapshot),
            strategy=proposal.strategy,
            why=why,
            scope=proposal.scope,
            risk=proposal.risk,
            applicability=proposal.applicability,
            consumers=situation.consumers,
            targets=self._targets(proposal),
            actions=proposal.actions,
            commands=proposal.commands,
            folders=folder_states(situation, folders),
            litter=proposal.litter,
            environment=_difference(proposal.target, situation.target),
            unmet=self._settings.left_over,
        )

    def _targets(self, proposal: Proposal) -> tuple[FindingKey, ...]:
        """Return the findings that will be gone: those of now without those of then."""
        snapshot = self._situation.snapshot
        rows = self._resolved(proposal.system, proposal.target).resolutions
        then = judge(msgspec.structs.replace(snapshot, resolutions=rows), self._matrix).findings
        remaining = {finding_key(f) for f in then}
        now = (finding_key(f) for f in judge(snapshot, self._matrix).findings)
        return tuple(dict.fromkeys(key for key in now if key not in remaining))


def _difference(target: Target, present: Target) -> tuple[tuple[str, str], ...]:
    """Return the variables that a process will have with a repair, and has not without it."""
    return tuple((k, v) for k, v in target.environment.items() if present.environment.get(k) != v)


def _breaks(proposal: Proposal, problem: Problem) -> Refusal:
    row = problem.resolution
    when = ", after torch was imported," if row.scenario == "after-torch" else ""
    if problem.before is not None and row.path is not None:
        what = f"would load {row.path} instead of {problem.before}"
    elif problem.before is not None:
        what = f"would lose {problem.plain} of {problem.before}: {row.reason or 'not found'}"
    elif problem.kind == "missing":
        what = f"would still lack {problem.plain}: {row.reason or 'not found'}"
    else:
        what = f"would get parts of different builds, such as {row.path}"
    return Refusal(
        kind="breaks-another",
        reason=f"{proposal.strategy}: {row.consumer}{when} {what}",
        consumers=(row.consumer,),
        library=problem.plain,
    )
