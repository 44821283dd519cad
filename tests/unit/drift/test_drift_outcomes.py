"""What becomes of each consumer in a lock, told without a snapshot."""

from __future__ import annotations

import pytest

from gpudoctor.drift.lock import Lock, LockedDistributions, LockedResolution
from gpudoctor.drift.outcomes import compare_outcomes
from gpudoctor.matrix.load import load_matrix

MATRIX = load_matrix()


def onnxruntime(version: str, **outcomes: str) -> Lock:
    return Lock(
        schema_version=1,
        matrix_version=MATRIX.version,
        platform="linux-x86_64",
        consumers={"onnxruntime": "onnxruntime-gpu"},
        distributions=LockedDistributions(gpu={"onnxruntime-gpu": version}),
        resolution=tuple(
            LockedResolution(consumer="onnxruntime", scenario="alone", role=role, family=role, outcome=outcome)
            for role, outcome in outcomes.items()
        ),
    )


def test_a_library_that_speech_models_never_open_is_not_missed() -> None:
    """The fact is about the distribution onnxruntime-gpu, the answers are those of onnxruntime."""
    whole = onnxruntime("1.29.0", cublas="present", cufft="present")
    (outcome,) = compare_outcomes(whole, onnxruntime("1.29.0", cublas="present", cufft="absent"), MATRIX, ())
    assert (outcome.right, outcome.changed) == ("1 library loads", False)


@pytest.mark.parametrize("version", ["1.20.2", "unknown"])
def test_a_release_that_links_it_does_miss_it(version: str) -> None:
    whole = onnxruntime(version, cublas="present", cufft="present")
    (outcome,) = compare_outcomes(whole, onnxruntime(version, cublas="present", cufft="absent"), MATRIX, ())
    assert (outcome.right, outcome.changed) == ("misses cufft", True)


def test_what_is_missing_has_the_name_of_its_file() -> None:
    role = "cudnn_cnn"
    whole, without = onnxruntime("1.31.1", **{role: "present"}), onnxruntime("1.31.1", **{role: "absent"})
    (outcome,) = compare_outcomes(whole, without, MATRIX, ())
    assert outcome.right == "misses libcudnn_cnn.so.9"
