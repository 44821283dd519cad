"""Consumers in made-up environments of compiled libraries, with the real matrix."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gpudoctor.loader.binary import resolve_binary
from gpudoctor.loader.consumers import resolve_consumers
from gpudoctor.loader.lookup import find_libraries
from gpudoctor.loader.target import LoaderAnswer, Target
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.model.loading import Resolution
from gpudoctor.system.real import RealSystem
from support.trees import Workshop


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


class Environment:
    """A site directory and an interpreter that is a C program."""

    def __init__(self, workshop: Workshop, root: Path) -> None:
        self.workshop = workshop
        self.root = root
        self.site = root / "lib" / "site"
        self.site.mkdir(parents=True)
        (root / "bin").mkdir()
        shutil.copy2(workshop.folder / "program-none", root / "bin" / "python")

    def put(self, at: str, /, **what: object) -> Path:
        target = self.root / at
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.workshop.library(**what), target)  # type: ignore[arg-type]
        return target

    def ctranslate2(self, version: str = "4.8.5") -> None:
        self.put("lib/site/ctranslate2/_ext.x.so", needed=("libctranslate2-0.so",), path="$ORIGIN/../ctranslate2.libs")
        self.put("lib/site/ctranslate2.libs/libctranslate2-0.so.4", soname="libctranslate2-0.so")
        (self.site / "ctranslate2.libs" / "libctranslate2-0.so").symlink_to("libctranslate2-0.so.4")
        (self.site / f"ctranslate2-{version}.dist-info").mkdir()

    def target(self, **environment: str) -> Target:
        return Target(str(self.root / "bin" / "python"), str(self.root), (str(self.site),), environment, str(self.root))

    def answer(self, **environment: str) -> LoaderAnswer:
        return resolve_consumers(RealSystem(), load_matrix(), self.target(**environment), None)


@pytest.fixture
def env(workshop: Workshop, tmp_path: Path) -> Environment:
    return Environment(workshop, tmp_path / "env")


def of(answer: LoaderAnswer, role: str) -> Resolution:
    found = [r for r in answer.resolutions if r.role == role]
    assert len(found) == 1, [r.role for r in answer.resolutions]
    return found[0]


def test_nothing_is_installed(env: Environment) -> None:
    assert env.answer().resolutions == ()


def test_a_library_that_is_nowhere(env: Environment) -> None:
    env.ctranslate2()
    found = of(env.answer(), "cublas")
    assert (found.outcome, found.failure, found.culprit) == ("absent", "missing", "libcublas.so.12")
    assert found.link == "dlopen"
    assert found.fact == "ctranslate2-cublas12"
    assert found.searched
    assert {s.result for s in found.searched} == {"missing"}


def test_a_library_on_the_search_path(env: Environment) -> None:
    env.ctranslate2()
    path = env.put("cuda/libcublas.so.12", soname="libcublas.so.12")
    answer = env.answer(LD_LIBRARY_PATH=str(path.parent))
    found = of(answer, "cublas")
    assert (found.outcome, found.path, found.found_via) == ("present", str(path), "ld-library-path")
    assert answer.elf[str(path)].soname == "libcublas.so.12"


def test_the_culprit_is_the_dependency(env: Environment) -> None:
    env.ctranslate2()
    path = env.put("cuda/libcublas.so.12", soname="libcublas.so.12", needed=("libcublasLt.so.12",))
    found = of(env.answer(LD_LIBRARY_PATH=str(path.parent)), "cublas")
    assert (found.outcome, found.culprit) == ("absent", "libcublasLt.so.12")
    assert "libcublasLt.so.12" in (found.reason or "")


def test_what_ld_library_path_hides(env: Environment) -> None:
    env.ctranslate2()
    own = env.put("own/libcublas.so.12", soname="libcublas.so.12")
    other = env.put("other/libcublas.so.12", soname="libcublas.so.12")
    where = {"soname": "libctranslate2-0.so", "path": str(own.parent), "runpath": True}
    env.put("lib/site/ctranslate2.libs/libctranslate2-0.so.4", **where)
    found = of(env.answer(LD_LIBRARY_PATH=str(other.parent)), "cublas")
    assert (found.path, found.shadowed) == (str(other), str(own))
    other.unlink()
    other.hardlink_to(own)
    assert of(env.answer(LD_LIBRARY_PATH=str(other.parent)), "cublas").shadowed is None


def onnxruntime(env: Environment, *needed: str) -> None:
    capi = "lib/site/onnxruntime/capi/"
    env.put(capi + "onnxruntime_pybind11_state.x.so")
    env.put(capi + "libonnxruntime_providers_shared.so", soname="libonnxruntime_providers_shared.so")
    env.put(capi + "libonnxruntime_providers_cuda.so", needed=needed)
    (env.site / "onnxruntime_gpu-1.27.0.dist-info").mkdir()


def test_all_missing_linked_libraries_are_named_and_the_driver_apart(env: Environment) -> None:
    onnxruntime(env, "libcuda.so.1", "libcublas.so.13", "libcurand.so.10", "libnvrtc.so.13")
    path = env.put("cuda/libcurand.so.10", soname="libcurand.so.10")
    answer = env.answer(LD_LIBRARY_PATH=str(path.parent))
    assert of(answer, "cublas").outcome == "absent"
    assert of(answer, "nvrtc").outcome == "absent"
    assert of(answer, "curand").outcome == "present"
    assert all(r.outcome == "unknown" for r in answer.resolutions if r.link == "dlopen")
    driver = [r for r in answer.resolutions if r.role == "driver_libcuda"]
    assert [(r.family, r.outcome) for r in driver] == [("libcuda", "absent")]


def test_only_the_driver_is_missing(env: Environment) -> None:
    onnxruntime(env, "libcuda.so.1", "libcurand.so.10")
    path = env.put("cuda/libcurand.so.10", soname="libcurand.so.10", needed=("libcuda.so.1",))
    answer = env.answer(LD_LIBRARY_PATH=str(path.parent))
    assert of(answer, "curand").outcome == "present"
    assert of(answer, "driver_libcuda").outcome == "absent"


def test_musl_makes_everything_unknown(env: Environment) -> None:
    env.ctranslate2()
    python = env.root / "bin" / "python"
    name = b"/lib64/ld-linux-x86-64.so.2\0"
    python.write_bytes(python.read_bytes().replace(name, b"/lib/ld-musl-x86_64.so.1\0".ljust(len(name), b"\0")))
    answer = env.answer()
    assert answer.resolutions
    assert {r.outcome for r in answer.resolutions} == {"unknown"}
    assert "musl" in (answer.resolutions[0].reason or "")


def test_a_broken_interpreter_is_unknown(env: Environment) -> None:
    env.ctranslate2()
    (env.root / "bin" / "python").write_text("#!/bin/sh\n")
    assert {r.outcome for r in env.answer().resolutions} == {"unknown"}


def test_an_import_that_fails_for_another_reason(env: Environment) -> None:
    env.ctranslate2()
    (env.site / "ctranslate2.libs" / "libctranslate2-0.so.4").unlink()
    answer = env.answer()
    assert of(answer, "cublas").outcome == "unknown"
    fault = next(f for f in answer.import_faults if f.consumer == "ctranslate2")
    assert (fault.failure, fault.culprit, fault.group) == ("missing", "libctranslate2-0.so", None)


def test_single_libraries_are_looked_up(env: Environment) -> None:
    there, gone = "libnvidia-ml.so.1", "libgpudoctor-none.so.1"
    path = env.put(f"driver/{there}", soname=there)
    answers = find_libraries(RealSystem(), env.target(LD_LIBRARY_PATH=str(path.parent)), (there, gone))
    found, missing = answers[there], answers[gone]
    assert (found.path, found.unknown) == (str(path), False)
    assert missing.path is None
    assert missing.searched
    assert not missing.unknown


def test_a_folder_with_onnxruntime_and_a_path_of_a_build_machine(env: Environment) -> None:
    built = {"path": "/home/builder/cuda/lib64", "runpath": True}
    env.put("daemon/libonnxruntime_providers_cuda.so", needed=("libcublas.so.12",), **built)
    env.put("daemon/libonnxruntime.so.1", soname="libonnxruntime.so.1")
    answer = resolve_binary(RealSystem(), load_matrix(), env.target(), str(env.root / "daemon"))
    found = of(answer, "cublas")
    assert found.consumer == "libonnxruntime_providers_cuda.so"
    assert found.outcome == "absent"
    assert any(s.path.startswith("/home/builder/cuda/lib64/") for s in found.searched)


def test_a_library_that_opens_the_provider_beside_onnxruntime(env: Environment) -> None:
    env.put("daemon/libonnxruntime_providers_shared.so", soname="libonnxruntime_providers_shared.so")
    env.put("daemon/libonnxruntime_providers_cuda.so", needed=("libcublas.so.12",))
    env.put("daemon/libonnxruntime.so.1", soname="libonnxruntime.so.1")
    plugin = env.put("daemon/engine.so", needed=("libonnxruntime.so.1",), path="$ORIGIN")
    answer = resolve_binary(RealSystem(), load_matrix(), env.target(), str(plugin))
    assert of(answer, "cublas").when == "when a session with the CUDA provider is created"


def test_no_binary_at_all(env: Environment) -> None:
    (env.root / "text").write_text("no program")
    for path in ("nothing", "text"):
        with pytest.raises(UsageError):
            resolve_binary(RealSystem(), load_matrix(), env.target(), str(env.root / path))


def test_one_library_in_two_majors_hides_nothing(env: Environment) -> None:
    env.ctranslate2()
    for major in ("12", "13"):
        env.put(f"own/libcublasLt.so.{major}", soname=f"libcublasLt.so.{major}")
    needed = ("libcublasLt.so.12", "libcublasLt.so.13")
    where = {"soname": "libctranslate2-0.so", "needed": needed, "path": str(env.root / "own"), "runpath": True}
    env.put("lib/site/ctranslate2.libs/libctranslate2-0.so.4", **where)
    linked = [r for r in env.answer(LD_LIBRARY_PATH=str(env.root / "own")).resolutions if r.link == "needed"]
    assert [(r.soname, r.outcome, r.shadowed) for r in linked] == [(name, "present", None) for name in needed]


@pytest.mark.parametrize("cuda", [True, False])
def test_torch_opens_wheels_beforehand_only_when_cudart_is_there(env: Environment, cuda: bool) -> None:
    linked = {"needed": ("libcudart.so.13",), "path": "$ORIGIN/../../nvidia/cu13/lib"} if cuda else {}
    env.put("lib/site/torch/lib/libtorch_global_deps.so", **linked)
    env.put("lib/site/torch/_C.cpython-311-x86_64-linux-gnu.so")
    env.put("lib/site/nvidia/cu13/lib/libcudart.so.13", soname="libcudart.so.13")
    env.put("lib/site/nvidia/cublas/lib/libcublas.so.12", soname="libcublas.so.12", needed=("libcublasLt.so.12",))
    env.put("lib/site/nvidia/cublas/lib/libcublasLt.so.12", soname="libcublasLt.so.12")
    (env.site / "torch-2.13.0.dist-info").mkdir()
    names = {r.soname for r in env.answer().resolutions if r.outcome == "present"}
    assert ("libcublasLt.so.12" in names) == cuda


def test_a_name_that_is_never_learnt_is_not_shown_with_its_placeholder(env: Environment) -> None:
    onnxruntime(env, "libcublas.so.13")
    rows = env.answer().resolutions
    assert {r.outcome for r in rows if r.role == "cudnn_graph"} == {"unknown"}
    assert not [name for r in rows for name in (r.soname, *r.names) if "{" in name]
