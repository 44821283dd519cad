"""After a change of packages, in the same run: what makes the loader find the new libraries."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gpudoctor.fix.apply import carry_on
from gpudoctor.fix.journal import Journal, Writer
from gpudoctor.fix.package_types import ChangePackages
from gpudoctor.fix.plan import FixRequest, plan_fix
from gpudoctor.fix.refusals import Refusal
from gpudoctor.fix.types import FolderBefore, Plan
from gpudoctor.fix.undo import undo_plan
from gpudoctor.matrix.index import Matrix
from gpudoctor.rules.misses import NOWHERE, library_groups
from gpudoctor.rules.reading import listed
from gpudoctor.system.changes import CannotChange
from gpudoctor.system.protocol import ReadSystem


def changes_packages(plan: Plan) -> bool:
    """Tell whether a plan changes packages."""
    return any(isinstance(a, ChangePackages) for a in plan.actions)


def follow_up(
    system: ReadSystem, changes: Writer, matrix: Matrix, journal: Journal, plan: Plan, see: Callable[[], FixRequest]
) -> Plan:
    """Add to a run that changed packages what its new libraries need to be found, and carry that out.

    The new libraries' places are known only now. The plan on record is replaced, whole or not at all, before anything
    of the addition is done: a run that is killed in it is taken back like any other.

    Args:
        system: The machine.
        changes: The machine, to change.
        matrix: The compatibility matrix.
        journal: Of the run.
        plan: The change of packages, carried out.
        see: Looks at the environment as it is now.

    Returns:
        The whole plan, as it is on record.

    Raises:
        CannotChange: There is no such repair, or a step failed; everything was taken back.
    """
    whole = plan
    try:
        seen = see()
        _check_brought(matrix, plan, seen)
        more = plan_fix(system, changes, matrix, seen)
        if isinstance(more, Refusal) and plan.targets:
            raise CannotChange(f"the packages are not enough: {more.reason}")
        if isinstance(more, Plan) and more.applicability != "display-only":
            whole = _joined(plan, more)
            journal.replace_plan(whole)
            carry_on(system, changes, journal, whole, len(plan.actions))
    except BaseException as error:
        left = undo_plan(system, changes, journal, whole, (f"a step failed: {error}",))
        if isinstance(error, CannotChange):
            tail = "; ".join(("what was done was taken back", *left))
            raise CannotChange(f"{error.reason}; {tail}") from error
        raise
    return whole


def _check_brought(matrix: Matrix, plan: Plan, seen: FixRequest) -> None:
    """Raise where a library that the packages were to bring is still nowhere."""
    brings = {name for a in plan.actions if isinstance(a, ChangePackages) for name in a.brings}
    for group in library_groups(seen.snapshot, matrix):
        lacking = tuple(name for name in group.names if name in brings)
        if group.state in NOWHERE and lacking:
            raise CannotChange(f"the packages do not bring {listed(lacking)}, which {group.consumer} needs")


def _joined(plan: Plan, more: Plan) -> Plan:
    return msgspec.structs.replace(
        plan,
        actions=(*plan.actions, *more.actions),
        folders=_folders(plan.folders, more.folders),
        litter=(*plan.litter, *more.litter),
        targets=tuple(dict.fromkeys((*plan.targets, *more.targets))),
        unmet=(*plan.unmet, *more.unmet),
    )


def _folders(first: tuple[FolderBefore, ...], later: tuple[FolderBefore, ...]) -> tuple[FolderBefore, ...]:
    """Return the folders as they were before the whole run."""
    known = {f.path: f for f in later} | {f.path: f for f in first}
    return tuple(sorted(known.values(), key=lambda f: len(f.path), reverse=True))
