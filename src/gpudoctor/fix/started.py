"""Repairs that reach only what is started through them: what to start, and for `check` that there is such a repair."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping

import msgspec

from gpudoctor.fix.journal import Run, journals_of, read_runs
from gpudoctor.fix.types import Plan, WriteFile
from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.model.finding import Finding, Fix
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_VARIABLE = "LD_LIBRARY_PATH"


def start_through(plan: Plan) -> str | None:
    """Return what whoever starts the process has to do; None where a repair works however it is started."""
    path = next((a.path for a in plan.actions if isinstance(a, WriteFile)), "")
    match plan.strategy:
        case "env-file":
            return f"let the service read {path}: EnvironmentFile={path} in its unit, or `docker run --env-file {path}`"
        case "wrapper":
            return f"start {path} instead of {plan.python}"
        case "activate":
            script = shlex.quote(posixpath.join(plan.prefix, "bin/activate"))
            return f"activate the environment anew, and start the program from that shell: . {script}"
        case "conda":
            return (
                "activate the environment anew, and start the program from that shell: "
                f"conda activate {shlex.quote(plan.prefix)}"
            )
        case _:
            return None


def check_with(plan: Plan, check: str) -> str:
    """Return the command that judges what is started through a repair.

    Args:
        plan: Of the repair.
        check: `gpudoctor check` with all that names the target.
    """
    if plan.strategy == "env-file" and " --env-file " not in check:  # only one file can be named
        return f"{check} --env-file {shlex.quote(plan.actions[0].path)}"
    given = (f" --env {shlex.quote(f'{name}={value}')}" for name, value in plan.environment)
    return check + "".join(given)


def next_steps(plan: Plan, check: str) -> tuple[str, ...]:
    """Return what is left to do after a repair was carried out, one sentence each; see check_with."""
    clause = start_through(plan)
    if clause is None:
        return ()
    return (
        clause,
        f"without that nothing has changed, and a plain `gpudoctor check` says so; to judge with it: "
        f"{check_with(plan, check)}",
    )


def with_repairs(
    findings: tuple[Finding, ...],
    system: ReadSystem,
    environment: Mapping[str, str],
    prefix: str,
    check: str,
    snapshot: Snapshot,
) -> tuple[Finding, ...]:
    """Return findings with the repair that is there for them, where the process is only not started through it.

    Args:
        findings: What the rules say.
        system: The machine; only read.
        environment: Of gpudoctor itself: it says where the journals are.
        prefix: Root of the environment, or a native program.
        check: `gpudoctor check` with all that names the target.
        snapshot: What was judged.
    """
    waiting = _waiting(system, environment, prefix, snapshot)
    found = {key: (run, clause) for run, clause in waiting for key in run.plan.targets}
    return tuple(_with_repair(f, found.get((f.rule, f.subject.name, f.cause or "")), check) for f in findings)


def _with_repair(finding: Finding, repair: tuple[Run, str] | None, check: str) -> Finding:
    if repair is None:
        return finding
    run, clause = repair
    title = f"Use the repair that is there (run {run.id}; the line below judges with it): {clause}"
    fix = Fix(title=title, applicability="safe", commands=(check_with(run.plan, check),))
    return msgspec.structs.replace(finding, fixes=(fix, *finding.fixes))


def _waiting(
    system: ReadSystem, environment: Mapping[str, str], prefix: str, snapshot: Snapshot
) -> tuple[tuple[Run, str], ...]:
    """Return the repairs that are there and that the judged process does without, oldest first."""
    try:
        runs = read_runs(system, journals_of(system, environment, prefix))
    except GpuDoctorError:
        return ()
    present = next((v.value for v in snapshot.variables if v.name == _VARIABLE), "").split(":")
    waiting = ((run, start_through(run.plan)) for run in runs if run.state == "applied")
    return tuple(
        (run, clause)
        for run, clause in waiting
        if clause is not None and _is_there(system, run.plan) and not _is_given(run.plan, present)
    )


def _is_there(system: ReadSystem, plan: Plan) -> bool:
    """Tell whether the files of a repair are still what it made them."""
    try:
        return all(
            system.read_bytes(a.path, len(a.content) + 1) == a.content for a in plan.actions if isinstance(a, WriteFile)
        )
    except (NotThere, CannotLook):
        return False


def _is_given(plan: Plan, present: list[str]) -> bool:
    """Tell whether the judged process has the folders of a repair already: then it does not help."""
    return all(set(value.split(":")) <= set(present) for name, value in plan.environment if name == _VARIABLE)
