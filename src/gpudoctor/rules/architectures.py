"""GPD107, GPD302: does the build have code for this GPU, and can the driver compile what is not ready-made?"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gpudoctor.matrix.claims import HasGpuCode, NeedsDriver
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.environment import Build
from gpudoctor.model.fact import Present, value_of
from gpudoctor.model.finding import Evaluation, Fail, Fix, NotApplicable, Open, Pass
from gpudoctor.model.machine import Gpu
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.devices import (
    described,
    distinct_gpus,
    driver_serves,
    gpu_name,
    no_gpu_answer,
)
from gpudoctor.rules.driver import update_driver
from gpudoctor.rules.gpu_code import (
    Code,
    build_requirement,
    code_facts,
    code_of,
    dotted,
    fitting_build,
    other_build_fix,
    parse_architecture,
    platform_of,
    released_as,
    runs_here,
    way_on,
    with_family,
)
from gpudoctor.rules.pages import gpu as pages
from gpudoctor.rules.reading import consumer_subject, evidence, label, library_version, listed, unique
from gpudoctor.rules.remedies import pip_command


class _Judged(msgspec.Struct, frozen=True):
    """One build on the GPUs that the process sees."""

    build: Build
    code: Code
    without: tuple[Gpu, ...]
    by_ptx: tuple[Gpu, ...]
    ready: tuple[Gpu, ...]


def _judged(snapshot: Snapshot, matrix: Matrix, gpus: tuple[Gpu, ...]) -> Iterator[_Judged | Open]:
    """Yield the builds with GPU code, or why one cannot be judged. Packages without such code are left out."""
    for build in snapshot.builds:
        if build.gpu == Present(value=False):
            continue
        code = code_of(snapshot, matrix, build)
        if code is None:
            if _should_be_known(matrix, build):
                yield Open(f"{label(snapshot, matrix, build.package)}: its GPU code is not known", build.package)
            continue
        ways = [(gpu, way_on(snapshot, matrix, code, gpu)) for gpu in gpus]
        if unknown := [gpu_name(gpu) for gpu, way in ways if way is None]:
            yield Open(f"the compute capability of {listed(unknown)} is not known", build.package)
            continue
        sorted_out = {way: tuple(g for g, w in ways if w == way) for way in ("none", "ptx", "machine-code")}
        yield _Judged(build, code, sorted_out["none"], sorted_out["ptx"], sorted_out["machine-code"])


def _should_be_known(matrix: Matrix, build: Build) -> bool:
    """The packages that bring kernels of their own; torchaudio's and torchvision's few are not judged."""
    consumer = matrix.consumers.get(build.package)
    return consumer is not None and build.package != "torchcodec" and build.gpu == Present(value=True)


# --- GPD302 ----------------------------------------------------------------------------------------------------------


def _unsupported(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if not any(b.gpu != Present(value=False) for b in snapshot.builds):
        return (NotApplicable("no package with GPU code is installed"),)
    gpus = distinct_gpus(snapshot)
    if not gpus:
        return no_gpu_answer(snapshot)
    answers: list[Evaluation] = []
    for judged in _judged(snapshot, matrix, gpus):
        if isinstance(judged, Open):
            answers.append(judged)
        elif judged.without:
            answers.append(_no_code(snapshot, matrix, judged))
        else:
            answers.append(_of_cudnn(snapshot, matrix, judged.build, gpus) or Pass(judged.build.package))
    return tuple(answers) or (NotApplicable("no package whose GPU code is known is installed"),)


def _no_code(snapshot: Snapshot, matrix: Matrix, judged: _Judged) -> Fail:
    name = label(snapshot, matrix, judged.build.package)
    others = (*judged.by_ptx, *judged.ready)
    only = f" (it has for {listed([gpu_name(g) for g in others])})" if others else ""
    return gpu_arch_unsupported.fail(
        consumer_subject(judged.build.package),
        f"{name} has no code for {described(judged.without)}{only}: it is built for compute capability "
        f"{_built_for(judged.code)}, so its kernels fail with “no kernel image is available for execution on the "
        "device”.",
        cause="gpu-arch-unsupported",
        confidence="read" if judged.code.from_files else "table",
        level="warning" if others else "error",
        evidence=evidence(
            ("GPU", described(judged.without)),
            ("machine code for", ", ".join(dotted(a) for a in judged.code.sass) or "none"),
            ("PTX for", ", ".join(dotted(a) for a in judged.code.ptx) or "none"),
            ("CUDA of the build", judged.code.cuda),
        ),
        facts=judged.code.facts,
        fixes=_with_code(snapshot, matrix, judged.build, judged.without),
    )


def _built_for(code: Code) -> str:
    numbers = sorted(p[0] for a in code.sass if (p := parse_architecture(a)))
    if not numbers:
        return f"{listed([dotted(a) for a in code.ptx])} and later"
    ends = unique(f"{major}.{minor}" for major, minor in (numbers[0], numbers[-1]))
    return f"{' to '.join(ends)} only"


def _with_code(snapshot: Snapshot, matrix: Matrix, build: Build, gpus: tuple[Gpu, ...]) -> tuple[Fix, ...]:
    """Return which build of the package has code for the GPUs and runs under this driver: of this release, if any."""
    capabilities = [c for g in gpus if (c := value_of(g.compute_capability))]
    found = fitting_build(snapshot, matrix, build, capabilities)
    if found is None:
        return (
            Fix(
                title=f"Build {build.package} from source for compute capability {listed(capabilities)}, or use "
                "another GPU: no release that the matrix knows has code for it",
                applicability="display-only",
            ),
        )
    fact, claim = found
    released = released_as(snapshot, matrix, build)
    return (
        Fix(
            title=f"Install a build of {build.package} with code for compute capability {listed(capabilities)}: "
            f"{fact.when.versions or 'any release'}, built for CUDA {claim.cuda}{with_family(snapshot, build)}",
            applicability="unsafe",
            commands=(pip_command(snapshot, build_requirement(build, fact, released)),),
        ),
    )


# --- cuDNN's own code ------------------------------------------------------------------------------------------------


def _of_cudnn(snapshot: Snapshot, matrix: Matrix, build: Build, gpus: tuple[Gpu, ...]) -> Fail | None:
    """Judge the cuDNN that a consumer opens: from 9.11 on it has no code for Maxwell, Pascal and Volta."""
    for row in snapshot.resolutions:
        if row.consumer != build.package or row.family != "cudnn" or row.outcome != "present":
            continue
        library = snapshot.library(row.path)
        if library is None or library.owner in (None, build.distribution):
            continue
        version = library_version(snapshot, row.path)
        for fact, claim in matrix.facts(library.owner or "", HasGpuCode, version, platform_of(snapshot)):
            code = Code(claim.sass, claim.ptx, claim.cuda, from_files=False, facts=(fact.id,))
            without = tuple(g for g in gpus if way_on(snapshot, matrix, code, g) == "none")
            if code.sass and without:
                return _no_cudnn_code(snapshot, matrix, build, code, without, (library.owner or "", version or ""))
    return None


def _no_cudnn_code(
    snapshot: Snapshot, matrix: Matrix, build: Build, code: Code, without: tuple[Gpu, ...], cudnn: tuple[str, str]
) -> Fail:
    owner, version = cudnn
    return gpu_arch_unsupported.fail(
        consumer_subject(build.package),
        f"{owner} {version}, which {label(snapshot, matrix, build.package)} opens, has no code for "
        f"{described(without)}: it is built for compute capability {_built_for(code)}, so convolutions fail with "
        "“CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH” or “no kernel image”.",
        cause="gpu-arch-unsupported",
        confidence="table",
        evidence=evidence(
            ("GPU", described(without)),
            ("cuDNN", f"{owner} {version}"),
            ("machine code for", ", ".join(dotted(a) for a in code.sass)),
        ),
        facts=code.facts,
        fixes=_older_cudnn(snapshot, matrix, owner, without),
    )


def _older_cudnn(snapshot: Snapshot, matrix: Matrix, owner: str, gpus: tuple[Gpu, ...]) -> tuple[Fix, ...]:
    capabilities = [c for g in gpus if (c := value_of(g.compute_capability))]
    fitting = [
        fact.when.versions
        for fact, claim in code_facts(snapshot, matrix, owner)
        if claim.sass and runs_here(snapshot, claim, capabilities)
    ]
    if not fitting:
        return (Fix(title=f"Use a cuDNN that still has code for {described(gpus)}", applicability="display-only"),)
    return (
        Fix(
            title=f"Install the last {owner} with code for compute capability {listed(capabilities)}",
            applicability="unsafe",
            commands=(pip_command(snapshot, f'"{owner}{fitting[-1]}"'),),
        ),
    )


# --- GPD107 ----------------------------------------------------------------------------------------------------------


def _ptx(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    gpus = distinct_gpus(snapshot)
    if not any(b.gpu != Present(value=False) for b in snapshot.builds):
        return (NotApplicable("no package with GPU code is installed"),)
    if not gpus:
        return no_gpu_answer(snapshot)
    judged = [j for j in _judged(snapshot, matrix, gpus) if isinstance(j, Open) or j.by_ptx]
    if not judged:
        return (NotApplicable("every build has machine code for this GPU, or none at all"),)
    return tuple(j if isinstance(j, Open) else _compile(snapshot, matrix, j) for j in judged)


def _compile(snapshot: Snapshot, matrix: Matrix, judged: _Judged) -> Evaluation:
    cuda, least, facts = _needed(snapshot, matrix, judged)
    if cuda is None:
        return Open(f"{judged.build.package}: the CUDA version of its PTX is not known", judged.build.package)
    serves = driver_serves(snapshot, cuda, least)
    if serves is None:
        return Open(
            f"{judged.build.package}: whether the driver compiles the PTX of CUDA {cuda} depends on its release; "
            "--assume-driver RELEASE judges for another machine",
            judged.build.package,
        )
    if serves and snapshot.variable("CUDA_DISABLE_PTX_JIT") != "1":
        return Pass(judged.build.package)
    return _cannot_compile(snapshot, matrix, judged, (cuda, least or _first_of(matrix, cuda), facts), serves)


def _needed(snapshot: Snapshot, matrix: Matrix, judged: _Judged) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Return the CUDA version of a build's PTX, the least driver that reads it, and the facts that say so."""
    build = judged.build
    windows = snapshot.host.os == "windows" or isinstance(snapshot.host.wsl, Present)
    for fact, claim in matrix.facts(
        build.distribution, NeedsDriver, released_as(snapshot, matrix, build), platform_of(snapshot)
    ):
        if claim.ptx:
            return claim.cuda, claim.windows if windows else claim.linux, (*judged.code.facts, fact.id)
    cuda = judged.code.cuda
    return (cuda if cuda and "." in cuda else None), None, judged.code.facts


