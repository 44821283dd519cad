"""Probe: Docker on this host, and what of the NVIDIA Container Toolkit it can use. Files only: Docker is not asked."""

from __future__ import annotations

import msgspec

from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.machine import ContainerEngine
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, encodable, read_text

_FOLDERS = ("/usr/bin", "/usr/local/bin", "/bin", "/snap/bin", "/usr/local/nvidia/toolkit")
# The hook is what `--gpus` needs; the runtime and nvidia-ctk come with it.
_TOOLKIT = ("nvidia-container-runtime-hook", "nvidia-container-runtime", "nvidia-ctk")
_DAEMON = "/etc/docker/daemon.json"
# The snap of Docker reads neither the host's configuration nor the host's toolkit; where it finds the driver, it writes
# the runtime `nvidia` of its own into its own file. Source: canonical/docker-snap nvidia/lib (2026-11-21)
_SNAP = "/snap/"
_SNAP_DAEMON = "/var/snap/docker/current/config/daemon.json"
# Docker Desktop on Linux keeps Docker in a virtual machine, and names that context so.
# Source: NVIDIA/nvidia-container-toolkit#814, docker/roadmap#497 (2026-11-21)
_DESKTOP = "desktop-linux"
_CDI = tuple(f"{folder}/nvidia.{ending}" for folder in ("/etc/cdi", "/var/run/cdi") for ending in ("yaml", "json"))
_SMALL_BYTES = 256 << 10


def probe_container_engine(system: ReadSystem) -> Fact[ContainerEngine]:
    """Describe Docker on a Linux host; absent where it is not installed."""
    docker = _first(system, tuple(f"{folder}/docker" for folder in _FOLDERS))
    if not isinstance(docker, Present):
        return docker
    snap = docker.value.startswith(_SNAP)
    runtime = _runtime(system, _SNAP_DAEMON if snap else _DAEMON)
    programs = tuple(f"{folder}/{name}" for name in _TOOLKIT for folder in _FOLDERS)
    return Present(
        ContainerEngine(
            program=docker.value,
            toolkit=runtime if snap else _first(system, programs),
            runtime=runtime,
            cdi=_first(system, _CDI),
            desktop=_desktop(system),
        )
    )


def _desktop(system: ReadSystem) -> Fact[str]:
    """Return what makes this user's `docker` speak to Docker Desktop's machine: a variable, or a file.

    DOCKER_HOST outranks a context, DOCKER_CONTEXT the one that is configured.
    Source: https://docs.docker.com/engine/manage-resources/contexts/ (2026-11-21)
    """
    environment = system.environ()
    home = environment.get("HOME", "")
    if environment.get("DOCKER_HOST"):
        return Absent(("DOCKER_HOST",))
    if named := environment.get("DOCKER_CONTEXT"):
        return Present("DOCKER_CONTEXT") if named == _DESKTOP else Absent(("DOCKER_CONTEXT",))
    if not home.startswith("/"):
        return Absent()
    path = f"{environment.get('DOCKER_CONFIG') or f'{home}/.docker'}/config.json"
    try:
        chosen = msgspec.json.decode(read_text(system, path, _SMALL_BYTES)).get("currentContext")
    except (NotThere, CannotLook, ValueError, AttributeError, RecursionError):  # then it is the usual context
        return Absent((path,))
    return Present(encodable(path)) if chosen == _DESKTOP else Absent((path,))


def _first(system: ReadSystem, paths: tuple[str, ...]) -> Fact[str]:
    doubt = None
    for path in paths:
        try:
            system.stat(path)
        except NotThere:
            continue
        except CannotLook as error:
            doubt = doubt or error.reason
            continue
        return Present(path)
    return Unknown(doubt) if doubt else Absent(paths)


def _runtime(system: ReadSystem, daemon: str) -> Fact[str]:
    """Return the program of the runtime `nvidia` in Docker's configuration.

    Source: https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file (2026-11-21)
    """
    try:
        runtimes = msgspec.json.decode(read_text(system, daemon, _SMALL_BYTES)).get("runtimes", {})
        runtime = runtimes.get("nvidia")
    except NotThere:
        return Absent((daemon,))
    except CannotLook as error:
        return Unknown(error.reason)
    except (ValueError, AttributeError, RecursionError):
        return Unknown(f"{daemon}: not a configuration of Docker")
    if not isinstance(runtime, dict):
        return Absent((daemon,))
    path = runtime.get("path")
    return Present(path) if isinstance(path, str) and path else Present("nvidia-container-runtime")
