"""GPD210: a library that a consumer does get, under the right name, and that is built for another CUDA."""

from __future__ import annotations

import posixpath
import shlex

import msgspec

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import value_of
from gpudoctor.model.finding import Evaluation, Fail, Fix, Level, NotApplicable, Open, Pass
from gpudoctor.model.loading import Library, Resolution
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.devices import driver_serves
from gpudoctor.rules.libraries import no_loader
from gpudoctor.rules.misses import Group, Miss, broken_consumers, deciding_rows, is_unreached
from gpudoctor.rules.origins import cuda_major, cuda_of, other_cuda_of, toolkit_of
from gpudoctor.rules.pages import libraries as pages
from gpudoctor.rules.reading import (
    consumer_subject,
    evidence,
    label,
    library_version,
    listed,
    plain_name,
    unique,
)
from gpudoctor.rules.remedies import newer_release_fix, pip_command, provided_for, requirers_of


class _Foreign(msgspec.Struct, frozen=True):
    """A library for another CUDA than its consumer's.

    Attributes:
        row: The loader's answer.
        library: The file.
        cuda: CUDA major that it is built for.
    """

    row: Resolution
    library: Library
    cuda: str


def _evaluate(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if (answer := no_loader(snapshot)) is not None:
        return answer
    answers = [
        e for c in unique(r.consumer for r in snapshot.resolutions) for e in _judge_consumer(snapshot, matrix, c)
    ]
    return tuple(answers) or (NotApplicable("no library here tells for which CUDA it is built"),)


def _judge_consumer(snapshot: Snapshot, matrix: Matrix, consumer: str) -> tuple[Evaluation, ...]:
    mine = cuda_major(snapshot, matrix, consumer)
    if mine is None:
        return ()
    broken = consumer in broken_consumers(snapshot)
    rows = [r for r in deciding_rows(snapshot, matrix, consumer) if not (broken and is_unreached(r))]
    told = [
        (r, library)
        for r in rows
        if r.outcome == "present" and (library := snapshot.library(r.path)) and cuda_of(snapshot, library)
    ]
    foreign = [_Foreign(r, x, cuda) for r, x in told if (cuda := other_cuda_of(snapshot, matrix, r, x))]
    answers: list[Evaluation] = [
        _foreign(snapshot, matrix, mine, tuple(members))
        for cudnn in (True, False)
        if (members := [f for f in foreign if (f.row.family == "cudnn") == cudnn])
    ]
    if unknown := next((r for r in rows if r.outcome == "unknown"), None):
        answers.append(Open(f"{consumer}: {unknown.soname}: {unknown.reason or 'could not look'}", consumer))
    return tuple(answers) or ((Pass(consumer),) if told else ())


def _foreign(snapshot: Snapshot, matrix: Matrix, mine: str, members: tuple[_Foreign, ...]) -> Fail:
    head = members[0]
    consumer, cudnn = head.row.consumer, head.row.family == "cudnn"
    names = unique(plain_name(f.row) for f in members)
    level, fate = _fate(snapshot, head)
    return library_of_another_cuda.fail(
        consumer_subject(consumer),
        f"{label(snapshot, matrix, consumer)} is built for CUDA {mine}, but takes {listed(names)} of "
        f"{_origin(snapshot, head.library)}, built for CUDA {head.cuda}: {fate}.",
        cause="cudnn-cuda-mismatch" if cudnn else "cuda-libs-mixed",
        level=level,
        evidence=evidence(
            *((posixpath.basename(f.library.path), f"CUDA {f.cuda}, {f.library.path}") for f in members[:4]),
            ("found via", head.row.found_via),
            ("driver", value_of(snapshot.driver.release)),
            ("serves CUDA up to", value_of(snapshot.driver.cuda_version)),
        ),
        facts=unique(f.row.fact for f in members if f.row.fact),
        fixes=_fixes(snapshot, matrix, mine, head),
    )


def _origin(snapshot: Snapshot, library: Library) -> str:
    version = library_version(snapshot, library.path)
    if library.owner:
        return f"{library.owner} {version}" if version else library.owner
    toolkit = toolkit_of(snapshot, library)
    return f"the toolkit in {toolkit.directory}" if toolkit else posixpath.dirname(library.path)


def _fate(snapshot: Snapshot, head: _Foreign) -> tuple[Level, str]:
    """Say what follows: each such library holds a CUDA runtime of its own, which wants a driver for its CUDA.

    Source: https://docs.nvidia.com/deeplearning/cudnn/backend/latest/reference/support-matrix.html (2026-11-21)
    """
    cudnn = head.row.family == "cudnn"
    if driver_serves(snapshot, f"{head.cuda}.0", None) is False:
        symptom = "“CUDNN_STATUS_NOT_INITIALIZED”" if cudnn else "“CUDA driver version is insufficient”"
        return "error", f"the driver does not serve CUDA {head.cuda}, so its first call fails with {symptom}"
    partner = f"libcublasLt.so.{head.cuda}"
    if cudnn and not any(posixpath.basename(x.path) == partner for x in snapshot.libraries):
        return "warning", f"it opens {partner} for some of its work, which is not installed, and that work will fail"
    return "note", "it loads and may work, but NVIDIA supports it with its own CUDA only"


def _fixes(snapshot: Snapshot, matrix: Matrix, mine: str, head: _Foreign) -> tuple[Fix, ...]:
    owner = head.library.owner
    if owner is None:
        folder = posixpath.dirname(head.library.path)
        title = f"Put the folder of CUDA {mine} before {folder}, in LD_LIBRARY_PATH or the loader's configuration"
        return (Fix(title=title, applicability="display-only"),)
    miss = Miss(head.row, plain_name(head.row), matrix.families.get(head.row.family), "other-major")
    newer = newer_release_fix(
        snapshot, matrix, Group("GPD210", head.row.consumer, None, "other-major", "warning", (miss,))
    )
    wanted = provided_for(matrix, head.row, mine)
    if wanted is None:
        return newer
    if requirers := requirers_of(snapshot, owner):
        title = (
            f"Give {head.row.consumer} an environment of its own with {wanted}: here {listed(requirers)} needs {owner}"
        )
        return (*newer, Fix(title=title, applicability="display-only"))
    swap = Fix(
        title=f"Put {wanted} in the place of {owner}: both write the same files, so remove the one first",
        applicability="unsafe",
        commands=(pip_command(snapshot, f"-y {shlex.quote(owner)}", "uninstall"), pip_command(snapshot, f'"{wanted}"')),
    )
    return (swap, *newer)


library_of_another_cuda = Rule(
    id="GPD210",
    name="library-of-another-cuda",
    title="A consumer gets a library that is built for another CUDA",
    level="warning",
    causes=("cudnn-cuda-mismatch", "cuda-libs-mixed"),
    page=pages.GPD210,
    evaluate=_evaluate,
)
