"""GPD111: a driver branch that does not know an assumed GPU yet, or no longer."""

from __future__ import annotations

from gpudoctor.matrix.index import Matrix, driver_tuple
from gpudoctor.matrix.tables import GpuModel
from gpudoctor.model.fact import Present, value_of
from gpudoctor.model.finding import Evaluation, Fail, Fix, NotApplicable, Open, Pass, Subject
from gpudoctor.model.machine import Gpu
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.devices import gpu_name
from gpudoctor.rules.pages import gpu as pages
from gpudoctor.rules.reading import evidence, is_assumed, items_of, numbers


def _unknown_gpu(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if not is_assumed(snapshot):
        return (NotApplicable("this driver lists the GPUs that it knows"),)
    if isinstance(snapshot.host.tegra, Present):
        return (NotApplicable("a Jetson's driver is a part of its L4T system"),)
    gpus = items_of(snapshot.gpus)
    if not gpus:
        return (NotApplicable("no GPU was named with --assume-gpu"),)
    release = value_of(snapshot.driver.release)
    if release is None:
        return (Open("no driver release is known; --assume-driver RELEASE names one", "driver"),)
    return tuple(_judge(snapshot, matrix, gpu, release) for gpu in gpus)


def _judge(snapshot: Snapshot, matrix: Matrix, gpu: Gpu, release: str) -> Evaluation:
    model = next(
        (m for m in matrix.data.gpus if Present(m.compute_capability) == gpu.compute_capability and not m.tegra), None
    )
    try:
        branch = driver_tuple(release)[0]
    except ValueError:
        return Open(f"the driver release {release!r} is no dotted number", gpu_name(gpu))
    if model is None:
        return Open("the matrix does not know this compute capability", gpu_name(gpu))
    served = value_of(snapshot.driver.cuda_version)
    if model.last_driver_branch and branch > int(model.last_driver_branch):
        return _dropped(gpu, model, release)
    if served and model.first_cuda and numbers(served) < numbers(model.first_cuda):
        least = next((b.first or b.branch for b in matrix.data.driver_branches if b.cuda == model.first_cuda), None)
        return _too_new(gpu, model, release, least)
    return Pass(gpu_name(gpu))


def _dropped(gpu: Gpu, model: GpuModel, release: str) -> Fail:
    return driver_without_gpu.fail(
        Subject(kind="gpu", name=gpu_name(gpu)),
        f"Driver {release} no longer supports {gpu_name(gpu)} ({model.architecture}, compute capability "
        f"{model.compute_capability}): branch {model.last_driver_branch} was the last that does.",
        cause="gpu-arch-unsupported",
        confidence="table",
        evidence=evidence(("driver", release), ("last branch", model.last_driver_branch)),
        fixes=(
            Fix(
                title=f"Install a driver of branch {model.last_driver_branch}, and packages that it serves",
                applicability="display-only",
            ),
        ),
    )


def _too_new(gpu: Gpu, model: GpuModel, release: str, least: str | None) -> Fail:
    return driver_without_gpu.fail(
        Subject(kind="gpu", name=gpu_name(gpu)),
        f"Driver {release} is older than {gpu_name(gpu)} ({model.architecture}, compute capability "
        f"{model.compute_capability}) and does not know it: it takes a driver of CUDA {model.first_cuda} or newer"
        f"{f', {least} or later' if least else ''}.",
        cause="driver-too-old",
        confidence="table",
        evidence=evidence(("driver", release), ("first CUDA with this GPU", model.first_cuda), ("wanted", least)),
        fixes=(Fix(title="Plan with a newer driver for this GPU", applicability="display-only"),),
    )


driver_without_gpu = Rule(
    id="GPD111",
    name="driver-without-gpu",
    title="The driver branch does not support this GPU",
    level="error",
    causes=("driver-too-old", "gpu-arch-unsupported"),
    page=pages.GPD111,
    evaluate=_unknown_gpu,
)
