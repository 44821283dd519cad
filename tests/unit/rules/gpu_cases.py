"""Cases of the rules on GPU code, memory, containers and the driver's finer faults: see test_rule_cases.py."""

from __future__ import annotations

from typing import Any

from gpudoctor.model.environment import Variable
from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.machine import ContainerEngine, CudaDriverProbe, Driver, Fabric, Gpu, MigDevice, PlannedModel
from gpudoctor.model.snapshot import Snapshot
from unit.rules.builders import (
    ABSENT,
    BLIND,
    Parts,
    assumed_driver,
    build,
    ctranslate2,
    cudnn9,
    driver,
    driver_file,
    gpu,
    host,
    machine,
    no_driver,
    refusing,
    replace,
    torch,
    with_,
    without_gpu,
)

DOCKER = Present("docker")
UNSEEN = Unknown("NVML gave no answer within 5 s")


def card(name: str, capability: str, memory_gib: int = 24, **changes: Any) -> Gpu:
    """A GPU of another model."""
    return gpu(
        name=Present(f"NVIDIA {name}"),
        compute_capability=Present(capability),
        memory_total_bytes=Present(memory_gib << 30),
        memory_free_bytes=Present(memory_gib << 30),
        **changes,
    )


RTX_5090 = card("GeForce RTX 5090", "12.0", 32)
RTX_4090 = card("GeForce RTX 4090", "8.9")
H100 = card("H100 80GB HBM3", "9.0", 80)
V100 = card("Tesla V100-SXM2-16GB", "7.0", 16)
RTX_3090_PAIR = (card("GeForce RTX 3090", "8.6"), card("GeForce RTX 3090", "8.6"))
GTX_1080_TI = card("GeForce GTX 1080 Ti", "6.1", 11)


def on(*gpus: Gpu, release: str = "580.95.05", serves: str = "13.0", **changes: Any) -> Snapshot:
    """A workstation with these GPUs and a recent driver."""
    numbered = tuple(replace(g, index=i, uuid=Present(uuid(i))) for i, g in enumerate(gpus))
    return machine(**{"gpus": Present(numbered), "driver": driver(release, serves), **changes})


def uuid(index: int) -> str:
    return f"GPU-{index}a1b2c3d-0000-1111-2222-333344445555"


def visible(value: str, *gpus: Gpu, source: str = "process", **changes: Any) -> Snapshot:
    """CUDA_VISIBLE_DEVICES on a machine with these GPUs."""
    variable = Variable(name="CUDA_VISIBLE_DEVICES", value=value, source=source)
    return on(*(gpus or (RTX_4090,)), variables=(variable,), **changes)


def planned(snapshot: Snapshot, *models: str) -> Snapshot:
    """The models that are meant to run."""
    parts = [(*m.split(":"), "", "")[:3] for m in models]
    return replace(
        snapshot,
        models=tuple(PlannedModel(name=n, compute_type=t or None, batch_size=int(b or 1)) for n, t, b in parts),
    )


def unknown_code(version: str = "99.0") -> Parts:
    return Parts(builds=(replace(build("torch", version, "14.0"), architectures=Unknown("not an ELF file")),))


def compat(release: str = "580.65.06", code: int = 804, **changes: Any) -> Driver:
    """A libcuda of a cuda-compat package and what it answered."""
    probe = CudaDriverProbe(init_code=Present(code), driver_version=ABSENT, device_count=ABSENT)
    libcuda = driver_file("libcuda.so.1", release, "/usr/local/cuda-13.0/compat")
    return driver(**{"libcuda": libcuda, "cuda": Present(probe), **changes})


def fabric(state: Fact[Fabric], code: int = 802) -> Snapshot:
    probe = CudaDriverProbe(init_code=Present(code), driver_version=ABSENT, device_count=ABSENT)
    return machine(gpus=Present((replace(H100, fabric=state),)), driver=driver(cuda=Present(probe)))


def engine(**changes: Any) -> Present[ContainerEngine]:
    usual = ContainerEngine(program="/usr/bin/docker", toolkit=ABSENT, runtime=ABSENT, cdi=ABSENT)
    return Present(replace(usual, **changes))


