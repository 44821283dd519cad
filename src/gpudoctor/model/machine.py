"""The machine as the probes read it: system, container, driver, GPUs, toolkits."""

from __future__ import annotations

from typing import Literal

from gpudoctor.model.base import Frozen
from gpudoctor.model.fact import Absent, Fact, Unknown

OperatingSystem = Literal["linux", "windows", "macos"]


class Libc(Frozen, frozen=True, kw_only=True):
    """The C library that the target interpreter runs on.

    Attributes:
        name: `glibc` or `musl`.
        version: Dotted, such as `2.36`.
    """

    name: str
    version: Fact[str]


class ContainerEngine(Frozen, frozen=True, kw_only=True):
    """Docker on this host, and which parts of the NVIDIA Container Toolkit it can use.

    Attributes:
        program: Path of `docker`.
        toolkit: Path of the toolkit's hook or runtime on the usual folders of programs. A Docker that was installed as
            a snap brings its own, and uses it once its own configuration names it.
        runtime: Program of the runtime that Docker's `daemon.json` calls `nvidia`.
        cdi: Description of the GPUs for the Container Device Interface (`/etc/cdi/nvidia.yaml`).
        desktop: File, or variable, by which this user's `docker` speaks to Docker Desktop's virtual machine.
    """

    program: str
    toolkit: Fact[str]
    runtime: Fact[str]
    cdi: Fact[str]
    desktop: Fact[str] = Absent()


class Host(Frozen, frozen=True, kw_only=True):
    """The machine as the target's processes see it.

    Attributes:
        os: Operating system family.
        machine: Processor architecture as the kernel names it (`x86_64`, `aarch64`).
        kernel: Kernel release.
        distribution: Distribution name and release.
        libc: The C library.
        container: Kind of container (`docker`, `podman`, `kubernetes`, `lxc`, …) when inside one.
        wsl: `1` or `2` inside the Windows Subsystem for Linux.
        tegra: The L4T release on a Jetson board.
        nvidia_pci: PCI addresses of NVIDIA display devices.
        device_nodes: Device files of the driver (`/dev/nvidiactl`, `/dev/nvidia0`, `/dev/nvidia-uvm`, `/dev/dxg`).
        effective_uid: User id that looked: root reads directories that a service's user cannot.
        container_engine: The container engine of this host and what it knows of GPUs; absent without one.
    """

    os: OperatingSystem
    machine: str
    kernel: Fact[str]
    distribution: Fact[str]
    libc: Fact[Libc]
    container: Fact[str]
    wsl: Fact[str]
    tegra: Fact[str]
    nvidia_pci: Fact[tuple[str, ...]]
    device_nodes: Fact[tuple[str, ...]]
    effective_uid: Fact[int]
    container_engine: Fact[ContainerEngine] = Absent()


class NvmlError(Frozen, frozen=True, kw_only=True):
    """What NVML answered instead of a value.

    Attributes:
        code: NVML's return code (18 is the driver/library mismatch, 15 a lost GPU, 4 no permission).
        message: NVML's own text.
    """

    code: int
    message: str


class DriverFile(Frozen, frozen=True, kw_only=True):
    """A library that only the driver brings, as the loader finds it for the target.

    Attributes:
        path: The path found.
        real_path: The file behind its links, whose name carries the release.
        release: Driver release in that name, such as `550.54.15`.
    """

    path: str
    real_path: str
    release: Fact[str]


class CudaDriverProbe(Frozen, frozen=True, kw_only=True):
    """What libcuda itself answered, in a child process.

    Attributes:
        init_code: Return value of cuInit (0 is success).
        driver_version: CUDA-facing version from cuDriverGetVersion, dotted.
        device_count: From cuDeviceGetCount.
    """

    init_code: Fact[int]
    driver_version: Fact[str]
    device_count: Fact[int]


