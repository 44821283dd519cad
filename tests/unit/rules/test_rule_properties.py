"""Whatever a snapshot says, every rule answers, nothing raises, and a blind snapshot is never clean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.environment import Build, Distribution, SearchElement, Variable
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.loading import ElfFacts, Library, Resolution, SearchStep
from gpudoctor.model.machine import (
    ContainerEngine,
    CudaDriverProbe,
    Driver,
    DriverFile,
    Fabric,
    Gpu,
    Host,
    Libc,
    MigDevice,
    NvmlError,
    PlannedModel,
    Toolkit,
)
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from gpudoctor.rules.registry import RULES
from unit.rules.builders import SITE, machine, replace

MATRIX = load_matrix()

versions = st.sampled_from(
    ["", "9", "9.1.0.70", "12.4", "2.5.1+cpu", "470.57.02", "525.60.13", "abc", "1.2.3.dev0", "…"]
)
consumers = st.sampled_from(["ctranslate2", "torch", "onnxruntime", "torchcodec", "dictated"])
families = st.sampled_from(["cudnn", "cublas", "cudart", "libcuda", "nvrtc", "unheard-of", ""])
sonames = st.sampled_from(
    [
        "libcudnn_ops.so.9",
        "libcudnn_ops.so.9.1.0",
        "libcudnn_graph.so.9",
        "libcudnn.so.8",
        "libcublas.so.12",
        "libcublasLt.so.13",
        "libcuda.so.1",
        "libcudart.so.11.0",
        "libtorch_cuda.so",
        "x",
        "",
    ]
)
folders = st.sampled_from(
    [
        f"{SITE}/nvidia/cudnn/lib",
        f"{SITE}/nvidia/cu13/lib",
        "/usr/local/cuda-12.4/lib64",
        "/usr/lib",
        "/opt/a b",
        "relative",
        "",
    ]
)
names = st.sampled_from(
    [
        "ctranslate2",
        "torch",
        "onnxruntime",
        "onnxruntime-gpu",
        "nvidia-cudnn-cu12",
        "nvidia-cudnn-cu13",
        "whisperx",
        "openai-whisper",
        "pip",
    ]
)


def fact(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values.map(Present), st.just(Absent()), st.just(Unknown("could not look")))


@dataclass(frozen=True)
class _Paths:
    folder: str
    name: str

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


paths = st.builds(_Paths, folders, sonames).map(str)
optional_paths = st.none() | paths
elf = st.builds(
    ElfFacts,
    elf_class=st.sampled_from([32, 64]),
    machine=st.sampled_from(["x86_64", "aarch64", "?"]),
    soname=st.none() | sonames,
    needed=st.just(()),
    rpath=st.none(),
    runpath=st.none(),
    build_id=st.none(),
)
libraries = st.builds(
    Library,
    path=paths,
    real_path=paths,
    family=families,
    size_bytes=st.just(1),
    version=fact(versions),
    version_source=st.none(),
    owner=st.none() | names,
    elf=fact(elf),
    recorded_bytes=fact(st.integers(1, 2)),
    links=st.integers(1, 3),
)
toolkits = st.builds(
    Toolkit,
    directory=st.sampled_from(["/usr", "/", "", "/usr/local/cuda-12.4", "/opt/a b"]),
    version=fact(versions),
    found_via=st.just("directory"),
)
steps = st.builds(
    SearchStep,
    rule=st.just("rpath"),
    path=paths,
    result=st.sampled_from(["missing", "not-elf", "found", "unreadable"]),
)
resolutions = st.builds(
    Resolution,
    consumer=consumers,
    scenario=st.sampled_from(["alone", "after-torch"]),
    requester=sonames,
    soname=sonames,
    names=st.lists(sonames, max_size=3).map(tuple),
    family=families,
    role=sonames,
    link=st.sampled_from(["needed", "dlopen"]),
    when=st.sampled_from(["at import", "at the first convolution"]),
    outcome=st.sampled_from(["present", "absent", "unknown"]),
    path=optional_paths,
    failure=st.none() | st.sampled_from(["missing", "not-elf", "truncated", "undefined-symbol", "symbol-version"]),
    culprit=st.none() | sonames,
    reason=st.none() | st.just("because"),
    searched=st.lists(steps, max_size=3).map(tuple),
    shadowed=optional_paths,
    fact=st.none() | st.sampled_from([f.id for f in MATRIX.data.facts[:9]] + ["no-such-fact"]),
)
builds = st.builds(
    Build,
    package=consumers,
    distribution=names,
    version=fact(versions),
    gpu=fact(st.booleans()),
    cuda=fact(versions),
    cudnn=fact(versions),
    architectures=fact(st.sampled_from([(), ("sm_86", "compute_86"), ("sm_90a",), ("sm_x", "compute_")])),
)
capabilities = st.sampled_from(["8.6", "12.0", "6.1", "7.5", "8", "", "x.y", "99.9"])
sizes = st.sampled_from([0, 1, 4 << 30, 80 << 30])
slices = st.builds(
    MigDevice, uuid=fact(st.just("MIG-1")), memory_total_bytes=fact(sizes), memory_free_bytes=fact(sizes)
)
gpus = st.builds(
    Gpu,
    index=st.integers(0, 3),
    name=fact(st.sampled_from(["NVIDIA GeForce RTX 3090", "NVIDIA H100", "\x1b[31m", ""])),
    uuid=fact(st.sampled_from(["GPU-1", "GPU-2"])),
    pci_bus_id=fact(st.just("00000000:01:00.0")),
    compute_capability=fact(capabilities),
    memory_total_bytes=fact(sizes),
    memory_free_bytes=fact(sizes),
    mig_enabled=fact(st.booleans()),
    mig_devices=st.lists(slices, max_size=2).map(tuple),
    error=st.just(Absent()),
    ecc_uncorrected=fact(st.integers(0, 2)),
    row_remap_failed=fact(st.booleans()),
    fabric=fact(
        st.builds(Fabric, state=st.sampled_from(["not-started", "in-progress", "completed"]), status=st.integers(0, 1))
    ),
    assumed=st.booleans(),
)
planned = st.builds(
    PlannedModel,
    name=st.sampled_from(["large-v3", "medium.en", "unheard-of"]),
    compute_type=st.none() | st.sampled_from(["float16", "int8", "bfloat16", "x"]),
    batch_size=st.sampled_from([1, 8, 100]),
)
engines = st.builds(
    ContainerEngine,
    program=paths,
    toolkit=fact(paths),
    runtime=fact(paths),
    cdi=fact(paths),
)
visible = st.sampled_from(
    [None, "", "0", "7", "0,9", "GPU-1", "GPU-", "MIG-1", "MIG-GPU-1/0/0", "all", "\u0661", "," * 900]
)
distributions = st.builds(
    Distribution,
    name=names,
    version=fact(versions),
    site_dir=folders,
    metadata_path=paths,
    editable=st.none() | folders,
    requires=st.lists(st.sampled_from(["nvidia-cudnn-cu12==8.9.2.26", "onnxruntime<2", "(((", ""]), max_size=2).map(
        tuple
    ),
)
elements = st.builds(
    SearchElement,
    index=st.integers(0, 5),
    raw=st.sampled_from(["", "/opt/cuda", "~/x", "$ORIGIN", "rel", '"q"']),
    directory=st.none() | folders,
    state=st.sampled_from(["directory", "missing", "not-a-directory", "unreadable", "empty", "relative"]),
)
files = st.builds(DriverFile, path=paths, real_path=paths, release=fact(versions))
nvml_errors = st.builds(NvmlError, code=st.sampled_from([4, 9, 12, 15, 17, 18, 999, 7]), message=st.just("no"))
cuda_probes = st.builds(
    CudaDriverProbe,
    init_code=fact(st.sampled_from([0, 34, 100, 803, 999, 5])),
    driver_version=fact(versions),
    device_count=fact(st.integers(0, 2)),
)
drivers = st.builds(
    Driver,
    release=fact(versions),
    cuda_version=fact(versions),
    kernel_module=fact(versions),
    libcuda=fact(files),
    libnvidia_ml=fact(files),
    nvml=fact(versions),
    nvml_error=fact(nvml_errors),
    cuda=fact(cuda_probes),
    assumed=st.booleans(),
)
hosts = st.builds(
    Host,
    os=st.sampled_from(["linux", "windows", "macos"]),
    machine=st.sampled_from(["x86_64", "aarch64"]),
    kernel=st.just(Absent()),
    distribution=st.just(Absent()),
    libc=fact(st.builds(Libc, name=st.sampled_from(["glibc", "musl"]), version=fact(versions))),
    container=fact(st.just("docker")),
    wsl=fact(st.sampled_from(["1", "2"])),
    tegra=fact(st.just("36.3.0")),
    nvidia_pci=fact(st.sampled_from([(), ("0000:01:00.0",)])),
    device_nodes=fact(st.sampled_from([(), ("/dev/dxg",), ("/dev/nvidia0",)])),
    effective_uid=st.just(Absent()),
    container_engine=fact(engines),
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    usual = machine()
    interpreter = usual.interpreter.value  # type: ignore[union-attr]
    odd = replace(
        interpreter,
        path_unknowns=draw(st.sampled_from([(), ("x.pth",)])),
        secure_execution=draw(fact(st.booleans())),
        site_dirs=draw(st.sampled_from([(), (SITE,)])),
    )
    value = draw(st.sampled_from([None, "", ":", "/opt/cuda"]))
    return replace(
        usual,
        host=draw(hosts),
        driver=draw(drivers),
        gpus=draw(fact(st.lists(gpus, max_size=3).map(tuple))),
        models=tuple(draw(st.lists(planned, max_size=2))),
        redacted=draw(st.booleans()),
        ffmpeg=draw(fact(paths)),
        toolkits=draw(fact(st.lists(toolkits, max_size=3).map(tuple))),
        interpreter=draw(st.sampled_from([Present(odd), Absent(), Unknown("no")])),
        distributions=tuple(draw(st.lists(distributions, max_size=4))),
        builds=tuple(draw(st.lists(builds, max_size=3))),
        variables=tuple(
            Variable(name=name, value=text)
            for name, text in (("LD_LIBRARY_PATH", value), ("CUDA_VISIBLE_DEVICES", draw(visible)))
            if text is not None
        ),
        search_elements=tuple(draw(st.lists(elements, max_size=3))),
        libraries=tuple(draw(st.lists(libraries, max_size=6))),
        resolutions=tuple(draw(st.lists(resolutions, max_size=8))),
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(snapshots())
def test_every_rule_answers_any_snapshot(snapshot: Snapshot) -> None:
    verdict = judge(snapshot, MATRIX)
    assert set(verdict.evaluations) == {r.id for r in RULES}
    assert all(verdict.evaluations.values())
    assert [(f.message, f.evidence) for f in verdict.findings if f.rule == "GPD901"] == []
    for finding in verdict.findings:
        assert (finding.cause is None) == (finding.reason is not None), finding
        assert "None" not in finding.message
        assert len(finding.message) < 900


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(snapshots())
def test_a_snapshot_file_is_judged_as_the_snapshot_itself(snapshot: Snapshot) -> None:
    copy = msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot)
    assert judge(copy, MATRIX) == judge(snapshot, MATRIX)


@settings(max_examples=60, deadline=None)
@given(st.lists(consumers, min_size=1, max_size=3), st.sampled_from(["linux", "windows", "macos"]))
def test_what_nobody_could_look_at_is_never_clean(packages: list[str], os: str) -> None:
    blind = Unknown("could not look")
    usual = machine()
    unseen = replace(
        usual,
        host=replace(usual.host, os=os, libc=blind, nvidia_pci=blind, device_nodes=blind, wsl=blind, container=blind),
        driver=Driver(
            **{f: blind for f in Driver.__struct_fields__ if f != "assumed"},
        ),
        gpus=blind,
        builds=tuple(
            Build(package=p, distribution=p, version=blind, gpu=blind, cuda=blind, cudnn=blind, architectures=blind)
            for p in packages
        ),
    )
    verdict = judge(unseen, MATRIX)
    assert [f for f in verdict.findings if f.rule != "GPD102"] == []  # macOS has no NVIDIA driver whatever one sees
    assert {"GPD104", "GPD201", "GPD601"} <= {q.rule for q in verdict.open}
