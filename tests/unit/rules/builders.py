"""Small snapshots for the tests of rules: readable factory functions over the real types.

`machine()` is a healthy Linux workstation with one GPU, a driver and an empty virtual environment. Everything else is
added with `with_(…)` or by the functions that know a consumer (`ctranslate2`, `torch`, `onnxruntime`).
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gpudoctor.model.environment import Build, Distribution, Interpreter, SearchElement, SharedFiles, Variable
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.loading import ElfFacts, Library, Resolution, SearchStep
from gpudoctor.model.machine import CudaDriverProbe, Driver, DriverFile, Gpu, Host, Libc, NvmlError
from gpudoctor.model.snapshot import Snapshot

VENV = "/srv/app/.venv"
SITE = f"{VENV}/lib/python3.11/site-packages"
CUDNN = f"{SITE}/nvidia/cudnn/lib"
CUBLAS = f"{SITE}/nvidia/cublas/lib"
CU13 = f"{SITE}/nvidia/cu13/lib"
ABSENT = Absent()
BLIND = Unknown("permission denied")


def replace(value: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(value, **changes)


# --- the machine -----------------------------------------------------------------------------------------------------


def host(**changes: Any) -> Host:
    usual = Host(
        os="linux",
        machine="x86_64",
        kernel=Present("6.1.0-28-amd64"),
        distribution=Present("Debian GNU/Linux 12"),
        libc=Present(Libc(name="glibc", version=Present("2.36"))),
        container=ABSENT,
        wsl=ABSENT,
        tegra=ABSENT,
        nvidia_pci=Present(("0000:01:00.0",)),
        device_nodes=Present(("/dev/nvidia0", "/dev/nvidia-uvm", "/dev/nvidiactl")),
        effective_uid=Present(1000),
    )
    return replace(usual, **changes)


def driver_file(name: str, release: str, folder: str = "/usr/lib/x86_64-linux-gnu") -> Present[DriverFile]:
    real = f"{folder}/{name.removesuffix('.1')}.{release}"
    return Present(DriverFile(path=f"{folder}/{name}", real_path=real, release=Present(release)))


def driver(release: str = "550.54.15", serves: str = "12.4", **changes: Any) -> Driver:
    usual = Driver(
        release=Present(release),
        cuda_version=Present(serves),
        kernel_module=Present(release),
        libcuda=driver_file("libcuda.so.1", release),
        libnvidia_ml=driver_file("libnvidia-ml.so.1", release),
        nvml=Present(release),
        nvml_error=ABSENT,
        cuda=Present(
            CudaDriverProbe(init_code=Present(0), driver_version=Present(serves), device_count=Present(1)),
        ),
    )
    return replace(usual, **changes)


def no_driver(**changes: Any) -> Driver:
    nothing = dict.fromkeys(
        ("release", "cuda_version", "kernel_module", "libcuda", "libnvidia_ml", "nvml", "nvml_error", "cuda"), ABSENT
    )
    return Driver(**{**nothing, **changes})


def assumed_driver(release: str) -> Driver:
    return no_driver(release=Present(release), assumed=True)


def refusing(code: int, message: str = "refused") -> Driver:
    """A driver that NVML cannot talk to."""
    silent = Unknown("libcuda was not asked")
    return driver(nvml=ABSENT, nvml_error=Present(NvmlError(code=code, message=message)), cuda=silent)


def cuda_says(code: int, **changes: Any) -> Driver:
    """A driver whose cuInit answers this."""
    probe = CudaDriverProbe(init_code=Present(code), driver_version=ABSENT, device_count=ABSENT)
    return driver(cuda=Present(probe), **changes)


def gpu(**changes: Any) -> Gpu:
    usual = Gpu(
        index=0,
        name=Present("NVIDIA GeForce RTX 3090"),
        uuid=Present("GPU-00000000-0000-0000-0000-000000000000"),
        pci_bus_id=Present("00000000:01:00.0"),
        compute_capability=Present("8.6"),
        memory_total_bytes=Present(24 << 30),
        memory_free_bytes=Present(23 << 30),
        mig_enabled=ABSENT,
        error=ABSENT,
    )
    return replace(usual, **changes)


def interpreter(**changes: Any) -> Interpreter:
    usual = Interpreter(
        executable=f"{VENV}/bin/python",
        real_executable="/usr/bin/python3.11",
        prefix=VENV,
        base_prefix="/usr",
        version=Present("3.11.2"),
        kind="venv",
        site_dirs=(SITE,),
        elf_interpreter=Present("/lib64/ld-linux-x86-64.so.2"),
        secure_execution=Present(value=False),
    )
    return replace(usual, **changes)


def machine(**changes: Any) -> Snapshot:
    """A healthy machine with a GPU, a driver and an environment that holds nothing but pip."""
    usual = Snapshot(
        schema_version=1,
        tool_version="0.1.0",
        taken_at="2026-11-20T12:00:00Z",
        redacted=False,
        host=host(),
        driver=driver(),
        gpus=Present((gpu(),)),
        interpreter=Present(interpreter()),
        distributions=(dist("pip", "24.0"),),
        shared_files=(),
        builds=(),
        variables=(),
        search_elements=(),
        toolkits=ABSENT,
        libraries=(),
        resolutions=(),
        probes=(),
    )
    return replace(usual, **changes)


def without_gpu(snapshot: Snapshot | None = None) -> Snapshot:
    """The same on a machine that has neither an NVIDIA device nor a driver."""
    bare = host(nvidia_pci=ABSENT, device_nodes=ABSENT)
    return replace(snapshot or machine(), host=bare, driver=no_driver(), gpus=ABSENT)


def with_(snapshot: Snapshot, *parts: Parts, **changes: Any) -> Snapshot:
    """Add parts to a snapshot, then replace fields."""
    for part in parts:
        snapshot = replace(
            snapshot,
            distributions=snapshot.distributions + part.distributions,
            builds=snapshot.builds + part.builds,
            libraries=snapshot.libraries + part.libraries,
            resolutions=snapshot.resolutions + part.resolutions,
        )
    return replace(snapshot, **changes)


def search_path(snapshot: Snapshot, value: str, **states: str) -> Snapshot:
    """Set LD_LIBRARY_PATH; `states` maps `e0`, `e1`, … to another state than `directory`."""
    elements = tuple(
        SearchElement(
            index=i,
            raw=raw,
            directory=raw if raw.startswith("/") else f"/home/someone/{raw}",
            state=states.get(f"e{i}", "directory"),  # type: ignore[arg-type]
        )
        for i, raw in enumerate(value.split(":"))
    )
    return replace(
        snapshot, variables=(Variable(name="LD_LIBRARY_PATH", value=value),), search_elements=elements if value else ()
    )


# --- the environment -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """What a package adds to a snapshot."""

    distributions: tuple[Distribution, ...] = ()
    builds: tuple[Build, ...] = ()
    libraries: tuple[Library, ...] = ()
    resolutions: tuple[Resolution, ...] = field(default=())


def dist(name: str, version: str | None = "1.0", requires: tuple[str, ...] = ()) -> Distribution:
    return Distribution(
        name=name,
        version=Present(version) if version else Unknown("METADATA cannot be parsed"),
        site_dir=SITE,
        metadata_path=f"{SITE}/{name.replace('-', '_')}-{version}.dist-info",
        requires=requires,
    )


def installed(*names: str) -> Parts:
    return Parts(distributions=tuple(dist(*name.split("==")) for name in names))


def build(package: str, version: str, cuda: str | None, *, gpu: bool = True, distribution: str | None = None) -> Build:
    return Build(
        package=package,
        distribution=distribution or package,
        version=Present(version),
        gpu=Present(gpu),
        cuda=Present(cuda) if cuda else ABSENT,
        cudnn=ABSENT,
        architectures=ABSENT,
    )


def lib(
    path: str, family: str, version: str | None, owner: str | None = None, *, machine: str = "x86_64", real: str = ""
) -> Library:
    elf = ElfFacts(
        elf_class=64,
        machine=machine,
        soname=posixpath.basename(path),
        needed=(),
        rpath=None,
        runpath=None,
        build_id=None,
    )
    return Library(
        path=path,
        real_path=real or path,
        family=family,
        size_bytes=1 << 20,
        version=Present(version) if version else Unknown("no version in its name"),
        version_source="distribution" if owner else "file-name",
        owner=owner,
        elf=Present(elf),
    )


CUDNN9_PARTS = ("graph", "ops", "cnn")


def cudnn9(version: str = "9.1.0.70", folder: str = CUDNN, owner: str | None = "nvidia-cudnn-cu12") -> Parts:
    """cuDNN 9 as a wheel lays it out."""
    names = ("libcudnn.so.9", *(f"libcudnn_{p}.so.9" for p in CUDNN9_PARTS))
    return Parts(
        distributions=(dist(owner, version),) if owner else (),
        libraries=tuple(lib(f"{folder}/{n}", "cudnn", version, owner) for n in names),
    )


def cudnn8(version: str = "8.9.2.26", folder: str = CUDNN, owner: str | None = "nvidia-cudnn-cu12") -> Parts:
    names = ("libcudnn.so.8", "libcudnn_ops_infer.so.8", "libcudnn_cnn_infer.so.8")
    return Parts(
        distributions=(dist(owner, version),) if owner else (),
        libraries=tuple(lib(f"{folder}/{n}", "cudnn", version, owner) for n in names),
    )


def cublas12(version: str = "12.4.5.8", folder: str = CUBLAS) -> Parts:
    owner = "nvidia-cublas-cu12"
    names = ("libcublas.so.12", "libcublasLt.so.12")
    return Parts(
        distributions=(dist(owner, version),),
        libraries=tuple(lib(f"{folder}/{n}", "cublas", version, owner) for n in names),
    )


def cublas13(version: str = "13.1.0.3") -> Parts:
    names = ("libcublas.so.13", "libcublasLt.so.13")
    return Parts(
        distributions=(dist("nvidia-cublas", version),),
        libraries=tuple(lib(f"{CU13}/{n}", "cublas", version, "nvidia-cublas") for n in names),
    )


# --- the loader's answers --------------------------------------------------------------------------------------------

_PLACES = (
    ("rpath of _ext.so", f"{SITE}/ctranslate2.libs"),
    ("ld.so.cache", "/etc/ld.so.cache"),
    ("default", "/usr/lib/x86_64-linux-gnu"),
)


def answer(consumer: str, soname: str, family: str, path: str | None = None, **changes: Any) -> Resolution:
    """What the loader says: present at a path, or absent after trying the usual places."""
    base: dict[str, Any] = {
        "consumer": consumer,
        "scenario": "alone",
        "requester": f"lib{consumer}.so",
        "soname": soname,
        "names": (soname,),
        "family": family,
        "role": soname.partition(".so")[0].removeprefix("lib"),
        "link": "dlopen",
        "when": "at the first convolution",
        "outcome": "present" if path else "absent",
    }
    if path:
        base |= {"path": path, "found_via": "ld-library-path", "searched": (_step(path, "found"),)}
    else:
        base |= {
            "failure": "missing",
            "reason": f"{soname}: no such file in any place searched",
            "searched": tuple(SearchStep(rule=r, path=f"{d}/{soname}", result="missing") for r, d in _PLACES),
        }
    return Resolution(**{**base, **changes})


def _step(path: str, result: str) -> SearchStep:
    return SearchStep(rule="LD_LIBRARY_PATH", path=path, result=result)


def cudnn9_names(part: str) -> tuple[str, ...]:
    return tuple(f"libcudnn_{part}.so{end}" for end in (".9.1.0", ".9.1", ".9", ""))


def ct2_cudnn9(folder: str | None, scenario: str = "alone", parts: tuple[str, ...] = CUDNN9_PARTS) -> Parts:
    """What ctranslate2 4.5.0 to 4.6.2 asks of cuDNN 9: found in a folder, or not at all."""
    rows = []
    for part in parts:
        names = cudnn9_names(part)
        rows.append(
            answer(
                "ctranslate2",
                names[2] if folder else names[0],
                "cudnn",
                f"{folder}/{names[2]}" if folder else None,
                names=names,
                role=f"cudnn_{part}",
                scenario=scenario,
                requester="libcudnn-74a4c495.so.9.1.0",
                fact="ctranslate2-cudnn9",
            )
        )
    return Parts(resolutions=tuple(rows))


def ct2_cudnn8(folder: str | None, scenario: str = "alone") -> Parts:
    """What ctranslate2 4.0 to 4.4 asks of cuDNN 8."""
    return Parts(
        resolutions=tuple(
            answer(
                "ctranslate2",
                f"libcudnn_{part}.so.8",
                "cudnn",
                f"{folder}/libcudnn_{part}.so.8" if folder else None,
                scenario=scenario,
                requester="libcudnn-463fd6d5.so.8.9.7",
                fact="ctranslate2-cudnn8",
            )
            for part in ("ops_infer", "cnn_infer")
        )
    )


def ct2_cublas(folder: str | None, scenario: str = "alone", **changes: Any) -> Parts:
    """What ctranslate2 4.x asks of cuBLAS."""
    path = f"{folder}/libcublas.so.12" if folder else None
    row = answer(
        "ctranslate2",
        "libcublas.so.12",
        "cublas",
        path,
        scenario=scenario,
        when="at the first matrix product on the GPU",
        fact="ctranslate2-cublas12",
    )
    return Parts(resolutions=(replace(row, **changes),))


def ctranslate2(version: str = "4.6.0", cuda: str | None = None) -> Parts:
    """The package itself, with the dispatch library that it bundles."""
    bundled = f"{SITE}/ctranslate2.libs/libcudnn-74a4c495.so.9.1.0"
    old = tuple(map(int, version.split("."))) < (4, 5)
    if old:
        bundled = f"{SITE}/ctranslate2.libs/libcudnn-463fd6d5.so.8.9.7"
    bundles = tuple(map(int, version.split("."))) < (4, 6, 3)
    cuda = cuda or ("12.2" if bundles else "12.8")
    release = "8.9.7" if old else "9.1.0"
    return Parts(
        distributions=(dist("ctranslate2", version),),
        builds=(build("ctranslate2", version, cuda),),
        libraries=(lib(bundled, "cudnn", release, "ctranslate2"),) if bundles else (),
    )


def torch(version: str = "2.5.1", cuda: str = "12.4", requires: tuple[str, ...] = ()) -> Parts:
    """torch with its wheels: it finds its own cuDNN and cuBLAS through its RPATH."""
    rows = tuple(
        answer("torch", name, family, f"{folder}/{name}", link="needed", when="at import", found_via="rpath")
        for name, family, folder in (
            ("libcudnn.so.9", "cudnn", CUDNN),
            ("libcublas.so.12", "cublas", CUBLAS),
            ("libcublasLt.so.12", "cublas", CUBLAS),
        )
    )
    return Parts(
        distributions=(dist("torch", version, requires),), builds=(build("torch", version, cuda),), resolutions=rows
    )


ORT_NEEDED = (
    ("libcublasLt.so.12", "cublas"),
    ("libcublas.so.12", "cublas"),
    ("libcurand.so.10", "curand"),
    ("libcufft.so.11", "cufft"),
    ("libcudart.so.12", "cudart"),
    ("libcudnn.so.9", "cudnn"),
)


def onnxruntime_gpu(version: str = "1.20.2", folder: str | None = None, cuda: str = "12.2") -> Parts:
    """onnxruntime-gpu of the CUDA 12 age: its CUDA provider links everything."""
    return Parts(
        distributions=(dist("onnxruntime-gpu", version),),
        builds=(build("onnxruntime", version, cuda, distribution="onnxruntime-gpu"),),
        resolutions=tuple(
            answer(
                "onnxruntime",
                name,
                family,
                f"{folder}/{name}" if folder else None,
                link="needed",
                when="when a session with the CUDA provider is created",
                requester="libonnxruntime_providers_cuda.so",
            )
            for name, family in ORT_NEEDED
        ),
    )


def shared(
    owners: tuple[str, ...], on_disk: str | None, count: int = 347, example: str = "onnxruntime/__init__.py"
) -> Any:
    winner = Present(on_disk) if on_disk else Unknown("the recorded sizes are equal")
    return (SharedFiles(owners=tuple(sorted(owners)), count=count, example=example, on_disk=winner),)
