"""What the GPU does while a run is measured: asked of NVML by a child of our own interpreter."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Mapping

import msgspec

from gpudoctor.model.bench import GpuUse
from gpudoctor.system.children import child_argv, child_environment, folder_of
from gpudoctor.system.protocol import CannotLook
from gpudoctor.system.worker import Worker

INTERVAL_S = 0.1
_FIRST_SAMPLE_S = 5.0
_BUSY_PERCENT = 20
# Source: nvml.h of the CUDA toolkit 12.4, nvmlClocksThrottleReason… (2026-11-21); 1 is an idle GPU, 2 a clock that the
# user chose: neither slows anything down.
_REASONS = {
    0x4: "power-cap",
    0x8: "hardware-slowdown",
    0x10: "sync-boost",
    0x20: "software-thermal",
    0x40: "hardware-thermal",
    0x80: "power-brake",
    0x100: "display-clocks",
}


class _Line(msgspec.Struct, frozen=True):
    event: str
    clock_max_mhz: int | None = None
    memory: tuple[int, int] | None = None
    processes: tuple[tuple[int, int | None], ...] | None = None
    clock_mhz: int | None = None
    busy: int | None = None
    throttle: int | None = None


class GpuWatch:
    """Watches one GPU from its making until `stop`."""

    def __init__(self, environment: Mapping[str, str], index: int = 0) -> None:
        """Start watching; where nobody can be asked, nothing is seen.

        Args:
            environment: The judged environment: its LD_LIBRARY_PATH decides which NVML is asked.
            index: Number of the GPU as NVML counts.
        """
        self._lines: list[_Line] = []
        self._sampled = threading.Event()
        self._worker: Worker | None = None
        folder = folder_of("pynvml")
        if folder is None:
            return
        try:
            argv = child_argv("bench_nvml", folder, str(index), str(INTERVAL_S))
            self._worker = Worker(argv, child_environment(environment))
        except CannotLook:
            return
        self._thread = threading.Thread(target=self._follow, args=(self._worker,), daemon=True)
        self._thread.start()
        # The first sample is what was in use before: what comes later is measured against it.
        self._sampled.wait(_FIRST_SAMPLE_S)

    def _follow(self, worker: Worker) -> None:
        decoder = msgspec.json.Decoder(_Line)

        def heard(line: bytes) -> bool:
            try:
                self._lines.append(decoder.decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                return False
            if self._lines[-1].event == "sample":
                self._sampled.set()
            return True

        worker.follow(heard, None)
        self._sampled.set()

    def stop(self, pid: int | None = None) -> GpuUse | None:
        """Stop watching and return what was seen; None when nothing was.

        Args:
            pid: Process whose memory counts.
        """
        if self._worker is None:
            return None
        self._worker.kill()
        self._thread.join(2.0)
        return summarize(self._lines, pid)


def summarize(lines: list[_Line], pid: int | None) -> GpuUse | None:
    """Return what samples amount to.

    Args:
        lines: What the child told.
        pid: Process whose memory counts; in a container NVML knows it by another number.
    """
    samples = [line for line in lines if line.event == "sample"]
    if not samples:
        return None
    memory = [s.memory for s in samples if s.memory is not None]
    own = [used for s in samples for number, used in s.processes or () if number == pid and used is not None]
    increase = max(used for used, _ in memory) - memory[0][0] if memory else None
    working = [s for s in samples if (s.busy or 0) >= _BUSY_PERCENT]
    bits = {bit for s in working for bit in _REASONS if s.throttle is not None and s.throttle & bit}
    clocks = [s.clock_mhz for s in working if s.clock_mhz is not None]
    return GpuUse(
        peak_bytes=max(own) if own else increase,
        scope="process" if own else ("increase" if memory else None),
        least_free_bytes=min((free for _, free in memory), default=None),
        clock_mhz=round(statistics.median(clocks)) if clocks else None,
        clock_max_mhz=next((line.clock_max_mhz for line in lines if line.event == "gpu"), None),
        throttle=tuple(_REASONS[bit] for bit in sorted(bits)),
        samples=len(samples),
    )
