"""The engine: crashes become answers, symptoms fold under causes, findings are sorted, rules can be chosen."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import Absent, Present
from gpudoctor.model.finding import Evaluation, Pass
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.engine import ELSEWHERE, is_selected, judge
from gpudoctor.rules.registry import RULES
from unit.rules.builders import (
    BLIND,
    CUBLAS,
    CUDNN,
    Parts,
    answer,
    ct2_cublas,
    ct2_cudnn9,
    ctranslate2,
    cublas12,
    cuda_says,
    cudnn9,
    driver,
    host,
    installed,
    lib,
    machine,
    no_driver,
    onnxruntime_gpu,
    replace,
    search_path,
    shared,
    with_,
    without_gpu,
)

MATRIX = load_matrix()
HEALTHY = with_(machine(), ctranslate2(), cudnn9(), cublas12(), ct2_cudnn9(CUDNN), ct2_cublas(CUBLAS))
OFF_PATH = with_(machine(), ctranslate2(), cudnn9(), cublas12(), ct2_cudnn9(None), ct2_cublas(None))


def rule(rule_id: str, evaluate) -> Rule:
    return Rule(id=rule_id, name=rule_id.lower(), title="A rule", level="error", causes=(), page="", evaluate=evaluate)


def crash(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    raise KeyError("libcudnn")


class TestCrashes:
    def test_a_crash_is_open_and_an_internal_error(self) -> None:
        verdict = judge(machine(), MATRIX, rules=(rule("GPD999", crash),))
        (finding,) = verdict.findings
        assert (finding.rule, finding.level, finding.cause) == ("GPD901", "error", None)
        assert finding.reason
        assert "GPD999" in finding.message
        assert "snapshot" in finding.message
        assert "KeyError" in finding.evidence[0].value
        assert [q.rule for q in verdict.open] == ["GPD999"]
        assert verdict.required_open

    def test_no_answer_at_all_is_a_defect_too(self) -> None:
        verdict = judge(machine(), MATRIX, rules=(rule("GPD999", lambda s, m: ()),))
        assert [f.rule for f in verdict.findings] == ["GPD901"]
        assert [q.rule for q in verdict.open] == ["GPD999"]

    def test_the_others_are_judged_all_the_same(self) -> None:
        verdict = judge(machine(), MATRIX, rules=(rule("GPD998", crash), rule("GPD999", lambda s, m: (Pass("x"),))))
        assert verdict.evaluations["GPD999"] == (Pass("x"),)

    def test_leaving_the_program_is_not_caught(self) -> None:
        def leave(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            judge(machine(), MATRIX, rules=(rule("GPD999", leave),))


class TestSelection:
    @pytest.mark.parametrize("name", ["GPD201", "gpd201", "unresolved-library", "GPD2"])
    def test_select(self, name: str) -> None:
        verdict = judge(OFF_PATH, MATRIX, select=(name,))
        assert {f.rule for f in verdict.findings} == {"GPD201"}
        assert all(rule_id.startswith("GPD2") for rule_id in verdict.evaluations)

    def test_ignore(self) -> None:
        assert judge(OFF_PATH, MATRIX, ignore=("GPD2",)).findings == ()

    def test_ignore_outranks_select(self) -> None:
        assert judge(OFF_PATH, MATRIX, select=("GPD2",), ignore=("GPD201",)).findings == ()

    @pytest.mark.parametrize("name", ["GPD8", "no-such-rule", "", "201"])
    def test_a_name_of_nothing_is_refused(self, name: str) -> None:
        with pytest.raises(UsageError, match="no rule is called"):
            judge(OFF_PATH, MATRIX, select=(name,))

    @pytest.mark.parametrize(
        ("select", "rules"),
        [
            (("GPD201", "GPD602"), {"GPD201", "GPD602"}),
            ((" gpd201 ",), {"GPD201"}),
            (("Unresolved-Library",), {"GPD201"}),
            (("GPD20", "GPD60"), {r.id for r in RULES if r.id.startswith(("GPD20", "GPD60"))}),
            (("g",), {r.id for r in RULES}),
            ((), {r.id for r in RULES}),
        ],
    )
    def test_what_runs(self, select: tuple[str, ...], rules: set[str]) -> None:
        assert set(judge(machine(), MATRIX, select=select).evaluations) == rules

    @pytest.mark.parametrize("name", ["unresolved", "GPD2011", "GPD201,GPD202", "*", "GPD9*", "\x1b[31m"])
    def test_a_part_of_a_name_a_list_and_a_pattern_are_no_names(self, name: str) -> None:
        for wanted in ({"select": (name,)}, {"ignore": (name,)}, {"select": ("GPD201",), "ignore": (name,)}):
            with pytest.raises(UsageError, match="no rule is called"):
                judge(OFF_PATH, MATRIX, **wanted)

    def test_one_wrong_name_among_good_ones_is_refused(self) -> None:
        with pytest.raises(UsageError, match="'GPD8'"):
            judge(OFF_PATH, MATRIX, select=("GPD201", "GPD8"))

    def test_what_is_left_out_is_neither_open_nor_required(self) -> None:
        bare = without_gpu(HEALTHY)
        assert judge(bare, MATRIX).required_open
        without = judge(bare, MATRIX, ignore=("driver-too-old",))
        assert (without.open, without.required_open) == ((), False)

    def test_only_the_rules_that_strict_insists_on_make_a_verdict_incomplete(self) -> None:
        unread = with_(machine(ffmpeg=BLIND), installed("openai-whisper==20250625"))
        verdict = judge(unread, MATRIX)
        assert [q.rule for q in verdict.open] == ["GPD703"]
        assert not verdict.required_open

    @pytest.mark.parametrize("rule_id", sorted(ELSEWHERE))
    def test_the_rules_that_need_more_than_a_snapshot_are_good_names(self, rule_id: str) -> None:
        for name in (rule_id, rule_id.lower(), ELSEWHERE[rule_id]):
            assert judge(OFF_PATH, MATRIX, select=(name,)).findings == ()
            assert judge(machine(), MATRIX, ignore=(name,)).findings == ()

    def test_none_of_them_is_in_the_registry_too(self) -> None:
        assert not {r.id for r in RULES} & set(ELSEWHERE)
        assert not {r.name for r in RULES} & set(ELSEWHERE.values())

    @pytest.mark.parametrize(
        ("select", "ignore", "wanted"),
        [
            ((), (), True),
            (("GPD451",), (), True),
            (("distribution-drift",), (), True),
            (("GPD4",), (), True),
            (("GPD2",), (), False),
            ((), ("gpd451",), False),
            (("GPD4",), ("GPD45",), False),
        ],
    )
    def test_a_finding_of_such_a_rule_is_chosen_in_the_same_way(
        self, select: tuple[str, ...], ignore: tuple[str, ...], wanted: bool
    ) -> None:
        drift = replace(judge(OFF_PATH, MATRIX).findings[0], rule="GPD451", name="distribution-drift")
        assert is_selected(drift, select, ignore) is wanted

    @pytest.mark.parametrize("name", ["GPD451", "GPD15"])
    def test_the_rules_on_drift_are_good_names(self, name: str) -> None:
        assert judge(OFF_PATH, MATRIX, select=(name,)).findings == ()

    def test_a_symptom_stands_by_itself_when_its_cause_is_ignored(self) -> None:
        owners = ("onnxruntime", "onnxruntime-gpu")
        both = with_(
            machine(), onnxruntime_gpu(), installed("onnxruntime==1.20.1"), shared_files=shared(owners, "onnxruntime")
        )
        assert {f.rule for f in judge(both, MATRIX).findings} == {"GPD401"}
        assert {f.rule for f in judge(both, MATRIX, ignore=("shared-files",)).findings} == {"GPD201"}


class TestFolding:
    def test_the_gpu_package_on_disk_leaves_its_missing_libraries_alone(self) -> None:
        owners = ("onnxruntime", "onnxruntime-gpu")
        both = with_(
            machine(),
            onnxruntime_gpu(),
            installed("onnxruntime==1.20.1"),
            shared_files=shared(owners, "onnxruntime-gpu"),
        )
        assert [f.rule for f in judge(both, MATRIX).findings] == ["GPD201", "GPD201", "GPD401"]

    def test_a_missing_driver_takes_its_libraries_along(self) -> None:
        row = answer("onnxruntime", "libcuda.so.1", "libcuda")
        bare = machine(driver=no_driver(), gpus=Absent(), host=host(device_nodes=Absent()), resolutions=(row,))
        (finding,) = judge(bare, MATRIX).findings
        assert finding.rule == "GPD101"
        assert finding.consequences == ("onnxruntime cannot load libcuda.so.1",)

    def test_no_gpu_takes_them_along_too(self) -> None:
        row = answer("onnxruntime", "libonnxruntime_providers_cuda.so", "onnxruntime", culprit="libcuda.so.1")
        (finding,) = judge(without_gpu(machine(resolutions=(row,))), MATRIX).findings
        assert (finding.rule, finding.level) == ("GPD102", "note")
        assert "libcuda.so.1" in finding.consequences[0]

    def test_a_driver_of_two_releases_refuses_to_start_because_of_it(self) -> None:
        split = cuda_says(803, kernel_module=Present("535.183.01"))
        (finding,) = judge(machine(driver=split), MATRIX).findings
        assert finding.rule == "GPD103"
        assert any("803" in c for c in finding.consequences)

    def test_a_shadowed_library_that_will_not_load_is_listed_under_it(self) -> None:
        row = answer(
            "torch", "libcudnn_cnn.so.9", "cudnn", failure="undefined-symbol", shadowed=f"{CUDNN}/libcudnn_cnn.so.9"
        )
        snapshot = search_path(with_(machine(), cudnn9(), Parts(resolutions=(row,))), "/opt/cudnn")
        (finding,) = judge(snapshot, MATRIX).findings
        assert finding.rule == "GPD204"
        assert any("LD_LIBRARY_PATH makes torch" in c for c in finding.consequences)

    def test_a_shadowed_library_that_loads_stands_by_itself(self) -> None:
        other = lib("/opt/cudnn/libcudnn_cnn.so.9", "cudnn", "9.10.2")
        row = answer("torch", "libcudnn_cnn.so.9", "cudnn", other.path, shadowed=f"{CUDNN}/libcudnn_cnn.so.9")
        snapshot = search_path(with_(machine(), cudnn9(), Parts(libraries=(other,), resolutions=(row,))), "/opt/cudnn")
        (finding,) = judge(snapshot, MATRIX).findings
        assert (finding.rule, finding.level, finding.cause) == ("GPD503", "warning", "cudnn-mixed")

    def test_a_missing_folder_and_a_missing_library_stay_apart(self) -> None:
        snapshot = search_path(OFF_PATH, "/usr/local/cuda-11/lib64", e0="missing")
        found = judge(snapshot, MATRIX).findings
        assert [(f.rule, f.level) for f in found] == [("GPD201", "error"), ("GPD201", "error"), ("GPD501", "warning")]


def test_worst_first_then_by_id_and_subject() -> None:
    snapshot = search_path(OFF_PATH, ":~/x", e0="empty", e1="relative")
    snapshot = with_(snapshot, installed("onnxruntime==1.20.1", "onnxruntime-gpu==1.20.2"))
    found = judge(snapshot, MATRIX).findings
    levels = [f.level for f in found]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert [f.rule for f in found if f.level == "error"] == ["GPD201", "GPD201", "GPD401"]
    assert [f.rule for f in found if f.level == "warning"] == ["GPD502", "GPD505"]


def test_a_healthy_machine_without_gpu_is_one_note_and_one_open_question() -> None:
    verdict = judge(without_gpu(HEALTHY), MATRIX)
    assert [(f.rule, f.level) for f in verdict.findings] == [("GPD102", "note")]
    assert [q.rule for q in verdict.open] == ["GPD104"]
    assert verdict.required_open


def test_a_verdict_does_not_depend_on_the_order_of_resolutions() -> None:
    turned = replace(OFF_PATH, resolutions=tuple(reversed(OFF_PATH.resolutions)))
    plain = [(f.rule, f.cause, f.level) for f in judge(OFF_PATH, MATRIX).findings]
    assert sorted(map(str, plain)) == sorted(str((f.rule, f.cause, f.level)) for f in judge(turned, MATRIX).findings)


def test_an_old_driver_is_one_finding_for_all_its_victims() -> None:
    old = replace(with_(HEALTHY, onnxruntime_gpu(folder=CUBLAS)), driver=driver("470.57.02", "11.4"))
    (finding,) = judge(old, MATRIX, select=("GPD1",)).findings
    assert "ctranslate2 4.6.0 and onnxruntime 1.20.2 use" in finding.message
    assert "525.60.13" in finding.message
    assert len(finding.consequences) == 2
