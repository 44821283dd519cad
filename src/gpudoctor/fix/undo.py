"""Taking a run back: each step by what is on the disk now, so that it can be repeated after any interruption."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from gpudoctor.fix.journal import Journal, Run, Writer, open_journal
from gpudoctor.fix.package_change import undo_packages
from gpudoctor.fix.package_types import ChangePackages
from gpudoctor.fix.types import Action, FolderBefore, Litter, Plan, WriteFile, state_after, state_before, temporary_path
from gpudoctor.system.changes import CannotChange, FileState, FolderState, Nothing, same_content
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem


def undo_run(system: ReadSystem, changes: Writer, run: Run, why: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Take a run back, whole or interrupted anywhere; the caller holds the lock.

    Args:
        system: The machine, for listing folders.
        changes: The machine, for changing it.
        run: What to take back.
        why: Goes on record, for a run that is rolled back.

    Returns:
        What was left alone because somebody changed it since; empty when everything is as before.

    Raises:
        CannotChange: A step failed; undoing again goes on from there.
    """
    return undo_plan(system, changes, open_journal(changes, run), run.plan, why)


def undo_plan(
    system: ReadSystem, changes: Writer, journal: Journal, plan: Plan, why: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Take back what a journal's plan did; see undo_run."""
    journal.try_note("undoing", told=why)
    left: list[str] = []
    for number, action in reversed(tuple(enumerate(plan.actions))):
        temporary = temporary_path(action, journal.run_id, number)
        if temporary:
            changes.remove(temporary)
        if isinstance(action, ChangePackages):
            left += undo_packages(system, changes, journal.folder, number, action)
        else:
            left += _take_back(changes, action, temporary)
    for litter in plan.litter:
        _clean(system, changes, litter, plan)
    for folder in plan.folders:
        _restore_time(changes, folder)
    journal.try_note("undone", told=(*why, *left))
    return tuple(left)


def _take_back(changes: Writer, action: Action, temporary: str) -> Iterable[str]:
    """Bring one path to what it was; yield why not, where somebody else changed it."""
    found, before = changes.state(action.path), state_before(action)
    if same_content(found, before):
        if isinstance(found, FileState) and isinstance(before, FileState) and found.mode == before.mode:
            return
        if not isinstance(before, FileState):
            return
    elif not same_content(found, state_after(action)):
        yield f"{action.path} was changed since and is left as it is"
        return
    if isinstance(action, WriteFile) and isinstance(before, FileState) and action.former is not None:
        changes.write_file(
            action.path,
            action.former,
            mode=before.mode,
            temporary=temporary,
            mtime_ns=before.mtime_ns,
            owner=(before.uid, before.gid),
        )
    elif isinstance(found, FolderState):
        yield from _remove_folder(changes, action.path)
    else:
        changes.remove(action.path)


def _remove_folder(changes: Writer, path: str) -> Iterable[str]:
    try:
        changes.remove_folder(path)
    except CannotChange:
        yield f"{path} holds files of others and is left as it is"


def _clean(system: ReadSystem, changes: Writer, litter: Litter, plan: Plan) -> None:
    """Remove what an interpreter compiled out of our files, and the folder where that is all it was made for."""
    try:
        names = system.listdir(litter.folder)
    except (NotThere, CannotLook):
        return
    for name in names:
        if name.startswith(litter.prefix) and name.endswith(litter.suffix):
            changes.remove(posixpath.join(litter.folder, name))
    made = any(f.path == litter.folder and isinstance(f.state, Nothing) for f in plan.folders)
    if made and not system.listdir(litter.folder):
        changes.remove_folder(litter.folder)


def _restore_time(changes: Writer, folder: FolderBefore) -> None:
    """Give a folder its former time, where it holds the same names as then: otherwise others changed it too."""
    found = changes.state(folder.path)
    if not isinstance(found, FolderState) or not isinstance(folder.state, FolderState):
        return
    if found.names_sha256 == folder.state.names_sha256 and found.mtime_ns != folder.state.mtime_ns:
        changes.set_mtime(folder.path, folder.state.mtime_ns)
