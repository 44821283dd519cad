"""From findings, or from another environment, to exact pins: resolved with a dry run, judged before anything is done.

Only dry_run and package_change start an installer; both ask the target's interpreter, and a dry run may ask the
package index. That is why package changes need `--packages`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from gpudoctor.fix.dry_run import dry_run, find_installer
from gpudoctor.fix.journal import Writer
from gpudoctor.fix.package_types import ChangePackages, Installer, PackageStep
from gpudoctor.fix.plan import FixRequest, NothingToDo, finding_key, snapshot_digest
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.types import FindingKey, FolderBefore, Plan
from gpudoctor.matrix.claims import Conflicts
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import value_of
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.probes.distributions import canonical_name
from gpudoctor.rules.engine import judge
from gpudoctor.rules.markers import marker_holds
from gpudoctor.rules.misses import NOWHERE, Group, library_groups
from gpudoctor.rules.reading import unique
from gpudoctor.rules.remedies import clash_of, damaged_distribution, overwrites, requirements_of
from gpudoctor.system.changes import CannotChange, FolderState, Nothing
from gpudoctor.system.protocol import ReadSystem

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

_SCOPE = "every program of this environment"
_RISK = "the network is needed to fetch what the installer's cache does not hold; the former files are kept for --undo"


class Wanted(msgspec.Struct, frozen=True):
    """What an environment is to be aligned with.

    Attributes:
        title: The lock or the environment, for messages.
        versions: Version by canonical name.
    """

    title: str
    versions: Mapping[str, str]


def plan_packages(
    system: ReadSystem,
    changes: Writer,
    matrix: Matrix,
    request: FixRequest,
    wanted: Wanted | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Plan | NothingToDo | Refusal:
    """Return the plan that changes packages, or why there is none.

    Changes nothing; starts the installer for its dry run.

    Args:
        system: The machine.
        changes: The machine, to look at what will change.
        matrix: The compatibility matrix.
        request: What to repair.
        wanted: What to align with; None to bring what the findings miss.
        say: Told beforehand what may take long.
    """
    planner = _Planner(system, changes, matrix, request, say)
    try:
        return planner.align(wanted) if wanted else planner.repair()
    except CannotChange as error:
        return _refused(error.reason)


def _with_action(plan: Plan | NothingToDo | Refusal, **values: object) -> Plan | NothingToDo | Refusal:
    if not isinstance(plan, Plan):
        return plan
    actions = tuple(msgspec.structs.replace(a, **values) for a in plan.actions if isinstance(a, ChangePackages))
    return msgspec.structs.replace(plan, actions=actions)


def _refused(reason: str, consumers: tuple[str, ...] = ()) -> Refusal:
    return Refusal(kind="no-place", reason=f"packages: {reason}", consumers=consumers)


class _Planner:
    """Makes one plan."""

    def __init__(
        self, system: ReadSystem, changes: Writer, matrix: Matrix, request: FixRequest, say: Callable[[str], None]
    ) -> None:
        self._say = say
        self._sizes: Mapping[str, str] = {}
        self._system = system
        self._changes = changes
        self._matrix = matrix
        self._request = request
        self._snapshot = request.snapshot
        self._installed = _first_versions(request.snapshot)

    # --- the two sorts of plan

    def repair(self) -> Plan | NothingToDo | Refusal:
        """Plan what brings the libraries that nobody installed."""
        groups = tuple(g for g in library_groups(self._snapshot, self._matrix) if self._is_wanted(g))
        wanted = unique(r for g in groups for r in requirements_of(self._snapshot, self._matrix, g))
        swaps, swapped = self._swaps()
        if not wanted and not swaps:
            return NothingToDo()
        for group in groups:
            clash = clash_of(self._snapshot, self._matrix, group)
            if clash is not None:
                what = ", ".join(requirements_of(self._snapshot, self._matrix, group))
                return _refused(f"{group.consumer} needs {what}, but {clash}", (group.consumer,))
        damaged = (damaged_distribution(self._snapshot, self._matrix, g) for g in groups)
        anew = {d.name: PackageStep(d.name, self._installed[d.name], self._installed[d.name]) for d in damaged if d}
        changed = self._resolved((*wanted, *self._pinned_by_others(wanted))) if wanted else ()
        steps = (*changed, *(s for n, s in anew.items() if n not in {c.name for c in changed}), *swaps)
        needs = (
            f"{', '.join(unique(g.consumer for g in groups))} needs {', '.join(wanted)}, which is not installed here"
        )
        both = f"{', '.join(s.name for s in swaps)} write the same files, so that one of them must go"
        why = "; ".join((*((needs,) if wanted else ()), *((both,) if swaps else ())))
        consumers = unique(g.consumer for g in groups) or self._consumers()
        targets = (*self._targets(groups), *swapped)
        plan = self._plan(steps, why, consumers, targets, unique(name for g in groups for name in g.names))
        if isinstance(plan, Plan):
            plan = msgspec.structs.replace(plan, unmet=tuple(self._bereaved(swaps)))
        return _with_action(plan, distrust_cache=bool(anew))

    def _bereaved(self, steps: tuple[PackageStep, ...]) -> Iterator[str]:
        """Yield who asks by name for what goes."""
        gone = {s.name for s in steps if s.after is None}
        kept = ", ".join(s.name for s in steps if s.after is not None)
        for distribution in self._snapshot.distributions:
            for name in sorted(gone & {n for n, _ in _requirements(self._snapshot, distribution.requires)}):
                yield (
                    f"{distribution.name} asks for {name}, which goes: it will import the files of {kept}, and "
                    "`pip check` will say that a requirement is missing"
                )

    def _swaps(self) -> tuple[tuple[PackageStep, ...], tuple[FindingKey, ...]]:
        """Return what ends that two distributions wrote the same files: the one goes, the other is installed anew."""
        findings = {f.subject.name: f for f in judge(self._snapshot, self._matrix).findings if f.rule == "GPD401"}
        steps: dict[str, PackageStep] = {}
        keys: list[FindingKey] = []
        for fact in self._matrix.data.facts:
            claim = fact.claim
            if not isinstance(claim, Conflicts) or not claim.shares_files or not claim.keep:
                continue
            pair = (fact.subject, claim.package)
            finding = findings.get(", ".join(pair))
            if finding is None or finding.level != "error" or not all(self._installed.get(n) for n in pair):
                continue
            for name in sorted(pair, key=lambda n: n == claim.keep):
                version = self._installed[name]
                steps[name] = PackageStep(name, version, version if name == claim.keep else None)
            keys.append(finding_key(finding))
        return tuple(steps.values()), tuple(keys)

    def align(self, wanted: Wanted) -> Plan | NothingToDo | Refusal:
        """Plan what gives the distributions that differ the versions of somewhere else."""
        pins = tuple(f"{n}=={v}" for n, v in sorted(wanted.versions.items()) if self._installed.get(n) != v)
        more = tuple(
            f"{d.name} is not in {wanted.title} and stays as it is"
            for d in self._snapshot.distributions
            if d.name.startswith("nvidia-") and d.name not in wanted.versions
        )
        if not pins:
            return NothingToDo(more)
        steps = self._resolved(("--no-deps", *pins))
        plan = self._plan(steps, f"it gives this environment the versions of {wanted.title}", self._consumers(), ())
        return msgspec.structs.replace(plan, unmet=more) if isinstance(plan, Plan) else plan

    def _is_wanted(self, group: Group) -> bool:
        served = not self._request.consumers or group.consumer in self._request.consumers
        return served and group.level == "error" and group.state in NOWHERE

    def _consumers(self) -> tuple[str, ...]:
        return self._request.consumers or unique(r.consumer for r in self._snapshot.resolutions)

    def _targets(self, groups: tuple[Group, ...]) -> tuple[FindingKey, ...]:
        ours = {(g.rule, g.consumer, g.cause or "") for g in groups}
        keys = (finding_key(f) for f in judge(self._snapshot, self._matrix).findings)
        return tuple(dict.fromkeys(key for key in keys if key in ours))

    # --- what may be changed

    def _plan(
        self,
        steps: tuple[PackageStep, ...],
        why: str,
        consumers: tuple[str, ...],
        targets: tuple[FindingKey, ...],
        brings: tuple[str, ...] = (),
    ) -> Plan | NothingToDo | Refusal:
        if not steps:
            return NothingToDo()
        objection = self._place_objection() or self._objection(steps)
        if objection is not None:
            return _refused(objection, consumers)
        request = self._request
        action = ChangePackages(
            path=self._site(),
            prefix=request.target.prefix,
            python=request.target.executable,
            installer=self._installer(),
            steps=steps,
            purpose=f"exact versions, from a dry run of the installer{self._to_fetch(steps)}",
            brings=brings,
        )
        folders = (action.path, action.prefix)
        states = ((p, self._changes.state(p)) for p in sorted(folders, key=len, reverse=True))
        return Plan(
            prefix=request.target.prefix,
            python=request.target.executable,
            snapshot_digest=snapshot_digest(self._snapshot),
            strategy="packages",
            why=why,
            scope=_SCOPE,
            risk=_RISK,
            applicability="unsafe",
            consumers=consumers,
            targets=targets,
            actions=(action,),
            folders=tuple(FolderBefore(p, s) for p, s in states if isinstance(s, (Nothing, FolderState))),
        )

    def _to_fetch(self, steps: tuple[PackageStep, ...]) -> str:
        told = [f"{s.name} {self._sizes[s.name]}" for s in steps if s.after is not None and s.name in self._sizes]
        return f"; sizes of the wheels: {', '.join(told)}" if told else ""

    def _site(self) -> str:
        """Return the folder that packages of this environment are installed into."""
        sites = self._request.python.site_dirs
        root = self._request.target.prefix.rstrip("/") + "/"
        # A Debian system interpreter aside, the installer's own choice: purelib is the first of the prefix.
        return next((s for s in sites if s.startswith(root)), sites[0] if sites else root)

    def _place_objection(self) -> str | None:
        interpreter = self._request.python
        if interpreter.kind == "uv-overlay":
            return f"{interpreter.prefix} is an overlay that `uv run --with` makes anew; change the environment below"
        if interpreter.kind == "system":
            return f"{interpreter.prefix} is the system's; make an environment of its own"
        reason = self._changes.writable(self._site())
        return f"{self._site()} cannot be written to: {reason}" if reason else None

    def _objection(self, steps: tuple[PackageStep, ...]) -> str | None:
        """Return who would get another release than it asks for, or files of another written over its own."""
        after = {s.name: s.after for s in steps}
        for distribution in self._snapshot.distributions:
            if distribution.name in after:
                continue  # changes itself: what it will ask for is not known before it is fetched
            for name, specifier in _requirements(self._snapshot, distribution.requires):
                version = after.get(name)
                if version is not None and not specifier.contains(version, prereleases=True):
                    whose = f"{distribution.name} {self._installed.get(distribution.name, '')}".strip()
                    return f"{whose} asks for {name}{specifier}, and {name} would become {version}"
        for step in steps:
            rival = overwrites(self._snapshot, self._matrix, step.name) if step.before is None else None
            if rival is not None and after.get(rival, "") is not None:
                return f"{step.name} would overwrite files of {rival}"
        sites = {d.name: d for d in reversed(self._snapshot.distributions)}
        for step in steps:
            known = sites.get(step.name)
            if known is not None and known.editable:
                return f"{step.name} is installed from the project folder {known.editable}"
            if known is not None and known.site_dir != self._site():
                return f"{step.name} lies in {known.site_dir}, not in {self._site()}"
        return None

    def _pinned_by_others(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Return what installed distributions ask of these packages, so that the resolver respects it."""
        names = {canonical_name(re.split(r"[<>=!~ ;\[]", w, maxsplit=1)[0]) for w in wanted}
        lines = (r for d in self._snapshot.distributions for r in _requirements(self._snapshot, d.requires))
        return unique(f"{name}{specifier}" for name, specifier in lines if name in names and str(specifier))

    # --- the dry run

    def _installer(self) -> Installer:
        return find_installer(self._system, self._request.target.executable, "pip" in self._installed)

    def _resolved(self, arguments: tuple[str, ...]) -> tuple[PackageStep, ...]:
        """Return what the installer would do, by its own dry run.

        Raises:
            CannotChange: It cannot tell.
        """
        target = self._request.target
        found = dry_run(self._system, self._installer(), target.executable, target.prefix, arguments, self._say)
        self._sizes = found.sizes
        steps = (PackageStep(n, self._installed.get(n), v) for n, v in sorted(found.versions.items()))
        return tuple(s for s in steps if s.before != s.after)


