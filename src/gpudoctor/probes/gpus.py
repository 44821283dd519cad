"""GPUs that the user named, for judging a machine that is not this one. Those of this machine come from NVML."""

from __future__ import annotations

import re

from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import Fact, Present, Unknown
from gpudoctor.model.machine import Gpu

_COMPUTE_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]")


def assume_gpu(
    index: int, compute_capability: str, name: str | None = None, memory_total_bytes: int | None = None
) -> Gpu:
    """Return a GPU that nobody looked at.

    Args:
        index: Its position among the assumed ones.
        compute_capability: Dotted, such as `8.9`.
        name: Marketing name, from the matrix.
        memory_total_bytes: Board memory, from the matrix.

    Raises:
        UsageError: The compute capability is not one.
    """
    if not _COMPUTE_CAPABILITY.fullmatch(compute_capability):
        raise UsageError(f"--assume-gpu {compute_capability!r}: a compute capability looks like 8.9")
    unknown = Unknown("the GPU is assumed")
    named: Fact[str] = Present(name) if name else unknown
    memory: Fact[int] = Present(memory_total_bytes) if memory_total_bytes else unknown
    return Gpu(
        index=index,
        name=named,
        uuid=unknown,
        pci_bus_id=unknown,
        compute_capability=Present(compute_capability),
        memory_total_bytes=memory,
        memory_free_bytes=unknown,
        mig_enabled=unknown,
        error=unknown,
        assumed=True,
    )
