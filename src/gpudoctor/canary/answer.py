"""From what a child said, and how it died, to the steps of a report."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from gpudoctor.canary.steps import DRIVER, ENGINES, IMPORT, Operation, Plan, Stage, Step
from gpudoctor.matrix.index import stem_of
from gpudoctor.model.canary import CanaryCall, CanaryStep, CanaryVersion, StepOutcome
from gpudoctor.system.protocol import ChildResult

EXCERPT_CHARS = 1500
# Modules whose death by this signal is the time limit of an import: the child sets itself an alarm.
_ALARM = "SIGALRM"


class _Line(msgspec.Struct, frozen=True):
    """One document of the child."""

    stage: int
    step: str
    outcome: StepOutcome | str
    reason: str | None = None
    failed_call: str | None = None
    calls: tuple[tuple[str, str, str | None], ...] = ()
    maps: tuple[str, ...] = ()
    signal: int | None = None
    stderr: str = ""
    ms: int = 0


def read_steps(plan: Plan, result: ChildResult) -> tuple[CanaryStep, ...]:
    """Return how every import and step of a plan ended, those that were never reached included."""
    said = {(line.stage, line.step): line for line in _lines(result.stdout)}
    steps: list[CanaryStep] = []
    lost: str | None = None
    for number, stage in enumerate(plan.stages):
        if stage.module is not None:
            imported = _import(stage, said.get((number, IMPORT)), result, lost)
            steps.append(imported)
            if lost is None and imported.outcome != "ok":
                lost = f"import {stage.module} did not succeed"
        for step in stage.steps:
            line = said.get((number, step.name))
            if line is None:
                steps.append(_unsaid(stage, step, lost or _death(result)))
            else:
                steps.append(_unless_refused(_said(stage, step, line)))
    return tuple(steps)


def read_versions(plan: Plan, steps: Iterable[CanaryStep]) -> tuple[CanaryVersion, ...]:
    """Return the versions that libraries reported in the steps of a plan, each once."""
    planned = {(s.consumer, s.scenario, step.name): step for s in plan.stages for step in s.steps}
    found: dict[tuple[str, str, str], CanaryVersion] = {}
    for step in steps:
        asked = planned.get((step.consumer, step.scenario, step.name))
        for operation in asked.operations if asked else ():
            version = _version(operation, step)
            if version is not None:
                found.setdefault((version.consumer, version.scenario, version.family), version)
    return tuple(found.values())


def excerpt(text: str) -> str | None:
    """Return the end of an error output, which holds the last words of a process that aborted."""
    text = text.replace("\0", "").strip()
    if len(text) <= EXCERPT_CHARS:
        return text or None
    return "…" + text[-EXCERPT_CHARS:]


def _lines(stdout: bytes) -> Iterable[_Line]:
    """Yield the documents; what a `.pth` file or a package printed among them is passed over."""
    decoder = msgspec.json.Decoder(_Line)
    for line in stdout.split(b"\n"):
        try:
            yield decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue


def _import(stage: Stage, line: _Line | None, result: ChildResult, lost: str | None) -> CanaryStep:
    step = Step(name=IMPORT, operations=())
    if line is None:
        return _unsaid(stage, step, lost or _death(result))
    if line.outcome != "begun":
        return _said(stage, step, line)
    signal = signal_name(-result.status) if result.status < 0 else None
    late = result.timed_out or signal == _ALARM
    return CanaryStep(
        consumer=stage.consumer,
        scenario=stage.scenario,
        name=IMPORT,
        outcome="timeout" if late else "crashed",
        signal=None if late else signal,
        failed_call=f"import {stage.module}",
        reason="not done within the time limit" if late else (None if signal else _death(result)),
        stderr_excerpt=excerpt(result.stderr.decode("utf-8", "replace")),
    )


def _said(stage: Stage, step: Step, line: _Line) -> CanaryStep:
    outcome: StepOutcome = line.outcome if line.outcome in ("ok", "failed", "timeout", "skipped") else "crashed"  # type: ignore[assignment]
    return CanaryStep(
        consumer=stage.consumer,
        scenario=stage.scenario,
        name=step.name,
        outcome=outcome,
        family=step.family,
        libraries=step.libraries,
        signal=signal_name(line.signal) if line.signal else None,
        failed_call=line.failed_call,
        reason="not done within the time limit" if outcome == "timeout" else line.reason,
        returned=tuple(CanaryCall(call=c, value=v, path=p) for c, v, p in line.calls),
        stderr_excerpt=excerpt(line.stderr),
        maps=line.maps,
        duration_ms=line.ms,
    )


def _unless_refused(step: CanaryStep) -> CanaryStep:
    """Return a step on cuDNN's engines as failed when one was refused: cuDNN says so in words only, and goes on."""
    refused = re.search(r"Unable to load any of \{[^}]*\}", step.stderr_excerpt or "")
    if step.name != ENGINES or step.outcome != "ok" or refused is None:
        return step
    call = "cudnnBackendFinalize"
    return msgspec.structs.replace(step, outcome="failed", failed_call=call, reason=refused.group())


def _unsaid(stage: Stage, step: Step, reason: str) -> CanaryStep:
    return CanaryStep(
        consumer=stage.consumer,
        scenario=stage.scenario,
        name=step.name,
        outcome="skipped",
        family=step.family,
        libraries=step.libraries,
        reason=reason,
    )


def _death(result: ChildResult) -> str:
    if result.timed_out:
        return "the whole took too long"
    if result.status < 0:
        return f"the process that runs the steps died of {signal_name(-result.status)}"
    last = (excerpt(result.stderr.decode("utf-8", "replace")) or "").rpartition("\n")[2]
    return f"the target's interpreter ended with status {result.status}" + (f": {last}" if last else "")


def signal_name(number: int) -> str:
    """Return a signal's name: 6 is `SIGABRT`."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# --- versions --------------------------------------------------------------------------------------------------------


def _version(operation: Operation, step: CanaryStep) -> CanaryVersion | None:
    family = operation.version_of
    call = next((c for c in step.returned if c.call in operation.functions), None)
    if family is None or call is None:
        return None
    version = dotted(family, call.value)
    if version is None:
        return None
    path = call.path
    if family == "cudnn":
        # The dispatch library of cuDNN 9 passes the question on to the graph library.
        path = next((p for p in step.maps if stem_of(p.rpartition("/")[2]) == "libcudnn_graph"), path)
    return CanaryVersion(
        consumer=step.consumer, scenario=step.scenario, family=family, version=version, call=call.call, path=path
    )


def dotted(family: str, value: str) -> str | None:
    """Return a version as people write it: cuDNN's `90100` is 9.1.0, CUDA's `12040` is 12.4; None for no version."""
    if not value.isdigit():
        return value
    number = int(value)
    if number == 0:
        return None
    if family == "cudnn":
        # 10000 * major from cuDNN 9 on, 1000 * major before. Source: cudnn_version.h of 8.9 and of 9.1.
        factor = 10000 if number >= 10000 else 1000
        return f"{number // factor}.{number % factor // 100}.{number % 100}"
    if family in ("cudart", DRIVER):
        return f"{number // 1000}.{number % 1000 // 10}"
    return value
