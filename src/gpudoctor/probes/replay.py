"""A snapshot from a file instead of from this machine."""

from __future__ import annotations

import sys

import msgspec

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.errors import InputFileError
from gpudoctor.model.snapshot import SNAPSHOT_SCHEMA_VERSION, Snapshot
from gpudoctor.probes.assume import assume_machine
from gpudoctor.probes.selection import only_for
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

LIMIT_BYTES = 64 << 20


def read_snapshot(
    system: ReadSystem,
    path: str,
    matrix: Matrix,
    assume_driver: str | None = None,
    assume_gpus: tuple[str, ...] = (),
    consumers: tuple[str, ...] = (),
) -> Snapshot:
    """Read a snapshot file.

    Args:
        system: The machine.
        path: The file; `-` is standard input.
        matrix: The compatibility matrix.
        assume_driver: Driver release to judge by instead.
        assume_gpus: GPUs to judge by instead.
        consumers: Names as in `--for`; empty for all.

    Raises:
        InputFileError: No such file, not JSON, not a snapshot, or of a later version.
        UsageError: An assumption is no driver release or no known GPU, or a consumer is not in the snapshot.
    """
    try:
        data = sys.stdin.buffer.read(LIMIT_BYTES + 1) if path == "-" else system.read_bytes(path, LIMIT_BYTES + 1)
    except (NotThere, CannotLook) as error:
        raise InputFileError(f"snapshot cannot be read: {error}") from error
    name = "standard input" if path == "-" else path
    snapshot = only_for(parse_snapshot(data, name), matrix, consumers)
    return assume_machine(snapshot, matrix, assume_driver, assume_gpus)


def parse_snapshot(data: bytes, name: str) -> Snapshot:
    """Decode a snapshot document.

    Raises:
        InputFileError: It is none; the message names the field and what was expected.
    """
    if len(data) > LIMIT_BYTES:
        raise InputFileError(f"{name}: larger than {LIMIT_BYTES >> 20} MiB, not a snapshot")
    try:
        version = msgspec.json.decode(data, type=_Versioned).schema_version
        if version > SNAPSHOT_SCHEMA_VERSION:
            raise InputFileError(
                f"{name}: a snapshot of version {version}; this gpudoctor reads up to {SNAPSHOT_SCHEMA_VERSION}: "
                "upgrade it (pip install -U gpudoctor-cli)"
            )
        return msgspec.json.decode(data, type=Snapshot)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InputFileError(
            f"{name}: not a gpudoctor snapshot: {error}; make one with `gpudoctor snapshot -o snapshot.json`"
        ) from error


class _Versioned(msgspec.Struct):
    schema_version: int
