"""Records the golden environments `host-*`: real wheels on a staged host, whose driver and GPUs answer through NVML.

Run from the repository: `PYTHONPATH=src:tests python tests/environments/hosts.py [SLUG…]`. It needs a C compiler and
the wheel environments of tests/support/wheels.py. It writes snapshot.json and origin.txt, and an expected.json only
where there is none: read that before you commit it. A slug that ends in `-ok` must have no finding and nothing open.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from environments.expectation import render_expected
from environments.layouts import LAYOUTS, Layout, Place, lay_out
from environments.staged import LIBRARIES, StagedSystem, driver_files
from fakehw.build import FakeDriver, build
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.probes.planned import parse_models
from gpudoctor.probes.take import SnapshotRequest, take_snapshot
from gpudoctor.rules.engine import judge
from gpudoctor.system.overlay import RenamedSystem
from gpudoctor.system.real import RealSystem
from support.wheels import wheel_env

HERE = Path(__file__).parent
SITE = "lib/python3.11/site-packages"
CUBLAS = f"{{env}}/{SITE}/nvidia/cublas/lib"
CUDNN = f"{{env}}/{SITE}/nvidia/cudnn/lib"
BOTH = f"{CUBLAS}:{CUDNN}"
CUDA_OF_BRANCH = {535: 12020, 550: 12040, 560: 12060, 570: 12080, 575: 12090, 580: 13000}
NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")


class Card(msgspec.Struct, frozen=True):
    """A GPU as NVML describes it."""

    name: str
    capability: str
    memory_mib: int
    more: str = ""


RTX_3090 = Card("NVIDIA GeForce RTX 3090", "8.6", 24576)
RTX_4090 = Card("NVIDIA GeForce RTX 4090", "8.9", 24564)
RTX_5090 = Card("NVIDIA GeForce RTX 5090", "12.0", 32607)
RTX_PRO_6000 = Card("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "12.0", 97887, "ecc = 0")
T4 = Card("Tesla T4", "7.5", 15360, "ecc = 0")
A10G = Card("NVIDIA A10G", "8.6", 23028, "ecc = 0")
L4 = Card("NVIDIA L4", "8.9", 23034, "ecc = 0")
V100 = Card("Tesla V100-SXM2-16GB", "7.0", 16384, "ecc = 0")
GTX_1080_TI = Card("NVIDIA GeForce GTX 1080 Ti", "6.1", 11264)
GTX_1650 = Card("NVIDIA GeForce GTX 1650", "7.5", 4096)
H100 = Card("NVIDIA H100 80GB HBM3", "9.0", 81559, "ecc = 0\nremap_failed = 0\nfabric = 3\nmig = 0")
H200 = Card("NVIDIA H200", "9.0", 143771, "ecc = 0\nremap_failed = 0\nfabric = 3\nmig = 0")
A100 = Card("NVIDIA A100-SXM4-40GB", "8.0", 40960, "ecc = 0\nremap_failed = 0\nmig = 0")
_SLICES = "ecc = 0\nremap_failed = 0\nmig = 1\nmig_devices = 2\nmig_total = 5100273664\nmig_free = 5000000000"
A100_MIG = msgspec.structs.replace(A100, more=_SLICES)


class HostSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A host to stage.

    Attributes:
        story: What happened to whom, in one sentence: for origin.txt.
        env: Wheel environment.
        cards: Its GPUs.
        driver: Driver release.
        variables: Environment of the judged process; `{env}` is the environment, `{others}` the folder of all of them.
        settings: More settings of the compiled libraries.
        files: More files of the host, or other content.
        nodes: Device files; None for those of a plain host.
        module: Whether the kernel module is loaded; its release where it is another one.
        libcuda: Folder of the driver's libraries; None where the host has none.
        models: As with `--model`.
        toolkits: CUDA toolkits under /usr/local, by version: each has the CUDA runtime of a wheel environment.
        layout: What the wheels lie in: the virtual environment that they were installed into, or a layout that
            tests/environments/layouts.py makes around them.
    """

    story: str
    env: str
    cards: tuple[Card, ...]
    driver: str
    variables: Mapping[str, str] = {}
    settings: str = ""
    files: Mapping[str, bytes] = {}
    nodes: tuple[str, ...] | None = None
    module: bool | str = True
    libcuda: str | None = LIBRARIES
    models: tuple[str, ...] = ()
    toolkits: Mapping[str, str] = {}
    layout: Layout = "venv"


