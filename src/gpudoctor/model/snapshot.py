"""The snapshot: everything the probes learnt about a machine and one Python environment.

It is immutable, it is one JSON file, and it is all that rules see: a snapshot taken on one machine is judged the same
way on any other. Paths are those of the machine it was taken on (after redaction: with the home folder masked).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.model.fact import Absent, Fact, Unknown

SNAPSHOT_SCHEMA_VERSION = 1

OperatingSystem = Literal["linux", "windows", "macos"]
Scenario = Literal["alone", "after-torch"]
Outcome = Literal["present", "absent", "unknown"]
Link = Literal["needed", "dlopen"]
FoundVia = Literal[
    "already-loaded",
    "rpath",
    "ld-library-path",
    "runpath",
    "ld-cache",
    "default",
    "absolute",
    "preload",
]
Failure = Literal[
    "missing",
    "not-elf",
    "truncated",
    "not-regular",
    "unloadable",
    "symbol-version",
    "undefined-symbol",
    "exec-stack",
]


class Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all snapshot parts: immutable, named fields only, strict when decoded."""


# --- the machine -----------------------------------------------------------------------------------------------------


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


# --- the environment -------------------------------------------------------------------------------------------------


class Variable(Frozen, frozen=True, kw_only=True):
    """One environment variable of the allow-list.

    Attributes:
        name: Its name.
        value: Its value; empty is not the same as unset.
        source: `process`, or the option that set it.
    """

    name: str
    value: str
    source: str = "process"


class SearchElement(Frozen, frozen=True, kw_only=True):
    """One element of LD_LIBRARY_PATH, as the loader reads it.

    Attributes:
        index: Position, from 0.
        raw: As written.
        directory: After expansion; relative ones joined to the working directory. None for what cannot be expanded.
        state: What is there. `empty` and `relative` mean the working directory of the process decides.
        libraries: File names of GPU libraries in it.
    """

    index: int
    raw: str
    directory: str | None
    state: Literal["directory", "missing", "not-a-directory", "unreadable", "empty", "relative"]
    libraries: tuple[str, ...] = ()


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


class Interpreter(Frozen, frozen=True, kw_only=True):
    """The target interpreter, read from disk and never started.

    Attributes:
        executable: The path that starts it.
        real_executable: The file behind its links.
        prefix: The environment's root.
        base_prefix: The installation that the environment was made from (equal to prefix outside a venv).
        version: Python version.
        kind: What made it.
        site_dirs: Folders on sys.path that can hold distributions, in sys.path order, `.pth` and overlays included.
        path_unknowns: Why sys.path may hold more than site_dirs (import lines in `.pth` files, unreadable folders);
            not empty means that an absence is Unknown.
        elf_interpreter: PT_INTERP of the executable.
        secure_execution: True when set-user-id or file capabilities make the loader ignore LD_LIBRARY_PATH.
    """

    executable: str
    real_executable: str
    prefix: str
    base_prefix: str
    version: Fact[str]
    kind: Literal["venv", "conda", "system", "uv-overlay", "virtualenv"]
    site_dirs: tuple[str, ...]
    path_unknowns: tuple[str, ...] = ()
    elf_interpreter: Fact[str]
    secure_execution: Fact[bool]


class Distribution(Frozen, frozen=True, kw_only=True):
    """One installed distribution.

    Attributes:
        name: Canonical name (PEP 503).
        version: Version, local part included.
        site_dir: The folder that holds it.
        metadata_path: Its `.dist-info` or `.egg-info`.
        editable: Project folder of an editable install.
        requires: Requires-Dist lines on GPU packages (the pins that matter), as written.
    """

    name: str
    version: Fact[str]
    site_dir: str
    metadata_path: str
    editable: str | None = None
    requires: tuple[str, ...] = ()


class SharedFiles(Frozen, frozen=True, kw_only=True):
    """Files that two or more installed distributions both claim.

    Attributes:
        owners: Canonical names, sorted.
        count: How many files they share.
        example: One of the shared paths.
        on_disk: Owner whose recorded size or digest matches what is on disk, where one can be told.
    """

    owners: tuple[str, ...]
    count: int
    example: str
    on_disk: Fact[str]