def _first_versions(snapshot: Snapshot) -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in snapshot.distributions:
        found.setdefault(distribution.name, value_of(distribution.version) or "")
    return found


def _requirements(snapshot: Snapshot, lines: Iterable[str]) -> Iterator[tuple[str, SpecifierSet]]:
    """Yield name and versions of the requirements that hold in the judged environment, extras left out."""
    from packaging.requirements import InvalidRequirement, Requirement

    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        # One that cannot be read protects whoever wrote it.
        if marker_holds(snapshot, str(requirement.marker or ""), unreadable=True):
            yield canonical_name(requirement.name), requirement.specifier


# --- what to align with ----------------------------------------------------------------------------------------------


def wanted_of(system: ReadSystem, name: str, *, everything: bool = False) -> Wanted:
    """Return what a lock file, or an environment, holds.

    Args:
        system: The machine.
        name: Of the lock, or of an interpreter or environment.
        everything: Also what has nothing to do with GPUs.

    Raises:
        UsageError: It is neither.
        InputFileError: It is a damaged lock.
    """
    from gpudoctor.drift.lock import SIZE_LIMIT_BYTES, parse_lock
    from gpudoctor.system.protocol import CannotLook, NotThere

    try:
        raw = system.read_bytes(posixpath.join(system.cwd(), name), SIZE_LIMIT_BYTES + 1)
    except (NotThere, CannotLook):
        raw = None
    if raw is None or raw[:2] == b"#!" or raw[:4] == b"\x7fELF":
        return _environment(system, name, everything)
    lock = parse_lock(raw.decode("utf-8", "surrogateescape"), name)
    versions = lock.distributions.all() if everything else lock.distributions.gpu
    return Wanted(name, {n: v for n, v in versions.items() if re.fullmatch(r"[0-9][A-Za-z0-9.!+_-]*", v)})


def _environment(system: ReadSystem, name: str, everything: bool) -> Wanted:
    from gpudoctor.probes.distributions import is_gpu_name, probe_distributions
    from gpudoctor.probes.interpreter import find_target, probe_interpreter

    try:
        interpreter = probe_interpreter(system, find_target(system, name))
    except UsageError as error:
        raise UsageError(f"--to {name}: neither a lock file nor a Python environment: {error}") from error
    found: dict[str, str] = {}
    for distribution in probe_distributions(system, interpreter.site_dirs):
        version = value_of(distribution.version)
        if version is not None and (everything or is_gpu_name(distribution.name)):
            found.setdefault(distribution.name, version)
    return Wanted(interpreter.prefix, found)
