"""Runs the canary: children of the target interpreter, in the judged environment."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from gpudoctor.canary.answer import read_steps, read_versions
from gpudoctor.canary.compare import Difference, compare
from gpudoctor.canary.excuse import without_driver
from gpudoctor.canary.listing import Listing, start_listing
from gpudoctor.canary.steps import (
    DRIVER,
    IMPORT,
    Plan,
    Stage,
    ctranslate2_stage,
    driver_stage,
    library_pattern,
    onnxruntime_stage,
    torch_stage,
)
from gpudoctor.canary.trace import MAX_TRACES, cut_trace, traced
from gpudoctor.loader.sites import Sites
from gpudoctor.loader.target import Target
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.canary import CanaryReport, CanaryStep, CanaryVersion, Disagreement
from gpudoctor.model.loading import Resolution, Scenario
from gpudoctor.system import children
from gpudoctor.system.protocol import CannotLook, Child, ReadSystem

DEFAULT_LIMIT_S = 20.0
# Runs the program without its folder on sys.path, and without the working folder that `-c` puts there: a service that
# starts with a script has neither.
BOOT = (
    "import sys; sys.path[:1] == [''] and sys.path.pop(0); "
    "exec(compile(open(sys.argv[1], encoding='utf-8').read(), sys.argv[1], 'exec'), {'__name__': '__main__'})"
)
# Variables with which the loader itself would write files, trace, or run nothing.
_DROPPED = ("LD_DEBUG", "LD_PROFILE", "LD_TRACE_", "LD_WARN", "LD_VERBOSE")


@dataclass(frozen=True, slots=True)
class _Running:
    """A plan under way."""

    plan: Plan
    child: Child


class _Canary:
    """One deep check of one target."""

    def __init__(self, system: ReadSystem, matrix: Matrix, target: Target, limit_s: float) -> None:
        self.system = system
        self.target = target
        self.limit_s = limit_s
        self.libraries = library_pattern(matrix)
        self.environment = {k: v for k, v in target.environment.items() if not k.startswith(_DROPPED)}
        self.steps: list[CanaryStep] = []
        self.versions: list[CanaryVersion] = []
        self.problems: list[str] = []

    def start(
        self, *stages: Stage, in_process: bool = False, environment: Mapping[str, str] | None = None
    ) -> _Running | None:
        """Start a child that goes through stages, each in the process that the former left behind."""
        plan = Plan(stages=stages, libraries=self.libraries, limit_s=self.limit_s, in_process=in_process)
        argv = target_argv(self.target, self.system.cwd(), msgspec.json.encode(plan).decode())
        # Enough for a hang in every import and in three steps; a driver that hangs, hangs in all.
        total_s = self.limit_s * (len(stages) + 3) + 5
        try:
            child = self.system.start(argv, environment or self.environment, total_s)
        except CannotLook as error:
            self.problems.append(error.reason)
            return None
        return _Running(plan, child)

    def finish(self, running: _Running | None) -> None:
        """Wait for a child and note what it saw."""
        if running is None:
            return
        steps = read_steps(running.plan, running.child.result())
        self.versions += read_versions(running.plan, steps)
        self.steps += (self._again(running.plan, s) if s.outcome == "timeout" else s for s in steps)

    def _again(self, plan: Plan, step: CanaryStep) -> CanaryStep:
        """Repeat what hung in a fork in a process of its own: a lock that another thread held then is none now."""
        hung = any(s.consumer == DRIVER and s.outcome == "timeout" for s in self.steps)
        stage = single_stage(plan, step)
        if hung or stage is None or step.name == IMPORT or step.consumer == DRIVER:
            return step
        running = self.start(*stage, in_process=True)
        if running is None:
            return step
        again = read_steps(running.plan, running.child.result())[-1]
        return step if again.outcome == "skipped" else again


def run_canary(
    system: ReadSystem,
    matrix: Matrix,
    target: Target,
    resolutions: tuple[Resolution, ...],
    *,
    limit_s: float = DEFAULT_LIMIT_S,
) -> CanaryReport:
    """Make the calls that show whether each consumer's libraries load, in processes of the target interpreter.

    Runs the target: its interpreter, its `.pth` files, its packages. Writes no file, dumps no core, allocates nothing
    on a GPU. A process that dies or hangs is an answer.

    Args:
        system: The machine.
        matrix: The compatibility matrix.
        target: The process as the service will start it.
        resolutions: The emulator's answers: they name the consumers to try, and are compared with what happens.
        limit_s: Time limit of one import, and of one step.
    """
    if system.os_name != "linux":
        return CanaryReport(steps=(), problems=("a deep check runs on Linux only",))
    canary = _Canary(system, matrix, target, limit_s)
    # All at once: an import of torch takes a second, and nothing here depends on it.
    running = [canary.start(*stages) for stages in plan_stages(system, matrix, target, resolutions)]
    listing = start_listing(system, matrix, target, resolutions, canary.environment, limit_s)
    for child in running:
        canary.finish(child)
    if listing is not None:
        canary.steps.append(listing.step())
    steps = without_driver(system, matrix, tuple(canary.steps), resolutions)
    differences = compare(system, matrix, steps, resolutions)
    return CanaryReport(
        steps=steps,
        versions=tuple(canary.versions),
        disagreements=_with_traces(canary, running, listing, differences),
        problems=tuple(canary.problems),
    )


def target_argv(target: Target, cwd: str, plan: str) -> tuple[str, ...]:
    """Return the command line that runs the steps in the target's interpreter, in the target's working folder."""
    program = posixpath.join(posixpath.dirname(children.__file__), "canary_steps.py")
    argv = (target.executable, "-B", "-c", BOOT, program, plan)
    if posixpath.normpath(target.cwd) == posixpath.normpath(cwd):
        return argv
    return ("/bin/sh", "-c", 'cd -- "$1" && shift && exec "$@"', "sh", target.cwd, *argv)


def single_stage(plan: Plan, step: CanaryStep) -> tuple[Stage, ...] | None:
    """Return the stages that lead to one step and no other."""
    kept: list[Stage] = []
    for stage in plan.stages:
        ours = (stage.consumer, stage.scenario) == (step.consumer, step.scenario)
        steps = tuple(msgspec.structs.replace(s, after=None) for s in stage.steps if ours and s.name == step.name)
        kept.append(msgspec.structs.replace(stage, steps=steps))
        if ours:
            return tuple(kept)
    return None


def plan_stages(
    system: ReadSystem, matrix: Matrix, target: Target, resolutions: tuple[Resolution, ...]
) -> tuple[tuple[Stage, ...], ...]:
    """Return what to run: one tuple a child. CTranslate2 after torch goes on where torch's own steps end.

    Args:
        system: The machine.
        matrix: Says which releases import torch themselves: of those no process without torch exists.
        target: What is judged.
        resolutions: Name the consumers.
    """
    consumers: set[tuple[str, Scenario]] = {(r.consumer, r.scenario) for r in resolutions}
    chains: list[tuple[Stage, ...]] = [(driver_stage(),)]
    after_torch = ("ctranslate2", "after-torch") in consumers
    if ("ctranslate2", "alone") in consumers and not (after_torch and _imports_torch(system, matrix, target)):
        chains.append((ctranslate2_stage("alone", resolutions),))
    torch: list[Stage] = []
    if ("torch", "alone") in consumers:
        torch.append(torch_stage())
    if after_torch:
        torch = torch or [msgspec.structs.replace(torch_stage(), steps=())]
        torch.append(ctranslate2_stage("after-torch", resolutions))
    if torch:
        chains.append(tuple(torch))
    if ("onnxruntime", "alone") in consumers:
        chains.append((onnxruntime_stage(),))
    return tuple(chains)


def _imports_torch(system: ReadSystem, matrix: Matrix, target: Target) -> bool:
    installed = Sites(system, target.site_dirs).version("ctranslate2")
    return matrix.imports_torch("ctranslate2", installed[0] if installed else None)


def _with_traces(
    canary: _Canary, running: list[_Running | None], listing: Listing | None, differences: tuple[Difference, ...]
) -> tuple[Disagreement, ...]:
    """Attach the loader's own account to each disagreement, from one more run of each step that showed one."""
    traces: dict[CanaryStep, str] = {}
    found: list[Disagreement] = []
    for difference in differences:
        step = difference.step
        if step not in traces and len(traces) < MAX_TRACES:
            traces[step] = _trace(canary, running, listing, step)
        text = cut_trace(traces.get(step, ""), difference.disagreement.library)
        found.append(msgspec.structs.replace(difference.disagreement, trace=text))
    return tuple(found)


def _trace(canary: _Canary, running: list[_Running | None], listing: Listing | None, step: CanaryStep) -> str:
    environment = traced(canary.environment)
    if listing is not None and step.name == listing.name:
        return listing.trace(environment)
    for child in running:
        stages = single_stage(child.plan, step) if child else None
        if stages is not None:
            again = canary.start(*stages, in_process=True, environment=environment)
            return again.child.result().stderr.decode("utf-8", "replace") if again else ""
    return ""
