"""Child: asks NVML, through nvidia-ml-py, for the driver and every GPU.

Arguments: the folder that holds pynvml. Imports nothing of ours: it is started as a program of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

LIBRARY_NOT_FOUND = 12
MAX_GPUS = 128


def main() -> None:
    """Print `system`, then one `gpu` document each, then `end`."""
    # What a driver library prints on stdout must not mix with the documents.
    out = os.dup(1)
    os.dup2(2, 1)
    # Last, not first: nothing beside pynvml may replace a module of the standard library.
    sys.path.append(sys.argv[1])
    import pynvml

    def say(kind: str, **fields: object) -> None:
        os.write(out, json.dumps({"kind": kind, **fields}).encode() + b"\n")

    def ask(call: Callable[..., Any], *args: object) -> dict[str, object]:
        try:
            return {"value": call(*args)}
        except pynvml.NVMLError as error:
            return {"code": error.value, "message": str(error)}
        except UnicodeDecodeError as error:
            return {"code": -1, "message": f"not text: {error}"}

    started = ask(pynvml.nvmlInit)
    if "code" in started:
        say("refused", code=started["code"], message=_detail(started))
        return
    count = ask(pynvml.nvmlDeviceGetCount)
    cuda = ask(pynvml.nvmlSystemGetCudaDriverVersion)
    if "code" in cuda:
        cuda = ask(pynvml.nvmlSystemGetCudaDriverVersion_v2)
    say("system", driver=ask(pynvml.nvmlSystemGetDriverVersion), cuda=cuda, count=count)
    total = count.get("value")
    for index in range(min(total, MAX_GPUS) if isinstance(total, int) else 0):
        say("gpu", index=index, **_gpu(pynvml, ask, index))
    say("end")
    # Neither nvmlShutdown nor the driver's exit handlers: all is said, and with a lost GPU either could still hang.
    os._exit(0)


def _gpu(nvml: Any, ask: Callable[..., dict[str, object]], index: int) -> dict[str, object]:
    answer = ask(nvml.nvmlDeviceGetHandleByIndex, index)
    if "code" in answer:
        return {"error": answer}
    handle = answer["value"]
    mig = ask(lambda: nvml.nvmlDeviceGetMigMode(handle)[0])
    return {
        "name": ask(nvml.nvmlDeviceGetName, handle),
        "uuid": ask(nvml.nvmlDeviceGetUUID, handle),
        "pci_bus_id": ask(lambda: _text(nvml.nvmlDeviceGetPciInfo(handle).busId)),
        "compute_capability": ask(lambda: "{}.{}".format(*nvml.nvmlDeviceGetCudaComputeCapability(handle))),
        "memory": _memory(nvml, ask, handle),
        "mig": mig,
        "mig_devices": _mig_devices(nvml, ask, handle) if mig.get("value") else [],
        "ecc": ask(nvml.nvmlDeviceGetTotalEccErrors, handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, 0),
        "rows": ask(lambda: list(nvml.nvmlDeviceGetRemappedRows(handle))),
        "fabric": ask(lambda: _fabric(nvml, handle)),
    }


def _fabric(nvml: Any, handle: Any) -> list[int]:
    """Return state and status; a GPU outside any fabric answers that its state is "not supported"."""
    info = nvml.c_nvmlGpuFabricInfo_v2_t()
    nvml.nvmlDeviceGetGpuFabricInfoV(handle, nvml.byref(info))
    return [info.state, info.status]


def _memory(nvml: Any, ask: Callable[..., dict[str, object]], handle: Any) -> dict[str, object]:
    """Ask version 2 first, which does not count what the driver reserves as free."""

    def read(*version: object) -> list[int]:
        info = nvml.nvmlDeviceGetMemoryInfo(handle, *version)
        return [info.total, info.free]

    answer = ask(read, nvml.nvmlMemory_v2)
    return ask(read) if "code" in answer else answer


def _mig_devices(nvml: Any, ask: Callable[..., dict[str, object]], handle: Any) -> list[dict[str, object]]:
    slots = ask(nvml.nvmlDeviceGetMaxMigDeviceCount, handle).get("value")
    devices: list[dict[str, object]] = []
    for slot in range(slots if isinstance(slots, int) else 0):
        device = ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, slot)
        if "value" in device:  # slots that hold no device answer "not found"
            mig = device["value"]
            devices.append({"uuid": ask(nvml.nvmlDeviceGetUUID, mig), "memory": _memory(nvml, ask, mig)})
    return devices


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _detail(answer: dict[str, object]) -> str:
    """Return NVML's text; for a library that cannot be loaded also the loader's, which pynvml drops."""
    message = str(answer["message"])
    if answer["code"] != LIBRARY_NOT_FOUND or sys.platform == "win32":
        return message
    import ctypes

    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        return f"{message}: {error}"
    return message


if __name__ == "__main__":
    main()
