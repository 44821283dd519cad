"""GPD104, GPD105: does the driver serve the CUDA in use, and do its GPUs answer?"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gpudoctor.matrix.claims import NeedsDriver
from gpudoctor.matrix.index import Matrix, driver_tuple
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fail, Fix, NotApplicable, Open, Pass, Subject
from gpudoctor.model.machine import Gpu, NvmlError
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.driver import DRIVER, update_driver
from gpudoctor.rules.family import torch_family_mismatch
from gpudoctor.rules.gpu_code import other_build_fix
from gpudoctor.rules.misses import deciding_rows
from gpudoctor.rules.pages import driver as pages
from gpudoctor.rules.reading import (
    evidence,
    gpu_consumers,
    has_driver,
    is_assumed,
    label,
    listed,
    major_of,
    numbers,
    open_on,
    unique,
)

LOST = (15, 16)


# --- GPD104 ----------------------------------------------------------------------------------------------------------


class _Need(msgspec.Struct, frozen=True):
    consumer: str
    cuda: str
    source: str


_Failing = tuple[tuple[_Need, str, str], ...]


def _too_old(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    needs, unknown = _needs(snapshot, matrix)
    if not needs and not unknown:
        return (NotApplicable("no installed package brings CUDA code"),)
    blind = tuple(Open(f"{label(snapshot, matrix, c)}: the CUDA version of its build is not known", c) for c in unknown)
    if isinstance(snapshot.host.tegra, Present):
        return open_on(DRIVER.name, "a Jetson's driver is numbered by its L4T system, which the matrix does not know")
    release = snapshot.driver.release
    if not isinstance(release, Present):
        why = release.reason if isinstance(release, Unknown) else "there is no NVIDIA driver here"
        return open_on(DRIVER.name, f"{why}; --assume-driver RELEASE judges for another machine")
    return (*_against(snapshot, matrix, needs, release.value), *blind)


def _needs(snapshot: Snapshot, matrix: Matrix) -> tuple[tuple[_Need, ...], tuple[str, ...]]:
    found, unknown = [], []
    for consumer in gpu_consumers(snapshot):
        need = _need(snapshot, matrix, consumer)
        if need:
            found.append(need)
        elif (build := snapshot.build(consumer)) and build.gpu not in (Absent(), Present(value=False)):
            unknown.append(consumer)
    return tuple(found), tuple(unknown)


def _need(snapshot: Snapshot, matrix: Matrix, consumer: str) -> _Need | None:
    build = snapshot.build(consumer)
    if build and build.gpu == Present(value=False):
        return None
    if build and isinstance(build.cuda, Present) and numbers(build.cuda.value):
        return _Need(consumer, build.cuda.value, f"built for CUDA {build.cuda.value}")
    for r in deciding_rows(snapshot, matrix, consumer):
        major = major_of(r.soname)
        if r.family in ("cudart", "cublas") and major:
            return _Need(consumer, major, f"opens {r.soname}")
    return None


def _against(snapshot: Snapshot, matrix: Matrix, needs: tuple[_Need, ...], release: str) -> tuple[Evaluation, ...]:
    try:
        have = driver_tuple(release)
    except ValueError:
        return open_on(DRIVER.name, f"the driver release {release!r} is no dotted number")
    served = numbers(value_of(snapshot.driver.cuda_version) or "")
    failing: list[tuple[_Need, str, str]] = []
    answers: list[Evaluation] = []
    for need in needs:
        minimum = _minimum(snapshot, matrix, need)
        if served and not snapshot.driver.assumed and served[0] >= numbers(need.cuda)[0]:
            answers.append(Pass(need.consumer))  # what libcuda itself says: a forward-compatibility package counts
        elif minimum is None:
            answers.append(Open(f"the matrix has no least driver for CUDA {need.cuda} here", need.consumer))
        elif have < driver_tuple(minimum[0]):
            failing.append((need, *minimum))
        else:
            answers.append(Pass(need.consumer))
    return (*_failures(snapshot, matrix, release, tuple(failing)), *answers)


def _failures(snapshot: Snapshot, matrix: Matrix, release: str, failing: _Failing) -> Iterator[Evaluation]:
    """Yield one finding for all, and one each for packages of another torch: the driver is not what stops those."""
    if not failing:
        return
    answers = torch_family_mismatch.evaluate(snapshot, matrix)
    unfit = {e.finding.subject.name for e in answers if isinstance(e, Fail)}
    if ours := tuple(f for f in failing if f[0].consumer not in unfit):
        yield _old(snapshot, matrix, release, ours)
    for need in failing:
        if need[0].consumer in unfit:
            told = _old(snapshot, matrix, release, (need,)).finding
            subject = Subject(kind="distribution", name=need[0].consumer)
            yield Fail(msgspec.structs.replace(told, subject=subject, consequences=()))


def _minimum(snapshot: Snapshot, matrix: Matrix, need: _Need) -> tuple[str, str] | None:
    """Return the least driver release for a CUDA version and the fact that says so.

    Minor-version compatibility: within one CUDA major the least of all its minimums counts, unless PTX has to be
    compiled. Source: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    """
    windows = snapshot.host.os == "windows" or isinstance(snapshot.host.wsl, Present)
    version = need.cuda if "." in need.cuda else f"{need.cuda}.0"
    known = [
        (driver_tuple(release), release, fact.id)
        for fact, claim in matrix.facts("cuda", NeedsDriver, version)
        if not claim.ptx and (release := claim.windows if windows else claim.linux)
    ]
    return min(known)[1:] if known else None


def _old(snapshot: Snapshot, matrix: Matrix, release: str, failing: _Failing) -> Fail:
    worst = max(failing, key=lambda f: driver_tuple(f[1]))
    cuda = unique(f"CUDA {numbers(need.cuda)[0]}" for need, _, _ in failing)
    users = tuple(label(snapshot, matrix, need.consumer) for need, _, _ in failing)
    uses = "use" if len(users) > 1 else "uses"
    whose = "assumed NVIDIA driver" if snapshot.driver.assumed else "NVIDIA driver"
    return driver_too_old.fail(
        DRIVER,
        f"The {whose} {release} is too old for {listed(cuda)}, which {listed(users)} {uses}: it must be {worst[1]} or "
        "newer, or every call to the GPU fails with “CUDA driver version is insufficient for CUDA runtime version”.",
        cause="driver-too-old",
        confidence="table",
        evidence=evidence(
            ("driver", release),
            ("serves CUDA up to", value_of(snapshot.driver.cuda_version)),
            ("wanted", f"{worst[1]} or newer"),
            *((need.consumer, need.source) for need, _, _ in failing),
        ),
        facts=unique(fact for _, _, fact in failing),
        consequences=tuple(
            f"{user} cannot use the GPU: CUDA {need.cuda} needs driver {least} or newer"
            for user, (need, least, _) in zip(users, failing, strict=True)
            if len(failing) > 1  # one victim is named in the message
        ),
        fixes=(update_driver(worst[1]), *_older_builds(snapshot, matrix, failing)),
    )


def _older_builds(snapshot: Snapshot, matrix: Matrix, failing: _Failing) -> Iterator[Fix]:
    """Yield the builds that this driver serves, then one way out for all of which the matrix knows none."""
    helpless: list[str] = []
    for need, _, _ in failing:
        build = snapshot.build(need.consumer)
        fix = other_build_fix(snapshot, matrix, build) if build else None
        if fix is None:
            helpless.append(need.consumer)
        else:
            yield fix
    if helpless:
        title = f"Or install releases of {listed(helpless)} that are built for an older CUDA"
        yield Fix(title=title, applicability="display-only")


# --- GPD105 ----------------------------------------------------------------------------------------------------------


def _lost(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    if is_assumed(snapshot) or not has_driver(snapshot):
        return (NotApplicable("no driver that could report a GPU's state"),)
    general = value_of(snapshot.driver.nvml_error)
    if general and general.code in LOST:
        return (_gone(Subject(kind="driver", name=DRIVER.name), "A GPU", general),)
    match snapshot.gpus:
        case Present(value=gpus):
            return tuple(_gpu_state(gpu) for gpu in gpus) or (NotApplicable("the driver lists no GPU"),)
        case Absent():
            return (NotApplicable("the driver lists no GPU"),)
        case Unknown(reason=reason):
            return open_on("gpu", f"the GPUs' state could not be asked: {reason}")


def _gpu_state(gpu: Gpu) -> Evaluation:
    name = value_of(gpu.name) or f"GPU {gpu.index}"
    match gpu.error:
        case Present(value=error) if error.code in LOST:
            where = value_of(gpu.pci_bus_id)
            return _gone(Subject(kind="gpu", name=name), f"{name}{f' (at {where})' if where else ''}", error)
        case Present(value=error):
            return Open(f"{name}: NVML answered {error.code}, {error.message}", name)
        case Unknown(reason=reason):
            return Open(f"{name}: {reason}", name)
        case Absent():
            return Pass(name)


def _gone(subject: Subject, who: str, error: NvmlError) -> Fail:
    return gpu_lost.fail(
        subject,
        f"{who} no longer answers the driver ({error.message}): it fell off the bus or needs a reset, so everything on "
        "it fails until then.",
        cause="gpu-hardware-fault",
        confidence="proved",
        evidence=evidence(("NVML", f"{error.code}, {error.message}")),
        fixes=(
            Fix(
                title="Read the kernel's log for Xid messages, then power the machine off and on; if it comes back, "
                "look at power supply, cooling and seating of the card",
                applicability="display-only",
                commands=("sudo dmesg | grep -iE 'NVRM|Xid'",),
            ),
        ),
    )


driver_too_old = Rule(
    id="GPD104",
    name="driver-too-old",
    title="The driver is too old for the CUDA version in use",
    level="error",
    causes=("driver-too-old",),
    page=pages.GPD104,
    evaluate=_too_old,
)
gpu_lost = Rule(
    id="GPD105",
    name="gpu-lost",
    title="A GPU no longer answers its driver",
    level="error",
    causes=("gpu-hardware-fault",),
    page=pages.GPD105,
    evaluate=_lost,
)
