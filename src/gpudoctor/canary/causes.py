"""From the last words of a step to a cause, where the words are plain."""

from __future__ import annotations

import re

from gpudoctor.canary.compare import library_of
from gpudoctor.model.canary import CanaryStep
from gpudoctor.model.snapshot import Snapshot

# (pattern, cause), first match counts. Each is the text of glibc, cuDNN, NumPy or the CUDA runtime itself.
_PLAIN: tuple[tuple[str, str], ...] = (
    (r"version `GLIBC_[^']*' not found", "glibc-too-old"),
    (r"version `(?:GLIBCXX|CXXABI)_[^']*' not found", "libstdcxx-too-old"),
    (r"cannot enable executable stack", "exec-stack"),
    (r"compiled using NumPy 1|_ARRAY_API not found", "numpy-abi"),
    (r"Could not load symbol \w*cudnn|libcudnn\S*: undefined symbol|undefined symbol: \S*cudnn", "cudnn-mixed"),
    (r"undefined symbol: \S*(?:nvJitLink|cublas|cusparse)", "cuda-libs-mixed"),
    (r"too old \(found version|driver is too old", "driver-too-old"),
    (r"Found no NVIDIA driver|libcuda\.so\.1: cannot open", "driver-missing"),
    (r"no CUDA-capable device|No CUDA GPUs are available|cuInit answered 100\b", "no-nvidia-gpu"),
    (r"system not yet initialized|cuInit answered 802\b", "fabric-manager"),
    (r"unsupported display driver|forward compatibility was attempted|cuInit answered 80[34]\b", "forward-compat"),
    (r"cuInit answered 999\b|CUDA unknown error", "driver-state-broken"),
)
_TABLE = tuple((re.compile(pattern), cause) for pattern, cause in _PLAIN)
_INSUFFICIENT = "driver version is insufficient"
_MISSING = re.compile(
    r"Unable to load any of \{(?P<a>lib[\w+-]+)\.so|Could not load library (?P<b>lib[\w+-]+)\.so"
    r"|Library (?P<c>lib[\w+-]+)\.so\S* is not found|(?P<d>lib[\w+-]+)\.so\S*: cannot open shared object"
    r"|(?P<e>lib[\w+-]+)\.so\S* => not found"
)
_CUDA = re.compile(r"lib(?:cu[a-z]+|nv[a-zA-Z]+|npp[a-z]+|nccl)")


def words_of(step: CanaryStep) -> str:
    """Return all that a step said when it failed."""
    return "\n".join(text for text in (step.reason, step.stderr_excerpt) if text)


def cause_of(step: CanaryStep, snapshot: Snapshot, *, has_libcuda: bool) -> tuple[str | None, str | None]:
    """Return the cause of a failure, or None and the reason why no cause is named.

    Args:
        step: One that did not succeed.
        snapshot: Its resolutions tell whether a missing library is really nowhere.
        has_libcuda: Whether the driver's library could be opened.
    """
    words = words_of(step)
    for pattern, cause in _TABLE:
        if pattern.search(words):
            return cause, None
    if _INSUFFICIENT in words:
        return ("driver-too-old" if has_libcuda else "driver-missing"), None
    match = _MISSING.search(words)
    stem = next((text for text in match.groups() if text), None) if match else None
    if stem is not None and _CUDA.match(stem):
        if _predicted(snapshot, step, stem):
            return None, f"the files say that {stem} loads; why it does not, only the loader's own account can tell"
        return ("cudnn-not-loadable" if stem.startswith("libcudnn") else "cuda-lib-not-loadable"), None
    return None, _reason(step)


def _predicted(snapshot: Snapshot, step: CanaryStep, stem: str) -> bool:
    return any(
        r.outcome == "present" and library_of(r) == stem
        for r in snapshot.resolutions
        if (r.consumer, r.scenario) == (step.consumer, step.scenario)
    )


def _reason(step: CanaryStep) -> str:
    if step.outcome == "timeout":
        return "a hang says nothing of its cause"
    if step.signal == "SIGBUS":
        return "a bus error: mostly a library file that is cut short, or a full disk or memory below it"
    if step.signal:
        return f"{step.signal} says nothing of its cause"
    return "the message fits no cause of the taxonomy"
