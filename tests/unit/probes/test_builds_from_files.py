from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from gpudoctor.model.environment import Build, SharedFiles
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.probes.builds import probe_builds
from gpudoctor.probes.distributions import probe_distributions
from gpudoctor.probes.gpu_code import has_gpu_code, read_architectures
from gpudoctor.system.real import RealSystem
from support.envtrees import OtherSystem, dist_info, write
from support.trees import Workshop

VERSION_PY = """from typing import Optional
__version__ = '{version}'
debug = False
cuda: Optional[str] = {cuda!r}
hip: Optional[str] = {hip!r}
"""


def probe(site: Path, system: RealSystem | None = None, shared: tuple[SharedFiles, ...] = ()) -> dict[str, Build]:
    system = system or RealSystem()
    found = probe_builds(system, (str(site),), probe_distributions(system, (str(site),)), shared)
    return {b.package: b for b in found}


def fatbin(*images: tuple[int, int]) -> bytes:
    """One container as nvcc writes them: (kind, architecture) per image."""
    payload = b"\x7fELF code"
    body = b"".join(
        struct.pack("<HHIQIIII", kind, 0x101, 64, len(payload), 0, 0, 0, arch).ljust(64, b"\0") + payload
        for kind, arch in images
    )
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def compile_library(path: Path, gpu_code: bytes = b"", text: str = "", link: tuple[str, ...] = ()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = ",".join(str(b) for b in gpu_code)
    section = f'__attribute__((section(".nv_fatbin"), used)) static const unsigned char code[] = {{{numbers}}};\n'
    source = (section if gpu_code else "") + f'const char *flags(void) {{ return "{text}"; }}\n'
    needed = []
    for name in link:
        stub = path.parent / "stubs" / name
        stub.parent.mkdir(exist_ok=True)
        subprocess.run(["gcc", "-shared", "-xc", "/dev/null", f"-Wl,-soname,{name}", "-o", stub], check=True)
        needed.append(str(stub))
    argv = ["gcc", "-shared", "-fPIC", "-xc", "-", "-xnone", "-Wl,--no-as-needed", *needed, "-o", str(path)]
    subprocess.run(argv, input=source.encode(), check=True)
    return path


def torch(site: Path, version: str, cuda: str | None, hip: str | None = None) -> None:
    write(site / "torch/__init__.py", "raise SystemExit('executed')")
    write(site / "torch/version.py", VERSION_PY.format(version=version, cuda=cuda, hip=hip))


def test_torch_for_cuda(tmp_path: Path) -> None:
    torch(tmp_path, "2.5.1+cu124", "12.4")
    dist_info(tmp_path, "torch", "2.5.1", ('nvidia-cudnn-cu12 (==9.1.0.70) ; platform_system == "Linux"',))
    compile_library(tmp_path / "torch/lib/libtorch_python.so", text="sm_50 sm_90 compute_90")
    write(tmp_path / "torch/lib/libtorch_cuda.so")
    build = probe(tmp_path)["torch"]
    assert build.version == Present("2.5.1+cu124")
    assert (build.gpu, build.cuda, build.cudnn) == (Present(value=True), Present("12.4"), Present("9.1.0.70"))
    assert build.architectures == Present(("sm_50", "sm_90", "compute_90"))


def test_torch_whose_list_stands_right_behind_other_text(tmp_path: Path) -> None:
    """As in torch 2.8.0: `…std::string ipc_h` and the list, without a zero between."""
    torch(tmp_path, "2.8.0+cu128", "12.8")
    compile_library(tmp_path / "torch/lib/libtorch_python.so", text="std::string ipc_hsm_70 sm_75 sm_120")
    write(tmp_path / "torch/lib/libtorch_cuda.so")
    build = probe(tmp_path)["torch"]
    assert build.architectures == Present(("sm_70", "sm_75", "sm_120"))


def test_torch_without_gpu_code(tmp_path: Path) -> None:
    torch(tmp_path, "2.8.0+cpu", None)
    build = probe(tmp_path)["torch"]
    assert build.gpu == Present(value=False)
    assert (type(build.cuda), type(build.cudnn), type(build.architectures)) == (Absent, Absent, Absent)


def test_torch_for_rocm_has_gpu_code_but_no_cuda(tmp_path: Path) -> None:
    torch(tmp_path, "2.8.0+rocm6.4", None, "6.4")
    build = probe(tmp_path)["torch"]
    assert (build.gpu, type(build.cuda)) == (Present(value=True), Absent)


@pytest.mark.parametrize("source", ["x = (", "", "(" * 100_000, "-" * 100_000 + "1", "\0", "a" * (1 << 20)])
def test_torch_whose_version_file_says_nothing(tmp_path: Path, source: str) -> None:
    write(tmp_path / "torch/version.py", source)
    dist_info(tmp_path, "torch", "2.5.1")
    build = probe(tmp_path)["torch"]
    assert build.version == Present("2.5.1")
    assert isinstance(build.gpu, Unknown)


def test_distribution_without_files(tmp_path: Path) -> None:
    dist_info(tmp_path, "torch", "2.5.1")
    build = probe(tmp_path)["torch"]
    assert (build.version, type(build.gpu)) == (Present("2.5.1"), Unknown)


def ctranslate2(site: Path, version: str, gpu_code: bytes, shim: str | None = None) -> Build:
    write(site / "ctranslate2/__init__.py")
    write(site / "ctranslate2/version.py", f'"""Version."""\n__version__ = "{version}"\n')
    compile_library(site / f"ctranslate2.libs/libctranslate2-0123abcd.so.{version}", gpu_code)
    if shim:
        write(site / f"ctranslate2.libs/libcudnn-74a4c495.so.{shim}")
    return probe(site)["ctranslate2"]


def test_ctranslate2_with_bundled_shim(tmp_path: Path) -> None:
    build = ctranslate2(tmp_path, "4.6.0", fatbin((2, 80), (2, 70), (1, 86)) * 2, "9.1.0")
    assert (build.version, build.gpu, build.cudnn) == (Present("4.6.0"), Present(value=True), Present("9.1.0"))
    assert build.architectures == Present(("sm_70", "sm_80", "compute_86"))
    assert isinstance(build.cuda, Unknown)


def test_ctranslate2_that_needs_no_cudnn(tmp_path: Path) -> None:
    assert isinstance(ctranslate2(tmp_path, "4.8.5", fatbin((2, 80))).cudnn, Absent)


def test_ctranslate2_without_gpu_code_as_on_aarch64(tmp_path: Path) -> None:
    build = ctranslate2(tmp_path, "4.6.0", b"")
    assert build.gpu == Present(value=False)
    assert isinstance(build.architectures, Absent)


def test_ctranslate2_on_macos(tmp_path: Path) -> None:
    write(tmp_path / "ctranslate2/__init__.py")
    assert probe(tmp_path, OtherSystem(os_name="macos"))["ctranslate2"].gpu == Present(value=False)


def onnxruntime(site: Path, info: str | None = None) -> None:
    write(site / "onnxruntime/__init__.py", '__version__ = "1.20.2"\nraise SystemExit("executed")\n')
    compile_library(
        site / "onnxruntime/capi/libonnxruntime_providers_cuda.so",
        fatbin((2, 90)),
        link=("libcudnn.so.9", "libcudart.so.12"),
    )
    if info:
        write(site / "onnxruntime/capi/build_and_package_info.py", info)


def test_onnxruntime_by_what_its_provider_links(tmp_path: Path) -> None:
    onnxruntime(tmp_path)
    dist_info(tmp_path, "onnxruntime-gpu", "1.20.2")
    build = probe(tmp_path)["onnxruntime"]
    assert (build.distribution, build.version) == ("onnxruntime-gpu", Present("1.20.2"))
    assert (build.gpu, build.cuda, build.cudnn) == (Present(value=True), Present("12"), Present("9"))
    assert build.architectures == Present(("sm_90",))


def test_onnxruntime_by_its_build_file(tmp_path: Path) -> None:
    onnxruntime(tmp_path, "package_name = 'onnxruntime-gpu'\n__version__ = '1.31.1'\ncuda_version = '13.0'\n")
    dist_info(tmp_path, "onnxruntime-gpu", "1.31.1")
    build = probe(tmp_path)["onnxruntime"]
    assert (build.version, build.cuda) == (Present("1.31.1"), Present("13.0"))


def test_cpu_onnxruntime_installed_over_the_gpu_one(tmp_path: Path) -> None:
    onnxruntime(tmp_path)
    dist_info(tmp_path, "onnxruntime-gpu", "1.20.2")
    dist_info(tmp_path, "onnxruntime", "1.20.1")
    owners = ("onnxruntime", "onnxruntime-gpu")
    for on_disk, gpu in (("onnxruntime", False), ("onnxruntime-gpu", True)):
        shared = SharedFiles(owners=owners, count=1, example="x", on_disk=Present(on_disk))
        build = probe(tmp_path, shared=(shared,))["onnxruntime"]
        assert (build.distribution, build.gpu) == (on_disk, Present(value=gpu))


@pytest.mark.parametrize(
    ("version", "gpu", "cuda"),
    [
        ("2.8.0+cpu", Present(value=False), Absent),
        ("2.8.0+cu128", Present(value=True), "12.8"),
        ("2.5.1+cu92", Present(value=True), "9.2"),
        ("2.5.1", Unknown("its version carries no build tag, and it has no library that would tell"), Unknown),
    ],
)
def test_torchaudio_by_its_tag(tmp_path: Path, version: str, gpu: object, cuda: object) -> None:
    write(tmp_path / "torchaudio/__init__.py")
    write(tmp_path / "torchaudio/version.py", f"__version__ = '{version}'\n")
    build = probe(tmp_path)["torchaudio"]
    assert (build.version, build.gpu) == (Present(version), gpu)
    assert build.cuda == Present(cuda) if isinstance(cuda, str) else type(build.cuda) is cuda


@pytest.mark.parametrize(
    ("at", "needed", "gpu", "cuda"),
    [
        ("torchaudio/lib/_torchaudio.abi3.so", ("libcudart.so.13",), True, Present("13")),
        ("torchaudio/lib/_torchaudio.so", ("libc10.so",), False, Absent(())),
        ("torchvision/_C.so", ("libcudart.so.12",), True, Present("12")),
        ("torchcodec/libtorchcodec_core7.so", ("libavutil.so.59",), False, Absent(())),
        ("torchcodec/libtorchcodec4.so", ("libcudart.so.12",), True, Present("12")),
    ],
)
def test_a_build_without_a_tag_by_what_it_links(
    tmp_path: Path, at: str, needed: tuple[str, ...], gpu: bool, cuda: object
) -> None:
    name = at.partition("/")[0]
    write(tmp_path / name / "__init__.py")
    write(tmp_path / name / "version.py", "__version__ = '2.5.1'\n")
    workshop = Workshop(tmp_path / "workshop")
    (tmp_path / at).parent.mkdir(exist_ok=True)
    shutil.copyfile(workshop.library(needed=needed), tmp_path / at)
    build = probe(tmp_path)[name]
    assert (build.gpu, build.cuda) == (Present(value=gpu), cuda)


def test_an_unreadable_library_leaves_the_build_unknown(tmp_path: Path) -> None:
    write(tmp_path / "torchvision/__init__.py")
    write(tmp_path / "torchvision/version.py", "__version__ = '0.20.1'\n")
    write(tmp_path / "torchvision/_C.so", b"no library")
    build = probe(tmp_path)["torchvision"]
    assert (type(build.gpu), type(build.cuda)) == (Unknown, Unknown)


def test_pure_packages_have_no_gpu_facts(tmp_path: Path) -> None:
    write(tmp_path / "faster_whisper/version.py", '__version__ = "1.1.0"\n')
    write(tmp_path / "pyannote/audio/__init__.py")
    dist_info(tmp_path, "pyannote.audio", "3.3.2")
    found = probe(tmp_path)
    assert (found["faster_whisper"].version, found["faster_whisper"].gpu) == (Present("1.1.0"), Absent())
    assert (found["pyannote.audio"].version, found["pyannote.audio"].distribution) == (
        Present("3.3.2"),
        "pyannote-audio",
    )


def test_nothing_installed(tmp_path: Path) -> None:
    assert probe(tmp_path) == {}


@pytest.mark.parametrize(
    "code",
    [
        struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 1 << 63),  # a size beyond the file
        struct.pack("<IHHQ", 0xBA55ED50, 1, 0, 0) * 1000,  # no progress
        b"\0" * 100_000,
        struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 1 << 20) + b"\0" * 4096,
    ],
)
def test_broken_gpu_code_ends_as_unknown(tmp_path: Path, code: bytes) -> None:
    library = compile_library(tmp_path / "x.so", code)
    assert has_gpu_code(RealSystem(), str(library)) == Present(value=True)
    assert isinstance(read_architectures(RealSystem(), str(library)), Unknown)


@pytest.mark.parametrize("offset", [32, 40, 58, 60, 62])
def test_broken_section_table(tmp_path: Path, offset: int) -> None:
    data = bytearray(compile_library(tmp_path / "x.so").read_bytes())
    data[offset : offset + 2] = b"\xff\xff"
    write(tmp_path / "y.so", bytes(data))
    assert isinstance(has_gpu_code(RealSystem(), f"{tmp_path}/y.so"), Unknown | Present)
    write(tmp_path / "y.so", bytes(data[:70]))
    assert isinstance(has_gpu_code(RealSystem(), f"{tmp_path}/y.so"), Unknown)
