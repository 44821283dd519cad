"""What a deep check makes of findings: proof, new findings, contradictions. Pure: facts in, findings out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gpudoctor.canary.answer import dotted
from gpudoctor.canary.judge import CANARY_RULES, apply_canary
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.canary import CanaryCall, CanaryReport, CanaryStep, CanaryVersion, Disagreement
from gpudoctor.model.environment import Variable
from gpudoctor.model.finding import Finding, NotApplicable
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from unit.rules.builders import (
    CUBLAS,
    CUDNN,
    assumed_driver,
    ct2_cublas,
    ct2_cudnn9,
    ctranslate2,
    cublas12,
    cudnn9,
    machine,
    no_driver,
    replace,
    with_,
    without_gpu,
)

MATRIX = load_matrix()
NOT_THERE = (
    "Unable to load any of {libcudnn_graph.so.9.1.0, libcudnn_graph.so.9.1, libcudnn_graph.so.9, libcudnn_graph.so}\n"
    "Invalid handle. Cannot load symbol cudnnCreate"
)
NO_CUBLAS = "what():  Library libcublas.so.12 is not found or cannot be loaded"


def step(name: str, outcome: str = "ok", **changes: Any) -> CanaryStep:
    family = {"cublas": "cublas", "device": "libcuda", "cuInit": "libcuda", "import": None}.get(name, "cudnn")
    libraries = {"cublas": ("libcublas", "libcublasLt"), "cudnn-start": ("libcudnn_graph",)}.get(name, ())
    fields: dict[str, Any] = {"consumer": "ctranslate2", "scenario": "alone", "family": family, "libraries": libraries}
    return CanaryStep(name=name, outcome=outcome, **{**fields, **changes})  # type: ignore[arg-type]


def cudnn_crash(**changes: Any) -> CanaryStep:
    fields = {"signal": "SIGABRT", "failed_call": "cudnnCreate", "stderr_excerpt": NOT_THERE, **changes}
    return step("cudnn-start", "crashed", **fields)


def cublas_crash() -> CanaryStep:
    return step("cublas", "crashed", signal="SIGABRT", failed_call="cublasCreate_v2", stderr_excerpt=NO_CUBLAS)


def off_the_path() -> Snapshot:
    return with_(machine(), ctranslate2(), cudnn9(), cublas12(), ct2_cudnn9(None), ct2_cublas(None))


def all_right() -> Snapshot:
    return with_(machine(), ctranslate2(), cudnn9(), cublas12(), ct2_cudnn9(CUDNN), ct2_cublas(CUBLAS))


def deep(snapshot: Snapshot, *steps: CanaryStep, **more: Any) -> tuple[Finding, ...]:
    return apply_canary(judge(snapshot, MATRIX).findings, CanaryReport(steps=steps, **more), snapshot)


def only(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, [(f.rule, f.message) for f in findings]
    return findings[0]


class TestProof:
    def test_what_was_seen_is_proved(self) -> None:
        findings = deep(off_the_path(), cudnn_crash(), cublas_crash())

        assert {(f.rule, f.cause, f.confidence) for f in findings} == {
            ("GPD201", "cudnn-not-loadable", "proved"),
            ("GPD201", "cuda-lib-not-loadable", "proved"),
        }
        by_cause = {f.cause: f for f in findings}
        told = NOT_THERE.replace("\n", " / ")  # evidence is one line
        assert by_cause["cudnn-not-loadable"].evidence[-1].value == f"cudnnCreate: SIGABRT: {told}"
        assert by_cause["cuda-lib-not-loadable"].evidence[-1].value == f"cublasCreate_v2: SIGABRT: {NO_CUBLAS}"

    def test_what_was_not_tried_stays_read(self) -> None:
        findings = deep(off_the_path(), cudnn_crash(), step("cublas", "skipped"))

        assert {(f.cause, f.confidence) for f in findings} == {
            ("cudnn-not-loadable", "proved"),
            ("cuda-lib-not-loadable", "read"),
        }

    def test_another_consumers_death_proves_nothing(self) -> None:
        findings = deep(off_the_path(), cudnn_crash(consumer="torch"))

        assert {f.confidence for f in findings if f.rule == "GPD201"} == {"read"}
        assert [f.subject.name for f in findings if f.rule == "GPD211"] == ["torch"]

    def test_nothing_is_lost_and_all_is_sorted(self) -> None:
        static = judge(off_the_path(), MATRIX).findings
        findings = deep(off_the_path(), cudnn_crash(), step("import", "failed", consumer="torch"))

        assert {(f.rule, f.subject, f.message) for f in static} <= {(f.rule, f.subject, f.message) for f in findings}
        assert [f.rule for f in findings] == sorted(f.rule for f in findings)


class TestNewFindings:
    def test_a_crash_that_no_file_told_of(self) -> None:
        finding = only(deep(all_right(), cudnn_crash(maps=("/x/libcudnn_ops.so.9",))))

        assert (finding.rule, finding.level, finding.confidence) == ("GPD211", "error", "proved")
        # The message that cuDNN gives for a missing file and for a missing symbol, of a file that is there.
        assert finding.cause is None
        assert "only the loader's own account" in (finding.reason or "")
        assert "cudnnCreate" in finding.message
        assert "SIGABRT" in finding.message
        assert ("loaded by then", "/x/libcudnn_ops.so.9") in [(e.label, e.value) for e in finding.evidence]

    @pytest.mark.parametrize(
        ("words", "cause"),
        [
            ("Could not load symbol cudnnGetLibConfig. Error: x: undefined symbol: cudnnGetLibConfig", "cudnn-mixed"),
            ("/x/libcusparse.so.12: undefined symbol: __nvJitLinkAddData_12_1", "cuda-libs-mixed"),
            ("libcurand.so.10: cannot open shared object file: No such file or directory", "cuda-lib-not-loadable"),
            ("libcudnn_adv.so.9: cannot open shared object file: No such file or directory", "cudnn-not-loadable"),
            ("/lib/libc.so.6: version `GLIBC_2.38' not found (required by /x/libcublas.so.12)", "glibc-too-old"),
            ("/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found", "libstdcxx-too-old"),
            ("libx.so: cannot enable executable stack as shared object requires", "exec-stack"),
            ("A module that was compiled using NumPy 1.x cannot be run in NumPy 2.1", "numpy-abi"),
            ("libFOO.so.3: cannot open shared object file: No such file or directory", None),
            ("something else entirely", None),
        ],
    )
    def test_the_cause_is_named_where_the_words_are_plain(self, words: str, cause: str | None) -> None:
        finding = only(deep(all_right(), step("import", "failed", reason=words, failed_call="import ctranslate2")))

        assert finding.cause == cause
        assert (finding.reason is None) == (cause is not None)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"outcome": "timeout"}, "a hang"),
            ({"outcome": "crashed", "signal": "SIGBUS"}, "a bus error"),
            ({"outcome": "crashed", "signal": "SIGSEGV"}, "SIGSEGV says nothing"),
        ],
    )
    def test_a_silent_death_has_a_reason_and_no_cause(self, changes: dict[str, str], reason: str) -> None:
        finding = only(deep(all_right(), step("cudnn-ops", **changes)))

        assert finding.cause is None
        assert (finding.reason or "").startswith(reason)

    def test_one_finding_a_consumer_and_family(self) -> None:
        finding = only(deep(all_right(), cudnn_crash(), cudnn_crash(scenario="after-torch")))

        assert len(finding.consequences) == 1
        assert finding.consequences[0].endswith("(after torch)")

    def test_what_works_gives_nothing(self) -> None:
        assert deep(all_right(), step("import"), step("cudnn-start"), step("cublas")) == ()


class TestContradiction:
    LOADED = (f"{CUDNN}/libcudnn_graph.so.9", f"{CUDNN}/libcudnn_ops.so.9", f"{CUDNN}/libcudnn_cnn.so.9")

    def by_cause(self, findings: tuple[Finding, ...]) -> dict[str | None, Finding]:
        return {f.cause: f for f in findings if f.rule == "GPD201"}

    def test_a_library_that_did_load_makes_a_note(self) -> None:
        findings = self.by_cause(
            deep(
                off_the_path(), step("cudnn-cnn", maps=self.LOADED), step("cublas", maps=(f"{CUBLAS}/libcublas.so.12",))
            )
        )

        assert {f.level for f in findings.values()} == {"note"}
        assert {f.confidence for f in findings.values()} == {"read"}
        assert findings["cuda-lib-not-loadable"].evidence[-1].label == "contradicted by the canary"

    def test_one_part_that_was_not_seen_keeps_the_level(self) -> None:
        findings = self.by_cause(deep(off_the_path(), step("cudnn-ops", maps=self.LOADED[:2])))

        assert findings["cudnn-not-loadable"].level == "error"

    def test_one_scenario_that_was_not_right_keeps_the_level(self) -> None:
        after = {"scenario": "after-torch"}
        findings = self.by_cause(
            deep(off_the_path(), step("cudnn-cnn", maps=self.LOADED), step("cudnn-cnn", "skipped", **after))
        )

        assert findings["cudnn-not-loadable"].level == "error"

    def test_a_disagreement_is_a_note_with_the_trace(self) -> None:
        disagreement = Disagreement(
            consumer="ctranslate2",
            scenario="alone",
            step="cublas",
            library="libcublas.so.12",
            predicted="it will not load: nowhere",
            observed="/x/libcublas.so.12 was loaded",
            trace="find library=libcublas.so.12 [0]; searching",
        )
        finding = only(deep(all_right(), disagreements=(disagreement,)))

        assert (finding.rule, finding.level, finding.cause) == ("GPD213", "note", None)
        assert disagreement.trace in [e.value for e in finding.evidence]


class TestVersions:
    def version(self, version: str, path: str = f"{CUBLAS}/libcublas.so.12") -> CanaryVersion:
        return CanaryVersion(
            consumer="ctranslate2",
            scenario="alone",
            family="cublas",
            version=version,
            call="cublasGetProperty",
            path=path,
        )

    def test_as_many_parts_as_both_name_are_compared(self) -> None:
        assert deep(all_right(), versions=(self.version("12.4.5"),)) == ()

    def test_a_replaced_file(self) -> None:
        finding = only(deep(all_right(), versions=(self.version("12.8.3"),)))

        assert (finding.rule, finding.level) == ("GPD212", "warning")
        assert "12.8.3" in finding.message
        assert "nvidia-cublas-cu12 says 12.4.5.8" in finding.message

    def test_a_file_that_nobody_recorded(self) -> None:
        assert deep(all_right(), versions=(self.version("12.8.3", "/elsewhere/libcublas.so.12"),)) == ()

    @pytest.mark.parametrize(
        ("family", "value", "version"),
        [
            ("cudnn", "90100", "9.1.0"),
            ("cudnn", "91002", "9.10.2"),
            ("cudnn", "8907", "8.9.7"),
            ("cudart", "12040", "12.4"),
            ("driver", "13000", "13.0"),
            ("driver", "0", None),
            ("cublas", "12.4.5", "12.4.5"),
        ],
    )
    def test_numbers_as_people_write_them(self, family: str, value: str, version: str | None) -> None:
        assert dotted(family, value) == version


class TestDriver:
    DEVICE = "RuntimeError: CUDA failed with error CUDA driver version is insufficient for CUDA runtime version"
    GONE = "libcuda.so.1: cannot open shared object file: No such file or directory"

    def no_libcuda(self) -> tuple[CanaryStep, CanaryStep]:
        return (
            step("cuInit", "failed", consumer="driver", failed_call="cuDriverGetVersion", reason=self.GONE),
            step("device", "failed", failed_call="ctranslate2.get_supported_compute_types", reason=self.DEVICE),
        )

    def answered(self, code: int) -> CanaryStep:
        version = (CanaryCall(call="cuDriverGetVersion", value="12040"),)
        reason = f"cuInit answered {code}"
        return step("cuInit", "failed", consumer="driver", failed_call="cuInit", reason=reason, returned=version)

    def test_no_driver_is_the_drivers_finding_with_what_hides_behind_a_count_of_0(self) -> None:
        finding = only(deep(replace(all_right(), driver=no_driver()), *self.no_libcuda()))

        assert (finding.cause, finding.confidence) == ("driver-missing", "proved")
        assert ("ctranslate2 says", f"ctranslate2.get_supported_compute_types: {self.DEVICE}") in [
            (e.label, e.value) for e in finding.evidence
        ]

    def test_a_machine_without_a_gpu_gets_no_error(self) -> None:
        findings = deep(without_gpu(all_right()), *self.no_libcuda())

        assert {f.level for f in findings} == {"note"}

    def test_another_machines_driver_is_not_judged_by_this_ones(self) -> None:
        snapshot = replace(all_right(), driver=assumed_driver("550.54.15"))

        assert [f.rule for f in deep(snapshot, *self.no_libcuda()) if f.rule == "GPD211"] == []

    @pytest.mark.parametrize(
        ("code", "cause", "level"),
        [(999, "driver-state-broken", "error"), (804, "forward-compat", "error"), (802, "fabric-manager", "error")],
    )
    def test_a_code_that_no_rule_saw(self, code: int, cause: str, level: str) -> None:
        finding = only(deep(all_right(), self.answered(code)))

        assert (finding.rule, finding.cause, finding.level) == ("GPD211", cause, level)
        assert finding.subject.kind == "driver"

    def test_hidden_devices(self) -> None:
        snapshot = replace(all_right(), variables=(Variable(name="CUDA_VISIBLE_DEVICES", value=""),))
        finding = next(f for f in deep(snapshot, self.answered(100)) if f.rule == "GPD211" or "cuInit" in str(f))

        assert finding.cause != "no-nvidia-gpu"

    def test_insufficient_with_a_driver_is_a_driver_that_is_too_old(self) -> None:
        device = step("device", "failed", failed_call="x", reason=self.DEVICE)
        finding = only(deep(all_right(), device))

        assert (finding.cause, finding.subject.name) == ("driver-too-old", "ctranslate2")


def test_the_rules_alone_are_not_applicable_and_have_pages() -> None:
    for rule in CANARY_RULES:
        assert rule.evaluate(machine(), MATRIX) == (NotApplicable("check --deep was not asked for"),)
        assert {"## What", "## Why it matters", "## How it is known", "## What to do"} <= set(rule.page.splitlines())
        assert set(rule.causes) <= {c.id for c in MATRIX.data.causes}


def test_findings_stay_json() -> None:
    findings = deep(off_the_path(), cudnn_crash(stderr_excerpt="\x1b[31mred\x1b[0m \ufffd"))

    assert msgspec.json.decode(msgspec.json.encode(findings), type=tuple[Finding, ...]) == findings
