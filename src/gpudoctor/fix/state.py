"""Runs that were killed: for `check`, which says in what state an environment is, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from gpudoctor.fix.journal import Run, journals_of, read_runs
from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.system.protocol import ReadSystem


def interrupted_runs(system: ReadSystem, environment: Mapping[str, str], prefix: str) -> tuple[Run, ...]:
    """Return the runs of this user on an environment that were killed before they ended, oldest first.

    Args:
        system: The machine; only read.
        environment: Of gpudoctor itself: it says where the journals are.
        prefix: Root of the environment.
    """
    try:
        folder = journals_of(system, environment, prefix)
    except GpuDoctorError:
        return ()
    return tuple(r for r in read_runs(system, folder) if r.state in ("interrupted", "undo-interrupted"))


def told_of(run: Run, undo: str = "gpudoctor fix --undo", apply: str = "gpudoctor fix --apply") -> str:
    """Return in one sentence what a killed run left, and the ways out.

    Args:
        run: The run.
        undo: The command that takes it back, with all that names its target.
        apply: The command that makes it anew.
    """
    done = sum(line.event == "done" for line in run.lines)
    begun = sum(line.event == "doing" for line in run.lines)
    total = len(run.plan.actions)
    if run.state == "undo-interrupted":
        what = "was being undone when it was killed: some of its changes may still be there"
    elif any(line.event == "applied" for line in run.lines):
        what = f"made all of its {total} changes and was killed before they were verified"
    elif begun > done:
        what = f"was killed in its change {begun} of {total}, which may or may not have been made"
    else:
        what = f"was killed after {done} of {total} changes"
    return f"gpudoctor fix run {run.id} {what}; `{undo}` takes it back, `{apply}` makes it anew"
