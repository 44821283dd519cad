"""Probe: Docker on this host, and what of the NVIDIA Container Toolkit it can use. Files only: Docker is not asked."""

from __future__ import annotations

import json

from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.snapshot import ContainerEngine
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, read_text

_FOLDERS = ("/usr/bin", "/usr/local/bin", "/bin", "/snap/bin", "/usr/local/nvidia/toolkit")
# The hook is what `--gpus` needs; the runtime and nvidia-ctk come with it.
_TOOLKIT = ("nvidia-container-runtime-hook", "nvidia-container-runtime", "nvidia-ctk")
_DAEMON = "/etc/docker/daemon.json"
_CDI = tuple(f"{folder}/nvidia.{ending}" for folder in ("/etc/cdi", "/var/run/cdi") for ending in ("yaml", "json"))
_SMALL_BYTES = 256 << 10


def probe_container_engine(system: ReadSystem) -> Fact[ContainerEngine]:
    """Describe Docker on a Linux host; absent where it is not installed."""
    docker = _first(system, tuple(f"{folder}/docker" for folder in _FOLDERS))
    if not isinstance(docker, Present):
        return docker
    programs = tuple(f"{folder}/{name}" for name in _TOOLKIT for folder in _FOLDERS)
    return Present(
        ContainerEngine(
            program=docker.value,
            toolkit=_first(system, programs),
            runtime=_runtime(system),
            cdi=_first(system, _CDI),
        )
    )


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


def _runtime(system: ReadSystem) -> Fact[str]:
    """Return the program of the runtime `nvidia`.

    Source: https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file (2026-11-21)
    """
    try:
        runtimes = json.loads(read_text(system, _DAEMON, _SMALL_BYTES)).get("runtimes", {})
        runtime = runtimes.get("nvidia")
    except NotThere:
        return Absent((_DAEMON,))
    except CannotLook as error:
        return Unknown(error.reason)
    except (ValueError, AttributeError, RecursionError):
        return Unknown(f"{_DAEMON}: not a configuration of Docker")
    if not isinstance(runtime, dict):
        return Absent((_DAEMON,))
    path = runtime.get("path")
    return Present(path) if isinstance(path, str) and path else Present("nvidia-container-runtime")
