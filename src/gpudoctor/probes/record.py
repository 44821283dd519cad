"""RECORD: which files a distribution says it installed. Read lazily, bounded, tolerant.

Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file
"""

from __future__ import annotations

import posixpath

import msgspec

from gpudoctor.model.snapshot import Distribution
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

# onnxruntime-gpu's is 40 KB, nvidia-cudnn's 5 KB.
_RECORD_LIMIT_BYTES = 2 << 20


class Recorded(msgspec.Struct, frozen=True):
    """One file of a RECORD.

    Attributes:
        digest: `sha256=…` in URL-safe base 64, empty when not recorded.
        size_bytes: Recorded size.
    """

    digest: str
    size_bytes: int | None


def read_record(system: ReadSystem, distribution: Distribution) -> dict[str, Recorded] | None:
    """Return a distribution's files by path relative to its site folder; None when they cannot be read.

    Lines that are no record are passed over.
    """
    if not distribution.metadata_path.endswith(".dist-info"):
        return None
    try:
        raw = system.read_bytes(posixpath.join(distribution.metadata_path, "RECORD"), _RECORD_LIMIT_BYTES)
    except (NotThere, CannotLook):
        return None
    parsed = (_parse_line(line) for line in raw.decode("utf-8", "surrogateescape").splitlines())
    return dict(pair for pair in parsed if pair is not None)


def _parse_line(line: str) -> tuple[str, Recorded] | None:
    path, _, rest = line.rpartition(",")
    path, comma, digest = path.rpartition(",")
    if not comma or not path:
        return None
    if path.startswith('"') and path.endswith('"') and len(path) > 1:
        path = path[1:-1].replace('""', '"')
    return path.replace("\\", "/"), Recorded(digest, int(rest) if rest.isdecimal() and len(rest) < 20 else None)
