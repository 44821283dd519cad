"""Child of a benchmark: asks NVML again and again what one GPU is doing, until it is killed.

Arguments: the folder that holds pynvml, the index of the GPU, the interval in seconds, the file descriptor to write to.
Run by gpudoctor's own interpreter; imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Print a `gpu` document, then a `sample` each interval."""
    out = int(sys.argv[4])
    if out == 1:  # where descriptors cannot be handed down, standard output is taken over
        out = os.dup(1)
        os.dup2(2, 1)
    sys.path.append(sys.argv[1])
    import pynvml

    def say(event: str, **fields: object) -> None:
        os.write(out, json.dumps({"event": event, **fields}).encode() + b"\n")

    def ask(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception:  # noqa: BLE001 - besides NVML's errors pynvml has some for functions that a driver lacks
            return None

    if ask(lambda: pynvml.nvmlInit() or True) is None:
        return
    handle = ask(lambda: pynvml.nvmlDeviceGetHandleByIndex(int(sys.argv[2])))
    if handle is None:
        return
    clock = pynvml.NVML_CLOCK_SM
    say("gpu", clock_max_mhz=ask(lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, clock)))
    parent = os.getppid()
    while os.getppid() == parent:
        say(
            "sample",
            memory=ask(lambda: memory(pynvml, handle)),
            processes=ask(lambda: processes(pynvml, handle)),
            clock_mhz=ask(lambda: pynvml.nvmlDeviceGetClockInfo(handle, clock)),
            busy=ask(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            throttle=ask(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
        )
        time.sleep(float(sys.argv[3]))


def memory(nvml: Any, handle: Any) -> list[int]:
    """Return what is used and what is free, in bytes."""
    info = nvml.nvmlDeviceGetMemoryInfo(handle)
    return [info.used, info.free]


def processes(nvml: Any, handle: Any) -> list[list[int | None]]:
    """Return the memory of each process on the GPU; drivers before 510 have the second version of the question only."""
    try:
        found = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
    except nvml.NVMLError:
        found = nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)
    return [[p.pid, p.usedGpuMemory] for p in found]


if __name__ == "__main__":
    main()
