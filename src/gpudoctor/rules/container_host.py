"""GPD603, GPD604: a host whose containers cannot get the GPU, and a container that lost it while running."""

from __future__ import annotations

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import Absent, Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fail, Fix, NotApplicable, Open, Pass
from gpudoctor.model.machine import ContainerEngine
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.driver import HOST
from gpudoctor.rules.pages import gpu as pages
from gpudoctor.rules.reading import (
    container_of,
    device_nodes,
    doubts,
    evidence,
    has_driver,
    has_gpu,
    is_assumed,
    items_of,
    open_on,
)

# NVML's "unknown error" and "operating system call failed": what a device that may not be opened looks like.
_LOST_CODES = (17, 999)

_INSTALL = Fix(
    title="Install the NVIDIA Container Toolkit on this host, let it configure Docker, and restart Docker",
    applicability="display-only",
    commands=(
        "sudo apt-get install -y nvidia-container-toolkit  # from NVIDIA's own repository",
        "sudo nvidia-ctk runtime configure --runtime=docker",
        "sudo systemctl restart docker",
    ),
)

_USE_HOSTS = (
    Fix(
        title="Use the host's own Docker Engine (docker-ce) with the NVIDIA Container Toolkit",
        applicability="display-only",
        commands=("docker context use default",),
    ),
)
_SNAP = (
    Fix(
        title="Let the snap look for the driver again; it wants the host's libcuda.so besides libcuda.so.1",
        applicability="display-only",
        commands=("sudo snap refresh docker", "sudo snap restart docker", "snap logs docker.nvidia-container-toolkit"),
    ),
    Fix(
        title="Or remove the snap, and install Docker Engine and the NVIDIA Container Toolkit as packages",
        applicability="display-only",
        commands=("sudo snap remove docker",),
    ),
)


# --- GPD603 ----------------------------------------------------------------------------------------------------------


def _toolkit(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    host = snapshot.host
    if is_assumed(snapshot) or isinstance(host.container, Present):
        return (NotApplicable("not the host of containers that is judged"),)
    match host.container_engine:
        case Absent():
            return (NotApplicable("Docker is not installed"),)
        case Unknown(reason=reason):
            return open_on(HOST.name, f"nobody can tell whether Docker is installed: {reason}")
        case Present(value=engine):
            if not (has_gpu(snapshot) and has_driver(snapshot)):
                return (NotApplicable("no NVIDIA GPU with a driver that containers could be given"),)
            return (_engine(engine),)


def _engine(engine: ContainerEngine) -> Evaluation:
    if isinstance(engine.desktop, Present):
        return _other_docker(
            engine, "The `docker` of this user speaks to Docker Desktop, whose virtual machine has no GPU", _USE_HOSTS
        )
    if isinstance(engine.toolkit, Present):
        return Pass(HOST.name)
    if engine.program.startswith("/snap/") and not doubts(engine.runtime):
        return _other_docker(
            engine, "Docker is installed as a snap that found no NVIDIA driver, and uses no toolkit of the host", _SNAP
        )
    if reason := doubts(engine.toolkit, engine.cdi, engine.runtime):
        return Open(f"nobody can tell whether the NVIDIA Container Toolkit is installed: {reason}", HOST.name)
    if isinstance(engine.runtime, Present):
        return _without_toolkit(
            engine,
            "Docker is told to use the runtime “nvidia”, but no program of the NVIDIA Container Toolkit is installed",
            level_is_warning=True,
        )
    return _without_toolkit(engine, "Docker is installed here without the NVIDIA Container Toolkit")


def _other_docker(engine: ContainerEngine, words: str, fixes: tuple[Fix, ...]) -> Fail:
    return container_toolkit_missing.fail(
        HOST,
        f"{words}: containers get no GPU from it. Programs outside containers are not concerned.",
        cause="driver-not-visible-to-docker",
        evidence=evidence(
            ("docker", engine.program),
            ("configuration", value_of(engine.desktop)),
            ("toolkit of the host", value_of(engine.toolkit)),
            ("runtime in daemon.json", value_of(engine.runtime) or "none"),
        ),
        fixes=fixes,
    )


def _without_toolkit(engine: ContainerEngine, words: str, *, level_is_warning: bool = False) -> Fail:
    return container_toolkit_missing.fail(
        HOST,
        f"{words}: `docker run --gpus all` fails with “could not select device driver "
        "with capabilities: [[gpu]]”. Programs outside containers are not concerned.",
        cause="container-toolkit-missing",
        level="warning" if level_is_warning else "note",
        evidence=evidence(
            ("docker", engine.program),
            ("toolkit", "no nvidia-container-runtime, nvidia-container-runtime-hook or nvidia-ctk"),
            ("runtime in daemon.json", value_of(engine.runtime) or "none"),
            ("CDI", value_of(engine.cdi) or "none"),
        ),
        fixes=(_INSTALL,),
    )


# --- GPD604 ----------------------------------------------------------------------------------------------------------


def _lost(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    del matrix
    kind = container_of(snapshot)
    return (_inside(snapshot, kind) if isinstance(kind, str) else kind,)


def _inside(snapshot: Snapshot, kind: str) -> Evaluation:
    driver, nodes = snapshot.driver, device_nodes(snapshot)
    if isinstance(driver.nvml, Present):
        return Pass(HOST.name)
    if isinstance(nodes, Absent) or isinstance(driver.libcuda, Absent):
        return NotApplicable("the container was given no GPU from the start")
    match driver.nvml_error:
        case Present(value=error) if error.code in _LOST_CODES:
            return _lost_gpu(snapshot, kind, f"{error.code}, {error.message}")
        case Present():
            return NotApplicable("another rule judges this answer of NVML")
        case Unknown(reason=reason):
            return Open(f"nobody can tell whether the container may still use its GPU: {reason}", HOST.name)
        case Absent():
            return NotApplicable("NVML is not in this container")


def _lost_gpu(snapshot: Snapshot, kind: str, answer: str) -> Fail:
    return container_lost_gpu.fail(
        HOST,
        f"This {kind} container has the GPU's device files but may no longer open them (NVML answers {answer}): most "
        "likely a `systemctl daemon-reload` on the host took the permission away while the container ran.",
        cause="container-lost-gpu",
        evidence=evidence(
            ("NVML", answer),
            ("device files", ", ".join(items_of(device_nodes(snapshot)))),
            ("kernel module", value_of(snapshot.driver.kernel_module)),
        ),
        fixes=(
            Fix(
                title="Start the container anew; to keep it from happening again, give it the device files by name or "
                "set Docker's cgroup driver to cgroupfs",
                applicability="display-only",
                commands=(
                    "docker restart CONTAINER",
                    "docker run --gpus all --device /dev/nvidiactl --device /dev/nvidia-uvm --device /dev/nvidia0 …",
                ),
            ),
            Fix(
                title="If a new container fails in the same way, reload the driver's modules on the host, or reboot it",
                applicability="display-only",
            ),
        ),
    )


container_toolkit_missing = Rule(
    id="GPD603",
    name="container-toolkit-missing",
    title="Docker on this host cannot give the GPU to containers",
    level="note",
    causes=("container-toolkit-missing", "driver-not-visible-to-docker"),
    page=pages.GPD603,
    evaluate=_toolkit,
)
container_lost_gpu = Rule(
    id="GPD604",
    name="container-lost-gpu",
    title="The container lost its GPU while it ran",
    level="error",
    causes=("container-lost-gpu",),
    page=pages.GPD604,
    evaluate=_lost,
)
