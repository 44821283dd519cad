"""A repair from lock to verdict: apply, look again the way the service starts, keep it or take it back."""

from __future__ import annotations

import posixpath
from contextlib import AbstractContextManager
from typing import Literal

import msgspec

from gpudoctor.fix.apply import Stale, apply_plan
from gpudoctor.fix.journal import Journal, Run, Writer, forget_run, journals_of, read_runs
from gpudoctor.fix.native import Native, find_native, native_path, process_of
from gpudoctor.fix.package_run import changes_packages, follow_up
from gpudoctor.fix.plan import FixRequest, snapshot_digest
from gpudoctor.fix.types import Action, Plan
from gpudoctor.fix.undo import undo_plan, undo_run
from gpudoctor.fix.verify import Look, complaints, take_look
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import Present, value_of
from gpudoctor.probes.selection import only_for
from gpudoctor.probes.take import SnapshotRequest, find_process, take_snapshot
from gpudoctor.probes.targets import target_of
from gpudoctor.probes.variables import judged_environment
from gpudoctor.system.changes import CannotChange, RealChanges
from gpudoctor.system.keeping import size_below
from gpudoctor.system.protocol import ReadSystem


class Outcome(msgspec.Struct, frozen=True):
    """How a repair ended.

    Attributes:
        run: Name of the run.
        status: Whether it was kept.
        complaints: Why it was rolled back.
        left: What could not be taken back, for somebody changed it meanwhile.
        tried: Whether the libraries were really loaded, and not only the files read again.
        followed: What was done besides the plan, for the libraries of new packages to be found.
    """

    run: str
    status: Literal["applied", "rolled-back"]
    complaints: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    tried: bool = False
    followed: tuple[Action, ...] = ()


def see(system: ReadSystem, matrix: Matrix, request: SnapshotRequest) -> FixRequest:
    """Take the snapshot that a repair starts from: for all consumers, since all are protected.

    Raises:
        UsageError: There is no such interpreter, or no such consumer in it.
        InputFileError: The file of `--env-file` cannot be read.
    """
    if request.binary is not None:
        return _see_native(system, matrix, request, find_native(system, native_path(system, request.binary)))
    snapshot = take_snapshot(system, matrix, msgspec.structs.replace(request, consumers=()))
    if not isinstance(snapshot.interpreter, Present):
        raise UsageError("a repair needs a Python environment, or a native program with --binary")
    only_for(snapshot, matrix, request.consumers)  # says so where one of them is not there
    interpreter = snapshot.interpreter.value
    files = (request.env_file,) if request.env_file else ()
    environment = judged_environment(system, request.assignments, files).environment
    target = target_of(system, interpreter, environment)
    return FixRequest(target=target, interpreter=interpreter, snapshot=snapshot, consumers=request.consumers)


def _see_native(system: ReadSystem, matrix: Matrix, request: SnapshotRequest, native: Native) -> FixRequest:
    """Take the snapshot for a native program or folder, with the libraries that lie about it.

    Raises:
        UsageError: Nothing tells what it loads.
    """
    request = msgspec.structs.replace(request, binary=native.path)
    snapshot = take_snapshot(system, matrix, request)
    report = next((p for p in snapshot.probes if p.probe == "loader" and p.status != "ok"), None)
    if not snapshot.resolutions:
        why = report.detail if report and report.detail else "it loads no GPU library"
        raise UsageError(f"what {native.path} will load is not known: {why}")
    return FixRequest(
        target=process_of(system, native, find_process(system, request)),
        interpreter=value_of(snapshot.interpreter),
        snapshot=snapshot,
        native=native,
    )


