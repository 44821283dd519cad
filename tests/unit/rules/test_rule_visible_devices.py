"""GPD506: what CUDA_VISIBLE_DEVICES leaves over."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.environment import Variable
from gpudoctor.model.fact import Absent
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from unit.rules.builders import cuda_says, machine, no_driver, replace, without_gpu
from unit.rules.gpu_cases import RTX_3090_PAIR, RTX_4090, SLICED, on, uuid, visible

MATRIX = load_matrix()


def level(snapshot: Snapshot) -> str | None:
    found = judge(snapshot, MATRIX, ("GPD506",)).findings
    assert all(f.cause == "wrong-device-selected" for f in found)
    return found[0].level if found else None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", None),
        ("1,0", None),
        (" 0 , 1 ", None),
        ("2", "error"),
        ("0,2", "warning"),
        ("0,-1,1", "warning"),
        ("0,0", "warning"),
        ("", "warning"),
        ("-1", "warning"),
        ("NoDevFiles", "warning"),
        ("all", "error"),
        ("cuda:0", "error"),
        ("99999999999999999999", "error"),
        (uuid(1), None),
        (uuid(1)[:8], None),
        ("GPU-", "error"),  # fits both: CUDA takes it for neither
        ("GPU-ffffffff", "error"),
        ("MIG-11111111-2222-3333-4444-555566667777", "error"),
        ("\x1b[31m", "error"),
    ],
)
def test_values_on_two_gpus(value: str, expected: str | None) -> None:
    assert level(visible(value, *RTX_3090_PAIR)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("MIG-11111111-2222-3333-4444-555566667777", None),
        ("MIG-91111111-2222-3333-4444-555566667777", "error"),
        (f"MIG-{uuid(0)}/7/0", None),
        (f"MIG-{uuid(5)}/7/0", "error"),
        ("0", None),
        ("2", None),
        ("3", "error"),
        (uuid(0), None),
    ],
)
def test_slices(value: str, expected: str | None) -> None:
    assert level(visible(value, SLICED)) == expected


def test_a_gpu_in_mig_mode_without_slices_serves_nobody() -> None:
    bare = replace(SLICED, mig_devices=())
    (finding,) = judge(on(bare), MATRIX, ("GPD506",)).findings
    assert (finding.level, finding.cause) == ("error", None)
    assert finding.reason
    assert judge(on(bare, RTX_4090), MATRIX, ("GPD506",)).findings == ()


def test_the_message_says_what_was_meant() -> None:
    (finding,) = judge(visible("all"), MATRIX, ("GPD506",)).findings
    assert "NVIDIA_VISIBLE_DEVICES" in finding.fixes[0].title
    assert "the only index is 0" in finding.message


def test_masked_uuids_are_no_evidence() -> None:
    verdict = judge(replace(visible("GPU-9", RTX_4090), redacted=True), MATRIX, ("GPD506",))
    assert verdict.findings == ()
    assert [q.rule for q in verdict.open] == ["GPD506"]


def test_an_assumed_machine_has_no_variable_of_this_shell() -> None:
    gpu = replace(RTX_4090, assumed=True)
    shell, given = visible("7", gpu), visible("7", gpu, source="--env")
    assert level(shell) is None
    assert level(given) == "error"


def test_without_a_gpu_there_is_nothing_to_choose() -> None:
    variable = (Variable(name="CUDA_VISIBLE_DEVICES", value="3"),)
    for snapshot in (without_gpu(), machine(driver=no_driver(), gpus=Absent())):
        verdict = judge(replace(snapshot, variables=variable), MATRIX, ("GPD506",))
        assert (verdict.findings, verdict.open) == ((), ())


def test_libcuda_that_finds_no_device_is_explained_once() -> None:
    hidden = visible("-1", driver=cuda_says(100))
    assert [f.rule for f in judge(hidden, MATRIX).findings] == ["GPD506"]


def test_a_device_named_twice_is_not_promised_anything() -> None:
    (finding,) = judge(visible("0,0", *RTX_3090_PAIR), MATRIX, ("GPD506",)).findings
    assert "twice" in finding.message
    assert "does not document" in finding.message


def test_a_long_value_is_cut() -> None:
    (finding,) = judge(visible("x" * 5000), MATRIX, ("GPD506",)).findings
    assert len(finding.message) < 420
    assert all(len(e.value) < 200 for e in finding.evidence)
