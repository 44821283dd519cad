"""GPD406: a library file that is not the one its package installed."""

from __future__ import annotations

import posixpath

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fix, NotApplicable, Open, Pass, Subject
from gpudoctor.model.loading import Library
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.pages import packages as pages
from gpudoctor.rules.reading import evidence, listed, unique
from gpudoctor.rules.remedies import reinstall_fix

_NO_CAUSE = "the taxonomy has no cause for a file that was changed after it was installed"
_SHARED = (
    "the file is hard linked: the installer's cache, and every environment that was filled from it, holds the same "
    "changed file"
)
_FORGET_CACHE = Fix(
    title="Clear the installer's cache too, so that no later environment gets the changed file, and check the others",
    applicability="display-only",
    commands=("uv cache clean",),
)


def _evaluate(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    owned = [x for x in snapshot.libraries if x.owner is not None]
    if not owned:
        return (NotApplicable("no package here brings a GPU library"),)
    unread = next((f.reason for x in owned if isinstance(f := x.recorded_bytes, Unknown)), None)
    recorded = [x for x in owned if isinstance(x.recorded_bytes, Present)]
    if not recorded and unread is None:
        return (NotApplicable("no package recorded how large its libraries were: nothing to compare them with"),)
    # Two packages that write one path are GPD401's, and of two records one is always wrong.
    shared = {name for pair in snapshot.shared_files for name in pair.owners}
    changed = [x for x in recorded if value_of(x.recorded_bytes) != x.size_bytes and x.owner not in shared]
    owners = unique(x.owner for x in changed if x.owner)
    found = tuple(_changed(snapshot, owner, [x for x in changed if x.owner == owner]) for owner in owners)
    if unread:
        return (*found, Open(f"not all sizes could be compared: {unread}"))
    return found or (Pass("libraries"),)


def _changed(snapshot: Snapshot, owner: str, files: list[Library]) -> Evaluation:
    names = [posixpath.basename(x.path) for x in files]
    distribution = snapshot.distribution(owner)
    version = value_of(distribution.version) if distribution else None
    loaded = {r.path for r in snapshot.resolutions if r.outcome == "present"}
    used = [posixpath.basename(x.path) for x in files if x.path in loaded]
    cudnn = files[0].family == "cudnn"
    many = len(files) > 1
    return file_differs.fail(
        Subject(kind="distribution", name=owner),
        f"{listed(names)} {'are' if many else 'is'} not what {owner} {version or '?'} installed: "
        f"{'their sizes differ' if many else 'its size differs'} from the recorded {'ones' if many else 'one'}, so "
        f"{'they were' if many else 'it was'} replaced or cut afterwards.",
        cause="cudnn-mixed" if cudnn else None,
        reason=None if cudnn else _NO_CAUSE,
        evidence=evidence(
            *((posixpath.basename(x.path), _sizes(x)) for x in files[:4]),
            ("folder", posixpath.dirname(files[0].path)),
            ("hard links", _links(files)),
        ),
        consequences=(
            *((f"{listed(used)} will be loaded all the same",) if used else ()),
            *((_SHARED,) if _links(files) else ()),
        ),
        fixes=(reinstall_fix(snapshot, owner, files[0].path), *((_FORGET_CACHE,) if _links(files) else ())),
    )


def _links(files: list[Library]) -> str | None:
    """Return which of the changed files have more names: what changed them in place changed all that share them."""
    shared = [f"{posixpath.basename(x.path)} has {x.links} names" for x in files if x.links > 1]
    return listed(shared) or None


def _sizes(library: Library) -> str:
    recorded = value_of(library.recorded_bytes)
    return f"{library.size_bytes} bytes, recorded {recorded}"


file_differs = Rule(
    id="GPD406",
    name="file-differs-from-record",
    title="A GPU library was changed after its package was installed",
    level="warning",
    causes=("cudnn-mixed",),
    page=pages.GPD406,
    evaluate=_evaluate,
    required=False,
)