IN_PROGRESS = Present(Fabric(state="in-progress", status=0))
LOST = refusing(999, "Unknown Error")
SLICED = replace(
    card("A100-SXM4-40GB", "8.0", 40),
    mig_enabled=Present(value=True),
    mig_devices=tuple(
        MigDevice(
            uuid=Present(f"MIG-{i}1111111-2222-3333-4444-555566667777"),
            memory_total_bytes=Present(5 << 30),
            memory_free_bytes=Present(5 << 30),
        )
        for i in range(3)
    ),
)
GPU_CASES: dict[str, dict[str, Snapshot]] = {
    "GPD107": {
        "fail": with_(on(RTX_5090, release="535.183.01", serves="12.2"), ctranslate2("4.8.5")),
        "pass": with_(on(RTX_5090), ctranslate2("4.8.5")),
        "not-applicable": with_(on(RTX_4090, release="535.183.01", serves="12.2"), ctranslate2("4.8.5")),
        "open": with_(machine(gpus=UNSEEN), ctranslate2("4.8.5")),
    },
    "GPD108": {
        "fail": machine(driver=compat()),
        "pass": machine(driver=compat(code=0), gpus=Present((H100,))),
        "not-applicable": machine(),
        "open": machine(driver=driver(libcuda=BLIND)),
    },
    "GPD109": {
        "fail": fabric(IN_PROGRESS),
        "pass": fabric(Present(Fabric(state="completed", status=0)), 0),
        "not-applicable": machine(),
        "open": fabric(BLIND),
    },
    "GPD110": {
        "fail": machine(gpus=Present((replace(H100, ecc_uncorrected=Present(2)),))),
        "pass": machine(gpus=Present((replace(H100, ecc_uncorrected=Present(0)),))),
        "not-applicable": machine(),
        "open": machine(gpus=Present((replace(H100, ecc_uncorrected=BLIND),))),
    },
    "GPD111": {
        "fail": machine(
            driver=replace(assumed_driver("550.54.15"), cuda_version=Present("12.4")),
            gpus=Present((replace(RTX_5090, assumed=True),)),
        ),
        "pass": machine(
            driver=replace(assumed_driver("580.95.05"), cuda_version=Present("13.0")),
            gpus=Present((replace(RTX_5090, assumed=True),)),
        ),
        "not-applicable": machine(),
        "open": machine(driver=no_driver(), gpus=Present((replace(RTX_5090, assumed=True),))),
    },
    "GPD302": {
        "fail": with_(on(RTX_5090), torch("2.7.0", "12.6")),
        "pass": with_(on(RTX_4090), torch("2.7.0", "12.6"), cudnn9("9.5.1.17")),
        "not-applicable": without_gpu(with_(machine(), torch())),
        "open": with_(on(RTX_4090), unknown_code()),
    },
    "GPD303": {
        "fail": with_(on(GTX_1080_TI), ctranslate2("4.8.5")),
        "pass": with_(on(RTX_4090), ctranslate2("4.8.5")),
        "not-applicable": machine(),
        "open": with_(on(replace(RTX_4090, compute_capability=BLIND)), ctranslate2("4.8.5")),
    },
    "GPD506": {
        "fail": visible("1"),
        "pass": visible("0"),
        "not-applicable": machine(),
        "open": replace(visible("0"), gpus=UNSEEN),
    },
    "GPD603": {
        "fail": machine(host=host(container_engine=engine())),
        "pass": machine(host=host(container_engine=engine(toolkit=Present("/usr/bin/nvidia-container-runtime-hook")))),
        "not-applicable": machine(),
        "open": machine(host=host(container_engine=BLIND)),
    },
    "GPD604": {
        "fail": machine(host=host(container=DOCKER), driver=LOST, gpus=Absent()),
        "pass": machine(host=host(container=DOCKER)),
        "not-applicable": machine(driver=LOST),
        "open": machine(host=host(container=DOCKER), driver=driver(nvml=BLIND, nvml_error=BLIND)),
    },
    "GPD701": {
        "fail": planned(on(card("GeForce GTX 1650", "7.5", 4)), "large-v3:float16"),
        "pass": planned(on(RTX_4090), "large-v3:float16"),
        "not-applicable": machine(),
        "open": planned(on(replace(RTX_4090, memory_total_bytes=BLIND, memory_free_bytes=BLIND)), "large-v3:float16"),
    },
}
