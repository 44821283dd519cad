from __future__ import annotations

from pathlib import Path

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.loading import ElfFacts, Library, Resolution
from gpudoctor.model.machine import Toolkit
from gpudoctor.probes.distributions import probe_distributions
from gpudoctor.probes.libraries import probe_libraries
from gpudoctor.probes.record import recorded_size
from gpudoctor.system.real import RealSystem
from support.envtrees import dist_info, write

MATRIX = load_matrix()


def probe(site: Path, **more: object) -> dict[str, Library]:
    system = RealSystem()
    found = probe_libraries(
        system,
        MATRIX,
        (str(site),),
        probe_distributions(system, (str(site),)),
        **more,  # type: ignore[arg-type]
    )
    return {x.path.removeprefix(f"{site}/"): x for x in found}


def test_nvidia_wheels_of_both_layouts(tmp_path: Path) -> None:
    dist_info(tmp_path, "nvidia-cudnn-cu12", "9.1.0.70")
    dist_info(tmp_path, "nvidia-cublas", "13.1.0.3", record="nvidia/cu13/lib/libcublas.so.13,,\n")
    dist_info(tmp_path, "nvidia-cuda-nvrtc", "13.0.88", record="nvidia/cu13/lib/libnvrtc.so.13,,\n")
    for path in (
        "cudnn/lib/libcudnn_ops.so.9",
        "cu13/lib/libcublas.so.13",
        "cu13/lib/libnvrtc.so.13",
        "cu13/lib/x.txt",
    ):
        write(tmp_path / "nvidia" / path, b"12345")
    found = probe(tmp_path)
    assert {p: (x.family, x.version, x.version_source, x.owner) for p, x in found.items()} == {
        "nvidia/cudnn/lib/libcudnn_ops.so.9": ("cudnn", Present("9.1.0.70"), "distribution", "nvidia-cudnn-cu12"),
        "nvidia/cu13/lib/libcublas.so.13": ("cublas", Present("13.1.0.3"), "distribution", "nvidia-cublas"),
        "nvidia/cu13/lib/libnvrtc.so.13": ("nvrtc", Present("13.0.88"), "distribution", "nvidia-cuda-nvrtc"),
    }
    assert all(x.size_bytes == 5 and x.elf == Unknown("not read") for x in found.values())


def test_two_owners_of_one_file_are_told_apart_by_size(tmp_path: Path) -> None:
    path = "nvidia/cudnn/lib/libcudnn.so.9"
    dist_info(tmp_path, "nvidia-cudnn-cu12", "9.1.0.70", record=f"{path},,3\n")
    dist_info(tmp_path, "nvidia-cudnn-cu13", "9.12.0.46", record=f"{path},,5\n")
    write(tmp_path / path, b"12345")
    assert probe(tmp_path)[path].owner == "nvidia-cudnn-cu13"
    write(tmp_path / path, b"1234567")
    assert (probe(tmp_path)[path].owner, type(probe(tmp_path)[path].version)) == (None, Unknown)


def test_the_recorded_size_is_told_beside_the_real_one(tmp_path: Path) -> None:
    folder = "nvidia/cudnn/lib"
    record = f"{folder}/libcudnn.so.9,sha256=x,5\n{folder}/libcudnn_ops.so.9,sha256=y,77\n"
    dist_info(tmp_path, "nvidia-cudnn-cu12", "9.1.0.70", record=record)
    dist_info(tmp_path, "ctranslate2", "4.6.0", record="x,,\n")
    names = ("libcudnn.so.9", "libcudnn_ops.so.9", "libcudnn_cnn.so.9")
    for path in (*(f"{folder}/{n}" for n in names), "ctranslate2.libs/libcudnn-74a4c495.so.9.1.0"):
        write(tmp_path / path, b"12345")
    found = probe(tmp_path)
    assert [found[f"{folder}/{n}"].recorded_bytes for n in names] == [Present(5), Present(77), Absent()]
    assert found["ctranslate2.libs/libcudnn-74a4c495.so.9.1.0"].recorded_bytes == Absent()


