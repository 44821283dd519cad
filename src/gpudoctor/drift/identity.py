"""What makes two library files the same: build id, size, version, and a digest of the ends where there is no build id.

The linker writes a build id into most NVIDIA libraries; cuDNN's sub-libraries have none. Reading a 600 MB file to
identify it would make a check slow, so the digest covers the size, the first and the last 64 KiB: program headers and
the dynamic section lie at one end, section headers and symbol tables at the other, and a rebuild changes both. It does
not see one byte patched in the middle; `sha256-ends` leaves room for a stronger digest under another name.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from typing import Literal

from gpudoctor.drift.lock import Lock, LockedLibrary
from gpudoctor.drift.places import Places
from gpudoctor.model.fact import value_of
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

END_BYTES = 64 << 10

Likeness = Literal["same", "different", "unverified"]


def digest_libraries(system: ReadSystem, snapshot: Snapshot, lock: Lock | None = None) -> Mapping[str, str]:
    """Return digests, by path, of the libraries that carry no build id and are loaded now, or were when locked.

    Args:
        system: The machine that the snapshot was just taken on; never another one.
        snapshot: The facts.
        lock: The state to compare with: a file that no longer loads may be the one that changed.
    """
    places = Places(snapshot)
    locked = {library.path for library in lock.library} if lock else set()
    digests: dict[str, str] = {}
    loaded = {posixpath.normpath(r.path) for r in snapshot.resolutions if r.path is not None}
    for library in snapshot.libraries:
        facts = value_of(library.elf)
        wanted = posixpath.normpath(library.path) in loaded or places.of_file(library.path) in locked
        if wanted and not (facts and facts.build_id):
            digest = _digest(system, library.path)
            if digest is not None:
                digests[library.path] = digest
    return digests


def _digest(system: ReadSystem, path: str) -> str | None:
    try:
        with system.open(path) as reader:
            size = reader.stat.size_bytes
            state = hashlib.sha256(size.to_bytes(8, "little"))
            state.update(reader.pread(END_BYTES, 0))
            if size > END_BYTES:
                state.update(reader.pread(END_BYTES, max(END_BYTES, size - END_BYTES)))
    except (CannotLook, NotThere):
        return None  # compared by size and version, and said to be unverified
    return f"sha256-ends:{state.hexdigest()}"


def likeness(locked: LockedLibrary, now: LockedLibrary) -> Likeness:
    """Compare the content of two files.

    A size decides even between equal build ids: a tool that edits search paths keeps the build id and grows the file.
    """
    if locked.size_bytes != now.size_bytes or _differ(locked.version, now.version):
        return "different"
    if _differ(locked.build_id, now.build_id) or _differ(_comparable(locked, now), now.digest):
        return "different"
    if locked.build_id is not None:
        return "same" if now.build_id is not None else "unverified"
    if locked.digest is not None:
        return "same" if _comparable(locked, now) is not None else "unverified"
    return "same"


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _comparable(locked: LockedLibrary, now: LockedLibrary) -> str | None:
    """Return the locked digest when the present one was made in the same way."""
    if locked.digest is None or now.digest is None:
        return None
    return locked.digest if locked.digest.partition(":")[0] == now.digest.partition(":")[0] else None