class Workshop:
    """Repairs of one environment, or of one native program.

    Attributes:
        prefix: Root of the environment, or the program.
        folder: Where its journals are.
    """

    def __init__(self, system: ReadSystem, changes: Writer, prefix: str) -> None:
        self._system = system
        self._changes = changes
        self.prefix = prefix
        self.folder = journals_of(system, system.environ(), prefix)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the environment against every other gpudoctor.

        Raises:
            Busy: Another process holds it.
        """
        self._changes.make_folders(self.folder)
        return RealChanges().lock(self.prefix, posixpath.join(self.folder, "lock"))

    def runs(self) -> tuple[Run, ...]:
        """Return the runs on record, oldest first."""
        return read_runs(self._system, self.folder)

    def settle(self) -> tuple[str, ...]:
        """Take back what a killed run left half done; the caller holds the lock. Return what was done, in words."""
        told: list[str] = []
        for run in reversed(self.runs()):
            if run.state in ("interrupted", "undo-interrupted"):
                left = undo_run(self._system, self._changes, run, ("it had been interrupted",))
                told.append(f"run {run.id} had been interrupted and was taken back")
                told += left
        return tuple(told)

    def undo(self, run_id: str | None) -> tuple[Run, tuple[str, ...]]:
        """Take back one run, the latest by default; the caller holds the lock.

        Returns:
            The run, and what was left alone because somebody changed it since.

        Raises:
            UsageError: There is no such run, or it is undone already.
            CannotChange: A step failed; undoing again goes on from there.
        """
        run = self._chosen(run_id)
        return run, undo_run(self._system, self._changes, run)

    def kept_bytes(self) -> dict[str, int]:
        """Return the size of what is kept for undoing, by run."""
        return {run.id: size_below(run.folder) for run in self.runs() if changes_packages(run.plan)}

    def forget(self, run_id: str | None, *, for_good: bool = False) -> tuple[Run, ...]:
        """Remove the records of runs that were undone, and the files kept for them; the caller holds the lock.

        Args:
            run_id: Which; None for all that were undone.
            for_good: Forget the named run even though it was applied: nothing can undo it any more.

        Returns:
            The runs, oldest first.

        Raises:
            UsageError: There is no such run, or it could still be undone.
            CannotChange: A record cannot be removed; forgetting again goes on from there.
        """
        if run_id is None:
            chosen = tuple(r for r in self.runs() if r.state in ("undone", "prepared"))
        else:
            chosen = tuple(r for r in self.runs() if r.id == run_id)
            if not chosen:
                raise UsageError(f"there is no run {run_id!r} for {self.prefix}; `gpudoctor fix --list` shows all")
            state = chosen[0].state
            if state == "applied" and not for_good:
                raise UsageError(
                    f"run {run_id} is not undone: its record is what `gpudoctor fix --undo` needs; with --yes it is "
                    "forgotten, and its changes stay for good"
                )
            if state not in ("undone", "prepared", "applied"):
                raise UsageError(f"run {run_id} was interrupted: only `gpudoctor fix --undo` brings order into it")
        for run in chosen:
            forget_run(self._system, self._changes, run)
        return chosen

    def _chosen(self, run_id: str | None) -> Run:
        runs = self.runs()
        if run_id is None:
            found = next((r for r in reversed(runs) if r.state != "undone" and r.state != "prepared"), None)
            if found is None:
                raise UsageError(f"there is no run to undo for {self.prefix}")
            return found
        found = next((r for r in runs if r.id == run_id), None)
        if found is None:
            raise UsageError(
                f"there is no run {run_id!r} for {self.prefix}; `gpudoctor fix --list` shows those there are"
            )
        if found.state == "undone":
            raise UsageError(f"run {run_id} is undone already")
        return found

    def carry_out(self, matrix: Matrix, request: SnapshotRequest, plan: Plan) -> Outcome:
        """Apply a plan and verify it; the caller holds the lock.

        Raises:
            Stale: The environment is not what the plan was made for; nothing was changed.
            CannotChange: A step failed; what was done by then was taken back.
        """
        seen = see(self._system, matrix, request)
        if snapshot_digest(seen.snapshot) != plan.snapshot_digest:
            raise Stale(
                "the environment has changed since the plan was made; nothing was changed, run `gpudoctor fix` again"
            )
        before = self._look(matrix, seen)
        planned = len(plan.actions)
        journal = apply_plan(self._system, self._changes, self.folder, plan)
        if changes_packages(plan):
            plan = follow_up(
                self._system, self._changes, matrix, journal, plan, lambda: see(self._system, matrix, request)
            )
        try:
            after = self._look_again(matrix, request, plan)
        except BaseException:
            undo_plan(self._system, self._changes, journal, plan, ("the check after it failed",))
            raise
        outcome = self._judged(plan, journal, before, after)
        return msgspec.structs.replace(outcome, followed=plan.actions[planned:])

    def _look_again(self, matrix: Matrix, request: SnapshotRequest, plan: Plan) -> Look:
        """Look as the served processes will start: with the variables that the repair gives them."""
        given = tuple(f"{name}={value}" for name, value in plan.environment)
        request = msgspec.structs.replace(request, assignments=(*request.assignments, *given))
        return self._look(matrix, see(self._system, matrix, request))

    def _look(self, matrix: Matrix, seen: FixRequest) -> Look:
        """Judge what was seen; a native program is never started, for nobody knows what it would do."""
        started = None if seen.native else seen.target
        return take_look(self._system, matrix, started, seen.snapshot)

    def _judged(self, plan: Plan, journal: Journal, before: Look, after: Look) -> Outcome:
        wrong = complaints(plan, before, after)
        if not wrong:
            try:
                journal.note("verified")
            except CannotChange:
                undo_plan(self._system, self._changes, journal, plan, ("the journal could not be finished",))
                raise
            return Outcome(journal.run_id, "applied", tried=after.tried)
        left = undo_plan(self._system, self._changes, journal, plan, wrong)
        return Outcome(journal.run_id, "rolled-back", complaints=wrong, left=left, tried=after.tried)
