"""Docker and the NVIDIA Container Toolkit, from files alone."""

from __future__ import annotations

import pytest

from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.probes.container_engine import probe_container_engine
from gpudoctor.system.memory import MemorySystem

DOCKER = {"/usr/bin/docker": b"\x7fELF"}
DAEMON = "/etc/docker/daemon.json"


def engine(**more: bytes):  # type: ignore[no-untyped-def]
    fact = probe_container_engine(MemorySystem({**DOCKER, **{k.replace("|", "/"): v for k, v in more.items()}}))
    assert isinstance(fact, Present)
    return fact.value


def test_without_docker_there_is_no_engine() -> None:
    assert isinstance(probe_container_engine(MemorySystem({"/usr/bin/podman": b"x"})), Absent)


def test_docker_alone() -> None:
    found = engine()
    assert found.program == "/usr/bin/docker"
    assert all(isinstance(f, Absent) for f in (found.toolkit, found.runtime, found.cdi))


def test_the_toolkit_and_its_configuration() -> None:
    found = engine(
        **{
            "|usr|bin|nvidia-ctk": b"x",
            DAEMON: b'{"runtimes": {"nvidia": {"args": [], "path": "/usr/bin/nvidia-container-runtime"}}}',
            "|etc|cdi|nvidia.yaml": b"cdiVersion: 0.5.0",
        }
    )
    assert found.toolkit == Present("/usr/bin/nvidia-ctk")
    assert found.runtime == Present("/usr/bin/nvidia-container-runtime")
    assert found.cdi == Present("/etc/cdi/nvidia.yaml")


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"runtimes": 3}', b"[" * 100_000, b"\xff\xfe"])
def test_a_configuration_that_is_none_is_unknown(text: bytes) -> None:
    assert isinstance(engine(**{DAEMON: text}).runtime, Unknown)


@pytest.mark.parametrize("text", [b"{}", b'{"runtimes": {}}', b'{"runtimes": {"nvidia": 1}}'])
def test_a_configuration_without_the_runtime(text: bytes) -> None:
    assert isinstance(engine(**{DAEMON: text}).runtime, Absent)


HOME = {"HOME": "/home/ann"}
CONTEXT = {"/home/ann/.docker/config.json": b'{"auths": {"x": {}}, "currentContext": "desktop-linux"}'}


@pytest.mark.parametrize(
    ("files", "environ", "meant"),
    [
        (CONTEXT, HOME, True),
        ({}, HOME, False),
        ({}, {**HOME, "DOCKER_CONTEXT": "desktop-linux"}, True),
        (CONTEXT, {**HOME, "DOCKER_CONTEXT": "default"}, False),
        (CONTEXT, {**HOME, "DOCKER_HOST": "unix:///var/run/docker.sock"}, False),
        ({"/home/ann/.docker/config.json": b'{"currentContext": "default"}'}, HOME, False),
        ({"/home/ann/.docker/config.json": b"[" * 100_000}, HOME, False),
        ({"/home/ann/.docker/config.json": b'["currentContext"]'}, HOME, False),
        ({"/cfg/config.json": b'{"currentContext": "desktop-linux"}'}, {**HOME, "DOCKER_CONFIG": "/cfg"}, True),
        (CONTEXT, {}, False),
    ],
)
def test_whether_docker_means_docker_desktop(files: dict[str, bytes], environ: dict[str, str], meant: bool) -> None:
    fact = probe_container_engine(MemorySystem({**DOCKER, **files}, environ=environ))
    assert isinstance(fact, Present)
    assert isinstance(fact.value.desktop, Present) is meant


SNAP = {"/snap/bin/docker": b"x", "/usr/bin/nvidia-ctk": b"x", DAEMON: b'{"runtimes": {"nvidia": {"path": "x"}}}'}
SNAP_DAEMON = "/var/snap/docker/current/config/daemon.json"


def test_the_snap_of_docker_sees_nothing_of_the_hosts_toolkit() -> None:
    fact = probe_container_engine(MemorySystem(SNAP))
    assert isinstance(fact, Present)
    assert isinstance(fact.value.toolkit, Absent)
    assert isinstance(fact.value.runtime, Absent)


def test_the_snap_that_configured_its_own() -> None:
    runtime = "/snap/docker/current/usr/bin/nvidia-container-runtime"
    own = f'{{"runtimes": {{"nvidia": {{"path": "{runtime}"}}}}}}'.encode()
    fact = probe_container_engine(MemorySystem({**SNAP, SNAP_DAEMON: own}))
    assert isinstance(fact, Present)
    assert fact.value.toolkit == Present(runtime)


def test_a_configuration_of_the_snap_that_cannot_be_read_is_unknown() -> None:
    fact = probe_container_engine(MemorySystem({**SNAP, SNAP_DAEMON: b"{}"}, unreadable=(SNAP_DAEMON,)))
    assert isinstance(fact, Present)
    assert isinstance(fact.value.toolkit, Unknown)
