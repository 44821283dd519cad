"""Files that two installed distributions both claim: the one installed last has overwritten the other."""

from __future__ import annotations

import posixpath
import re

from gpudoctor.matrix.claims import Conflicts
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import Distribution, SharedFiles
from gpudoctor.model.fact import Fact, Present, Unknown
from gpudoctor.probes.record import Recorded, read_record
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem

_HASH_LIMIT_BYTES = 1 << 20
_HASHED_FILES = 16
_COMPARED_FILES = 64
_NVIDIA_COMPONENT = re.compile(r"nvidia-(.+?)(?:-cu\d+)?")

Records = dict[str, Recorded]


def probe_shared_files(
    system: ReadSystem, distributions: tuple[Distribution, ...], matrix: Matrix
) -> tuple[SharedFiles, ...]:
    """Return the files that pairs of installed distributions share.

    Only pairs that can share are compared: those that the matrix names, and NVIDIA's packages of one library for two
    CUDA majors.

    Args:
        system: The machine.
        distributions: The installed distributions, in sys.path order.
        matrix: The compatibility matrix.

    Returns:
        One entry per pair that does share files.
    """
    imported = {d.name: d for d in reversed(distributions)}
    records: dict[str, Records | None] = {}
    found = []
    for first, second in _candidates(imported, matrix):
        for name in (first, second):
            if name not in records:
                records[name] = read_record(system, imported[name])
        shared = _compare(system, (imported[first], imported[second]), (records[first], records[second]))
        if shared is not None:
            found.append(shared)
    return tuple(found)


def _candidates(imported: dict[str, Distribution], matrix: Matrix) -> tuple[tuple[str, str], ...]:
    pairs: set[tuple[str, str]] = set()
    components: dict[str, list[str]] = {}
    for (
        fact
    ) in matrix.data.facts:  # versions are left aside: the RECORDs decide, and comparing versions costs an import
        claim = fact.claim
        if not isinstance(claim, Conflicts) or not claim.shares_files:
            continue
        if fact.subject in imported and claim.package in imported and claim.package != fact.subject:
            pairs.add(_ordered(fact.subject, claim.package))
    for name in imported:
        if match := _NVIDIA_COMPONENT.fullmatch(name):
            components.setdefault(match.group(1), []).append(name)
    for names in components.values():
        pairs.update(_ordered(a, b) for i, a in enumerate(names) for b in names[i + 1 :])
    return tuple(sorted(pairs))


def _ordered(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)


def _compare(
    system: ReadSystem, owners: tuple[Distribution, Distribution], records: tuple[Records | None, Records | None]
) -> SharedFiles | None:
    first, second = records
    if first is None or second is None or owners[0].site_dir != owners[1].site_dir:
        return None
    shared = sorted(path for path in first.keys() & second.keys() if not path.endswith((".pyc", "__init__.py")))
    if not shared:
        return None
    differing = [path for path in shared if first[path] != second[path]]
    return SharedFiles(
        owners=(owners[0].name, owners[1].name),
        count=len(shared),
        example=_example(differing or shared),
        on_disk=_on_disk(system, owners, (first, second), differing),
    )


def _example(paths: list[str]) -> str:
    """Return the path that says most: a shared object before any other file."""
    return next((p for p in paths if ".so" in p or p.endswith((".dll", ".pyd"))), paths[0])


def _on_disk(
    system: ReadSystem,
    owners: tuple[Distribution, Distribution],
    records: tuple[Records, Records],
    differing: list[str],
) -> Fact[str]:
    """Return the owner whose files are on disk; Unknown when both or neither match, or when they are mixed."""
    matching: set[int] = set()
    hashes_left = _HASHED_FILES
    for path in differing[:_COMPARED_FILES]:
        wanted = (records[0][path], records[1][path])
        full = posixpath.join(owners[0].site_dir, path)
        by_size = _match_size(system, full, wanted)
        if by_size is None and hashes_left and wanted[0].size_bytes == wanted[1].size_bytes:
            hashes_left -= 1
            by_size = _match_digest(system, full, wanted)
        if by_size is not None:
            matching.add(by_size)
    if len(matching) == 1:
        return Present(owners[matching.pop()].name)
    if matching:
        return Unknown("the files on disk are of both distributions")
    return Unknown("sizes and digests do not tell whose files are on disk")


def _match_size(system: ReadSystem, path: str, wanted: tuple[Recorded, Recorded]) -> int | None:
    sizes = (wanted[0].size_bytes, wanted[1].size_bytes)
    if sizes[0] == sizes[1] or None in sizes:
        return None
    try:
        size = system.stat(path).size_bytes
    except (NotThere, CannotLook):
        return None
    return sizes.index(size) if size in sizes else None


def _match_digest(system: ReadSystem, path: str, wanted: tuple[Recorded, Recorded]) -> int | None:
    size = wanted[0].size_bytes
    if size is None or size >= _HASH_LIMIT_BYTES or wanted[0].digest == wanted[1].digest:
        return None
    try:
        if system.stat(path).size_bytes != size:
            return None
        digest = _sha256(system.read_bytes(path, _HASH_LIMIT_BYTES))
    except (NotThere, CannotLook):
        return None
    digests = (wanted[0].digest, wanted[1].digest)
    return digests.index(digest) if digest in digests else None


def _sha256(data: bytes) -> str:
    # Imported here: OpenSSL costs milliseconds, and few environments have such a pair.
    import hashlib
    from base64 import urlsafe_b64encode

    return "sha256=" + urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