def _first_of(matrix: Matrix, cuda: str) -> str | None:
    return next((b.first or b.branch for b in matrix.data.driver_branches if b.cuda == cuda), None)


def _cannot_compile(
    snapshot: Snapshot,
    matrix: Matrix,
    judged: _Judged,
    needed: tuple[str, str | None, tuple[str, ...]],
    serves: bool,
) -> Fail:
    cuda, least, facts = needed
    name, release = label(snapshot, matrix, judged.build.package), value_of(snapshot.driver.release)
    has_only = f"{name} has only PTX for {described(judged.by_ptx)}, which the driver must compile"
    if serves:
        message = f"{has_only}, and CUDA_DISABLE_PTX_JIT=1 forbids it: every kernel fails."
        fix = Fix(title="Unset CUDA_DISABLE_PTX_JIT where the process is started", applicability="display-only")
    else:
        message = (
            f"{has_only}; driver {release} is too old for the PTX of CUDA {cuda}"
            f"{f' ({least} or newer reads it)' if least else ''}, so its kernels fail with “the provided PTX was "
            "compiled with an unsupported toolchain”."
        )
        fix = update_driver(least)
    return ptx_driver_too_old.fail(
        consumer_subject(judged.build.package),
        message,
        cause="driver-too-old" if not serves else "gpu-arch-unsupported",
        confidence="table",
        level="error" if not judged.ready else "warning",
        evidence=evidence(
            ("GPU", described(judged.by_ptx)),
            ("machine code for", ", ".join(dotted(a) for a in judged.code.sass) or "none"),
            ("PTX for", ", ".join(dotted(a) for a in judged.code.ptx)),
            ("driver", release),
            ("serves CUDA up to", value_of(snapshot.driver.cuda_version)),
            ("wanted", f"CUDA {cuda}" + (f", driver {least} or newer" if least else "")),
        ),
        facts=unique(facts),
        fixes=(fix, _older_toolchain(snapshot, matrix, judged)),
    )


def _older_toolchain(snapshot: Snapshot, matrix: Matrix, judged: _Judged) -> Fix:
    return other_build_fix(snapshot, matrix, judged.build) or Fix(
        title=f"Or install a release of {judged.build.package} that is built with an older CUDA, or that has machine "
        "code for this GPU",
        applicability="display-only",
    )


ptx_driver_too_old = Rule(
    id="GPD107",
    name="ptx-driver-too-old",
    title="The driver is too old to compile the only code that a build has for this GPU",
    level="error",
    causes=("driver-too-old", "gpu-arch-unsupported"),
    page=pages.GPD107,
    evaluate=_ptx,
)
gpu_arch_unsupported = Rule(
    id="GPD302",
    name="gpu-arch-unsupported",
    title="A build has no code for this GPU",
    level="error",
    causes=("gpu-arch-unsupported",),
    page=pages.GPD302,
    evaluate=_unsupported,
)
