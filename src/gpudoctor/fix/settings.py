"""What LD_LIBRARY_PATH a process needs: computed from what is there, and proved by emulating the loader again.

A proposal counts only when the loader, emulated under it, finds everything that was missing and still finds what it
found before, in the same builds, for every consumer, alone and after torch.
"""

from __future__ import annotations

import heapq
import posixpath
from collections.abc import Callable, Iterable, Mapping

import msgspec

from gpudoctor.fix.candidates import Candidates, Scene
from gpudoctor.fix.refusals import Refusal, conflict, ignored, not_emulated, not_here
from gpudoctor.fix.trials import Bench, Key, Problem, Trial, key_of
from gpudoctor.loader.consumers import resolve_consumers
from gpudoctor.loader.elf import ElfError, read_elf
from gpudoctor.loader.search import inexpressible
from gpudoctor.loader.target import LoaderAnswer, Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

VARIABLE = "LD_LIBRARY_PATH"
_MAX_TRIALS = 48

Resolver = Callable[[Target], LoaderAnswer]


class Settings(msgspec.Struct, frozen=True):
    """What to set for a process.

    Attributes:
        directories: What is put before the present LD_LIBRARY_PATH; empty when nothing is needed.
        library_path: The whole new value; None when the variable is to stay as it is.
        unmet: Consumers that no directory here can help, and why.
        doubtful: Libraries that a native program may open and that lie nowhere.
    """

    directories: tuple[str, ...] = ()
    library_path: str | None = None
    unmet: tuple[Refusal, ...] = ()
    doubtful: tuple[Refusal, ...] = ()

    @property
    def left_over(self) -> tuple[str, ...]:
        """Return what these settings do not mend, and why not, one clause each."""
        return tuple(r.reason for r in (*self.unmet, *self.doubtful))


def prepended(directories: tuple[str, ...], present: str | None) -> str:
    """Return a value of LD_LIBRARY_PATH with directories before the present one, which stays as the user wrote it.

    No empty element is added: it would mean the working directory.
    """
    return ":".join((*directories, present) if present else directories)


def compute_settings(
    system: ReadSystem,
    matrix: Matrix,
    target: Target,
    snapshot: Snapshot,
    *,
    resolve: Resolver | None = None,
    second_names: Mapping[str, str] | None = None,
) -> Settings | Refusal:
    """Return the directories that the consumers of a snapshot need and the loader misses.

    Args:
        system: The machine.
        matrix: What consumers open.
        target: The process, with the environment that the snapshot was taken for.
        snapshot: Its resolutions say who counts: those that `--for` left out are neither served nor protected.
        resolve: How to emulate the target; None for the consumers of a Python environment.
        second_names: Names, by folder, that the system knows for folders that LD_LIBRARY_PATH cannot name: such an
            answer tells what is needed, and is none to be set.

    Returns:
        The settings, or why there are none. Never raises for the state of the machine.
    """
    return settings_for(system, matrix, target, Scene.of(snapshot), resolve=resolve, second_names=second_names)


def settings_for(
    system: ReadSystem,
    matrix: Matrix,
    target: Target,
    scene: Scene,
    *,
    resolve: Resolver | None = None,
    second_names: Mapping[str, str] | None = None,
) -> Settings | Refusal:
    """Return the settings for what is known of a target; see compute_settings."""
    if resolve is None:
        names = tuple(dict.fromkeys(r.consumer for r in scene.resolutions))
        resolve = _python_resolver(system, matrix, names)
    candidates = Candidates(system, target, scene, _machine(system, target.executable), second_names)
    return _Planner(matrix, target, scene, resolve, candidates).plan()


def _python_resolver(system: ReadSystem, matrix: Matrix, names: tuple[str, ...]) -> Resolver:
    return lambda target: resolve_consumers(system, matrix, target, names)


