"""GPD210, and what GPD201 and GPD205 say of libraries built for another CUDA and of two toolkits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Present
from gpudoctor.model.machine import Toolkit
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from unit.rules.builders import (
    CU13,
    CUBLAS,
    CUDNN,
    SITE,
    Parts,
    answer,
    ct2_cublas,
    ct2_cudnn9,
    ctranslate2,
    cublas12,
    cudnn9,
    dist,
    driver,
    lib,
    machine,
    onnxruntime_gpu,
    replace,
    shared,
    torch,
    with_,
)
from unit.rules.package_cases import cudnn_for

MATRIX = load_matrix()
NEW = {"driver": driver("580.95.05", "13.0")}
COMPANION = "libcublasLt.so.13"


def found(snapshot: Snapshot) -> list[tuple[str, str, str | None]]:
    return [(f.rule, f.level, f.cause) for f in judge(snapshot, MATRIX).findings]


class TestCudnnForAnotherCuda:
    def test_on_a_driver_of_the_older_cuda_it_cannot_start(self) -> None:
        (finding,) = judge(cudnn_for("13"), MATRIX).findings
        assert (finding.rule, finding.level, finding.cause) == ("GPD210", "error", "cudnn-cuda-mismatch")
        assert "CUDNN_STATUS_NOT_INITIALIZED" in finding.message
        assert 'install "nvidia-cudnn-cu12>=9,<10"' in finding.fixes[0].commands[1]
        assert finding.fixes[0].applicability == "unsafe"

    def test_on_a_newer_driver_it_misses_its_own_cublas(self) -> None:
        assert found(replace(cudnn_for("13"), **NEW)) == [("GPD210", "warning", "cudnn-cuda-mismatch")]

    def test_with_that_too_it_may_work(self) -> None:
        assert found(replace(cudnn_for("13", COMPANION), **NEW)) == [("GPD210", "note", "cudnn-cuda-mismatch")]

    def test_an_older_one_is_judged_the_same_way(self) -> None:
        assert found(cudnn_for("11"))[0][0] == "GPD210"

    def test_two_owners_are_left_to_the_rule_on_shared_files(self) -> None:
        owners = ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13")
        both = replace(
            with_(cudnn_for("13"), Parts(distributions=(dist("nvidia-cudnn-cu12", "9.1.0.70"),))),
            shared_files=shared(owners, "nvidia-cudnn-cu13", example="nvidia/cudnn/lib/libcudnn.so.9"),
        )
        assert [rule for rule, _, _ in found(both)] == ["GPD401"]

    def test_where_torch_needs_it_nobody_is_told_to_swap_it(self) -> None:
        needed = with_(cudnn_for("13", COMPANION), torch("2.11.0+cu130", "13.0", ("nvidia-cudnn-cu13==9.19.0.56",)))
        finding = next(f for f in judge(replace(needed, **NEW), MATRIX).findings if f.rule == "GPD210")
        assert not any("uninstall" in c for fix in finding.fixes for c in fix.commands)
        assert any("torch needs nvidia-cudnn-cu13" in fix.title for fix in finding.fixes)

    def test_a_driver_that_is_too_old_for_torch_is_the_headline(self) -> None:
        needed = with_(cudnn_for("13", COMPANION), torch("2.11.0+cu130", "13.0"))
        verdict = judge(needed, MATRIX, select=("GPD104", "GPD210"))
        (finding,) = verdict.findings
        assert finding.rule == "GPD104"
        assert any("built for CUDA 13" in c for c in finding.consequences)

    @pytest.mark.parametrize("owner", [None, "cudnn", "my-cudnn-build"])
    def test_one_that_says_nothing_of_its_cuda_is_not_judged(self, owner: str | None) -> None:
        snapshot = with_(machine(), ctranslate2(), cudnn9(owner=owner), ct2_cudnn9(CUDNN))
        assert found(snapshot) == []


class TestWhereNobodyLooks:
    def test_a_path_is_no_way_out(self) -> None:
        off = with_(
            machine(), ctranslate2(), cudnn9(owner="nvidia-cudnn-cu13"), cublas12(), ct2_cudnn9(None), ct2_cublas(None)
        )
        verdict = judge(replace(off, **NEW), MATRIX)
        by_cause = {f.cause: f for f in verdict.findings}
        mine = by_cause["cudnn-cuda-mismatch"]
        assert mine.rule == "GPD201"
        assert "built for CUDA 13, not for CUDA 12" in mine.message
        assert not any("gpudoctor fix" in c for fix in mine.fixes for c in fix.commands)
        others = [c for fix in by_cause["cuda-lib-not-loadable"].fixes for c in fix.commands if "export" in c]
        assert others
        assert not any(CUDNN in c for c in others)


class TestNamesThatHoldTheirCuda:
    def test_who_asks_for_a_library_of_another_cuda_by_its_name_means_it(self) -> None:
        row = answer("torch", "libcublasLt.so.12", "cublas", f"{CUBLAS}/libcublasLt.so.12", link="needed")
        snapshot = with_(machine(**NEW), torch("2.11.0+cu130", "13.0"), cublas12())
        snapshot = replace(snapshot, resolutions=(row,))
        assert found(snapshot) == []

    def test_a_library_that_keeps_its_number(self) -> None:
        path = f"{CU13}/libcurand.so.10"
        row = answer("onnxruntime", "libcurand.so.10", "curand", path)
        curand = lib(path, "curand", "10.4.0.35", "nvidia-curand")
        snapshot = with_(machine(**NEW), onnxruntime_gpu(folder=CUBLAS), Parts(libraries=(curand,)))
        snapshot = replace(snapshot, resolutions=(row,))
        assert found(snapshot) == [("GPD210", "note", "cuda-libs-mixed")]


def toolkit(version: str) -> Toolkit:
    return Toolkit(directory=f"/usr/local/cuda-{version}", version=Present(version), found_via="directory")


def of_toolkits(first: str, second: str) -> Snapshot:
    """onnxruntime for CUDA 12 that takes cuBLAS from one toolkit and the rest from another."""
    rows, libraries = [], []
    for row in onnxruntime_gpu(folder=SITE).resolutions:
        version = first if row.family == "cublas" else second
        path = f"/usr/local/cuda-{version}/lib64/{row.soname}"
        rows.append(replace(row, path=path))
        libraries.append(lib(path, row.family, version))
    snapshot = with_(machine(toolkits=Present((toolkit("11.8"), toolkit("12.1"), toolkit("12.4")))), onnxruntime_gpu())
    return replace(snapshot, resolutions=tuple(rows), libraries=tuple(libraries))


class TestTwoToolkits:
    def test_one_that_gives_everything_is_fine_however_many_there_are(self) -> None:
        assert found(of_toolkits("12.4", "12.4")) == []

    def test_libraries_out_of_two_are_a_note(self) -> None:
        (finding,) = judge(of_toolkits("12.1", "12.4"), MATRIX).findings
        assert (finding.rule, finding.level, finding.cause) == ("GPD205", "note", "cuda-libs-mixed")
        assert "/usr/local/cuda-12.1 and /usr/local/cuda-12.4" in finding.message

    def test_of_another_major_they_are_named_with_their_cuda(self) -> None:
        findings = judge(of_toolkits("12.4", "11.8"), MATRIX).findings
        assert [(f.rule, f.level) for f in findings] == [("GPD210", "note")]
        assert "the toolkit in /usr/local/cuda-11.8, built for CUDA 11" in findings[0].message

    def test_cudnn_that_somebody_copied_into_one_is_not_judged_by_its_folder(self) -> None:
        snapshot = of_toolkits("12.4", "12.4")
        moved = tuple(
            replace(r, path=r.path.replace("12.4", "11.8")) if r.family == "cudnn" else r for r in snapshot.resolutions
        )
        copied = lib("/usr/local/cuda-11.8/lib64/libcudnn.so.9", "cudnn", "9.1.0")
        assert found(replace(snapshot, resolutions=moved, libraries=(*snapshot.libraries, copied))) == []

    def test_the_systems_own_folder_is_no_toolkit(self) -> None:
        """Debian's toolkit has /usr for its root: all that lies there would be its part."""
        snapshot = of_toolkits("12.4", "12.4")
        debian = Toolkit(directory="/usr", version=Present("11.8"), found_via="ld-cache")
        assert found(replace(snapshot, toolkits=Present((debian,)))) == []


