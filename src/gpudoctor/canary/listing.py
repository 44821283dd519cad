"""What the real loader finds for ONNX Runtime's CUDA provider, listed rather than loaded.

Loading it on a machine without a GPU crashes in a static constructor even when every library is found; the loader's
listing maps the libraries and runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpudoctor.canary.trace import traced
from gpudoctor.loader.elf import ElfError, read_elf
from gpudoctor.loader.sites import Sites
from gpudoctor.loader.target import Target
from gpudoctor.matrix.index import Matrix, stem_of
from gpudoctor.model.canary import CanaryStep
from gpudoctor.model.loading import Resolution
from gpudoctor.system.protocol import CannotLook, Child, ChildResult, NotThere, ReadSystem

PROVIDER = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
STEP = "provider-libraries"
_ENTRY = re.compile(r"^\t(\S+) => (not found|.+?)(?: \(0x[0-9a-f]+\))?$", re.MULTILINE)

# What was preloaded by path is listed without an arrow.
_BY_PATH = re.compile(r"^\t(/.+?) \(0x[0-9a-f]+\)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing under way.

    Attributes:
        name: Name of its step.
        argv: Its command line.
        preloads: What an import hook has opened by then.
    """

    system: ReadSystem
    matrix: Matrix
    argv: tuple[str, ...]
    limit_s: float
    child: Child | None
    reason: str | None = None
    name: str = STEP
    preloads: tuple[str, ...] = ()

    def step(self) -> CanaryStep:
        """Wait for the listing and return it as a step."""
        blank = CanaryStep(consumer="onnxruntime", scenario="alone", name=STEP, outcome="skipped", reason=self.reason)
        return blank if self.child is None else _read(self.child.result(), self.matrix, self.argv[-1])

    def trace(self, environment: Mapping[str, str]) -> str:
        """List once more and return the loader's own account."""
        try:
            result = self.system.start(self.argv, _listing(traced(environment), self.preloads), self.limit_s).result()
        except CannotLook as error:
            return error.reason
        return result.stderr.decode("utf-8", "replace")


def start_listing(
    system: ReadSystem,
    matrix: Matrix,
    target: Target,
    resolutions: tuple[Resolution, ...],
    environment: Mapping[str, str],
    limit_s: float,
) -> Listing | None:
    """Start the listing; None where no ONNX Runtime with a CUDA provider is judged."""
    provider = Sites(system, target.site_dirs).first(PROVIDER)
    if provider is None or not any(r.consumer == "onnxruntime" for r in resolutions):
        return None
    try:
        executable = read_elf(system, target.executable)
    except (ElfError, NotThere, CannotLook) as error:
        return Listing(system, matrix, (), limit_s, None, f"{target.executable}: {error}")
    if executable.interpreter is None:
        return Listing(system, matrix, (), limit_s, None, "the target's interpreter is linked statically")
    if executable.rpath and executable.runpath is None:
        why = "the interpreter has a DT_RPATH, which takes part in its searches and in no listing"
        return Listing(system, matrix, (), limit_s, None, why)
    argv = (executable.interpreter, provider)
    preloads = tuple(path for p in target.preloads if p.consumer == "onnxruntime" for path in p.paths)
    if any(set(path) & set(" :") for path in preloads):
        why = "the folder's name holds a blank or a colon, so that a listing cannot be told what the import hook opens"
        return Listing(system, matrix, argv, limit_s, None, why)
    try:
        child = system.start(argv, _listing(environment, preloads), limit_s)
    except CannotLook as error:
        return Listing(system, matrix, argv, limit_s, None, error.reason)
    return Listing(system, matrix, argv, limit_s, child, preloads=preloads)


def _listing(environment: Mapping[str, str], preloads: tuple[str, ...]) -> dict[str, str]:
    # `--list` stops at the first library that is missing; this goes on, as ldd does.
    listing = {**environment, "LD_TRACE_LOADED_OBJECTS": "1"}
    if preloads:  # stands for the import hook, which no listing runs
        listing["LD_PRELOAD"] = ":".join((*preloads, *filter(None, (environment.get("LD_PRELOAD"),))))
    return listing


def _read(result: ChildResult, matrix: Matrix, provider: str) -> CanaryStep:
    text = result.stdout.decode("utf-8", "replace")
    entries = [*_ENTRY.findall(text), *((path, path) for path in _BY_PATH.findall(text))]
    ours = [(name.rpartition("/")[2], path) for name, path in entries if matrix.family_of(name.rpartition("/")[2])]
    # What only the driver brings is the driver's fault, and judged there.
    missing = [n for n, path in ours if path == "not found" and not _from_driver(matrix, n)]
    found = tuple(path for _, path in ours if path != "not found")
    told = result.stderr.decode("utf-8", "replace").strip()[-1500:] or None
    blank = CanaryStep(
        consumer="onnxruntime",
        scenario="alone",
        name=STEP,
        outcome="ok",
        family="onnxruntime",
        libraries=tuple(dict.fromkeys(stem for name, _ in ours if (stem := stem_of(name)))),
        failed_call=f"ld.so --list {provider}",
        maps=found,
        stderr_excerpt=told,
    )
    return _ended(blank, result, missing, bool(text.strip()))


def _ended(step: CanaryStep, result: ChildResult, missing: list[str], listed: bool) -> CanaryStep:
    import msgspec

    from gpudoctor.canary.answer import signal_name

    if result.timed_out:
        return msgspec.structs.replace(step, outcome="timeout", reason="not done within the time limit")
    if result.status < 0:
        return msgspec.structs.replace(step, outcome="crashed", signal=signal_name(-result.status))
    if missing:
        text = "; ".join(f"{name} => not found" for name in missing)
        return msgspec.structs.replace(step, outcome="failed", reason=text)
    if result.status or not listed:
        reason = step.stderr_excerpt or f"the loader ended with status {result.status}"
        return msgspec.structs.replace(step, outcome="failed", reason=reason)
    return msgspec.structs.replace(step, failed_call=None)


def _from_driver(matrix: Matrix, name: str) -> bool:
    family = matrix.family_of(name)
    return family is not None and family.from_driver