def test_the_names_of_a_file_are_counted_where_it_was_changed(tmp_path: Path) -> None:
    site, folder = tmp_path / "site", "nvidia/cudnn/lib"
    record = f"{folder}/libcudnn.so.9,sha256=x,5\n{folder}/libcudnn_ops.so.9,sha256=y,77\n"
    dist_info(site, "nvidia-cudnn-cu12", "9.1.0.70", record=record)
    for name in ("libcudnn.so.9", "libcudnn_ops.so.9"):
        write(site / folder / name, b"12345")
        (tmp_path / f"cache-{name}").hardlink_to(site / folder / name)
    found = probe(site)
    assert found[f"{folder}/libcudnn.so.9"].links == 1
    assert found[f"{folder}/libcudnn_ops.so.9"].links == 2


def test_one_line_of_a_record() -> None:
    raw = b"a/x.so,sha256=1,10\r\nlib/a/x.so,sha256=2,20\na/x.so.1,sha256=3,30\nlast.so,,"
    asked = ("a/x.so", "lib/a/x.so", "a/x.so.1", "x.so", "last.so")
    assert [recorded_size(raw, path) for path in asked] == [10, 20, 30, None, None]


def test_bundled_shim_has_its_own_version(tmp_path: Path) -> None:
    dist_info(tmp_path, "ctranslate2", "4.6.0")
    write(tmp_path / "ctranslate2.libs/libcudnn-74a4c495.so.9.1.0", b"x")
    shim = probe(tmp_path)["ctranslate2.libs/libcudnn-74a4c495.so.9.1.0"]
    assert (shim.version, shim.version_source, shim.owner) == (Present("9.1.0"), "file-name", "ctranslate2")


def test_bundled_library_does_not_inherit_its_package_version(tmp_path: Path) -> None:
    dist_info(tmp_path, "torch", "2.5.1")
    write(tmp_path / "torch/lib/libcusparseLt-294d6944.so.0", b"x")
    library = probe(tmp_path)["torch/lib/libcusparseLt-294d6944.so.0"]
    assert (library.owner, type(library.version)) == ("torch", Unknown)


def test_toolkit_resolution_and_links(tmp_path: Path) -> None:
    lib = tmp_path / "cuda-12.4/targets/x86_64-linux/lib"
    write(lib / "libcublas.so.12.4.5.8", b"x")
    (lib / "libcublas.so.12").symlink_to("libcublas.so.12.4.5.8")
    write(lib / "libnvrtc.so.12", b"x")
    (tmp_path / "cuda-12.4/lib64").symlink_to("targets/x86_64-linux/lib")
    toolkit = Toolkit(directory=f"{tmp_path}/cuda-12.4", version=Present("12.4"), found_via="directory")
    opened = write(tmp_path / "opt/libcudnn.so.9", b"x")
    elf = ElfFacts(elf_class=64, machine="x86_64", soname=None, needed=(), rpath=None, runpath=None, build_id=None)
    answer = Resolution(
        consumer="c", scenario="alone", requester="r", soname="libcudnn.so.9", names=(), family="cudnn", role="cudnn",
        link="dlopen", when="", outcome="present", path=str(opened), shadowed=f"{tmp_path}/missing/libcudnn.so.9",
    )  # fmt: skip
    found = probe(tmp_path / "site", toolkits=(toolkit,), resolutions=(answer,), elf={str(opened): elf})
    assert next(iter(found)) == str(opened)
    assert found[str(opened)].elf == Present(elf)
    linked = found[f"{tmp_path}/cuda-12.4/lib64/libcublas.so.12"]
    assert linked.version == Present("12.4.5.8")
    assert linked.real_path == f"{lib}/libcublas.so.12.4.5.8"
    nvrtc = found[f"{tmp_path}/cuda-12.4/lib64/libnvrtc.so.12"]
    assert (nvrtc.version, nvrtc.version_source) == (Present("12.4"), "directory")
    assert len(found) == 4


def test_conda_lib(tmp_path: Path) -> None:
    write(tmp_path / "lib/libcudnn.so.9.1.1", b"x")
    assert probe(tmp_path / "site", prefix=str(tmp_path)) == {}
    write(tmp_path / "conda-meta/history")
    assert list(probe(tmp_path / "site", prefix=str(tmp_path))) == [f"{tmp_path}/lib/libcudnn.so.9.1.1"]
