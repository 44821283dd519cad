"""Healthy machines that nobody recorded: recorded ones with another driver, GPU, Python, release or surrounding.

No finding may appear. What the matrix cannot know yet (a release of next year) may be open, never a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.environment import Variable
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.machine import ContainerEngine, Libc, Toolkit
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from unit.rules.builders import (
    CUBLAS,
    Parts,
    build,
    ct2_cublas,
    ctranslate2,
    cublas12,
    cudnn9,
    dist,
    driver,
    gpu,
    host,
    installed,
    interpreter,
    lib,
    machine,
    no_driver,
    onnxruntime_gpu,
    replace,
    torch,
    with_,
)

MATRIX = load_matrix()
HOSTS = Path(__file__).parents[2] / "environments"
FW = with_(machine(), ctranslate2("4.8.5"), cublas12(), ct2_cublas(CUBLAS), installed("faster-whisper==1.2.1"))
TORCH = with_(machine(), torch("2.8.0", "12.8"), cudnn9("9.10.2.21"), cublas12("12.8.4.1"))
B200 = gpu(name=Present("NVIDIA B200"), compute_capability=Present("10.0"), memory_total_bytes=Present(180 << 30))
THOR = gpu(name=Present("NVIDIA RTX 6090"), compute_capability=Present("13.0"))
ENGINE = ContainerEngine(
    program="/usr/bin/docker", toolkit=Present("/usr/bin/nvidia-ctk"), runtime=Absent(), cdi=Absent()
)


def recorded(slug: str) -> Snapshot:
    return msgspec.json.decode((HOSTS / slug / "snapshot.json").read_bytes(), type=Snapshot)


def on(snapshot: Snapshot, *, release: str = "580.95.05", serves: str = "13.0", **changes: Any) -> Snapshot:
    return replace(snapshot, driver=driver(release, serves), **changes)


def python(snapshot: Snapshot, version: str, **changes: Any) -> Snapshot:
    return replace(snapshot, interpreter=Present(interpreter(version=Present(version), **changes)))


def of_next_year(snapshot: Snapshot) -> Snapshot:
    """Every distribution two major versions on, every build with it, on a driver of its own time."""

    def later(version: str | None) -> Any:
        return Present(f"{int((version or '0').split('.')[0]) + 2}.1.0") if version else Unknown("?")

    versions = {d.name: later(getattr(d.version, "value", None)) for d in snapshot.distributions}
    return replace(
        on(snapshot, release="700.10", serves="15.0"),
        distributions=tuple(replace(d, version=versions[d.name], requires=()) for d in snapshot.distributions),
        builds=tuple(replace(b, version=versions.get(b.distribution, b.version)) for b in snapshot.builds),
    )


def toolkits(*versions: str) -> Any:
    found = (Toolkit(directory=f"/usr/local/cuda-{v}", version=Present(v), found_via="directory") for v in versions)
    return Present(tuple(found))


def variables(snapshot: Snapshot, **values: str) -> Snapshot:
    more = tuple(Variable(name=name, value=value) for name, value in values.items())
    return replace(snapshot, variables=snapshot.variables + more)


JETSON = host(
    machine="aarch64",
    tegra=Present("36.4.0"),
    nvidia_pci=Absent(),
    device_nodes=Present(("/dev/nvgpu", "/dev/nvmap")),
)
WSL = host(wsl=Present("2"), nvidia_pci=Absent(), device_nodes=Present(("/dev/dxg",)))
MUSL = Present(Libc(name="musl", version=Present("1.2.5")))
HEALTHY: dict[str, Callable[[], Snapshot]] = {
    "a driver of next year": lambda: on(TORCH, release="700.10.01", serves="15.0"),
    "a beta driver with two numbers": lambda: on(FW, release="580.65", serves="13.0"),
    "the least driver of CUDA 12": lambda: on(TORCH, release="525.60.13", serves="12.0"),
    "an H100 NVL and a driver of its branch": lambda: on(
        FW, gpus=Present((gpu(name=Present("NVIDIA H100 NVL"), compute_capability=Present("9.0")),))
    ),
    "a data-centre Blackwell": lambda: on(TORCH, gpus=Present((B200,))),
    "a GPU that nobody has heard of, and a release of its time": lambda: of_next_year(
        on(with_(machine(), torch("3.0.0", "14.0")), gpus=Present((THOR,)))
    ),
    "two alike GPUs and an index": lambda: variables(
        replace(FW, gpus=Present((gpu(), gpu(index=1, uuid=Present("GPU-1"))))), CUDA_VISIBLE_DEVICES="1"
    ),
    "a GPU whose memory is full and no model named": lambda: replace(
        FW, gpus=Present((gpu(memory_free_bytes=Present(0)),))
    ),
    "MIG with slices and none chosen": lambda: recorded("host-a100-mig-ok"),
    "WSL with the driver of Windows": lambda: replace(
        FW, host=WSL, driver=driver("560.94", "12.6", kernel_module=Absent())
    ),
    "podman": lambda: replace(FW, host=host(container=Present("podman"))),
    "Kubernetes on a node with a newer driver": lambda: on(replace(TORCH, host=host(container=Present("kubernetes")))),
    "Docker with the toolkit": lambda: replace(FW, host=host(container_engine=Present(ENGINE))),
    "Docker whose toolkit is known by CDI and hook": lambda: replace(
        FW, host=host(container_engine=Present(replace(ENGINE, cdi=Present("/etc/cdi/nvidia.yaml"))))
    ),
    "Python 3.13": lambda: python(FW, "3.13.9"),
    "Python 3.14 with releases of next year": lambda: python(of_next_year(FW), "3.14.0"),
    "Python 3.14t": lambda: python(of_next_year(TORCH), "3.14.2+"),
    "conda, whose packages have no owner": lambda: python(
        with_(
            machine(),
            Parts(
                distributions=(dist("torch", "2.8.0", ("nvidia-cudnn-cu12==9.10.2.21", "triton==3.4.0", "sympy")),),
                builds=(build("torch", "2.8.0", "12.9"),),
                libraries=(lib("/opt/conda/envs/x/lib/libcudnn.so.9", "cudnn", "9.13.0"),),
            ),
        ),
        "3.12.11",
        kind="conda",
    ),
    "releases of next year": lambda: of_next_year(recorded("host-rtx-5090-torch-2110-ok")),
    "onnxruntime of next year": lambda: of_next_year(recorded("host-h200-onnxruntime-ok")),
    "an empty environment": lambda: machine(),
    "an empty environment without pip": lambda: machine(distributions=()),
    "an empty environment without a GPU in a container build": lambda: machine(
        host=host(nvidia_pci=Absent(), device_nodes=Absent()), driver=no_driver(), gpus=Absent(), interpreter=Absent()
    ),
    "three toolkits, and one that CUDA_HOME names": lambda: variables(
        replace(FW, toolkits=toolkits("11.8", "12.4", "13.0")), CUDA_HOME="/usr/local/cuda-11.8"
    ),
    "a toolkit of CUDA 13 first on the path of a CUDA 12 program with libraries of its own": lambda: replace(
        TORCH, toolkits=toolkits("12.8", "13.0")
    ),
    "two cuBLAS majors, one for each consumer": lambda: on(recorded("host-rtx-5090-torch-2110-ok")),
    "hard links everywhere": lambda: replace(TORCH, libraries=tuple(replace(x, links=9) for x in TORCH.libraries)),
    "a cuDNN of the system": lambda: with_(
        machine(), torch(), cudnn9("9.13.0", folder="/usr/lib/x86_64-linux-gnu", owner=None), cublas12()
    ),
    "onnxruntime-gpu alone with its libraries": lambda: with_(machine(), onnxruntime_gpu(folder=CUBLAS)),
    "the CPU onnxruntime that faster-whisper asks for": lambda: with_(FW, installed("onnxruntime==1.31.1")),
    "a build of somebody's own": lambda: on(with_(machine(), torch("2.9.0a0+50eac811a6.nv25.9", "13.0"))),
    "numpy 2 with a torch that knows it": lambda: with_(TORCH, installed("numpy==2.3.4")),
    "ARM server with GPU code": lambda: replace(TORCH, host=host(machine="aarch64")),
    "an LD_LIBRARY_PATH with a folder twice": lambda: recorded("synthetic-ct2-460-cudnn9-on-path-ok"),
    "a service without a home": lambda: replace(FW, host=host(effective_uid=Unknown("none"))),
    "whisperx and ffmpeg in its own folder": lambda: replace(
        with_(machine(), installed("whisperx==99.0")), ffmpeg=Present("/srv/app/.venv/bin/ffmpeg")
    ),
    "whisper beside a package that brings ffmpeg": lambda: replace(
        with_(machine(), installed("openai-whisper==20250625", "static-ffmpeg==2.13", "torch==2.8.0", "numpy==2.0")),
        ffmpeg=Absent(),
    ),
    "ECC that counts nothing": lambda: replace(FW, gpus=Present((gpu(ecc_uncorrected=Present(0)),))),
}


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_nothing_is_found_on_a_healthy_machine(name: str) -> None:
    snapshot = HEALTHY[name]()
    found = judge(snapshot, MATRIX).findings
    # What a machine without GPU is told (GPD102, a note) is no alarm.
    assert [(f.rule, f.level, f.message) for f in found if f.rule != "GPD102"] == []


@pytest.mark.parametrize("libc", [MUSL, Unknown("no interpreter of the ELF")])
def test_on_another_c_library_the_rules_are_open(libc: Any) -> None:
    snapshot = replace(with_(machine(), ctranslate2("4.8.5")), host=host(libc=libc))
    verdict = judge(snapshot, MATRIX)
    assert verdict.findings == ()
    assert "GPD201" in {q.rule for q in verdict.open}


def test_a_jetson_with_a_cuda_build_is_no_alarm() -> None:
    snapshot = replace(
        with_(machine(), torch("2.8.0", "12.6")),
        host=JETSON,
        driver=no_driver(libcuda=driver().libcuda, cuda=driver().cuda),
        gpus=Unknown("NVML is not there"),
        builds=(replace(build("torch", "2.8.0", "12.6"), architectures=Present(("sm_87",))),),
    )
    assert judge(snapshot, MATRIX).findings == ()
