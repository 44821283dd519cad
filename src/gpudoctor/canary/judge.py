"""What the canary saw, applied to what the rules found: proof, new findings, and contradictions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from gpudoctor.canary.causes import cause_of, words_of
from gpudoctor.canary.rules import CANARY_RULES, canary_failed, emulator_disagrees, version_disagrees
from gpudoctor.canary.steps import DRIVER, ENGINES, IMPORT
from gpudoctor.matrix.index import stem_of
from gpudoctor.model.canary import CanaryReport, CanaryStep, CanaryVersion, Disagreement
from gpudoctor.model.fact import Present
from gpudoctor.model.finding import Evidence, Finding, Subject
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import sort_findings
from gpudoctor.rules.reading import consumer_subject, same_release

__all__ = ["CANARY_RULES", "apply_canary"]

# Findings on what a consumer will or will not load; only these can be proved by a library step.
_ON_LIBRARIES = ("GPD20", "GPD50")
# Findings that say "cannot be loaded", which a step that loads it contradicts.
_NOT_LOADABLE = ("GPD201", "GPD202", "GPD203")
_ON_DRIVER = ("GPD1", "GPD6")
_LIBRARY = re.compile(r"(lib[A-Za-z0-9_+-]+)\.so")
_DEVICE = ("device", "cuInit")
_DRIVER_LIBRARY = re.compile(r"\b(?:libcuda|libnvidia-[a-z-]+|libnvcuvid)\.so\S*: cannot open shared object")
_SEEN = "seen by the canary"


def apply_canary(findings: Sequence[Finding], report: CanaryReport, snapshot: Snapshot) -> tuple[Finding, ...]:
    """Return the findings as they stand after a deep check, sorted as a report wants them.

    A finding whose failure was seen becomes `proved`. A failure that no finding explains becomes GPD211. A finding on
    libraries that all did load becomes a note, beside a GPD213 that says so. Nothing is ever removed.

    Args:
        findings: Headlines of the static check.
        report: What the canary saw.
        snapshot: The facts that the static check judged.
    """
    failed = tuple(s for s in report.steps if s.outcome in ("failed", "crashed", "timeout"))
    on_libraries = tuple(s for s in failed if not _on_device(s))
    judged = [_with_proof(f, on_libraries) for f in findings]
    unexplained = [s for s in on_libraries if not any(_explains(f, s) for f in findings)]
    judged, new = _with_driver(judged, failed, snapshot)
    new += _failures(unexplained, snapshot, has_libcuda=_has_libcuda(report))
    judged = [_unless_contradicted(f, report) for f in judged]
    new += (f for version in report.versions if (f := _version(version, snapshot)) is not None)
    new += _disagreements(report)
    return sort_findings((*judged, *new))


# --- proof -----------------------------------------------------------------------------------------------------------


def _stems(finding: Finding, *labels: str) -> set[str]:
    """Return the stems of the libraries that a finding names; with labels, only those of such evidence."""
    texts = [e.value for e in finding.evidence if not labels or e.label in labels]
    if not labels:
        texts += (finding.message, *finding.consequences)
    return {stem for text in texts for stem in _LIBRARY.findall(text)}


def _blamed(step: CanaryStep) -> set[str]:
    """Return the stems of the libraries that a step failed on: those in its words, else those that it opens."""
    return set(_LIBRARY.findall(words_of(step))) or set(step.libraries)


def _explains(finding: Finding, step: CanaryStep) -> bool:
    if not finding.rule.startswith(_ON_LIBRARIES) or finding.subject != consumer_subject(step.consumer):
        return False
    named = _stems(finding)
    if named & _blamed(step):
        return True
    # cuDNN's parts fail for each other: a missing ops library shows at a call on the graph library.
    return step.family is not None and any(stem.startswith(f"lib{step.family}") for stem in named)


def _with_proof(finding: Finding, failed: Iterable[CanaryStep]) -> Finding:
    step = next((s for s in failed if _explains(finding, s)), None)
    return finding if step is None else _proved(finding, step)


def _proved(finding: Finding, step: CanaryStep) -> Finding:
    seen = Evidence(label=_SEEN, value=account(step))
    return msgspec.structs.replace(finding, confidence="proved", evidence=(*finding.evidence, seen))


def account(step: CanaryStep) -> str:
    """Return what a step did and how it ended, as one line: `cudnnCreate: SIGABRT: Unable to load any of …`."""
    how = step.signal or {"timeout": "no answer within the time limit"}.get(step.outcome, "")
    words = words_of(step) if step.outcome != "timeout" else (step.stderr_excerpt or "")
    lines = (line.strip() for line in words.splitlines())
    parts = (step.failed_call or step.name, how, " / ".join(line for line in lines if line))
    scenario = " (after torch)" if step.scenario == "after-torch" else ""
    return ": ".join(p for p in parts if p) + scenario


# --- failures that no finding explains -------------------------------------------------------------------------------


def _failures(steps: Iterable[CanaryStep], snapshot: Snapshot, *, has_libcuda: bool) -> list[Finding]:
    """Return one finding a consumer and family: the first failure, and the others as its consequences."""
    groups: dict[tuple[str, str | None], list[CanaryStep]] = {}
    for step in steps:
        groups.setdefault((step.consumer, step.family), []).append(step)
    return [_failure(group, snapshot, has_libcuda=has_libcuda) for group in groups.values()]


def _failure(group: list[CanaryStep], snapshot: Snapshot, *, has_libcuda: bool) -> Finding:
    step = group[0]
    cause, reason = cause_of(step, snapshot, has_libcuda=has_libcuda)
    return canary_failed.fail(
        consumer_subject(step.consumer),
        _message(step),
        cause=cause,
        reason=reason,
        # Convolutions go on with the engines that are left.
        level="warning" if step.name == ENGINES and step.outcome == "failed" else "error",
        confidence="proved",
        evidence=(
            Evidence(label=_SEEN, value=account(step)),
            *(Evidence(label="loaded by then", value=path) for path in step.maps[:12]),
        ),
        consequences=tuple(dict.fromkeys(account(s) for s in group[1:])),
    ).finding


def _message(step: CanaryStep) -> str:
    when = "after torch was imported, " if step.scenario == "after-torch" else ""
    call = step.failed_call or step.name
    match step.outcome:
        case "timeout":
            how = "gives no answer within the time limit"
        case "crashed" if step.signal:
            how = f"kills the process with {step.signal}"
        case "crashed":
            how = "ends the process"
        case _:
            how = "fails"
    words = [line.strip() for line in words_of(step).splitlines() if line.strip()]
    told = f": {words[0][:300]}" if words and step.outcome != "timeout" else ""
    if step.name == IMPORT:
        return f"{when}`import {step.consumer}` {how}{told}.".replace("..", ".")
    return f"{when}{call}, which {step.consumer} calls when it works on the GPU, {how}{told}.".replace("..", ".")


# --- the driver ------------------------------------------------------------------------------------------------------


def _on_device(step: CanaryStep) -> bool:
    """Tell whether a step failed on the device or on what only the driver brings."""
    return step.name in _DEVICE or bool(_DRIVER_LIBRARY.search(words_of(step)))


def _has_libcuda(report: CanaryReport) -> bool:
    return any(s.returned or "answered" in (s.reason or "") for s in report.seen(DRIVER))


def _with_driver(
    findings: list[Finding], failed: Sequence[CanaryStep], snapshot: Snapshot
) -> tuple[list[Finding], list[Finding]]:
    """Apply what the driver's library and the consumers say of the device; the rules on the driver know the cause.

    A device that cannot be used gives a finding of its own only where no rule says a word on the driver.
    """
    steps = [s for s in failed if _on_device(s)]
    if snapshot.driver.assumed or not steps:
        return findings, []
    on_driver = [f for f in findings if f.rule.startswith(_ON_DRIVER)]
    if not on_driver:
        return findings, _device_failures(steps, snapshot)
    told = tuple(Evidence(label=f"{s.consumer} says", value=account(s)) for s in steps)
    first = on_driver[0]
    opened = all("cannot open" not in words_of(s) for s in steps if s.consumer == DRIVER)
    cause = {cause_of(s, snapshot, has_libcuda=opened)[0] for s in steps}
    confidence = "proved" if first.cause in cause else first.confidence
    shown = msgspec.structs.replace(first, evidence=(*first.evidence, *told), confidence=confidence)
    return [shown if f is first else f for f in findings], []


def _device_failures(steps: Sequence[CanaryStep], snapshot: Snapshot) -> list[Finding]:
    step = next((s for s in steps if s.consumer == DRIVER), steps[0])
    opened = step.consumer != DRIVER or "cannot open" not in words_of(step)
    cause, reason = cause_of(step, snapshot, has_libcuda=opened)
    if snapshot.variable("CUDA_VISIBLE_DEVICES") is not None and cause == "no-nvidia-gpu":
        cause, reason = None, "CUDA_VISIBLE_DEVICES is set: it may hide the device, or there may be none"
    subject = Subject(kind="driver", name="driver") if step.consumer == DRIVER else consumer_subject(step.consumer)
    return [
        canary_failed.fail(
            subject,
            f"The device cannot be used: {account(step)}.".replace("..", "."),
            cause=cause,
            reason=reason,
            # Without a libcuda or a device there may simply be no GPU: the rules on the driver judge that.
            level="warning" if cause in ("driver-missing", "no-nvidia-gpu") else "error",
            confidence="proved",
            evidence=tuple(Evidence(label=f"{s.consumer} says", value=account(s)) for s in steps),
        ).finding
    ]


# --- what contradicts ------------------------------------------------------------------------------------------------


def _unless_contradicted(finding: Finding, report: CanaryReport) -> Finding:
    """Turn a finding into a note when every library that it misses was loaded, in every process that was tried."""
    if finding.rule not in _NOT_LOADABLE or finding.confidence == "proved":
        return finding
    wanted = _stems(finding, "wanted")
    steps = [s for s in report.seen(finding.subject.name) if s.name != IMPORT]
    scenarios = {s.scenario for s in steps}
    if not wanted or not scenarios or any(not wanted <= _loaded(steps, scenario) for scenario in scenarios):
        return finding
    value = "all of " + ", ".join(sorted(wanted)) + " were loaded when it was tried (GPD213)"
    contradiction = Evidence(label="contradicted by the canary", value=value)
    return msgspec.structs.replace(finding, level="note", evidence=(*finding.evidence, contradiction))


def _loaded(steps: Iterable[CanaryStep], scenario: str) -> set[str]:
    ours = (s for s in steps if s.scenario == scenario and s.outcome == "ok")
    return {stem for s in ours for path in s.maps if (stem := stem_of(path.rpartition("/")[2]))}


def _disagreements(report: CanaryReport) -> list[Finding]:
    groups: dict[tuple[str, str], list[Disagreement]] = {}
    for disagreement in report.disagreements:
        groups.setdefault((disagreement.consumer, disagreement.scenario), []).append(disagreement)
    return [_disagreement(group) for group in groups.values()]


def _disagreement(group: list[Disagreement]) -> Finding:
    first = group[0]
    where = " after torch was imported" if first.scenario == "after-torch" else ""
    names = ", ".join(d.library for d in group)
    evidence: list[Evidence] = []
    for d in group:
        evidence.append(Evidence(label=f"predicted for {d.library}", value=d.predicted))
        evidence.append(Evidence(label=f"seen in {d.step}", value=d.observed))
        if d.trace:
            evidence.append(Evidence(label=f"the loader's trace of {d.library}", value=d.trace))
    return emulator_disagrees.fail(
        consumer_subject(first.consumer),
        f"For {first.consumer}{where} the real loader did otherwise than predicted with {names}.",
        cause=None,
        reason="a difference between prediction and trial is no fault of the machine",
        confidence="proved",
        evidence=tuple(evidence),
    ).finding


def _version(version: CanaryVersion, snapshot: Snapshot) -> Finding | None:
    library = next((x for x in snapshot.libraries if version.path in (x.path, x.real_path)), None)
    if library is None or not isinstance(library.version, Present):
        return None
    if same_release(version.version, library.version.value):
        return None
    owner = library.owner or library.version_source or "its file name"
    return version_disagrees.fail(
        Subject(kind="library", name=library.path.rpartition("/")[2]),
        f"{library.path} says of itself that it is {version.version}, but {owner} says {library.version.value}.",
        cause=None,
        reason="a replaced file has no cause of its own in the taxonomy",
        confidence="proved",
        evidence=(
            Evidence(label="reported", value=f"{version.call}: {version.version}"),
            Evidence(label="recorded", value=f"{owner}: {library.version.value}"),
            Evidence(label="file", value=library.real_path),
        ),
    ).finding