MAJORS = st.sampled_from(["11", "12", "13", "14"])


@given(consumer=MAJORS, cudnn=MAJORS, serves=MAJORS)
def test_it_is_judged_by_the_three_cudas_alone(consumer: str, cudnn: str, serves: str) -> None:
    snapshot = cudnn_for(cudnn)
    built = tuple(replace(b, cuda=Present(f"{consumer}.2")) for b in snapshot.builds)
    snapshot = replace(snapshot, builds=built, driver=driver("600.10", f"{serves}.0"))
    levels = [f.level for f in judge(snapshot, MATRIX, select=("GPD210",)).findings if f.cause == "cudnn-cuda-mismatch"]
    if consumer == cudnn:
        assert levels == []
    else:
        assert levels == ["error" if int(serves) < int(cudnn) else "note" if cudnn == "12" else "warning"]


@given(names=st.lists(st.sampled_from(["12.1", "12.4", "12.8"]), min_size=6, max_size=6))
def test_a_note_on_two_toolkits_is_about_releases_that_differ(names: list[str]) -> None:
    snapshot = of_toolkits("12.4", "12.4")
    rows = tuple(replace(r, path=r.path.replace("12.4", n)) for r, n in zip(snapshot.resolutions, names, strict=True))
    files = tuple(lib(r.path, r.family, n) for r, n in zip(rows, names, strict=True))
    roots = Present(tuple(map(toolkit, ("12.1", "12.4", "12.8"))))
    judged = judge(replace(snapshot, resolutions=rows, libraries=files, toolkits=roots), MATRIX, select=("GPD205",))
    in_toolkits = {n for r, n in zip(rows, names, strict=True) if r.family != "cudnn"}
    assert bool(judged.findings) == (len(in_toolkits) > 1)
