"""Carrying a plan out: every precondition first, then step by step, each on record before and after."""

from __future__ import annotations

from gpudoctor.fix.journal import Journal, Writer, begin_journal
from gpudoctor.fix.package_change import apply_packages
from gpudoctor.fix.package_types import ChangePackages
from gpudoctor.fix.types import Action, MakeFolder, MakeLink, Plan, WriteFile, state_before, temporary_path
from gpudoctor.fix.undo import undo_plan
from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.system.changes import CannotChange, FileState, FolderState, Nothing, PathState
from gpudoctor.system.protocol import ReadSystem


class Stale(GpuDoctorError):
    """The machine is no longer what a plan was made for; nothing was changed."""

    exit_status = 1


def check_preconditions(changes: Writer, plan: Plan) -> None:
    """Look at every path of a plan once more.

    Raises:
        Stale: Something is there that was not, or is gone, or differs.
        CannotChange: A folder cannot be written to, or a path cannot be looked at.
    """
    for action in plan.actions:
        if isinstance(action, ChangePackages):
            continue  # the digest of the facts holds the versions of everything installed
        found, wanted = changes.state(action.path), state_before(action)
        if not _is_as_planned(found, wanted):
            raise Stale(
                f"{action.path} has changed since the plan was made; nothing was changed, run `gpudoctor fix` again"
            )
    for folder in plan.folders:
        if isinstance(folder.state, Nothing):
            continue
        if not isinstance(changes.state(folder.path), FolderState):
            raise Stale(f"{folder.path} is no longer a folder; nothing was changed, run `gpudoctor fix` again")
        reason = changes.writable(folder.path)
        if reason is not None and any(_parent(a.path) == folder.path for a in plan.actions):
            raise CannotChange(f"{folder.path} cannot be written to: {reason}; nothing was changed")


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _is_as_planned(found: PathState, wanted: PathState) -> bool:
    if isinstance(found, FileState) and isinstance(wanted, FileState):
        return (found.sha256, found.mode) == (wanted.sha256, wanted.mode)
    return found == wanted


def apply_plan(system: ReadSystem, changes: Writer, folder: str, plan: Plan) -> Journal:
    """Carry a plan out; the caller holds the lock, and verifies.

    Args:
        system: The machine, to look at.
        changes: The machine, to change.
        folder: Of the environment's journals.
        plan: Not display-only.

    Returns:
        The journal, its last line `applied`.

    Raises:
        Stale: Preconditions do not hold; nothing was changed.
        CannotChange: A step failed; what was done by then was taken back.
    """
    check_preconditions(changes, plan)
    journal = begin_journal(changes, folder, plan)
    try:
        carry_on(system, changes, journal, plan)
    except BaseException as error:  # Ctrl-C too: nothing half done may stay
        left = undo_plan(system, changes, journal, plan, (f"a step failed: {error}",))
        if isinstance(error, CannotChange):
            tail = "; ".join(("what was done was taken back", *left))
            raise CannotChange(f"{error.reason}; {tail}") from error
        raise
    return journal


def carry_on(system: ReadSystem, changes: Writer, journal: Journal, plan: Plan, first: int = 0) -> None:
    """Do the steps of a plan from one on, each on record before and after.

    Raises:
        CannotChange: A step failed.
    """
    for number, action in enumerate(plan.actions[first:], first):
        journal.note("doing", number)
        if isinstance(action, ChangePackages):
            apply_packages(system, changes, journal.folder, number, action)
        else:
            _do(changes, action, temporary_path(action, journal.run_id, number))
        journal.note("done", number)
    journal.note("applied")


def _do(changes: Writer, action: Action, temporary: str) -> None:
    match action:
        case WriteFile(path=path, content=content, mode=mode, before=before):
            owner = (before.uid, before.gid) if isinstance(before, FileState) else None
            changes.write_file(path, content, mode=mode, temporary=temporary, owner=owner)
        case MakeLink(path=path, text=text):
            changes.make_link(path, text)
        case MakeFolder(path=path, mode=mode):
            changes.make_folder(path, mode)
