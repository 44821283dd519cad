"""GPD601, GPD602: a container without the GPU, and WSL without libcuda."""

from __future__ import annotations

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fail, Fix, Level, NotApplicable, Open, Pass
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.driver import DRIVER, HOST
from gpudoctor.rules.pages import environment as pages
from gpudoctor.rules.reading import (
    container_of,
    device_nodes,
    doubts,
    driver_consequences,
    evidence,
    is_assumed,
    items_of,
    listed,
    open_on,
    pci_devices,
)

_WSL_FOLDER = "/usr/lib/wsl/"
_DXG = "/dev/dxg"


# --- GPD601 ----------------------------------------------------------------------------------------------------------


def _container(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    kind = container_of(snapshot)
    return _inside(snapshot, matrix, kind) if isinstance(kind, str) else (kind,)


def _inside(snapshot: Snapshot, matrix: Matrix, kind: str) -> tuple[Evaluation, ...]:
    driver, nodes = snapshot.driver, device_nodes(snapshot)
    if isinstance(driver.nvml, Present):
        return (Pass(HOST.name),)
    if reason := doubts(driver.libcuda, nodes):
        return open_on(HOST.name, f"nobody can tell what the container was given: {reason}")
    if isinstance(driver.libcuda, Present) and isinstance(nodes, Present):
        return (Pass(HOST.name),)
    return (_no_access(snapshot, matrix, kind),)


def _no_access(snapshot: Snapshot, matrix: Matrix, kind: str) -> Fail:
    devices, nodes = pci_devices(snapshot), device_nodes(snapshot)
    level: Level = "error" if isinstance(devices, Present) or isinstance(nodes, Present) else "note"
    return container_no_gpu.fail(
        HOST,
        f"This {kind} container {_lacks(snapshot, level)}.",
        cause="container-no-gpu",
        level=level,
        evidence=evidence(
            ("NVIDIA devices of the host", ", ".join(items_of(devices)) or None),
            ("device files", ", ".join(items_of(nodes)) or "none"),
            ("libcuda.so.1", libcuda.path if (libcuda := value_of(snapshot.driver.libcuda)) else "not found"),
            ("NVIDIA_VISIBLE_DEVICES", snapshot.variable("NVIDIA_VISIBLE_DEVICES")),
            ("NVIDIA_DRIVER_CAPABILITIES", snapshot.variable("NVIDIA_DRIVER_CAPABILITIES")),
        ),
        consequences=driver_consequences(snapshot, matrix),
        fixes=_access(snapshot),
    )


def _lacks(snapshot: Snapshot, level: Level) -> str:
    if isinstance(device_nodes(snapshot), Present):
        return (
            "was given the GPU's device files but not the driver's libcuda.so.1, so no program in it can use CUDA: the "
            "driver capability “compute” was not asked for"
        )
    if level == "note":
        return "sees no NVIDIA GPU and no driver: if the host has one, the container was started without access to it"
    return f"was started without access to the host's NVIDIA GPU (at {listed(items_of(pci_devices(snapshot)))})"


def _access(snapshot: Snapshot) -> tuple[Fix, ...]:
    if isinstance(device_nodes(snapshot), Present):
        return (
            Fix(
                title="Start the container with the compute capability",
                applicability="display-only",
                commands=("docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …",),
            ),
        )
    return (
        Fix(
            title="Start the container with the GPU (the host needs the NVIDIA Container Toolkit)",
            applicability="display-only",
            commands=("docker run --gpus all …", "podman run --device nvidia.com/gpu=all …"),
        ),
        Fix(
            title="In Compose: deploy.resources.reservations.devices with driver nvidia and capabilities [gpu]; in "
            "Kubernetes: a limit nvidia.com/gpu: 1",
            applicability="display-only",
        ),
    )


# --- GPD602 ----------------------------------------------------------------------------------------------------------


def _wsl(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if is_assumed(snapshot):
        return (NotApplicable("judged for an assumed machine, not for this one"),)
    match snapshot.host.wsl:
        case Absent():
            return (NotApplicable("not inside WSL"),)
        case Unknown(reason=reason):
            return open_on(HOST.name, f"nobody can tell whether this is WSL: {reason}")
        case Present(value="1"):
            return (
                _wsl_fail(snapshot, matrix, "WSL 1 cannot use a GPU at all: convert the distribution to WSL 2", ()),
            )
        case Present():
            pass
    if isinstance(snapshot.host.container, Present):
        return (NotApplicable("a container is judged by GPD601"),)
    match snapshot.driver.libcuda:
        case Present(value=file):
            return (_which_libcuda(snapshot, matrix, file.real_path),)
        case Unknown(reason=reason):
            return open_on(DRIVER.name, f"nobody can tell whether libcuda.so.1 is found: {reason}")
        case Absent():
            return (_no_libcuda(snapshot, matrix),)


def _which_libcuda(snapshot: Snapshot, matrix: Matrix, path: str) -> Evaluation:
    probe = value_of(snapshot.driver.cuda)
    # The Linux package brings libcuda and NVML alike; what counts is whether libcuda itself starts.
    code = probe.init_code if probe else Unknown("not asked")
    answers = code == Present(value=0) or (not isinstance(code, Present) and isinstance(snapshot.driver.nvml, Present))
    if path.startswith(_WSL_FOLDER) or answers:
        return Pass(DRIVER.name)
    return _wsl_fail(
        snapshot,
        matrix,
        f"a Linux driver's libcuda ({path}) is found before the one of Windows, and cannot work under WSL",
        (
            Fix(
                title="Remove the Linux driver packages from this WSL distribution: only the Windows driver counts",
                applicability="display-only",
                commands=(
                    "dpkg -l | grep -E 'nvidia-driver|libnvidia-compute|libcuda1'",
                    "sudo apt-get purge 'nvidia-driver-*' 'libnvidia-compute-*'",
                ),
            ),
        ),
    )


def _no_libcuda(snapshot: Snapshot, matrix: Matrix) -> Evaluation:
    there = [x.path for x in snapshot.libraries if x.path.startswith(_WSL_FOLDER) and "/libcuda.so" in x.path]
    if there:
        return _wsl_fail(
            snapshot,
            matrix,
            f"the driver's libcuda lies at {there[0]}, but the loader does not look there",
            (
                Fix(
                    title="Make the folder known to the loader again",
                    applicability="display-only",
                    commands=("echo /usr/lib/wsl/lib | sudo tee /etc/ld.so.conf.d/ld.wsl.conf", "sudo ldconfig"),
                ),
            ),
        )
    nodes = device_nodes(snapshot)
    if isinstance(nodes, Present) and _DXG not in nodes.value:
        return Open("libcuda.so.1 is not found, and nothing here tells why", DRIVER.name)
    return _wsl_fail(
        snapshot,
        matrix,
        "there is no libcuda.so.1: Windows has no NVIDIA driver, or the machine no NVIDIA GPU",
        (Fix(title="Install the NVIDIA driver on Windows, then run `wsl --shutdown`", applicability="display-only"),),
        level="note",
        cause="driver-missing",
    )


def _wsl_fail(
    snapshot: Snapshot,
    matrix: Matrix,
    words: str,
    fixes: tuple[Fix, ...],
    *,
    level: Level = "error",
    cause: str = "wsl-libcuda",
) -> Fail:
    libcuda = value_of(snapshot.driver.libcuda)
    return wsl_libcuda.fail(
        DRIVER,
        f"No program can use the GPU under WSL: {words}.",
        cause=cause,
        level=level,
        evidence=evidence(
            ("libcuda.so.1", libcuda.real_path if libcuda else "not found"),
            ("device files", ", ".join(items_of(device_nodes(snapshot))) or "none"),
        ),
        consequences=driver_consequences(snapshot, matrix),
        fixes=fixes,
    )


container_no_gpu = Rule(
    id="GPD601",
    name="container-no-gpu",
    title="The container was started without access to the GPU",
    level="error",
    causes=("container-no-gpu",),
    page=pages.GPD601,
    evaluate=_container,
)
wsl_libcuda = Rule(
    id="GPD602",
    name="wsl-libcuda",
    title="Inside WSL, the driver's libcuda is not found by the loader",
    level="error",
    causes=("wsl-libcuda", "driver-missing"),
    page=pages.GPD602,
    evaluate=_wsl,
)
