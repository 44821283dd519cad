"""GPD303, GPD701: number formats and memory."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.errors import UsageError
from gpudoctor.model.fact import Present
from gpudoctor.model.finding import Finding
from gpudoctor.model.machine import Gpu, PlannedModel
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.probes.planned import parse_models
from gpudoctor.rules.engine import judge
from unit.rules.builders import ctranslate2, installed, replace, with_, without_gpu
from unit.rules.gpu_cases import GTX_1080_TI, RTX_4090, RTX_5090, SLICED, V100, card, on, planned

MATRIX = load_matrix()
P100 = card("Tesla P100-PCIE-16GB", "6.0", 16)
CARD_4_GIB = card("GeForce GTX 1650", "7.5", 4)


def only(snapshot: Snapshot, rule: str) -> Finding:
    (finding,) = judge(snapshot, MATRIX, (rule,)).findings
    return finding


class TestComputeTypes:
    @pytest.mark.parametrize(
        ("version", "gpu", "lacking"),
        [
            ("4.8.5", RTX_4090, None),
            ("4.8.5", V100, None),
            ("4.8.5", GTX_1080_TI, "float16, int8_float16"),
            ("4.8.5", P100, "float16, int8, int8_float16"),
            ("4.8.5", RTX_5090, None),
            ("4.6.0", RTX_5090, "int8, int8_float16"),
            ("4.6.2", RTX_5090, "int8, int8_float16"),
        ],
    )
    def test_by_gpu(self, version: str, gpu: Gpu, lacking: str | None) -> None:
        findings = judge(with_(on(gpu), ctranslate2(version)), MATRIX, ("GPD303",)).findings
        assert bool(findings) == (lacking is not None)
        for finding in findings:
            assert (finding.level, finding.cause) == ("note", "compute-type-unsupported")
            values = {e.label: e.value for e in finding.evidence}
            assert set(values["not offered"].split(", ")) == set((lacking or "").split(", "))

    def test_whisperx_asks_for_float16_by_itself(self) -> None:
        snapshot = with_(on(GTX_1080_TI), ctranslate2("4.8.5"), installed("whisperx==3.4.2"))
        assert only(snapshot, "GPD303").level == "warning"
        assert "whisperX" in only(snapshot, "GPD303").message

    def test_what_is_asked_for_decides(self) -> None:
        snapshot = with_(on(GTX_1080_TI), ctranslate2("4.8.5"))
        assert only(planned(snapshot, "small:float16"), "GPD303").level == "error"
        assert judge(planned(snapshot, "small:int8"), MATRIX, ("GPD303",)).findings == ()
        assert only(planned(snapshot, "small"), "GPD303").level == "note"

    def test_the_advice_works_on_this_gpu(self) -> None:
        assert "int8" in only(with_(on(GTX_1080_TI), ctranslate2("4.8.5")), "GPD303").fixes[0].commands[0]
        assert "float32" in only(with_(on(P100), ctranslate2("4.8.5")), "GPD303").fixes[0].commands[0]

    def test_the_newer_release_that_offers_it_and_the_best_format_until_then(self) -> None:
        best, newer = only(with_(on(RTX_5090), ctranslate2("4.6.0")), "GPD303").fixes
        assert 'compute_type="float16"' in best.commands[0]
        assert '"ctranslate2>=4.7"' in newer.commands[0]

    def test_no_release_gives_an_old_card_what_it_lacks(self) -> None:
        (fix,) = only(with_(on(GTX_1080_TI), ctranslate2("4.6.0")), "GPD303").fixes
        assert 'compute_type="int8"' in fix.commands[0]


class TestMemory:
    @pytest.mark.parametrize(
        ("gpu", "models", "level"),
        [
            (RTX_4090, ("large-v3:float16",), None),
            (RTX_4090, ("large-v3:float32", "large-v3:float32"), None),
            (CARD_4_GIB, ("large-v3:float16",), "error"),  # documented
            (CARD_4_GIB, ("medium:float32",), "warning"),  # an estimate
            (CARD_4_GIB, ("large-v3-turbo:int8",), None),
            (CARD_4_GIB, ("large-v3-turbo:int8", "large-v3:int8"), "error"),
            (SLICED, ("large-v3:float16", "large-v3-turbo:float16"), "error"),
            (SLICED, ("large-v3:float16",), None),
            (card("GeForce RTX 3050", "8.6", 5), ("large-v2:float16:8",), "error"),
            (card("GeForce RTX 3050", "8.6", 5), ("large-v2:float16:1",), None),
        ],
    )
    def test_fits(self, gpu: Gpu, models: tuple[str, ...], level: str | None) -> None:
        findings = judge(planned(on(gpu), *models), MATRIX, ("GPD701",)).findings
        assert [f.level for f in findings] == ([level] if level else [])
        assert all(f.cause == "gpu-oom" and f.confidence == "table" for f in findings)

    def test_memory_in_use_is_a_warning(self) -> None:
        busy = replace(RTX_4090, memory_free_bytes=Present(2 << 30))
        finding = only(planned(on(busy), "large-v3:float16"), "GPD701")
        assert finding.level == "warning"
        assert "free now" in finding.message

    def test_an_estimate_says_so(self) -> None:
        finding = only(planned(on(CARD_4_GIB), "medium:float32"), "GPD701")
        assert "about" in finding.message
        assert any("an estimate" in e.value for e in finding.evidence)

    def test_without_a_format_the_gpu_decides(self) -> None:
        old = card("GeForce GTX 1060 6GB", "6.1", 6)
        assert judge(planned(with_(on(CARD_4_GIB), ctranslate2("4.8.5")), "medium"), MATRIX, ("GPD701",)).findings == ()
        finding = only(planned(with_(on(old), ctranslate2("4.8.5")), "large-v3"), "GPD701")
        assert "float32" in finding.message

    def test_a_model_that_was_asked_about_is_never_passed_over_in_silence(self) -> None:
        asked = planned(with_(without_gpu(), ctranslate2("4.8.5")), "large-v3:float16", "large-v3-turbo")
        verdict = judge(asked, MATRIX, ("GPD303", "GPD701"))
        assert verdict.findings == ()
        assert [q.rule for q in verdict.open] == ["GPD303", "GPD701"]
        assert "large-v3 (float16) and large-v3-turbo fit cannot be told" in verdict.open[1].reason
        assert "--assume-gpu" in verdict.open[1].reason

    def test_without_a_model_there_is_nothing_to_judge(self) -> None:
        verdict = judge(with_(without_gpu(), ctranslate2("4.8.5")), MATRIX, ("GPD303", "GPD701"))
        assert (verdict.findings, verdict.open) == ((), ())

    def test_the_larger_gpu_counts(self) -> None:
        assert judge(planned(on(CARD_4_GIB, RTX_4090), "large-v3:float16"), MATRIX, ("GPD701",)).findings == ()

    def test_an_unmeasured_format_is_open(self) -> None:
        verdict = judge(planned(on(RTX_4090), "large-v3:bfloat16"), MATRIX, ("GPD701",))
        assert [q.rule for q in verdict.open] == ["GPD701"]


class TestPlanned:
    def test_what_is_written(self) -> None:
        texts = ("large-v3", "turbo:int8", "medium.en:default", "small:int8_float16:8")
        assert parse_models(MATRIX, texts) == (
            PlannedModel(name="large-v3"),
            PlannedModel(name="large-v3-turbo", compute_type="int8"),
            PlannedModel(name="medium.en"),
            PlannedModel(name="small", compute_type="int8_float16", batch_size=8),
        )

    @pytest.mark.parametrize(
        "text", ["", ":", "huge", "large-v3:fp16", "large-v3:int8:0", "large-v3:int8:x", "a:b:c:d", "large-v3:int8:²"]
    )
    def test_what_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="--model"):
            parse_models(MATRIX, (text,))
