"""What a deep check saw: calls made in processes of the target interpreter, and how each of them ended."""

from __future__ import annotations

from typing import Literal

from gpudoctor.model.base import Frozen
from gpudoctor.model.loading import Scenario

StepOutcome = Literal["ok", "failed", "crashed", "timeout", "skipped"]


class CanaryCall(Frozen, frozen=True, kw_only=True):
    """One call that came back.

    Attributes:
        call: Name of the function.
        value: What it returned or stored.
        path: The library that was called.
    """

    call: str
    value: str
    path: str | None = None


class CanaryStep(Frozen, frozen=True, kw_only=True):
    """One process in which a consumer's calls were made in their real order.

    Attributes:
        consumer: For whom; `driver` for the driver's own library.
        scenario: In a process of its own, or after torch was imported.
        name: `import`, `cudnn-start`, `cublas`, `device`, ….
        outcome: `failed` is an answer (an exception, a code); `crashed` a process that died of a signal.
        family: Library family that it shows; None for an import.
        libraries: Stems of the libraries that it makes the consumer open (`libcudnn_ops`).
        signal: The signal that killed it, such as `SIGABRT`.
        failed_call: The call during which it failed.
        reason: Why it failed or was skipped, in its own words.
        returned: Calls that came back before that.
        stderr_excerpt: End of its error output.
        maps: GPU libraries mapped at the end, or before the call that killed it; real paths.
        duration_ms: How long it took.
    """

    consumer: str
    scenario: Scenario
    name: str
    outcome: StepOutcome
    family: str | None = None
    libraries: tuple[str, ...] = ()
    signal: str | None = None
    failed_call: str | None = None
    reason: str | None = None
    returned: tuple[CanaryCall, ...] = ()
    stderr_excerpt: str | None = None
    maps: tuple[str, ...] = ()
    duration_ms: int = 0


class CanaryVersion(Frozen, frozen=True, kw_only=True):
    """The version that a loaded library reports of itself.

    Attributes:
        consumer: In whose process.
        scenario: In which.
        family: Library family, or `driver`.
        version: Dotted.
        call: The function that reported it.
        path: The library file that holds the answer.
    """

    consumer: str
    scenario: Scenario
    family: str
    version: str
    call: str
    path: str | None = None


class Disagreement(Frozen, frozen=True, kw_only=True):
    """Where the emulated loader and the real one differ.

    Attributes:
        consumer: For whom.
        scenario: In which kind of process.
        step: The step that showed it.
        library: The SONAME in question.
        predicted: What the emulator said.
        observed: What happened.
        trace: What the real loader told of it (LD_DEBUG=libs,files), cut to the libraries in question.
    """

    consumer: str
    scenario: Scenario
    step: str
    library: str
    predicted: str
    observed: str
    trace: str | None = None


class CanaryReport(Frozen, frozen=True, kw_only=True):
    """All that a deep check saw.

    Attributes:
        steps: Every step, in order.
        versions: Versions that libraries report of themselves.
        disagreements: Where the emulator was wrong, or the machine changed meanwhile.
        problems: Why something could not be tried at all.
    """

    steps: tuple[CanaryStep, ...]
    versions: tuple[CanaryVersion, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    problems: tuple[str, ...] = ()

    def seen(self, consumer: str) -> tuple[CanaryStep, ...]:
        """Return the steps of one consumer."""
        return tuple(s for s in self.steps if s.consumer == consumer)
