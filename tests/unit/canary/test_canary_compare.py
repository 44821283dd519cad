"""What counts as a disagreement between the emulator and the real loader."""

from __future__ import annotations

from gpudoctor.canary.compare import compare
from gpudoctor.canary.listing import STEP
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.canary import CanaryStep
from gpudoctor.model.loading import Resolution
from gpudoctor.system.real import RealSystem
from unit.rules.builders import CUDNN, answer

REQUESTER = "libonnxruntime_providers_cuda.so"


def listed(*maps: str) -> CanaryStep:
    return CanaryStep(
        consumer="onnxruntime", scenario="alone", name=STEP, outcome="ok", family="onnxruntime", maps=maps
    )


def found(link: str) -> Resolution:
    path = f"{CUDNN}/libcudnn.so.9"
    return answer("onnxruntime", "libcudnn.so.9", "cudnn", path, link=link, requester=REQUESTER)


def test_a_linked_library_that_the_listing_lacks_is_a_disagreement() -> None:
    (difference,) = compare(RealSystem(), load_matrix(), (listed(),), (found("needed"),))
    assert difference.disagreement.observed == "it was not loaded"


def test_a_library_that_the_provider_opens_later_is_in_no_listing() -> None:
    assert compare(RealSystem(), load_matrix(), (listed(),), (found("dlopen"),)) == ()


def died(words: str) -> CanaryStep:
    return CanaryStep(
        consumer="ctranslate2",
        scenario="alone",
        name="cudnn-cnn",
        outcome="crashed",
        family="cudnn",
        libraries=("libcudnn_cnn_infer",),
        stderr_excerpt=f"Could not load library libcudnn_cnn_infer.so.8. Error: {words}",
    )


def test_a_part_that_only_lacks_the_driver_is_no_disagreement() -> None:
    part = answer("ctranslate2", "libcudnn_cnn_infer.so.8", "cudnn", f"{CUDNN}/libcudnn_cnn_infer.so.8")
    steps = (died("libcuda.so.1: cannot open shared object file: No such file or directory"),)
    assert compare(RealSystem(), load_matrix(), steps, (part,)) == ()
    steps = (died("libcudnn_cnn_infer.so.8: undefined symbol: gone"),)
    assert len(compare(RealSystem(), load_matrix(), steps, (part,))) == 1
