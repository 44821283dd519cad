from __future__ import annotations

from pathlib import Path

import pytest

from fakehw.build import build
from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.machine import CudaDriverProbe, DriverFile
from gpudoctor.probes.driver import (
    PROC_VERSION,
    SYS_VERSION,
    assemble_driver,
    assume_driver,
    parse_nvrm_version,
    probe_driver_file,
    probe_kernel_module,
)
from gpudoctor.probes.gpus import assume_gpu
from gpudoctor.probes.nvml import NvmlAnswer, finish_nvml, nvml_not_asked, start_nvml
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.real import RealSystem

PROPRIETARY = """\
NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""
OPEN = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build  (dvs-builder@U16-I2)  Thu Jan 23
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""
NOT_ASKED: Fact[CudaDriverProbe] = Unknown("not asked")


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (PROPRIETARY, "550.54.15"),
        (OPEN, "570.86.10"),
        ("NVRM version: NVIDIA UNIX aarch64 Kernel Module  535.129.03  Thu\n", "535.129.03"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  390.157  Wed\n", "390.157"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03", "535.54.03"),
        ("GCC version:  gcc version 120.2.0 (Debian)\n", None),
        ("NVRM version: something else entirely\n", None),
        ("", None),
    ],
)
def test_the_kernel_modules_wordings(text: str, release: str | None) -> None:
    assert parse_nvrm_version(text) == release


def test_the_kernel_module_is_read_from_proc_first() -> None:
    assert probe_kernel_module(MemorySystem({PROC_VERSION: OPEN, SYS_VERSION: "1.2\n"})) == Present("570.86.10")


@pytest.mark.parametrize("proc", [None, "a wording of the future\n"])
def test_the_kernel_module_is_read_from_sys_else(proc: str | None) -> None:
    files = {SYS_VERSION: "560.28.03\n"} | ({PROC_VERSION: proc} if proc else {})

    assert probe_kernel_module(MemorySystem(files)) == Present("560.28.03")


def test_no_kernel_module_is_absent() -> None:
    assert probe_kernel_module(MemorySystem()) == Absent((PROC_VERSION, SYS_VERSION))


@pytest.mark.parametrize(
    "system",
    [
        MemorySystem({PROC_VERSION: PROPRIETARY}, unreadable=[PROC_VERSION]),
        MemorySystem({PROC_VERSION: "nothing to read here"}),
        MemorySystem(fifos=[PROC_VERSION]),
        MemorySystem({PROC_VERSION: PROPRIETARY}, os_name="windows"),
    ],
)
def test_a_kernel_module_that_cannot_be_read_is_unknown(system: MemorySystem) -> None:
    assert isinstance(probe_kernel_module(system), Unknown)


@pytest.mark.parametrize(
    ("real_name", "release"),
    [
        ("libcuda.so.550.54.15", Present("550.54.15")),
        ("libnvidia-ml.so.535.54.03", Present("535.54.03")),
        ("libcuda.so.1.1", None),  # WSL, Jetson
        ("libcuda.so.1", None),
        ("libcuda.so", None),
    ],
)
def test_the_release_in_a_files_name(real_name: str, release: Present[str] | None) -> None:
    system = MemorySystem({f"/drv/{real_name}": "x"}, links={"/lib/libx.so.1": f"../drv/{real_name}"})

    found = probe_driver_file(system, "/lib/libx.so.1")

    assert (found.path, found.real_path) == ("/lib/libx.so.1", f"/drv/{real_name}")
    assert found.release == release or (release is None and isinstance(found.release, Unknown))


def driver_file(release: str | None) -> Fact[DriverFile]:
    known: Fact[str] = Present(release) if release else Unknown("no release")
    return Present(DriverFile(path="/l/libcuda.so.1", real_path="/l/libcuda.so", release=known))


def said(release: str) -> NvmlAnswer:
    silent = nvml_not_asked("no")
    return NvmlAnswer(
        release=Present(release), cuda_version=Present("12.4"), error=Absent(), gpus=silent.gpus, report=silent.report
    )


@pytest.mark.parametrize(
    ("nvml", "module", "file", "expected"),
    [
        (said("550.1"), Present("551.2"), driver_file("552.3"), Present("550.1")),
        (nvml_not_asked("no"), Present("551.2"), driver_file("552.3"), Present("551.2")),
        (nvml_not_asked("no"), Absent(("proc",)), driver_file("552.3"), Present("552.3")),
        (nvml_not_asked("no"), Absent(("proc",)), Absent(("cache",)), Absent(("proc", "cache"))),
        (nvml_not_asked("no"), Absent(("proc",)), driver_file(None), Unknown("no; no release")),
        (nvml_not_asked("no"), Absent(("proc",)), Unknown("musl"), Unknown("no; musl")),
        (nvml_not_asked("no"), Unknown("EACCES"), Absent(("cache",)), Unknown("no; EACCES")),
    ],
)
def test_the_release_to_judge_by(
    nvml: NvmlAnswer, module: Fact[str], file: Fact[DriverFile], expected: Fact[str]
) -> None:
    driver = assemble_driver(kernel_module=module, libcuda=file, libnvidia_ml=Absent(), nvml=nvml, cuda=NOT_ASKED)

    assert driver.release == expected
    assert not driver.assumed


def test_the_cuda_version_comes_from_libcuda_when_nvml_is_silent() -> None:
    cuda: Fact[CudaDriverProbe] = Present(
        CudaDriverProbe(init_code=Present(803), driver_version=Present("12.8"), device_count=Unknown("x"))
    )
    parts = {"kernel_module": Absent(), "libcuda": driver_file("570.86.10"), "libnvidia_ml": Absent(), "cuda": cuda}

    assert assemble_driver(nvml=nvml_not_asked("no"), **parts).cuda_version == Present("12.8")  # type: ignore[arg-type]
    assert assemble_driver(nvml=said("550.1"), **parts).cuda_version == Present("12.4")  # type: ignore[arg-type]


def test_without_a_driver_there_is_no_cuda_version() -> None:
    driver = assemble_driver(
        kernel_module=Absent(("proc",)),
        libcuda=Absent(("cache",)),
        libnvidia_ml=Absent(),
        nvml=nvml_not_asked("no"),
        cuda=NOT_ASKED,
    )

    assert driver.cuda_version == Absent(("proc", "cache"))


def test_a_mismatch_shows_in_three_places(tmp_path: Path) -> None:
    # An upgrade without a reboot: the old module is loaded, the new files lie on disk, NVML refuses with 18.
    fake = build(tmp_path / "driver", nvml_release="550.90.07", cuda_release="550.90.07")
    module = probe_kernel_module(MemorySystem({PROC_VERSION: PROPRIETARY}))
    system = RealSystem()

    driver = assemble_driver(
        kernel_module=module,
        libcuda=Present(probe_driver_file(system, str(fake.libcuda))),
        libnvidia_ml=Present(probe_driver_file(system, str(fake.libnvidia_ml))),
        nvml=finish_nvml(start_nvml(system, fake.environment("nvmlInit = 18\n"), 60.0)),
        cuda=NOT_ASKED,
    )

    assert driver.kernel_module == Present("550.54.15")
    assert isinstance(driver.libcuda, Present)
    assert isinstance(driver.libnvidia_ml, Present)
    assert driver.libcuda.value.release == driver.libnvidia_ml.value.release == Present("550.90.07")
    assert isinstance(driver.nvml_error, Present)
    assert driver.nvml_error.value.code == 18
    assert driver.release == Present("550.54.15"), "what runs is the module"


def test_an_assumed_driver() -> None:
    driver = assume_driver("535.54.03", "12.2")

    assert (driver.release, driver.cuda_version) == (Present("535.54.03"), Present("12.2"))
    assert driver.assumed
    assert isinstance(driver.kernel_module, Unknown)
    assert isinstance(assume_driver("999").cuda_version, Unknown)


@pytest.mark.parametrize(
    "release", ["", "latest", "550.", "550.54.15-1", "12.4", "v550.54", "550 .54", "-550", "\uff15\uff15\uff10"]
)
def test_an_assumed_driver_that_is_none(release: str) -> None:
    with pytest.raises(UsageError, match=r"550\.54\.15"):
        assume_driver(release)


def test_an_assumed_gpu() -> None:
    gpu = assume_gpu(0, "8.9", "NVIDIA L4", 24_000_000_000)

    assert (gpu.name, gpu.compute_capability) == (Present("NVIDIA L4"), Present("8.9"))
    assert gpu.memory_total_bytes == Present(24_000_000_000)
    assert gpu.assumed
    assert isinstance(assume_gpu(1, "12.0").name, Unknown)


@pytest.mark.parametrize("capability", ["", "89", "8.9.1", "sm_89", "RTX 4090", "\uff18.\uff19"])
def test_an_assumed_gpu_that_is_none(capability: str) -> None:
    with pytest.raises(UsageError):
        assume_gpu(0, capability)
