"""RECORD: which files a distribution says it installed. Read lazily, bounded, tolerant.

Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file
"""

from __future__ import annotations

import posixpath

import msgspec

from gpudoctor.model.environment import Distribution
from gpudoctor.model.fact import Absent, Fact, Present, Unknown
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
    raw = read_raw_record(system, distribution)
    if not isinstance(raw, Present):
        return None
    parsed = (_parse_line(line) for line in raw.value.decode("utf-8", "surrogateescape").splitlines())
    return dict(pair for pair in parsed if pair is not None)


def read_raw_record(system: ReadSystem, distribution: Distribution) -> Fact[bytes]:
    """Return a distribution's RECORD as it is; absent where its installer wrote none."""
    if not distribution.metadata_path.endswith(".dist-info"):
        return Absent()
    path = posixpath.join(distribution.metadata_path, "RECORD")
    try:
        return Present(system.read_bytes(path, _RECORD_LIMIT_BYTES))
    except NotThere:
        return Absent((path,))
    except CannotLook as error:
        return Unknown(f"{path}: {error.reason}")


def recorded_size(raw: bytes, relative: str) -> int | None:
    """Return the size that a RECORD states for one file; None where it states none.

    A search of the text: parsing all lines to learn a handful of sizes would cost a check milliseconds.
    """
    start = f"{relative},".encode("utf-8", "surrogateescape")
    at = -1 if raw.startswith(start) else raw.find(b"\n" + start)
    if at < 0 and not raw.startswith(start):
        return None
    line = raw[at + 1 :].split(b"\n", 1)[0].decode("utf-8", "surrogateescape").rstrip("\r")
    parsed = _parse_line(line)
    return parsed[1].size_bytes if parsed else None


def _parse_line(line: str) -> tuple[str, Recorded] | None:
    path, _, rest = line.rpartition(",")
    path, comma, digest = path.rpartition(",")
    if not comma or not path:
        return None
    if path.startswith('"') and path.endswith('"') and len(path) > 1:
        path = path[1:-1].replace('""', '"')
    return path.replace("\\", "/"), Recorded(digest, int(rest) if rest.isdecimal() and len(rest) < 20 else None)
