"""Judging for a machine that is not this one: `--assume-driver` and `--assume-gpu` replace the probe."""

from __future__ import annotations

import msgspec

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import Present
from gpudoctor.model.machine import Driver, Gpu
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.probes.driver import assume_driver
from gpudoctor.probes.gpus import assume_gpu


def assume_machine(snapshot: Snapshot, matrix: Matrix, driver_release: str | None, gpus: tuple[str, ...]) -> Snapshot:
    """Return the snapshot with the assumed driver and GPUs in place of the probed ones.

    Raises:
        UsageError: No driver release, or a GPU that the matrix does not know.
    """
    if driver_release is not None:
        snapshot = msgspec.structs.replace(snapshot, driver=assumed_driver(matrix, driver_release))
    if gpus:
        snapshot = msgspec.structs.replace(snapshot, gpus=Present(assumed_gpus(matrix, gpus)))
    return snapshot


def assumed_driver(matrix: Matrix, release: str) -> Driver:
    """Return the driver of a release, with the CUDA version that the matrix says it serves.

    Raises:
        UsageError: It is no driver release.
    """
    return assume_driver(release, matrix.cuda_of_driver(release))


def assumed_gpus(matrix: Matrix, names: tuple[str, ...]) -> tuple[Gpu, ...]:
    """Return GPUs by name or compute capability.

    Raises:
        UsageError: The matrix knows no such GPU.
    """
    found = []
    for index, text in enumerate(names):
        gpu = matrix.gpu(text)
        if gpu is None:
            raise UsageError(
                f"--assume-gpu {text!r}: no such GPU is known; give its compute capability instead, such as 8.6"
            )
        found.append(assume_gpu(index, gpu.compute_capability, gpu.name, gpu.memory_bytes))
    return tuple(found)
