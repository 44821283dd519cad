"""Small typed builders of snapshots: one ctranslate2 environment, and the ways in which it can differ."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gpudoctor.model.environment import Build, Distribution, Interpreter, SearchElement
from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.finding import Fail, Finding, Open
from gpudoctor.model.loading import ElfFacts, FoundVia, Library, Resolution, Scenario
from gpudoctor.model.machine import Driver, Gpu, Host, Toolkit
from gpudoctor.model.snapshot import SNAPSHOT_SCHEMA_VERSION, Snapshot

HOME = "/home/alice/speech"
PACKAGES: Mapping[str, str] = {
    "ctranslate2": "4.6.0",
    "faster-whisper": "1.1.0",
    "numpy": "2.1.0",
    "nvidia-cublas-cu12": "12.4.5.8",
    "nvidia-cudnn-cu12": "9.1.0.70",
}
OPENINGS: tuple[tuple[str, str, str], ...] = (
    ("cudnn", "cudnn_ops", "nvidia/cudnn/lib/libcudnn_ops.so.9"),
    ("cudnn", "cudnn_cnn", "nvidia/cudnn/lib/libcudnn_cnn.so.9"),
    ("cublas", "cublas", "nvidia/cublas/lib/libcublas.so.12"),
)
OWNERS = {"cudnn": "nvidia-cudnn-cu12", "cublas": "nvidia-cublas-cu12"}
NO_DRIVER: Fact[str] = Absent()


def site(root: str = HOME) -> str:
    """Return the site folder of an environment below a root."""
    return f"{root}/.venv/lib/python3.11/site-packages"


def wheel_path(root: str = HOME) -> str:
    """Return the LD_LIBRARY_PATH that makes the wheels' libraries found."""
    return f"{site(root)}/nvidia/cudnn/lib:{site(root)}/nvidia/cublas/lib"


def search_elements(value: str | None, **libraries: tuple[str, ...]) -> tuple[SearchElement, ...]:
    """Return LD_LIBRARY_PATH taken apart; every element is a folder that exists."""
    parts = value.split(":") if value else ()
    return tuple(
        SearchElement(
            index=index,
            raw=part,
            directory=part or None,
            state="directory" if part.startswith("/") else "relative" if part else "empty",
            libraries=libraries.get(part.strip("/").replace("/", "_"), ()),
        )
        for index, part in enumerate(parts)
    )


def library(
    path: str,
    family: str,
    *,
    version: str = "9.1.0.70",
    size_bytes: int = 1000,
    owner: str | None = None,
    build_id: str | None = None,
) -> Library:
    """Return a library file."""
    name = path.rpartition("/")[2]
    elf = ElfFacts(
        elf_class=64, machine="x86_64", soname=name, needed=(), rpath=None, runpath="$ORIGIN", build_id=build_id
    )
    return Library(
        path=path,
        real_path=path,
        family=family,
        size_bytes=size_bytes,
        version=Present(version),
        version_source="distribution",
        owner=owner,
        elf=Present(elf),
    )


def resolution(
    family: str,
    role: str,
    path: str | None,
    *,
    found_via: FoundVia | None = "ld-library-path",
    scenario: Scenario = "alone",
) -> Resolution:
    """Return what the loader answers to ctranslate2."""
    name = (path or f"/lib{role}.so").rpartition("/")[2]
    return Resolution(
        consumer="ctranslate2",
        scenario=scenario,
        requester="libctranslate2-c75cca97.so.4.6.0",
        soname=name,
        names=(name,),
        family=family,
        role=role,
        link="dlopen",
        when="at the first convolution",
        outcome="present" if path else "absent",
        path=path,
        found_via=found_via if path else None,
        failure=None if path else "missing",
        reason=None if path else "no folder searched has it",
    )


def interpreter(root: str = HOME, version: Fact[str] | None = None, unknowns: tuple[str, ...] = ()) -> Interpreter:
    """Return a venv's interpreter."""
    return Interpreter(
        executable=f"{root}/.venv/bin/python",
        real_executable="/usr/bin/python3.11",
        prefix=f"{root}/.venv",
        base_prefix="/usr",
        version=version or Present("3.11.7"),
        kind="venv",
        site_dirs=(site(root),),
        path_unknowns=unknowns,
        elf_interpreter=Present("/lib64/ld-linux-x86-64.so.2"),
        secure_execution=Present(False),
    )


