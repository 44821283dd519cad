"""Look-up: facts by release, families by file name, providers, drivers, GPUs."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.claims import Conflicts, HasGpuCode, NeedsDriver, NeedsLibrary
from gpudoctor.matrix.index import Matrix, driver_tuple, matches_version, stem_of
from gpudoctor.matrix.load import load_matrix

GIB = 1 << 30


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return load_matrix()


class TestVersions:
    @pytest.mark.parametrize(
        ("specifiers", "version", "expected"),
        [
            (">=4.5,<4.6.3", "4.6.2", True),
            (">=4.5,<4.6.3", "4.6.10", False),
            (">=4.5,<4.6.3", "4.10.0", False),
            (">=2.4,<3", "2.5.1+cu124", True),
            (">=2.10", "2.9.1", False),
            ("", None, True),
            ("", "nonsense", True),
            (">=1", None, False),
            (">=1", "nonsense", False),
            (">=2.0,<2.4", "2.3.0rc1", True),
        ],
    )
    def test_compared_as_versions(self, specifiers: str, version: str | None, expected: bool) -> None:
        assert matches_version(specifiers, version) is expected

    def test_driver_releases_are_integers(self) -> None:
        assert driver_tuple("525.60.13") < driver_tuple("525.105.17")
        with pytest.raises(ValueError, match="invalid literal"):
            driver_tuple("525.60.x")


class TestNeedsLibrary:
    @pytest.mark.parametrize(
        ("release", "expected"),
        [
            ("3.24.0", {("cublas", "11"), ("cudnn", "8")}),
            ("4.4.0", {("cublas", "12"), ("cudnn", "8")}),
            ("4.5.0", {("cublas", "12"), ("cudnn", "9")}),
            ("4.6.2", {("cublas", "12"), ("cudnn", "9")}),
            ("4.6.3", {("cublas", "12")}),
            ("4.8.5", {("cublas", "12")}),
            (None, set()),
        ],
    )
    def test_ctranslate2(self, matrix: Matrix, release: str | None, expected: set[tuple[str, str]]) -> None:
        claims = [claim for _, claim in matrix.facts("ctranslate2", NeedsLibrary, release, "linux-x86_64")]
        assert {(claim.library, claim.major) for claim in claims} == expected

    def test_no_cuda_on_arm(self, matrix: Matrix) -> None:
        assert matrix.facts("ctranslate2", NeedsLibrary, "4.6.0", "linux-aarch64") == ()
        ((_, build),) = matrix.facts("ctranslate2", HasGpuCode, "4.6.0", "linux-aarch64")
        assert build.cuda is None

    def test_cudnn9_parts_and_on_whose_behalf(self, matrix: Matrix) -> None:
        claims = [c for _, c in matrix.facts("ctranslate2", NeedsLibrary, "4.6.0") if c.library == "cudnn"]
        asked = [(o.role, o.requester or claims[0].requester) for o in claims[0].opens]
        shim, graph = "ctranslate2.libs/libcudnn-*.so.9*", "libcudnn_graph.so.9"
        assert asked == [
            ("cudnn_graph", shim),
            ("cudnn_ops", shim),
            ("cudnn_cnn", shim),
            ("cudnn_engines_precompiled", graph),
            ("cudnn_heuristic", graph),
            ("cudnn_engines_runtime_compiled", graph),
        ]
        assert claims[0].opens[1].names == (
            "libcudnn_ops.so.{shim}",
            "libcudnn_ops.so.{shim2}",
            "libcudnn_ops.so.{shim1}",
            "libcudnn_ops.so",
        )

    @pytest.mark.parametrize(("release", "major"), [("2.3.1", "8"), ("2.4.0", "9"), ("2.15.0", "9")])
    def test_torch(self, matrix: Matrix, release: str, major: str) -> None:
        ((_, claim),) = matrix.facts("torch", NeedsLibrary, release)
        assert claim.major == major

    def test_onnxruntime_gpu_opens_cudnn_itself_from_1_28(self, matrix: Matrix) -> None:
        old = [c for _, c in matrix.facts("onnxruntime-gpu", NeedsLibrary, "1.27.0")]
        new = [c for _, c in matrix.facts("onnxruntime-gpu", NeedsLibrary, "1.28.0")]
        assert [c.requester for c in old] == ["libcudnn.so.9"]
        assert {c.library: c.requester for c in new} == {
            "cudnn": "libonnxruntime_providers_cuda.so",
            "cufft": "libonnxruntime_providers_cuda.so",
        }


class TestDrivers:
    @pytest.mark.parametrize(
        ("cuda", "linux"), [("11.8", "450.80.02"), ("12.0", "525.60.13"), ("12.9", "525.60.13"), ("13.2", "580.65.06")]
    )
    def test_minimum(self, matrix: Matrix, cuda: str, linux: str) -> None:
        ((_, claim),) = matrix.facts("cuda", NeedsDriver, cuda, "linux-x86_64")
        assert (claim.linux, claim.ptx) == (linux, False)

    def test_ptx_needs_the_builds_own_cuda(self, matrix: Matrix) -> None:
        ((fact, claim),) = matrix.facts("ctranslate2", NeedsDriver, "4.6.2", "linux-x86_64")
        assert (claim.cuda, claim.linux, claim.ptx, fact.status) == ("12.4", "550.54.14", True, "inferred")

    @pytest.mark.parametrize(
        ("release", "cuda"),
        [
            ("550.54.15", "12.4"),
            ("525.60.13", "12.0"),
            ("536.23", "12.2"),
            ("580.65.06", "13.0"),
            ("700.1", "13.4"),
            ("390.157", None),
            ("latest", None),
            ("", None),
        ],
    )
    def test_cuda_of_driver(self, matrix: Matrix, release: str, cuda: str | None) -> None:
        assert matrix.cuda_of_driver(release) == cuda


class TestFamilies:
    @pytest.mark.parametrize(
        ("file_name", "family"),
        [
            ("libcudnn.so.9", "cudnn"),
            ("libcudnn-74a4c495.so.9.1.0", "cudnn"),
            ("libcudnn_engines_precompiled.so.9", "cudnn"),
            ("libcudnn_ops_infer.so.8", "cudnn"),
            ("libcublasLt.so.12", "cublas"),
            ("libcudart-d0da41ae.so.11.0", "cudart"),
            ("libnvrtc-builtins.so.12.4", "nvrtc"),
            ("libcusparseLt.so.0", "cusparselt"),
            ("libcusparseLt-294d6944.so.0", "cusparselt"),
            ("libcusparse.so.12", "cusparse"),
            ("libnvJitLink.so.12", "nvjitlink"),
            ("libcuda.so.1", "libcuda"),
            ("libcuda.so", "libcuda"),
            ("libnvidia-ml.so.1", "libnvidia-ml"),
            ("libnvidia-ptxjitcompiler.so.1", "libnvidia-ptxjitcompiler"),
            ("libcudnnx.so.9", None),
            ("libz.so.1", None),
            ("cublas.dll", None),
            ("libcudnn.txt", None),
            ("", None),
        ],
    )
    def test_by_file_name(self, matrix: Matrix, file_name: str, family: str | None) -> None:
        found = matrix.family_of(file_name)
        assert (found.name if found else None) == family

    def test_stem_leaves_hash_and_version_out(self) -> None:
        assert stem_of("libcudnn-74a4c495.so.9.1.0") == "libcudnn"
        assert stem_of("readme.so") is None

    def test_provider_of_cudnn_depends_on_cuda(self, matrix: Matrix) -> None:
        found = {cuda: matrix.provider("cudnn", "9", cuda) for cuda in ("11", "12", "13", "14")}
        names = {cuda: provider and provider.distribution for cuda, provider in found.items()}
        assert names == {
            "11": "nvidia-cudnn-cu11",
            "12": "nvidia-cudnn-cu12",
            "13": "nvidia-cudnn-cu13",
            "14": None,
        }
        assert matrix.provider("cudnn", "9") is None

    @pytest.mark.parametrize(
        ("major", "distribution"), [("11", "nvidia-cublas-cu11"), ("12", "nvidia-cublas-cu12"), ("13", "nvidia-cublas")]
    )
    def test_provider_of_cublas(self, matrix: Matrix, major: str, distribution: str) -> None:
        provider = matrix.provider("cublas", major)
        assert provider is not None
        assert provider.distribution == distribution

    def test_no_provider_of_the_unknown(self, matrix: Matrix) -> None:
        assert matrix.provider("nonsense", "1") is None
        assert matrix.provider("cublas", "99") is None


class TestConflicts:
    def test_onnxruntime(self, matrix: Matrix) -> None:
        ((_, claim),) = matrix.facts("onnxruntime", Conflicts, "1.20.1")
        assert (claim.package, claim.shares_files, claim.keep) == ("onnxruntime-gpu", True, "onnxruntime-gpu")

    def test_cudnn_of_two_cuda_majors(self, matrix: Matrix) -> None:
        packages = {claim.package for _, claim in matrix.facts("nvidia-cudnn-cu12", Conflicts, "9.1.0.70")}
        assert packages == {"nvidia-cudnn-cu13"}
        assert matrix.facts("nvidia-cudnn-cu12", Conflicts, "8.9.2.26") == ()


class TestGpus:
    @pytest.mark.parametrize(
        ("text", "capability", "memory"),
        [
            ("RTX 3090", "8.6", 24 * GIB),
            ("NVIDIA GeForce RTX 3090", "8.6", 24 * GIB),
            ("rtx3090", "8.6", 24 * GIB),
            ("geforce rtx-3090", "8.6", 24 * GIB),
            ("RTX 3090 Ti", "8.6", None),
            ("RTX 4090 Laptop GPU", "8.9", None),
            ("GeForce RTX 2080 SUPER", "7.5", None),
            ("Tesla T4", "7.5", 16 * GIB),
            ("NVIDIA A100-SXM4-80GB", "8.0", 80 * GIB),
            ("Tesla V100-SXM2-16GB", "7.0", 16 * GIB),
            ("NVIDIA H100 80GB HBM3", "9.0", 80 * GIB),
            ("NVIDIA RTX 6000 Ada Generation", "8.9", 48 * GIB),
            ("Quadro RTX 6000", "7.5", 24 * GIB),
            ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "12.0", None),
            ("NVIDIA GB10", "12.1", None),
            ("8.6", "8.6", None),
            (" sm_86 ", "8.6", None),
            ("12.0", "12.0", None),
            ("sm_120", "12.0", None),
            ("5090", "12.0", None),
            ("RTX PRO 6000", "12.0", None),
            ("1080 ti", "6.1", None),
            ("4070 super", "8.9", None),
            ("GTX 1660", "7.5", None),
            ("Quadro P4000", "6.1", None),
        ],
    )
    def test_spelling_is_free(self, matrix: Matrix, text: str, capability: str, memory: int | None) -> None:
        found = matrix.gpu(text)
        assert found is not None
        assert (found.compute_capability, found.memory_bytes) == (capability, memory)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "NVIDIA",
            "RTX 309",
            "RTX 30900",
            "Radeon RX 7900",
            "99.9",
            "1.0",
            "\x1b[31m",
            "9",
            "6000",
            "5000",
            "rtx",
            "Blackwell",
        ],
    )
    def test_the_unknown_and_what_means_several_are_none(self, matrix: Matrix, text: str) -> None:
        assert matrix.gpu(text) is None

    def test_tegra_is_told_apart(self, matrix: Matrix) -> None:
        orin = matrix.gpu("Jetson Orin Nano")
        assert orin is not None
        assert (orin.compute_capability, orin.tegra) == ("8.7", True)


def test_causes_have_a_meaning(matrix: Matrix) -> None:
    assert matrix.causes["cudnn-not-loadable"].meaning.startswith("A cuDNN library file")


def test_facts_by_id(matrix: Matrix) -> None:
    fact = matrix.fact("ctranslate2-cudnn9")
    assert fact is not None
    assert fact.subject == "ctranslate2"
    assert matrix.fact("no-such-fact") is None
    assert (matrix.knows("torch"), matrix.knows("numpy")) == (True, False)
