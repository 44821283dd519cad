"""GPD902: a repair that was killed. It judges nothing on its own: the journals are no part of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gpudoctor.fix.journal import Run
from gpudoctor.fix.state import interrupted_runs, told_of
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.finding import Evaluation, Evidence, Fail, Finding, Fix, NotApplicable, Open, Pass, Subject
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.system.protocol import CannotLook, ReadSystem


def _evaluate(_snapshot: Snapshot, _matrix: Matrix) -> tuple[Evaluation, ...]:
    return (NotApplicable("journals of repairs are read on the machine itself, not from a snapshot"),)


interrupted_repair = Rule(
    id="GPD902",
    name="interrupted-repair",
    title="A repair of this environment was killed before it ended",
    level="error",
    causes=(),
    page="""\
## What
`gpudoctor fix --apply` or `--undo` was killed, or the machine went down, while it changed this environment. The journal
says how far it had come.

## Why it matters
Some of its changes may be there and others not, and nobody has verified those that are.

## How it is known
Each change is written down before it is made and again after, on the disk both times, in the state folder of the user
who ran it (`$XDG_STATE_HOME/gpudoctor`, else `~/.local/state/gpudoctor`). A record without an end is a killed run.

## What to do
`gpudoctor fix --undo` brings back what was there before, byte for byte. `gpudoctor fix --apply` does that too and then
makes the repair anew, verified. Either may be repeated if it is killed itself.
""",
    evaluate=_evaluate,
    required=False,
)

FIX_RULES: tuple[Rule, ...] = (interrupted_repair,)


def bound_rules(
    system: ReadSystem, environment: Mapping[str, str], prefix: str, named: str, option: str = "--python"
) -> tuple[Rule, ...]:
    """Return the rule with this user's journals of one environment bound to it.

    Args:
        system: The machine; only read.
        environment: Of gpudoctor itself: it says where the journals are.
        prefix: Root of the environment, or a native program.
        named: Its interpreter, or the program, for the commands that the finding shows.
        option: The option that names it.
    """
    answers: tuple[Evaluation, ...]
    try:
        findings = interrupted_findings(interrupted_runs(system, environment, prefix), named, option)
        answers = tuple(Fail(finding) for finding in findings) or (Pass(),)
    except CannotLook as error:
        answers = (Open(f"whether a repair was killed is not known: {error.reason}"),)
    return (msgspec.structs.replace(interrupted_repair, evaluate=lambda _snapshot, _matrix: answers),)


def interrupted_findings(runs: tuple[Run, ...], named: str, option: str = "--python") -> tuple[Finding, ...]:
    """Return one finding for each killed run.

    Args:
        runs: From gpudoctor.fix.state.interrupted_runs.
        named: The environment or native program, as the user names it.
        option: The option that names it.
    """
    return tuple(_finding(run, named, option) for run in runs)


def _finding(run: Run, named: str, option: str) -> Finding:
    import shlex

    where = f"{option} {shlex.quote(named)}"
    undo, apply = f"gpudoctor fix {where} --undo", f"gpudoctor fix {where} --apply"
    told = told_of(run, undo, apply)
    return interrupted_repair.fail(
        Subject(kind="target", name=run.plan.prefix),
        told[:1].upper() + told[1:] + ".",
        cause=None,
        reason="a repair that was killed is no cause of the taxonomy",
        evidence=(
            Evidence(label="journal", value=run.folder),
            *(Evidence(label="changes", value=action.path) for action in run.plan.actions),
        ),
        fixes=(
            Fix(title="Take it back", applicability="safe", commands=(undo,)),
            Fix(title="Or make it anew", applicability="safe", commands=(apply,)),
        ),
    ).finding