class _Planner:
    """Finds an order of directories for one target."""

    def __init__(self, matrix: Matrix, target: Target, scene: Scene, resolve: Resolver, candidates: Candidates) -> None:
        self._matrix = matrix
        self._target = target
        self._scene = scene
        self._resolve = resolve
        self._candidates = candidates
        self._bench = Bench(matrix, self._candidates, scene)
        self._answers: dict[tuple[str, ...], tuple[Resolution, ...]] = {(): scene.resolutions}
        self._tried: list[Trial] = []
        self._dropped: set[Key] = set()
        self._only_hard = False
        self._unmet: dict[str, Refusal] = {}
        self._doubtful: dict[Key, Refusal] = {}

    def plan(self) -> Settings | Refusal:
        """Return the settings, or why there are none."""
        if not self._bench.faults:
            return self._without_faults()
        if self._target.secure_execution:
            needy = tuple(p.consumer for p in self._bench.faults.values() if self._is_hard(p))
            return ignored(needy, self._target.executable) if needy else Settings()
        found = self._search()
        if found is None:
            self._only_hard = True
            found = self._search()
        if found is None:
            return self._refusal()
        if not found.directories:
            doubtful = tuple(self._doubtful.values())
            return _all_unmet(tuple(self._unmet.values())) if self._unmet else Settings(doubtful=doubtful)
        directories = self._least(found).directories
        value = prepended(directories, self._target.environment.get(VARIABLE))
        return Settings(directories, value, tuple(self._unmet.values()), tuple(self._doubtful.values()))

    def _without_faults(self) -> Settings | Refusal:
        """Nothing is missing; where nothing could be looked at either, that is no answer."""
        rows = self._scene.resolutions
        if rows and all(r.outcome == "unknown" for r in rows):
            return not_emulated(rows)
        return Settings()

    def _is_hard(self, problem: Problem) -> bool:
        """Tell whether a consumer fails without a repair: not in another scenario, and not only perhaps."""
        row = problem.resolution
        return problem.kind in ("missing", "outdated") and not row.assumed and self._bench.decides(row)

    def _counts(self, problem: Problem) -> bool:
        """Tell whether a proposal that leaves this problem will not do."""
        if problem.kind == "changed":
            return True
        if problem.consumer in self._unmet or key_of(problem.resolution) in self._dropped:
            return False
        made = problem.kind == "mixed" and not self._bench.was_mixed(problem)
        return made or not self._only_hard or self._is_hard(problem)

    # --- the search: best first, each proposal tried on the emulated loader

    def _search(self) -> Trial | None:
        """Return the first proposal that does all; None when every one within the bound leaves a problem."""
        self._tried = []
        queue: list[tuple[int, int, tuple[str, ...]]] = [(0, 0, ())]
        seen: set[tuple[str, ...]] = {()}
        while queue and len(self._tried) < _MAX_TRIALS:
            _, _, directories = heapq.heappop(queue)
            trial = self._try(directories)
            if not trial.problems:
                return trial
            if self._note_hopeless(trial):
                return self._search()
            for further in self._extensions(trial):
                if further not in seen:
                    seen.add(further)
                    heapq.heappush(queue, (len(trial.problems), len(seen), further))
        return None

    def _try(self, directories: tuple[str, ...]) -> Trial:
        if directories not in self._answers:
            value = prepended(directories, self._target.environment.get(VARIABLE))
            environment = {**self._target.environment, VARIABLE: value}
            self._answers[directories] = self._resolve(
                msgspec.structs.replace(self._target, environment=environment)
            ).resolutions
        rows = self._answers[directories]
        trial = Trial(directories, rows, tuple(p for p in self._bench.problems(rows) if self._counts(p)))
        self._tried.append(trial)
        return trial

    def _extensions(self, trial: Trial) -> Iterable[tuple[str, ...]]:
        """Yield proposals that may do more: all that is missing at once first, then single steps."""
        yield self._all_at_once(trial)
        for problem in trial.problems:
            for directory in self._helpers(problem):
                rest = tuple(d for d in trial.directories if d != directory)
                yield (directory, *rest)
                if problem.kind == "missing":
                    yield (*rest, directory)

    def _all_at_once(self, trial: Trial) -> tuple[str, ...]:
        before: list[str] = []
        after: list[str] = []
        for problem in trial.problems:
            helpers = self._helpers(problem)
            place = after if problem.kind == "missing" and problem.resolution.failure in (None, "missing") else before
            if helpers and not set(helpers) & {*trial.directories, *before, *after}:
                place.append(helpers[0])
        return (*before, *trial.directories, *after)

    def _helpers(self, problem: Problem) -> tuple[str, ...]:
        """Return the directories that may solve a problem, best first."""
        if problem.before is not None:
            directory = self._candidates.spelled(posixpath.dirname(problem.before))
            return (directory,) if inexpressible(directory) is None else ()
        return self._directories(problem, problem.names)

    def _directories(self, problem: Problem, names: tuple[str, ...]) -> tuple[str, ...]:
        return self._candidates.directories(names, self._scene.foreign(self._matrix, problem.resolution, names))

    # --- what cannot be had

    def _note_hopeless(self, trial: Trial) -> bool:
        """Give up the consumers that miss what is nowhere; tell whether there were any."""
        found = False
        for problem in trial.problems:
            nowhere = problem.kind == "missing" and problem.resolution.failure in (None, "missing")
            if nowhere and not self._directories(problem, problem.blamed):
                self._drop(problem, not_here(self._matrix, self._scene, self._candidates, problem))
                found = True
        return found

    def _drop(self, problem: Problem, refusal: Refusal) -> None:
        """Give up a consumer; in a scenario that is not its own, or that may never come, only the one question."""
        if problem.resolution.assumed:
            self._doubtful.setdefault(key_of(problem.resolution), refusal)
            self._dropped.add(key_of(problem.resolution))
        elif self._bench.decides(problem.resolution):
            self._unmet.setdefault(problem.consumer, refusal)
        else:
            self._dropped.add(key_of(problem.resolution))

    def _refusal(self) -> Refusal:
        trials = [t for t in self._tried if t.directories] or self._tried
        return conflict(self._bench, self._candidates, min(trials, key=lambda t: len(t.problems)), trials)

    # --- no more than needed

    def _least(self, trial: Trial) -> Trial:
        """Return the proposal without the directories that it works without."""
        for directory in reversed(trial.directories):
            if len(trial.directories) > 1 and not self._alone_in(directory, trial):
                without = self._try(tuple(d for d in trial.directories if d != directory))
                if not without.problems and self._same_files(without, trial):
                    trial = without
        return trial

    def _same_files(self, one: Trial, other: Trial) -> bool:
        """Tell whether two proposals give every consumer the same builds: the best ones were chosen already."""
        paths = {key_of(r): r.path for r in other.resolutions}
        pairs = ((r.path, paths.get(key_of(r))) for r in one.resolutions)
        return all(a == b or (a and b and self._candidates.same_build(a, b)) for a, b in pairs)

    def _alone_in(self, directory: str, trial: Trial) -> bool:
        """Tell whether a directory gives something that was missing and that no other one of the proposal holds."""
        faulty = {key for key, problem in self._bench.faults.items() if self._counts(problem)}
        others = [d for d in trial.directories if d != directory]
        for row in trial.resolutions:
            given = row.path is not None and posixpath.dirname(row.path) == directory and key_of(row) in faulty
            if given and not any(self._candidates.holds(d, name) for d in others for name in row.names):
                return True
        return False


def _all_unmet(unmet: tuple[Refusal, ...]) -> Refusal:
    """Return one refusal for all that nothing here can help."""
    first = unmet[0]
    if len(unmet) == 1:
        return first
    return Refusal(
        kind=first.kind,
        reason="; ".join(r.reason for r in unmet),
        consumers=tuple(c for r in unmet for c in r.consumers),
        library=first.library,
    )


def _machine(system: ReadSystem, executable: str) -> str | None:
    try:
        return read_elf(system, executable).machine
    except (ElfError, NotThere, CannotLook):
        return None