class Driver(Frozen, frozen=True, kw_only=True):
    """The NVIDIA driver: kernel module, user-space files and what they say of themselves.

    Attributes:
        release: The release to judge by: assumed, else NVML's, else the kernel module's, else that of libcuda's file.
        cuda_version: Highest CUDA version this driver serves natively (dotted `12.4`).
            Not to be confused with: the CUDA runtime that a wheel brings.
        kernel_module: Release of the loaded kernel module.
        libcuda: The libcuda.so.1 that the target would load.
        libnvidia_ml: The libnvidia-ml.so.1 that the target would load.
        nvml: Driver release as NVML reports it.
        nvml_error: NVML's refusal, if it refused.
        cuda: What libcuda answered.
        assumed: True when the user named the release and nothing was asked of this machine.
    """

    release: Fact[str]
    cuda_version: Fact[str]
    kernel_module: Fact[str]
    libcuda: Fact[DriverFile]
    libnvidia_ml: Fact[DriverFile]
    nvml: Fact[str]
    nvml_error: Fact[NvmlError]
    cuda: Fact[CudaDriverProbe]
    assumed: bool = False


class MigDevice(Frozen, frozen=True, kw_only=True):
    """One MIG slice of a GPU.

    Attributes:
        uuid: Its UUID, `MIG-…`.
        memory_total_bytes: Its share of memory.
        memory_free_bytes: Free of it at the moment of the probe.
    """

    uuid: Fact[str]
    memory_total_bytes: Fact[int]
    memory_free_bytes: Fact[int] = Unknown("not asked")


class Fabric(Frozen, frozen=True, kw_only=True):
    """How far a GPU has come in joining the NVSwitch fabric of its machine.

    Attributes:
        state: NVML's word.
        status: NVML's return code of the attempt, once it is completed (0 is success).
    """

    state: Literal["not-started", "in-progress", "completed"]
    status: int


class Gpu(Frozen, frozen=True, kw_only=True):
    """One GPU as NVML describes it.

    Attributes:
        index: NVML's index (PCI bus order).
            Not to be confused with: CUDA's index, which CUDA_DEVICE_ORDER and CUDA_VISIBLE_DEVICES change.
        name: Marketing name.
        uuid: `GPU-…`.
        pci_bus_id: PCI address.
        compute_capability: Dotted, such as `8.9`.
        memory_total_bytes: Board memory.
        memory_free_bytes: Free at the moment of the probe.
        mig_enabled: Whether MIG mode is on; absent where the GPU has no MIG.
        mig_devices: The slices, when MIG is on.
        error: NVML's refusal for this GPU (15 is "lost").
        ecc_uncorrected: Uncorrectable memory errors since the driver was loaded; absent where the GPU has no ECC.
        row_remap_failed: Whether the GPU ran out of spare memory rows; absent where it has none.
        fabric: Its place in the NVSwitch fabric; absent where it belongs to none.
        assumed: True when the user named this GPU.
    """

    index: int
    name: Fact[str]
    uuid: Fact[str]
    pci_bus_id: Fact[str]
    compute_capability: Fact[str]
    memory_total_bytes: Fact[int]
    memory_free_bytes: Fact[int]
    mig_enabled: Fact[bool]
    mig_devices: tuple[MigDevice, ...] = ()
    error: Fact[NvmlError]
    ecc_uncorrected: Fact[int] = Absent()
    row_remap_failed: Fact[bool] = Absent()
    fabric: Fact[Fabric] = Absent()
    assumed: bool = False


class PlannedModel(Frozen, frozen=True, kw_only=True):
    """A model that the user means to run here, as `--model` names it.

    Attributes:
        name: Its size, as faster-whisper takes it: `large-v3`.
        compute_type: Number format; None for what the package takes by itself.
        batch_size: Segments decoded at once.
    """

    name: str
    compute_type: str | None = None
    batch_size: int = 1


class Toolkit(Frozen, frozen=True, kw_only=True):
    """A CUDA toolkit installed on the system.

    Attributes:
        directory: Its root, such as `/usr/local/cuda-12.4`.
        version: Dotted version.
        found_via: `directory` or `ld-cache`.
    """

    directory: str
    version: Fact[str]
    found_via: str