class Build(Frozen, frozen=True, kw_only=True):
    """What a package's own files say about how it was built.

    Attributes:
        package: Import name of the consumer (`torch`, `ctranslate2`, `onnxruntime`, …).
        distribution: Distribution that owns it.
        version: Version from its files.
        gpu: Whether this build has GPU code at all.
        cuda: CUDA version of the build.
        cudnn: cuDNN version that it bundles, links or pins.
        architectures: GPU code in the build (`sm_80`, `compute_90`).
    """

    package: str
    distribution: str
    version: Fact[str]
    gpu: Fact[bool]
    cuda: Fact[str]
    cudnn: Fact[str]
    architectures: Fact[tuple[str, ...]]


# --- libraries -------------------------------------------------------------------------------------------------------


class ElfFacts(Frozen, frozen=True, kw_only=True):
    """Header and dynamic section of one shared object.

    Attributes:
        elf_class: 32 or 64.
        machine: Architecture name.
        soname: DT_SONAME.
        needed: DT_NEEDED in order.
        rpath: DT_RPATH.
        runpath: DT_RUNPATH.
        build_id: GNU build id, hexadecimal.
    """

    elf_class: int
    machine: str
    soname: str | None
    needed: tuple[str, ...]
    rpath: str | None
    runpath: str | None
    build_id: str | None


class Library(Frozen, frozen=True, kw_only=True):
    """A GPU library file, loaded by somebody or merely lying about.

    Attributes:
        path: The path as the loader would open it.
        real_path: The file behind its links.
        family: `cudnn`, `cublas`, `cudart`, `nvrtc`, ….
        size_bytes: Size of the file.
        version: Its version, as closely as files tell.
        version_source: Where that came from: `file-name`, `distribution`, or `directory`.
        owner: Canonical name of the distribution that installed it.
        elf: What its header says.
        recorded_bytes: Size that its owner recorded when it was installed; absent where it recorded none.
        links: Names that a file has whose size is not the recorded one: an installer that links from its cache gives
            one file to many environments. Not counted (1) for all others.
    """

    path: str
    real_path: str
    family: str
    size_bytes: int
    version: Fact[str]
    version_source: str | None
    owner: str | None
    elf: Fact[ElfFacts]
    recorded_bytes: Fact[int] = Absent()
    links: int = 1


class SearchStep(Frozen, frozen=True, kw_only=True):
    """One place the loader tried.

    Attributes:
        rule: The search rule, with its owner where several have one (`rpath of _ext.so`).
        path: The file tried.
        result: `found`, `missing`, `wrong-machine`, `wrong-class`, `not-elf`, `unreadable`, ….
    """

    rule: str
    path: str
    result: str


class Resolution(Frozen, frozen=True, kw_only=True):
    """What the loader will answer when one consumer asks for one library.

    Attributes:
        consumer: Who asks (`ctranslate2`, `torch`, `onnxruntime`, a binary's name).
        scenario: In a process of its own, or after torch was imported.
        requester: File name of the object on whose behalf it is opened.
        soname: The name that decides: the one that was found, or the first one tried.
        names: Every name the requester tries, in order.
        family: Library family.
        role: Stable name of this opening within the consumer (`cudnn_ops`); the same in every environment.
        link: `needed` (DT_NEEDED) or `dlopen` (by name, while running).
        when: When it is opened, in words (`at import`, `at the first convolution`).
        outcome: Whether it will load.
        path: The file.
        found_via: The search rule that chose it.
        failure: Why it will not load.
        culprit: The SONAME really at fault when that is a dependency (`libcublasLt.so.12`).
        reason: One clause for people.
        searched: Every place tried, in order.
        shadowed: The file that would be loaded with LD_LIBRARY_PATH unset, when that is another file.
        fact: Id of the matrix fact that says that this consumer opens it, if one does.
        assumed: True when no more than a name in the requester's file says that it is opened: it may be one of several
            ways, or never happen.
    """

    consumer: str
    scenario: Scenario
    requester: str
    soname: str
    names: tuple[str, ...]
    family: str
    role: str
    link: Link
    when: str
    outcome: Outcome
    path: str | None = None
    found_via: FoundVia | None = None
    failure: Failure | None = None
    culprit: str | None = None
    reason: str | None = None
    searched: tuple[SearchStep, ...] = ()
    shadowed: str | None = None
    fact: str | None = None
    assumed: bool = False


