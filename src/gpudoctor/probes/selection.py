"""The consumers that `--for` names: known ones, and there to be judged."""

from __future__ import annotations

import msgspec

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import Build, Distribution
from gpudoctor.model.errors import UsageError
from gpudoctor.model.loading import Resolution
from gpudoctor.model.snapshot import Snapshot


def check_consumers(matrix: Matrix, names: tuple[str, ...]) -> None:
    """Refuse a name that means no consumer.

    Raises:
        UsageError: The matrix knows none of that name.
    """
    for name in names:
        if name not in matrix.consumers:
            raise UsageError(f"--for {name!r}: no such consumer; there are: {', '.join(sorted(matrix.consumers))}")


def check_installed(
    matrix: Matrix,
    names: tuple[str, ...],
    resolutions: tuple[Resolution, ...],
    builds: tuple[Build, ...],
    distributions: tuple[Distribution, ...],
) -> None:
    """Refuse to judge a consumer that is not there: no finding on it would read as fine.

    Raises:
        UsageError: It is not installed.
    """
    seen = {r.consumer for r in resolutions} | {b.package for b in builds}
    installed = {d.name for d in distributions}
    for name in names:
        if name not in seen and not installed & {name, *matrix.consumers[name].distributions}:
            raise UsageError(f"--for {name}: it is not installed in the judged environment")


def only_for(snapshot: Snapshot, matrix: Matrix, names: tuple[str, ...]) -> Snapshot:
    """Return a snapshot with the loader's answers for these consumers alone; all of them without names.

    Raises:
        UsageError: One is no consumer, or not in the snapshot.
    """
    if not names:
        return snapshot
    check_consumers(matrix, names)
    check_installed(matrix, names, snapshot.resolutions, snapshot.builds, snapshot.distributions)
    wanted = tuple(r for r in snapshot.resolutions if r.consumer in names)
    return msgspec.structs.replace(snapshot, resolutions=wanted)
