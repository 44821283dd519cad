"""From how a run died to a cause: what it said, how it ended, and what the static check found."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.bench.jobs import JobResult
from gpudoctor.bench.measure import where
from gpudoctor.canary.answer import signal_name
from gpudoctor.canary.causes import cause_of
from gpudoctor.explain.mask import mask
from gpudoctor.model.bench import BenchFailure, Device, Stage
from gpudoctor.model.canary import CanaryStep
from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.model.fact import value_of
from gpudoctor.model.finding import Finding, Fix
from gpudoctor.model.snapshot import Snapshot

# Rules whose finding says that no program can use the GPU here, whatever a program says of it.
_MACHINE_RULES = ("GPD101", "GPD102", "GPD103", "GPD105", "GPD106", "GPD601", "GPD602")
# Causes that one and the same message of CUDA may have: the static check knows which of them it is.
_MACHINE_CAUSES = frozenset(
    (
        "driver-missing",
        "driver-too-old",
        "driver-kernel-mismatch",
        "driver-state-broken",
        "no-nvidia-gpu",
        "wsl-libcuda",
        "container-no-gpu",
        "container-toolkit-missing",
        "container-lost-gpu",
        "driver-not-visible-to-docker",
        "fabric-manager",
        "forward-compat",
    )
)
# (pattern, cause), first match counts: the texts of CTranslate2 and of the CUDA runtime itself.
_SAID = tuple(
    (re.compile(pattern), cause)
    for pattern, cause in (
        (r"out of memory|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED", "gpu-oom"),
        (r"do(?:es)? not support efficient|unsupported compute type", "compute-type-unsupported"),
        (
            r"no kernel image is available|CUBLAS_STATUS_ARCH_MISMATCH|CUDNN_STATUS_ARCH_MISMATCH",
            "gpu-arch-unsupported",
        ),
        (r"not compiled with CUDA support", "cpu-only-build"),
        (r"invalid device ordinal", "wrong-device-selected"),
        (r"CUDNN_STATUS_\w*VERSION_MISMATCH", "cudnn-mixed"),
    )
)
_HOST_MEMORY = re.compile(r"MemoryError|std::bad_alloc|[Cc]annot allocate memory|DefaultCPUAllocator")
_LEAST_CONFIDENCE = 0.5
_SAID_CHARS = 600
_STAGES: dict[Stage, str] = {
    "start": "while the process started",
    "import": "while faster-whisper was imported",
    "model": "while the model was looked for",
    "audio": "while the audio was decoded",
    "load": "while the model was loaded",
    "warm-up": "during the first transcription",
    "run": "during a transcription",
    "outputs": "while the outputs were compared",
}
_LESS_MEMORY = Fix(
    title="Use a number format or a model that takes less memory, or end what else holds memory of the GPU",
    applicability="display-only",
    commands=("gpudoctor bench --compute-type int8_float16", "nvidia-smi"),
)


class Diagnosis(msgspec.Struct, frozen=True):
    """What is known of a machine when a run dies.

    Attributes:
        snapshot: The machine and the environment.
        findings: What the static check found.
        step_limit_s: The limit that a hang went past.
    """

    snapshot: Snapshot
    findings: tuple[Finding, ...]
    step_limit_s: float

    def failure(
        self,
        result: JobResult,
        device: Device,
        *,
        model: str | None = None,
        compute_type: str | None = None,
        free_bytes: int | None = None,
    ) -> BenchFailure:
        """Return what a run that came to nothing died of.

        Args:
            result: How its process went.
            device: Where it was to run.
            model: As named.
            compute_type: Number format.
            free_bytes: Least memory that was free on the GPU meanwhile.
        """
        cause, why = self._cause(result, device)
        finding = self._finding(cause) if device == "cuda" else None
        ended = -result.ending.status if result.ending.status < 0 else None
        killed = result.ending.timed_out or result.ending.lost_pipe
        return BenchFailure(
            device=device,
            compute_type=compute_type,
            model=model,
            stage=result.stage,
            cause=cause,
            reason=f"{_head(device, result.stage)}: {why}" if finding is None else f"{finding.message} ({why})",
            signal=signal_name(ended) if ended and not killed else None,
            said=_excerpt(result),
            rule=finding.rule if finding else None,
            fixes=finding.fixes if finding else self._fixes(cause, result, device),
            free_gpu_memory_bytes=free_bytes if cause == "gpu-oom" else None,
        )

    def _cause(self, result: JobResult, device: Device) -> tuple[str | None, str]:
        """Return the cause, or None, and in words what happened."""
        why = _what_happened(result, self.step_limit_s)
        if result.ending.timed_out:
            return None, why
        said = _words(result)
        if _HOST_MEMORY.search(said) and not re.search(r"CUDA|CUBLAS", said):
            return None, f"the main memory did not suffice ({why})"
        if device == "cpu" and result.stage != "import":
            return ("compute-type-unsupported" if _SAID[1][0].search(said) else None), why
        cause = self._cause_said(result, said)
        if result.first("failed") is not None and (cause is None or cause in _MACHINE_CAUSES):
            machine = next((f for f in self.findings if f.rule in _MACHINE_RULES and f.cause), None)
            cause = machine.cause if machine else cause
        return cause, why

    def _cause_said(self, result: JobResult, said: str) -> str | None:
        """Return the cause that the words alone speak for."""
        for pattern, cause in _SAID:
            if pattern.search(said):
                return cause
        step = CanaryStep(
            consumer="ctranslate2",
            scenario="alone",
            name="bench",
            outcome="failed" if result.first("failed") else "crashed",
            signal=signal_name(-result.ending.status) if result.ending.status < 0 else None,
            stderr_excerpt=said,
        )
        has_libcuda = value_of(self.snapshot.driver.libcuda) is not None
        found, _ = cause_of(step, self.snapshot, has_libcuda=has_libcuda)
        if found is not None or not said.strip():
            return found
        return _explained(said)[0]

    def _finding(self, cause: str | None) -> Finding | None:
        """Return what the static check says of a cause, what concerns CTranslate2 first."""
        same = [f for f in self.findings if f.cause == cause and cause is not None]
        ours = [f for f in same if f.subject.kind != "consumer" or f.subject.name == "ctranslate2"]
        return next(iter(ours), None)

    def _fixes(self, cause: str | None, result: JobResult, device: Device) -> tuple[Fix, ...]:
        if cause == "gpu-oom":
            return (_LESS_MEMORY,)
        if cause == "compute-type-unsupported":
            return (_other_type(device),)
        explained, fixes = _explained(_words(result)) if cause else (None, ())
        return fixes if explained == cause else ()


def _other_type(device: Device) -> Fix:
    return Fix(
        title=f"Use a number format that {where(device)} supports, or let CTranslate2 choose (compute_type='auto')",
        applicability="display-only",
        commands=(f"gpudoctor bench --device {device}",),
    )


def _explained(said: str) -> tuple[str | None, tuple[Fix, ...]]:
    """Return what `explain` makes of the words."""
    from gpudoctor.explain.rank import explain_lines

    try:
        causes = explain_lines(said.encode("utf-8", "replace").splitlines()).causes
    except GpuDoctorError:  # its catalogue is damaged: no reason to lose what was measured
        return None, ()
    best = causes[0] if causes else None
    if best is None or best.confidence < _LEAST_CONFIDENCE or best.cause == "not-recognised":
        return None, ()
    return best.cause, best.fixes


def _head(device: Device, stage: Stage) -> str:
    return f"The attempt on {where(device)} failed {_STAGES[stage]}"


def _what_happened(result: JobResult, limit_s: float) -> str:
    ending = result.ending
    failed = result.first("failed")
    if ending.timed_out:
        return f"it hung: no progress within {limit_s:g} s (--time-limit), so it was killed"
    if failed is not None:
        return _one_line(failed.words[0] if failed.words else failed.message)
    if ending.lost_pipe:
        return "the process went on but closed the pipe through which it tells what it does"
    if ending.status < 0:
        return _signal_words(signal_name(-ending.status))
    return f"the process ended by itself with status {ending.status} and without a result"


def _signal_words(signal: str) -> str:
    more = {
        "SIGABRT": "a library aborted the process",
        "SIGSEGV": "the process crashed on a wrong address",
        "SIGKILL": "somebody killed the process: mostly the kernel, for want of main memory",
    }.get(signal, "the process was killed")
    return f"{more} ({signal})"


def _words(result: JobResult) -> str:
    """Return all that it said, the exception last."""
    lines = [line.decode("utf-8", "replace") for line in result.ending.output.lines()]
    failed = result.first("failed")
    return "\n".join((*lines, *(failed.words if failed else ())))


def _excerpt(result: JobResult) -> str | None:
    failed = result.first("failed")
    if failed is not None and failed.words:
        return mask(failed.words[0])[:_SAID_CHARS]
    lines = [line.decode("utf-8", "replace").strip() for line in result.ending.output.lines()]
    text = "\n".join(line for line in lines if line)
    return mask(text)[-_SAID_CHARS:] or None


def _one_line(text: str) -> str:
    return " ".join(mask(text).split())[:_SAID_CHARS]


def is_hopeless(failure: BenchFailure) -> bool:
    """Tell whether nothing else need be tried on a device after a failure: only another format or model can differ."""
    return failure.cause not in ("gpu-oom", "compute-type-unsupported")