class ImportFault(Frozen, frozen=True, kw_only=True):
    """Why importing a consumer fails, where no GPU library is at fault.

    Attributes:
        consumer: Import name.
        scenario: In a process of its own, or after torch was imported.
        file: The file of the consumer that was to be loaded.
        failure: What the loader says.
        culprit: The library at fault: the one that is missing, or that lacks a symbol version.
        reason: One clause for people.
        group: Name of the alternatives of which none loads; None for a file that has no alternative.
        doubt: Why the culprit may be found all the same, where a place could not be searched.
        searched: Every place tried for the culprit, in order.
    """

    consumer: str
    scenario: Scenario
    file: str
    failure: Failure
    culprit: str
    reason: str
    group: str | None = None
    doubt: str | None = None
    searched: tuple[SearchStep, ...] = ()


class ProbeReport(Frozen, frozen=True, kw_only=True):
    """How one probe went.

    Attributes:
        probe: Its name.
        status: Whether it could look.
        detail: Why not, when it could not.
    """

    probe: str
    status: Literal["ok", "skipped", "timeout", "crashed", "failed"]
    detail: str | None = None


class Snapshot(Frozen, frozen=True, kw_only=True):
    """All facts about one machine and one environment at one moment.

    Attributes:
        schema_version: Version of this document's shape.
        tool_version: gpudoctor's version that took it.
        taken_at: UTC time, ISO 8601.
        redacted: Whether home folders, user and host names and serial numbers were masked.
        host: The machine.
        driver: The NVIDIA driver.
        gpus: The GPUs, when the driver could be asked.
        interpreter: The target interpreter; absent when only a binary is judged.
        distributions: Installed distributions in sys.path order; the first of a name is the one imported.
        shared_files: Files that several distributions claim.
        builds: How GPU packages were built.
        variables: Environment variables that matter, as the judged process will have them.
        search_elements: LD_LIBRARY_PATH taken apart.
        toolkits: CUDA toolkits of the system.
        libraries: GPU library files: the loaded ones, and those nobody will load.
        resolutions: The loader's answers.
        probes: How the probing went.
        import_faults: Consumers whose import fails for want of something that is no GPU library.
        models: Models that are meant to run at the same time, with `--model`.
        ffmpeg: The program ffmpeg, by the PATH of the judged process; not asked for in older snapshots.
        binary: The native program, library or folder that is judged, with `--binary`.
    """

    schema_version: int
    tool_version: str
    taken_at: str
    redacted: bool
    host: Host
    driver: Driver
    gpus: Fact[tuple[Gpu, ...]]
    interpreter: Fact[Interpreter]
    distributions: tuple[Distribution, ...]
    shared_files: tuple[SharedFiles, ...]
    builds: tuple[Build, ...]
    variables: tuple[Variable, ...]
    search_elements: tuple[SearchElement, ...]
    toolkits: Fact[tuple[Toolkit, ...]]
    libraries: tuple[Library, ...]
    resolutions: tuple[Resolution, ...]
    probes: tuple[ProbeReport, ...]
    models: tuple[PlannedModel, ...] = ()
    import_faults: tuple[ImportFault, ...] = ()
    ffmpeg: Fact[str] = Unknown("not looked for")
    binary: str | None = None

    def distribution(self, name: str) -> Distribution | None:
        """Return the distribution that `import` would use, by canonical name."""
        return next((d for d in self.distributions if d.name == name), None)

    def build(self, package: str) -> Build | None:
        """Return the build facts of a package, by import name."""
        return next((b for b in self.builds if b.package == package), None)

    def library(self, path: str | None) -> Library | None:
        """Return the library file at a path."""
        return next((x for x in self.libraries if x.path == path), None)

    def variable(self, name: str) -> str | None:
        """Return the value of a recorded environment variable; None when unset."""
        return next((v.value for v in self.variables if v.name == name), None)