def distributions(packages: Mapping[str, str], root: str = HOME) -> tuple[Distribution, ...]:
    """Return installed distributions."""
    return tuple(
        Distribution(
            name=name,
            version=Present(version),
            site_dir=site(root),
            metadata_path=f"{site(root)}/{name}.dist-info",
            requires=("ctranslate2<5,>=4.0",) if name == "faster-whisper" else (),
        )
        for name, version in packages.items()
    )


def wheel_libraries(packages: Mapping[str, str], root: str = HOME) -> tuple[Library, ...]:
    """Return the libraries that the wheels installed; cuDNN has no build id, cuBLAS has one."""
    found = []
    for family, _, relative in OPENINGS:
        owner = OWNERS[family]
        version = packages.get(owner)
        if version is not None:
            size = 1000 + sum(map(ord, version))
            build = f"{size:040x}" if family == "cublas" else None
            path = f"{site(root)}/{relative}"
            found.append(library(path, family, version=version, size_bytes=size, owner=owner, build_id=build))
    return tuple(found)


def environment(
    *,
    root: str = HOME,
    packages: Mapping[str, str] = PACKAGES,
    search_path: str | None = "wheels",
    driver: Fact[str] = NO_DRIVER,
    gpus: Fact[tuple[Gpu, ...]] | None = None,
    kernel: str = "6.1.0",
) -> Snapshot:
    """Return a ctranslate2 environment; its libraries are found when LD_LIBRARY_PATH names the wheels' folders."""
    value = wheel_path(root) if search_path == "wheels" else search_path
    files = wheel_libraries(packages, root)
    on_disk = {x.path for x in files}
    folders = (value or "").split(":")
    resolutions = []
    for family, role, relative in OPENINGS:
        path = f"{site(root)}/{relative}"
        found = path in on_disk and path.rpartition("/")[0] in folders
        resolutions.append(resolution(family, role, path if found else None))
    return Snapshot(
        schema_version=SNAPSHOT_SCHEMA_VERSION,
        tool_version="0.1.0",
        taken_at="2026-11-20T12:00:00Z",
        redacted=False,
        host=host(kernel),
        driver=driver_facts(driver),
        gpus=gpus or Absent(),
        interpreter=Present(interpreter(root)),
        distributions=distributions(packages, root),
        shared_files=(),
        builds=builds(packages),
        variables=(),
        search_elements=search_elements(value),
        toolkits=Present((Toolkit(directory="/usr/local/cuda-12.4", version=Present("12.4"), found_via="directory"),)),
        libraries=files,
        resolutions=tuple(resolutions),
        probes=(),
    )


def builds(packages: Mapping[str, str]) -> tuple[Build, ...]:
    """Return ctranslate2's build facts, when it is installed."""
    if "ctranslate2" not in packages:
        return ()
    return (
        Build(
            package="ctranslate2",
            distribution="ctranslate2",
            version=Present(packages["ctranslate2"]),
            gpu=Present(True),
            cuda=Present("12.4"),
            cudnn=Present("9.1.0"),
            architectures=Unknown("not read"),
        ),
    )


def host(kernel: str) -> Host:
    """Return a Linux host without anything special."""
    return Host(
        os="linux",
        machine="x86_64",
        kernel=Present(kernel),
        distribution=Present("Debian 12"),
        libc=Unknown("not read"),
        container=Absent(),
        wsl=Absent(),
        tegra=Absent(),
        nvidia_pci=Absent(),
        device_nodes=Absent(),
        effective_uid=Present(1000),
    )


def driver_facts(release: Fact[str]) -> Driver:
    """Return driver facts with nothing but a release."""
    return Driver(
        release=release,
        cuda_version=Absent(),
        kernel_module=Absent(),
        libcuda=Absent(),
        libnvidia_ml=Absent(),
        nvml=Absent(),
        nvml_error=Absent(),
        cuda=Absent(),
    )


def change(snapshot: Snapshot, **fields: object) -> Snapshot:
    """Return a snapshot with some fields replaced."""
    return msgspec.structs.replace(snapshot, **fields)


def findings(evaluations: tuple[object, ...]) -> list[Finding]:
    """Return the findings among evaluations."""
    return [e.finding for e in evaluations if isinstance(e, Fail)]


def open_reasons(evaluations: tuple[object, ...]) -> list[str]:
    """Return the reasons of the open evaluations."""
    return [e.reason for e in evaluations if isinstance(e, Open)]
