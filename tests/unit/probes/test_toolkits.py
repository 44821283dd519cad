from __future__ import annotations

import json

import pytest

from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.machine import Toolkit
from gpudoctor.probes.toolkits import probe_toolkits
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.real import RealSystem

VERSION_JSON = json.dumps({"cuda": {"name": "CUDA SDK", "version": "12.4.1"}, "nvcc": {"version": "12.4.131"}})


def test_a_link_and_its_target_are_one_toolkit() -> None:
    system = MemorySystem(
        {
            "/usr/local/cuda-12.4/version.json": VERSION_JSON,
            "/usr/local/cuda-10.2/version.txt": "CUDA Version 10.2.89\n",
        },
        links={
            "/usr/local/cuda": "cuda-12",
            "/usr/local/cuda-12": "/etc/alternatives/cuda-12",
            "/etc/alternatives/cuda-12": "/usr/local/cuda-12.4",
        },
    )

    assert probe_toolkits(system) == Present(
        (
            Toolkit(directory="/usr/local/cuda-10.2", version=Present("10.2.89"), found_via="directory"),
            Toolkit(directory="/usr/local/cuda-12.4", version=Present("12.4.1"), found_via="directory"),
        )
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cuda": 12}', '{"nvcc": {"version": "1"}}', "\ud7ff\x00"])
def test_an_unreadable_version_falls_back_to_the_folders_name(content: str) -> None:
    system = MemorySystem({"/usr/local/cuda-12.4/version.json": content, "/usr/local/cuda/version.json": content})

    named, bare = probe_toolkits(system).value  # type: ignore[union-attr]

    assert (bare.directory, bare.version) == ("/usr/local/cuda-12.4", Present("12.4"))
    assert named.directory == "/usr/local/cuda"
    assert isinstance(named.version, Unknown)


def test_the_cache_names_toolkits_elsewhere() -> None:
    system = MemorySystem(
        {
            "/data/cuda/targets/x86_64-linux/lib/libcudart.so.12.6.77": "x",
            "/data/cuda/version.json": VERSION_JSON.replace("12.4.1", "12.6.2"),
            "/usr/lib/x86_64-linux-gnu/libcudart.so.11.8.89": "x",
            "/usr/local/cuda-12.4/lib64/libcudart.so.12": "x",
        },
        links={
            "/data/cuda/targets/x86_64-linux/lib/libcudart.so.12": "libcudart.so.12.6.77",
            "/usr/lib/x86_64-linux-gnu/libcudart.so.11.0": "libcudart.so.11.8.89",
            "/lib": "usr/lib",
        },
    )
    entries = [
        ("libcudart.so.12", "/data/cuda/targets/x86_64-linux/lib/libcudart.so.12"),
        ("libcudart.so.11.0", "/lib/x86_64-linux-gnu/libcudart.so.11.0"),
        ("libcudart.so.12", "/usr/local/cuda-12.4/lib64/libcudart.so.12"),
        ("libcudart.so.9.0", "/gone/lib64/libcudart.so.9.0"),
        ("libcublas.so.12", "/elsewhere/lib/libcublas.so.12"),
    ]

    assert probe_toolkits(system, entries) == Present(
        (
            Toolkit(directory="/data/cuda", version=Present("12.6.2"), found_via="ld-cache"),
            Toolkit(directory="/usr", version=Present("11.8.89"), found_via="ld-cache"),
            Toolkit(directory="/usr/local/cuda-12.4", version=Present("12.4"), found_via="directory"),
        )
    )


def test_what_is_no_toolkit() -> None:
    system = MemorySystem(
        {"/usr/local/cuda-12.4": "a file", "/usr/local/cudnn/x": "", "/usr/local/cuda-keyring/x": ""},
        links={"/usr/local/cuda": "/gone", "/usr/local/cuda-1": "cuda-1"},
    )

    assert isinstance(probe_toolkits(system), Absent)


def test_folders_that_cannot_be_listed() -> None:
    system = MemorySystem({"/usr/local/cuda-12.4/x": ""}, unreadable=["/usr/local"])

    assert isinstance(probe_toolkits(system), Unknown)


@pytest.mark.parametrize("kind", ["fifos", "directories"])
def test_a_version_file_that_is_no_file(kind: str) -> None:
    path = "/usr/local/cuda-12.4/version.json"
    system = MemorySystem(**{kind: [path]})  # type: ignore[arg-type]

    assert probe_toolkits(system).value[0].version == Present("12.4")  # type: ignore[union-attr]


def test_other_systems_are_unknown() -> None:
    assert isinstance(probe_toolkits(MemorySystem(os_name="windows")), Unknown)


def test_this_machine_is_read_without_an_error() -> None:
    assert isinstance(probe_toolkits(RealSystem()), Present | Absent)