_DOCKER = {"/.dockerenv": b""}
_WSL = {"/proc/sys/kernel/osrelease": b"5.15.153.1-microsoft-standard-WSL2\n"}
_WSL_LIBRARIES = "/usr/lib/wsl/lib"
HOSTS: dict[str, HostSpec] = {
    "host-rtx-3090-torch-251-ct2-485-ok": HostSpec(
        story="A workstation: torch and ctranslate2 4.8.5 from the package index, cuBLAS on LD_LIBRARY_PATH.",
        env="torch-251-ct2-485",
        cards=(RTX_3090,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-rtx-4090-faster-whisper-ok": HostSpec(
        story="A workstation with ctranslate2 4.8.5 and cuBLAS 12 alone: machine code of 8.6 runs on 8.9.",
        env="ct2-485-cublas12",
        cards=(RTX_4090,),
        driver="560.35.03",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        models=("large-v3:float16",),
    ),
    "host-conda-rtx-4090-ok": HostSpec(
        story="A conda environment with ctranslate2 4.8.5 and cuBLAS 12 by pip, whose activate.d sets LD_LIBRARY_PATH.",
        env="ct2-485-cublas12",
        cards=(RTX_4090,),
        driver="560.35.03",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        layout="conda",
    ),
    "host-uv-run-with-rtx-3090": HostSpec(
        story="A project's environment under `uv run --with`: an overlay, whose wheels nothing lets the loader find.",
        env="ct2-460-cudnn91",
        cards=(RTX_3090,),
        driver="550.54.15",
        layout="uv-overlay",
    ),
    "host-system-python-a10g-ok": HostSpec(
        story="Debian's own Python, into which pip put ctranslate2 4.8.5 and cuBLAS 12; LD_LIBRARY_PATH names cuBLAS.",
        env="ct2-485-cublas12",
        cards=(A10G,),
        driver="550.90.07",
        variables={"LD_LIBRARY_PATH": "/usr/local/lib/python3.11/dist-packages/nvidia/cublas/lib"},
        layout="system",
    ),
    "host-system-python-t4": HostSpec(
        story="The same without LD_LIBRARY_PATH.",
        env="ct2-485-cublas12",
        cards=(T4,),
        driver="550.90.07",
        layout="system",
    ),
    "host-rtx-5090-torch-2110-ok": HostSpec(
        story="An RTX 5090 with wheels of its own time: torch 2.11.0 for CUDA 13, ctranslate2 4.8.5 with cuBLAS 12.",
        env="torch-2110-ct2-485",
        cards=(RTX_5090,),
        driver="580.95.05",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        models=("large-v3:int8_float16",),
    ),
    "host-v100-torch-280-ok": HostSpec(
        story="A V100 with torch 2.8.0 for CUDA 12.8, the last PyPI builds with Volta, and cuDNN 9.10.",
        env="torch-280-ct2-485",
        cards=(V100,),
        driver="570.124.06",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-t4-cloud-ok": HostSpec(
        story="A cloud T4 whose driver is of CUDA 12.2: a build for CUDA 12.8 runs by minor-version compatibility.",
        env="ct2-485-cublas12",
        cards=(T4,),
        driver="535.183.01",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-a10g-cloud-ok": HostSpec(
        story="A cloud A10G with ctranslate2 4.6.0, cuDNN 9.1 and cuBLAS 12 on LD_LIBRARY_PATH.",
        env="ct2-460-cudnn91",
        cards=(A10G,),
        driver="550.90.07",
        variables={"LD_LIBRARY_PATH": BOTH},
    ),
    "host-h100-ok": HostSpec(
        story="An H100 whose fabric is set up: torch has code for it, ctranslate2's PTX is compiled by the driver.",
        env="torch-251-ct2-485",
        cards=(H100,),
        driver="570.124.06",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-h200-onnxruntime-ok": HostSpec(
        story="Two H200s, one of them chosen by UUID, with onnxruntime-gpu and the libraries that it wants.",
        env="ort-1202-cuda12",
        cards=(H200, H200),
        driver="570.124.06",
        variables={
            "LD_LIBRARY_PATH": ":".join(
                f"{{env}}/{SITE}/nvidia/{p}/lib"
                for p in ("cublas", "cudnn", "cufft", "curand", "cuda_runtime", "nvjitlink", "cuda_nvrtc")
            ),
            "CUDA_VISIBLE_DEVICES": "GPU-10000000-0000-0000-0000-000000000001",
        },
    ),
    "host-a100-mig-ok": HostSpec(
        story="An A100 in MIG mode with two slices, the second one chosen.",
        env="ct2-485-cublas12",
        cards=(A100_MIG,),
        driver="550.90.07",
        variables={
            "LD_LIBRARY_PATH": CUBLAS,
            "CUDA_VISIBLE_DEVICES": "MIG-10000000-0000-0000-0000-000000000000",
        },
        models=("large-v3-turbo:float16",),
    ),
    "host-docker-gpus-ok": HostSpec(
        story="A container that was started with --gpus all.",
        env="ct2-485-cublas12",
        cards=(L4,),
        driver="550.90.07",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        files=_DOCKER,
    ),
    "host-wsl2-ok": HostSpec(
        story="WSL 2 with the driver of Windows, whose folder is on LD_LIBRARY_PATH.",
        env="ct2-485-cublas12",
        cards=(RTX_3090,),
        driver="560.94",
        variables={"LD_LIBRARY_PATH": f"{CUBLAS}:{_WSL_LIBRARIES}"},
        files=_WSL,
        nodes=("/dev/dxg",),
        module=False,
        libcuda=_WSL_LIBRARIES,
    ),
    "host-docker-toolkit-ok": HostSpec(
        story="A server with Docker, the NVIDIA Container Toolkit and its runtime in daemon.json.",
        env="ct2-485-cublas12",
        cards=(A10G,),
        driver="550.90.07",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        files={
            "/usr/bin/docker": b"",
            "/usr/bin/nvidia-container-runtime": b"",
            "/etc/docker/daemon.json": b'{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}',
        },
    ),
    "host-two-toolkits-ok": HostSpec(
        story="Two CUDA toolkits, 12.4 and 13, beside an environment with libraries of its own.",
        env="ct2-485-cublas12",
        cards=(RTX_4090,),
        driver="580.95.05",
        variables={"LD_LIBRARY_PATH": f"{CUBLAS}:/usr/local/cuda-12.4/lib64", "CUDA_HOME": "/usr/local/cuda-13"},
        toolkits={
            "12.4": f"ort-1202-cuda12/{SITE}/nvidia/cuda_runtime/lib/libcudart.so.12",
            "13": f"torch-2110-ct2-485/{SITE}/nvidia/cu13/lib/libcudart.so.13",
        },
    ),
    "host-a10g-cudnn-for-cuda-13": HostSpec(
        story="ctranslate2 4.6.0, built for CUDA 12, with the cuDNN 9 for CUDA 13, on a driver of CUDA 12.4.",
        env="ct2-460-cudnn-cu13",
        cards=(A10G,),
        driver="550.90.07",
        variables={"LD_LIBRARY_PATH": BOTH},
    ),
    "host-rtx-3090-cudnn-of-another-environment": HostSpec(
        story="LD_LIBRARY_PATH names the cuDNN 9.10 of another environment, before torch 2.5.1 and its cuDNN 9.1.",
        env="torch-251-ct2-485",
        cards=(RTX_3090,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": f"{{others}}/ct2-460-cudnn910/{SITE}/nvidia/cudnn/lib:{CUBLAS}"},
    ),
    "host-rtx-3090-older-cudnn-of-another-environment": HostSpec(
        story="LD_LIBRARY_PATH names the cuDNN 9.1 of another environment, before torch 2.8.0 and its cuDNN 9.10.",
        env="torch-280-ct2-485",
        cards=(RTX_3090,),
        driver="570.124.06",
        variables={"LD_LIBRARY_PATH": f"{{others}}/ct2-460-cudnn91/{SITE}/nvidia/cudnn/lib:{CUBLAS}"},
    ),
    "host-rtx-3090-torchaudio-2110": HostSpec(
        story="torch 2.5.1, and the torchaudio and torchcodec that installers put beside it.",
        env="torch-251-torchaudio-2110",
        cards=(RTX_3090,),
        driver="580.95.05",
    ),
    "host-rtx-3090-ct2-440-cudnn91": HostSpec(
        story="ctranslate2 4.4.0, which wants cuDNN 8, beside cuDNN 9.1.",
        env="ct2-440-cudnn91",
        cards=(RTX_3090,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": BOTH},
    ),
    "host-rtx-3090-onnxruntime-bare": HostSpec(
        story="onnxruntime-gpu 1.20.2 beside onnxruntime, as faster-whisper and a plain install leave them.",
        env="ort-both",
        cards=(RTX_3090,),
        driver="550.54.15",
    ),
    "host-docker-desktop": HostSpec(
        story="A workstation with the NVIDIA Container Toolkit, whose user runs Docker Desktop for Linux.",
        env="ct2-485-cublas12",
        cards=(RTX_3090,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        files={
            "/usr/bin/docker": b"",
            "/usr/bin/nvidia-ctk": b"",
            "/etc/docker/daemon.json": b'{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}',
            "/home/user/.docker/config.json": b'{"auths": {}, "currentContext": "desktop-linux"}',
        },
    ),
    "host-docker-snap": HostSpec(
        story="Docker from a snap that did not find the driver, and the host's toolkit, which it never sees.",
        env="ct2-485-cublas12",
        cards=(RTX_3090,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        files={
            "/snap/bin/docker": b"",
            "/usr/bin/nvidia-ctk": b"",
            "/etc/docker/daemon.json": b'{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}',
            "/var/snap/docker/current/config/daemon.json": b'{"log-level": "error"}',
        },
    ),
    "host-rtx-5090-torch-251": HostSpec(
        story="An RTX 5090 with a torch of the time before it: no kernel image; ctranslate2 4.6.0 lacks int8 there.",
        env="torch-251-ct2-460",
        cards=(RTX_5090,),
        driver="570.86.10",
        variables={"LD_LIBRARY_PATH": BOTH},
    ),
    "host-rtx-5090-torch-271": HostSpec(
        story="An RTX 5090 with torch 2.7.1 as PyPI serves it, for CUDA 12.6.",
        env="torch-271-ct2-485",
        cards=(RTX_5090,),
        driver="575.57.08",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-v100-torch-2110": HostSpec(
        story="A V100 after an upgrade to torch 2.11.0 for CUDA 13: Volta was dropped.",
        env="torch-2110-ct2-485",
        cards=(V100,),
        driver="580.95.05",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-gtx-1080-ti-torch-280": HostSpec(
        story="A GTX 1080 Ti with torch 2.8.0 for CUDA 12.8, which dropped Pascal.",
        env="torch-280-ct2-485",
        cards=(GTX_1080_TI,),
        driver="580.95.05",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-rtx-4090-driver-550-torch-2110": HostSpec(
        story="An RTX 4090 whose driver is of CUDA 12, after an upgrade to torch 2.11.0 for CUDA 13.",
        env="torch-2110-ct2-485",
        cards=(RTX_4090,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-rtx-pro-6000-torch-251": HostSpec(
        story="An RTX PRO 6000 Blackwell with torch 2.5.1 beside ctranslate2 4.8.5, which compiles its PTX.",
        env="torch-251-ct2-485",
        cards=(RTX_PRO_6000,),
        driver="580.95.05",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-rtx-5090-beside-3090": HostSpec(
        story="Two unlike GPUs: torch 2.5.1 has code for one of them.",
        env="torch-251-ct2-485",
        cards=(RTX_5090, RTX_3090),
        driver="580.95.05",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-h100-driver-550-ct2-485": HostSpec(
        story="An H100 on branch 550: ctranslate2 4.8.5 has only PTX of CUDA 12.8 for it, which 550 cannot read.",
        env="ct2-485-cublas12",
        cards=(H100,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
    "host-v100-onnxruntime-1311": HostSpec(
        story="A V100 with onnxruntime-gpu 1.31.1, built for CUDA 13: Volta was dropped.",
        env="ort-1311-bare",
        cards=(V100,),
        driver="580.95.05",
    ),
    "host-gtx-1080-ti-ct2-485": HostSpec(
        story="A GTX 1080 Ti with ctranslate2 4.8.5, asked for float16.",
        env="ct2-485-cublas12",
        cards=(GTX_1080_TI,),
        driver="580.95.05",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        models=("large-v3:float16",),
    ),
    "host-gtx-1650-two-models": HostSpec(
        story="4 GB for two models at once.",
        env="ct2-485-cublas12",
        cards=(GTX_1650,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        models=("large-v3:int8", "large-v3-turbo:int8"),
    ),
    "host-a100-mig-wrong-slice": HostSpec(
        story="An A100 in MIG mode, and the UUID of a slice that was made anew since.",
        env="ct2-485-cublas12",
        cards=(A100_MIG,),
        driver="550.90.07",
        variables={
            "LD_LIBRARY_PATH": CUBLAS,
            "CUDA_VISIBLE_DEVICES": "MIG-f0000000-0000-0000-0000-000000000000",
        },
        settings="cuInit = 100",
    ),
    "host-second-gpu-counted-from-one": HostSpec(
        story="Two GPUs, and CUDA_VISIBLE_DEVICES=2 for the second one.",
        env="ct2-485-cublas12",
        cards=(RTX_3090, RTX_3090),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": CUBLAS, "CUDA_VISIBLE_DEVICES": "2"},
        settings="cuInit = 100",
    ),
    "host-docker-without-gpus": HostSpec(
        story="A container without --gpus on a host with a GPU.",
        env="ct2-485-cublas12",
        cards=(A10G,),
        driver="550.90.07",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        files=_DOCKER,
        nodes=(),
        libcuda=None,
    ),
    "host-docker-lost-gpu": HostSpec(
        story="A container whose device permissions systemd took away: NVML says Unknown Error, CUDA finds no device.",
        env="ct2-485-cublas12",
        cards=(A10G,),
        driver="550.90.07",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        settings="nvmlInit = 999\ncuInit = 100",
        files=_DOCKER,
    ),
    "host-docker-without-uvm": HostSpec(
        story="A container that was given /dev/nvidia0 and /dev/nvidiactl by hand, and not /dev/nvidia-uvm.",
        env="ct2-485-cublas12",
        cards=(A10G,),
        driver="550.90.07",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        settings="cuInit = 999",
        files=_DOCKER,
        nodes=("/dev/nvidia0", "/dev/nvidiactl"),
    ),
    "host-docker-without-toolkit": HostSpec(
        story="A workstation with Docker and without the NVIDIA Container Toolkit.",
        env="ct2-485-cublas12",
        cards=(RTX_3090,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        files={"/usr/bin/docker": b""},
    ),
    "host-wsl2-linux-driver": HostSpec(
        story="WSL 2 with a Linux driver package installed inside: its libcuda finds no device.",
        env="ct2-485-cublas12",
        cards=(RTX_3090,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        settings="cuInit = 100\nnvmlInit = 9",
        files=_WSL,
        nodes=("/dev/dxg",),
        module=False,
    ),
    "host-update-without-reboot": HostSpec(
        story="The driver was updated and the old kernel module is still loaded.",
        env="ct2-485-cublas12",
        cards=(RTX_4090,),
        driver="570.124.06",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        settings="nvmlInit = 18\ncuInit = 803",
        module="560.35.03",
    ),
    "host-rtx-3090-cuda-compat": HostSpec(
        story="A CUDA 13 image's compat folder on LD_LIBRARY_PATH, on a GeForce card.",
        env="ct2-485-cublas12",
        cards=(RTX_3090,),
        driver="550.54.15",
        variables={"LD_LIBRARY_PATH": f"{CUBLAS}:/usr/local/lib/cuda-13.0/compat"},
        settings="cuInit = 804",
    ),
    "host-hgx-h100-fabric": HostSpec(
        story="An HGX board after a driver update: the fabric manager of the old release does not start.",
        env="torch-251-ct2-485",
        cards=tuple(msgspec.structs.replace(H100, more=H100.more.replace("fabric = 3", "fabric = 2")) for _ in "12"),
        driver="570.124.06",
        variables={"LD_LIBRARY_PATH": CUBLAS},
        settings="cuInit = 802",
    ),
    "host-a100-failing-memory": HostSpec(
        story="An A100 with uncorrectable memory errors.",
        env="ct2-485-cublas12",
        cards=(msgspec.structs.replace(A100, more="ecc = 3\nremap_failed = 0\nmig = 0"),),
        driver="550.90.07",
        variables={"LD_LIBRARY_PATH": CUBLAS},
    ),
}


def record(spec: HostSpec) -> Snapshot:
    """Stage a host, take its snapshot, and replace the recording machine's own folders."""
    env = wheel_env(spec.env)
    matrix = load_matrix()
    with tempfile.TemporaryDirectory(prefix="gpudoctor-host-") as folder, lay_out(spec.layout, env, folder) as place:
        driver = build(Path(folder) / "driver", nvml_release=spec.driver, cuda_release=spec.driver)
        driver.settings(_settings(spec))
        system = _staged(spec, driver, place)
        assignments = tuple(f"{n}={v.format(env=place.root, others=env.parent)}" for n, v in spec.variables.items())
        request = SnapshotRequest(
            python=place.python, own_python=sys.executable, assignments=assignments, probe_timeout_s=60
        )
        taken = take_snapshot(system, matrix, request)
    taken = msgspec.structs.replace(taken, models=parse_models(matrix, spec.models))
    return msgspec.structs.replace(_relocated(taken, str(env.parent), place.moved), taken_at="2026-11-21T12:00:00Z")


def _settings(spec: HostSpec) -> str:
    lines = [f"driver = {spec.driver}", f"cuda = {CUDA_OF_BRANCH[int(spec.driver.split('.')[0])]}"]
    lines += [f"count = {len(spec.cards)}", *([spec.settings] if spec.settings else [])]
    for index, card in enumerate(spec.cards):
        total = card.memory_mib << 20
        told = {"name": card.name, "uuid": _uuid(index), "bus": _bus(index), "cc": card.capability}
        numbers = {"total": total, "free": total - (600 << 20), "reserved": 300 << 20}
        lines += [f"gpu{index}.{n} = {v}" for n, v in {**told, **numbers}.items()]
        lines += [f"gpu{index}.{line}" for line in card.more.splitlines()]
    return "\n".join(lines) + "\n"


def _uuid(index: int) -> str:
    return f"GPU-{index}0000000-0000-0000-0000-00000000000{index}"


def _bus(index: int) -> str:
    return f"00000000:{index + 1:02X}:00.0"


def _staged(spec: HostSpec, driver: FakeDriver, place: Place) -> StagedSystem:
    files = {**spec.files, **_toolkits(spec)}
    links: dict[str, str] = {}
    wsl = "/dev/dxg" in (spec.nodes or ())
    if spec.libcuda is not None:
        files_of_driver, links = driver_files(driver, spec.libcuda)
        files |= files_of_driver
    if "compat" in spec.variables.get("LD_LIBRARY_PATH", ""):
        folder = "/usr/local/lib/cuda-13.0/compat"
        files[f"{folder}/libcuda.so.580.65.06"] = driver.libcuda.resolve().read_bytes()
        links[f"{folder}/libcuda.so.1"] = "libcuda.so.580.65.06"
    if spec.module:
        release = spec.module if isinstance(spec.module, str) else spec.driver
        text = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {release}  Tue Mar  5 22:23:56 UTC 2024\n"
        files["/proc/driver/nvidia/version"] = text.encode()
    for index in range(0 if wsl else len(spec.cards)):
        device = f"/sys/bus/pci/devices/{_bus(index).lower()[4:]}"
        files |= {f"{device}/vendor": b"0x10de\n", f"{device}/class": b"0x030000\n"}
    files.setdefault("/proc/sys/kernel/osrelease", b"6.1.0-28-amd64\n")
    nodes = (*(f"/dev/nvidia{i}" for i in range(len(spec.cards))), *NODES) if spec.nodes is None else spec.nodes
    asked = driver if spec.libcuda is not None else None
    real = RenamedSystem(RealSystem(), place.names)
    return StagedSystem(real, files, links, nodes, {"HOME": "/home/user", "PATH": "/usr/bin:/bin"}, asked)


def _toolkits(spec: HostSpec) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for version, library in spec.toolkits.items():
        slug, _, inside = library.partition("/")
        root = f"/usr/local/cuda-{version}"
        files[f"{root}/version.json"] = json.dumps({"cuda": {"name": "CUDA SDK", "version": version}}).encode()
        files[f"{root}/lib64/{Path(library).name}"] = (wheel_env(slug) / inside).read_bytes()
    return files


def _relocated(taken: Snapshot, others: str, moved: Mapping[str, str]) -> Snapshot:
    data = json.loads(msgspec.json.encode(taken))
    text = json.dumps(data, ensure_ascii=False)
    interpreter = data["interpreter"]["value"]
    places = (
        *moved.items(),
        (interpreter["prefix"], "/srv/app/.venv"),
        (others, "/srv/other"),
        (interpreter["base_prefix"], "/opt/python"),
    )
    for folder, shown in places:
        if folder not in ("/", "/usr"):
            text = text.replace(folder, shown)
    return msgspec.json.decode(text.encode(), type=Snapshot)


def origin_of(spec: HostSpec) -> str:
    """Return where a golden environment comes from."""
    return (
        f"{spec.story}\n\n"
        f"Libraries: recorded from the wheel environment {spec.env} (tests/support/wheels.py).\n"
        f"{LAYOUTS[spec.layout]}"
        f"Driver {spec.driver} and {', '.join(c.name for c in spec.cards)}: the compiled libraries of tests/fakehw, "
        "asked through NVML and libcuda.\n"
        "Devices, device files and kernel module: staged (tests/environments/hosts.py).\n"
    )


def main(slugs: list[str]) -> None:
    """Record the hosts that are named, or all."""
    matrix = load_matrix()
    for slug, spec in HOSTS.items():
        if slugs and slug not in slugs:
            continue
        folder = HERE / slug
        folder.mkdir(exist_ok=True)
        snapshot = record(spec)
        (folder / "snapshot.json").write_bytes(msgspec.json.format(msgspec.json.encode(snapshot), indent=1) + b"\n")
        (folder / "origin.txt").write_text(origin_of(spec), encoding="utf-8")
        verdict = judge(snapshot, matrix)
        print(slug, [(f.rule, f.level, f.cause) for f in verdict.findings], [(q.rule, q.reason) for q in verdict.open])
        if not (folder / "expected.json").exists():
            (folder / "expected.json").write_text(render_expected(verdict), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
