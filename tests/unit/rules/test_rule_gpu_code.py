"""GPD107, GPD111, GPD302: which GPU runs which build."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.environment import Variable
from gpudoctor.model.fact import Present, Unknown
from gpudoctor.model.finding import Finding
from gpudoctor.model.machine import Gpu
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from gpudoctor.rules.gpu_code import Code, way_of
from unit.rules.builders import (
    CUDNN,
    Parts,
    answer,
    assumed_driver,
    build,
    ct2_cublas,
    ctranslate2,
    cublas12,
    cudnn9,
    dist,
    host,
    machine,
    replace,
    torch,
    with_,
)
from unit.rules.gpu_cases import GTX_1080_TI, H100, RTX_4090, RTX_5090, SLICED, V100, card, on, visible

MATRIX = load_matrix()
T4 = card("Tesla T4", "7.5", 16)
RTX_3090 = card("GeForce RTX 3090", "8.6")


def verdicts(snapshot: Snapshot, *rules: str, matrix: Matrix = MATRIX) -> list[tuple[str, str, str | None]]:
    return [(f.rule, f.level, f.cause) for f in judge(snapshot, matrix, rules).findings]


def only(snapshot: Snapshot, *rules: str) -> Finding:
    (finding,) = judge(snapshot, MATRIX, rules).findings
    return finding


@pytest.mark.parametrize(
    ("sass", "ptx", "capability", "way"),
    [
        (("80", "86"), (), "8.9", "machine-code"),
        (("90",), (), "12.0", "none"),
        (("86",), (), "8.0", "none"),
        (("60",), (), "6.1", "machine-code"),
        (("100",), (), "10.3", "machine-code"),
        (("120",), (), "12.1", "machine-code"),
        (("90a",), (), "9.0", "machine-code"),
        (("100a",), (), "10.3", "none"),
        (("100f",), (), "10.3", "machine-code"),
        (("100f",), (), "12.0", "none"),
        (("86",), ("86",), "12.0", "ptx"),
        (("86",), ("90a",), "12.0", "none"),
        ((), ("52",), "8.9", "ptx"),
        ((), ("90",), "8.9", "none"),
        (("53",), (), "5.3", "machine-code"),
        (("50", "53"), (), "5.2", "machine-code"),
        (("87",), (), "8.9", "none"),  # a Jetson's code is for the Jetson
        (("unheard-of",), ("x",), "8.9", "none"),
    ],
)
def test_who_runs_what(sass: tuple[str, ...], ptx: tuple[str, ...], capability: str, way: str) -> None:
    assert way_of(Code(sass, ptx, "12.4", from_files=True), capability, tegra=False) == way


@pytest.mark.parametrize(("sass", "way"), [(("80", "86"), "none"), (("87",), "machine-code")])
def test_a_jetson_runs_only_its_own_code(sass: tuple[str, ...], way: str) -> None:
    assert way_of(Code(sass, (), "12.4", from_files=True), "8.7", tegra=True) == way


class TestUnsupported:
    @pytest.mark.parametrize(
        ("version", "cuda", "gpu", "fails"),
        [
            ("2.7.0", "12.6", RTX_5090, True),
            ("2.8.0", "12.8", RTX_5090, False),
            ("2.8.0", "12.8", V100, False),
            ("2.8.0", "12.8", GTX_1080_TI, True),
            ("2.11.0", "13.0", V100, True),
            ("2.11.0", "13.0", T4, False),
            ("2.7.0", "12.6", GTX_1080_TI, False),
            ("2.5.1", "12.4", RTX_4090, False),
            ("2.5.1", "12.4", H100, False),
            ("2.7.1+cu128", "12.8", RTX_5090, False),
            ("2.5.1+cu118", "11.8", RTX_3090, False),
        ],
    )
    def test_torch_by_release(self, version: str, cuda: str, gpu: Gpu, fails: bool) -> None:
        found = verdicts(with_(on(gpu), torch(version, cuda)), "GPD302")
        assert found == [("GPD302", "error", "gpu-arch-unsupported")] * fails

    def test_the_files_outrank_the_matrix(self) -> None:
        own = replace(build("torch", "2.7.0", "12.6"), architectures=Present(("sm_90", "sm_120")))
        assert verdicts(with_(on(RTX_5090), Parts(builds=(own,))), "GPD302") == []
        finding = only(with_(on(RTX_4090), Parts(builds=(own,))), "GPD302")
        assert finding.confidence == "read"
        assert "9.0 to 12.0 only" in finding.message

    def test_a_release_that_has_the_code_is_named(self) -> None:
        fix = only(with_(on(RTX_5090), torch("2.7.0", "12.6")), "GPD302").fixes[0]
        assert "12.0" in fix.title
        assert "torch" in fix.commands[0]

    def test_what_the_driver_does_not_serve_is_not_advised(self) -> None:
        snapshot = with_(on(GTX_1080_TI, release="535.183.01", serves="12.2"), torch("2.8.0", "12.8"))
        assert "cu13" not in " ".join(only(snapshot, "GPD302").fixes[0].commands)

    def test_one_of_two_gpus_is_a_warning(self) -> None:
        finding = only(with_(on(RTX_5090, RTX_3090), torch("2.7.0", "12.6")), "GPD302")
        assert finding.level == "warning"
        assert "RTX 5090" in finding.message
        assert "it has for NVIDIA GeForce RTX 3090" in finding.message

    def test_a_hidden_gpu_does_not_count(self) -> None:
        order = Variable(name="CUDA_DEVICE_ORDER", value="PCI_BUS_ID")
        snapshot = with_(visible("1", RTX_5090, RTX_3090), torch("2.7.0", "12.6"))
        assert verdicts(replace(snapshot, variables=(*snapshot.variables, order)), "GPD302") == []
        # Without an order CUDA counts the fastest first, and nobody knows which one that is.
        assert [level for _, level, _ in verdicts(snapshot, "GPD302")] == ["warning"]

    def test_cudnn_dropped_the_gpu_before_torch_did(self) -> None:
        row = answer("torch", "libcudnn.so.9", "cudnn", f"{CUDNN}/libcudnn.so.9", link="needed")
        parts = Parts(
            distributions=(dist("torch", "2.8.0"),), builds=(build("torch", "2.8.0", "12.8"),), resolutions=(row,)
        )
        finding = only(with_(on(V100), parts, cudnn9("9.12.0.46")), "GPD302")
        assert "nvidia-cudnn-cu12 9.12.0.46" in finding.message
        assert "<9.11" in finding.fixes[0].commands[0]
        assert verdicts(with_(on(V100), parts, cudnn9("9.10.2.21")), "GPD302") == []
        assert verdicts(with_(on(RTX_4090), parts, cudnn9("9.12.0.46")), "GPD302") == []

    def test_a_mig_slice_is_of_its_gpu(self) -> None:
        assert verdicts(with_(on(SLICED), torch("2.8.0", "12.8")), "GPD302") == []

    def test_an_assumed_gpu_is_judged(self) -> None:
        snapshot = machine(driver=assumed_driver("580.65.06"), gpus=Present((replace(RTX_5090, assumed=True),)))
        assert verdicts(with_(snapshot, torch("2.7.0", "12.6")), "GPD302")

    def test_a_wheel_for_other_boards_on_a_jetson(self) -> None:
        orin = machine(host=host(tegra=Present("36.3.0"), machine="aarch64"), gpus=Present((card("Orin", "8.7"),)))
        own = replace(build("torch", "2.11.0", "13.0"), architectures=Present(("sm_80", "sm_90", "sm_100")))
        assert verdicts(with_(orin, Parts(builds=(own,))), "GPD302")
        fitting = replace(own, architectures=Present(("sm_87",)))
        assert verdicts(with_(orin, Parts(builds=(fitting,))), "GPD302") == []

    def test_an_unknown_capability_is_open(self) -> None:
        verdict = judge(with_(on(replace(RTX_4090, compute_capability=Unknown("x"))), torch()), MATRIX, ("GPD302",))
        assert [q.rule for q in verdict.open] == ["GPD302"]


class TestPtx:
    @pytest.mark.parametrize(
        ("version", "gpu", "release", "serves", "fails"),
        [
            ("4.6.0", RTX_5090, "535.54.03", "12.2", False),
            ("4.6.0", H100, "525.60.13", "12.0", True),
            ("4.8.5", H100, "550.54.15", "12.4", True),
            ("4.8.5", H100, "570.86.10", "12.8", False),
            ("4.8.5", RTX_4090, "525.60.13", "12.0", False),  # machine code of 8.6
            ("4.8.5", V100, "525.60.13", "12.0", False),
        ],
    )
    def test_ctranslate2(self, version: str, gpu: Gpu, release: str, serves: str, fails: bool) -> None:
        snapshot = with_(on(gpu, release=release, serves=serves), ctranslate2(version))
        assert verdicts(snapshot, "GPD107") == [("GPD107", "error", "driver-too-old")] * fails

    def test_minor_version_compatibility_holds_for_machine_code(self) -> None:
        snapshot = with_(on(RTX_3090, release="570.86.10", serves="12.8"), torch("2.8.0+cu129", "12.9"))
        assert verdicts(snapshot) == []

    def test_the_fact_is_named(self) -> None:
        snapshot = with_(on(H100, release="550.54.15", serves="12.4"), ctranslate2("4.8.5"))
        assert "ctranslate2-ptx-driver-128" in only(snapshot, "GPD107").facts

    def test_without_a_fact_the_cuda_of_the_build_decides(self) -> None:
        own = replace(build("torch", "99.0", "12.8"), architectures=Present(("sm_90", "compute_90")))
        old = with_(on(RTX_5090, release="550.54.15", serves="12.4"), Parts(builds=(own,)))
        assert verdicts(old, "GPD107") == [("GPD107", "error", "driver-too-old")]
        assert verdicts(with_(on(RTX_5090), Parts(builds=(own,))), "GPD107") == []

    def test_compiling_can_be_forbidden(self) -> None:
        never = Variable(name="CUDA_DISABLE_PTX_JIT", value="1")
        snapshot = with_(on(H100, variables=(never,)), ctranslate2("4.8.5"))
        assert "CUDA_DISABLE_PTX_JIT" in only(snapshot, "GPD107").message

    def test_a_gpu_without_a_driver_is_open(self) -> None:
        snapshot = with_(
            machine(driver=replace(assumed_driver("x"), assumed=False), gpus=Present((replace(H100, assumed=True),))),
            ctranslate2("4.8.5"),
        )
        assert "GPD107" in [q.rule for q in judge(snapshot, MATRIX, ("GPD107",)).open]

    def test_it_is_a_symptom_of_a_driver_for_another_cuda(self) -> None:
        snapshot = with_(
            on(H100, release="470.57.02", serves="11.4"), ctranslate2("4.8.5"), cublas12(), ct2_cublas("/x")
        )
        assert "GPD107" not in [rule for rule, _, _ in verdicts(snapshot)]
        assert "GPD104" in [rule for rule, _, _ in verdicts(snapshot)]


class TestDriverAndGpu:
    @pytest.mark.parametrize(
        ("gpu", "release", "serves", "cause"),
        [
            (RTX_5090, "550.54.15", "12.4", "driver-too-old"),
            (RTX_5090, "570.86.10", "12.8", None),
            (GTX_1080_TI, "590.48.01", "13.1", "gpu-arch-unsupported"),
            (GTX_1080_TI, "580.95.05", "13.0", None),
            (RTX_4090, "590.48.01", "13.1", None),
        ],
    )
    def test_branches(self, gpu: Gpu, release: str, serves: str, cause: str | None) -> None:
        assumed = replace(assumed_driver(release), cuda_version=Present(serves))
        found = verdicts(machine(driver=assumed, gpus=Present((replace(gpu, assumed=True),))), "GPD111")
        assert found == ([("GPD111", "error", cause)] if cause else [])


class TestAdvice:
    CPU_TORCH = Parts(
        distributions=(dist("torch", "2.8.0+cpu"),), builds=(build("torch", "2.8.0+cpu", None, gpu=False),)
    )

    @pytest.mark.parametrize(
        ("gpu", "release", "serves", "label"),
        [
            (GTX_1080_TI, "580.95.05", "13.0", "cu126"),
            (RTX_5090, "580.95.05", "13.0", "cu12"),
            (RTX_4090, "535.183.01", "12.2", "cu12"),
        ],
    )
    def test_a_cpu_build_is_replaced_by_a_labelled_build(self, gpu: Gpu, release: str, serves: str, label: str) -> None:
        fix = only(with_(on(gpu, release=release, serves=serves), self.CPU_TORCH), "GPD301").fixes[0]
        assert f'"torch==2.8.0+{label}' in fix.commands[1]
        assert f"--index-url https://download.pytorch.org/whl/{label}" in fix.commands[1]

    def test_the_same_release_is_preferred(self) -> None:
        fix = only(with_(on(GTX_1080_TI), torch("2.8.0", "12.8")), "GPD302").fixes[0]
        assert '"torch==2.8.0+cu126"' in fix.commands[0]

    def test_a_driver_too_old_for_this_cuda_gets_the_build_that_it_serves(self) -> None:
        old = with_(on(RTX_4090, release="550.54.15", serves="12.4"), torch("2.11.0+cu130", "13.0"))
        finding = only(old, "GPD104")
        assert finding.consequences == ()  # the one victim is named in the message
        assert "580.65.06 or newer" in finding.fixes[0].title
        assert (
            '--index-url https://download.pytorch.org/whl/cu126 "torch==2.11.0+cu126"' in finding.fixes[1].commands[0]
        )

    def test_and_where_the_matrix_knows_none_it_says_so_without_a_command(self) -> None:
        old = with_(on(RTX_4090, release="450.80.02", serves="11.0"), torch("2.11.0+cu130", "13.0"))
        fixes = only(replace(old, gpus=Present((RTX_5090,))), "GPD104").fixes
        assert fixes[-1].commands == ()
        assert "torch" in fixes[-1].title

    def test_ptx_that_the_driver_cannot_read_gets_the_release_that_it_can(self) -> None:
        old = with_(on(H100, release="550.54.15", serves="12.4"), ctranslate2("4.8.5"))
        (command,) = only(old, "GPD107").fixes[1].commands
        assert "ctranslate2>=4.6.1,<4.6.3" in command

    def test_what_a_build_without_code_misses_is_no_second_headline(self) -> None:
        missing = with_(on(RTX_5090), ctranslate2("4.8.5"), torch("2.5.1", "12.4"), ct2_cublas(None))
        torch_misses = replace(
            missing, resolutions=(*missing.resolutions, answer("torch", "libcusparse.so.12", "cusparse"))
        )
        assert [(r, c) for r, _, c in verdicts(torch_misses, "GPD2", "GPD302")] == [
            ("GPD201", "cuda-lib-not-loadable"),
            ("GPD302", "gpu-arch-unsupported"),
        ]
        headline = next(f for f in judge(torch_misses, MATRIX).findings if f.rule == "GPD302")
        assert any("libcusparse.so.12" in c for c in headline.consequences)
