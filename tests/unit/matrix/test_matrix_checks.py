"""What a type cannot say of builds, digests, number formats and tables: file, line, what was expected."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.compile import add_overlay
from gpudoctor.matrix.index import Matrix, holds
from gpudoctor.matrix.load import load_data
from gpudoctor.matrix.types import MatrixData, When
from gpudoctor.model.errors import InputFileError

SOURCES = "sources: [{kind: measured, ref: here}]"
FACT = f"facts: [{{id: ours, subject: our-speech, status: reported, {SOURCES}, WHAT}}]"
CLAIM = "claim: {kind: requires, package: torch}"
MODEL = (
    "models: [{name: ours, encoder_layers: 4, decoder_layers: 4, heads: 6, width: 384, mel_bins: 80, "
    f"vocabulary: 51865, parameters: 39000000, status: reported, {SOURCES}}}]"
)
IMAGE = f'images: [{{image: our/image, tag: "1.0", cuda: "12.4", cudnn: "9.1", status: reported, {SOURCES}}}]'
BRANCH = f'driver_branches: [{{branch: "999", cuda: "19.0", status: reported, {SOURCES}, WHAT}}]'
GPU = f'gpus: [{{compute_capability: "19.0", architecture: New, names: [New], status: reported, {SOURCES}, WHAT}}]'
RELEASES = 'releases: [{package: our-speech, date: "2026-11-21", versions: {"1.0": ">=3.9"}}]'


def fact(what: str) -> str:
    return FACT.replace("WHAT", what)


@pytest.fixture(scope="module")
def data() -> MatrixData:
    return load_data()


@pytest.mark.parametrize(
    "text",
    [
        fact(f'when: {{builds: ["", cu118, cu117.with.pypi.cudnn], python: "<3.11"}}, {CLAIM}'),
        fact("claim: {kind: compute-type, compute_type: int8_float16, least: '7.0', not_on: ['12.0']}"),
        fact("claim: {kind: conflicts, package: numpy, versions: '>=2', cause: numpy-abi, symptom: it fails}"),
        fact("claim: {kind: yanked}"),
        fact("claim: {kind: has-gpu-code, cuda: '12', sass: ['90']}"),
        fact(CLAIM).replace("ref: here", f"ref: here, sha256: {'0a' * 32}"),
        MODEL,
        IMAGE,
        BRANCH.replace("WHAT", 'forward_compat: ["19.1"], end_of_life: "2030-01"'),
        GPU.replace("WHAT", 'first_cuda: "19.0", last_cuda_major: "20", last_driver_branch: "999"'),
        RELEASES,
    ],
)
def test_what_is_right(data: MatrixData, text: str) -> None:
    add_overlay(data, text.encode(), "ours.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (fact(f"when: {{builds: [+cu118]}}, {CLAIM}"), 'when.builds[0]: expected a label such as "cu118"'),
        (fact(f"when: {{python: 'three'}}, {CLAIM}"), "when.python: expected version specifiers"),
        (
            fact("claim: {kind: compute-type, compute_type: INT8, least: '7.0'}"),
            "claim.compute_type: expected a number format",
        ),
        (fact("claim: {kind: compute-type, compute_type: int8, least: seven}"), "claim.least: expected a compute"),
        (
            fact("claim: {kind: compute-type, compute_type: int8, least: '7.0', not_on: ['120']}"),
            "claim.not_on[0]: expected a compute capability",
        ),
        (fact("claim: {kind: conflicts, package: numpy, cause: bad-luck}"), "claim.cause: expected a cause id"),
        (fact("claim: {kind: pairs-with, package: torch, cause: bad-luck}"), "claim.cause: expected a cause id"),
        (fact("claim: {kind: pairs-with, package: torch, cuda: same}"), "claim.cuda: expected same-major or "),
        (fact("claim: {kind: yanked, reason: ' '}"), "claim.reason: expected words"),
        (fact(CLAIM).replace("ref: here", "ref: here, sha256: abc"), "sources[0].sha256: expected 64 hexadecimal"),
        (MODEL.replace("heads: 6", "heads: 5"), "models[0].heads: expected a divisor of the width 384, got 5"),
        (MODEL.replace("name: ours", "name: turbo"), "models[0].name: expected a name that no other model has"),
        (MODEL.replace("vocabulary: 51865", "vocabulary: 0"), "models[0].vocabulary: expected a number above 0"),
        (IMAGE.replace("our/image", "Our Image"), "images[0].image: expected a repository"),
        (IMAGE.replace('"1.0"', "'a tag'"), "images[0].tag: expected a tag"),
        (IMAGE.replace('"9.1"', "nine"), "images[0].cudnn: expected a cuDNN version"),
        (
            BRANCH.replace("WHAT", "forward_compat: [new]"),
            "[0].forward_compat[0]: expected a CUDA version",
        ),
        (BRANCH.replace("WHAT", "end_of_life: never"), "driver_branches[0].end_of_life: expected a month"),
        (GPU.replace("WHAT", "first_cuda: '12'"), "gpus[0].first_cuda: expected a CUDA version"),
        (GPU.replace("WHAT", "last_driver_branch: R580"), "gpus[0].last_driver_branch: expected a whole number"),
        (
            RELEASES.replace("our-speech", "Our_Speech"),
            "releases[0].package: expected a package name in canonical",
        ),
        (RELEASES.replace('"1.0"', '"one"'), "releases[0].versions.one: expected a version"),
        (RELEASES.replace(">=3.9", "3.9"), "expected version specifiers"),
    ],
)
def test_what_is_wrong_is_named(data: MatrixData, text: str, message: str) -> None:
    with pytest.raises(InputFileError) as caught:
        add_overlay(data, text.encode(), "ours.yaml")
    assert str(caught.value).startswith("ours.yaml:1: ")
    assert message in str(caught.value)


class TestWhen:
    def test_a_build_is_told_by_its_label(self) -> None:
        labelled, plain = When(versions=">=2.5,<2.6", builds=("cu118",)), When(builds=("",))
        assert holds(labelled, "2.5.1+cu118")
        assert not holds(labelled, "2.5.1+cu124")
        assert not holds(labelled, "2.5.1")
        assert not holds(labelled, "2.4.1+cu118")
        assert holds(plain, "2.5.1")
        assert not holds(plain, "2.5.1+cpu")
        assert holds(When(), "2.5.1+cpu")

    def test_a_marker_on_the_interpreter_needs_one(self) -> None:
        marked = When(python=">=3.11")
        assert holds(marked, "0.22.0", python="3.11.7")
        assert not holds(marked, "0.22.0", python="3.10.2")
        assert not holds(marked, "0.22.0")


class TestTables:
    @pytest.mark.parametrize(
        ("asked", "name"),
        [("large-v3", "large-v3"), ("large", "large-v3"), ("turbo", "large-v3-turbo"), ("tiny.en", "tiny.en")],
    )
    def test_a_model_by_any_of_its_names(self, data: MatrixData, asked: str, name: str) -> None:
        model = Matrix(data).model(asked)
        assert model is not None
        assert (model.name, model.width % model.heads) == (name, 0)

    def test_models_of_the_benchmark_are_there(self, data: MatrixData) -> None:
        for name in ("tiny", "base", "small", "medium", "large-v2", "large-v3", "turbo"):
            assert Matrix(data).model(name) is not None
        assert Matrix(data).model("enormous") is None

    def test_an_image_by_repository_and_tag(self, data: MatrixData) -> None:
        image = Matrix(data).image("nvidia/cuda", "12.4.1-cudnn-runtime-ubuntu22.04")
        assert image is not None
        assert (image.cuda, image.cudnn) == ("12.4", "9.1.0.70")
        plain = Matrix(data).image("nvidia/cuda", "12.4.1-runtime-ubuntu22.04")
        assert plain is not None
        assert plain.cudnn is None
        assert Matrix(data).image("nvidia/cuda", "1.0") is None

    def test_forward_compatibility_reaches_above_the_branch_only(self, data: MatrixData) -> None:
        for branch in data.driver_branches:
            own = tuple(map(int, branch.cuda.split(".")))
            assert all(tuple(map(int, cuda.split("."))) > own for cuda in branch.forward_compat), branch.branch
        assert "12.8" in next(b for b in data.driver_branches if b.branch == "535").forward_compat
        assert next(b for b in data.driver_branches if b.branch == "580").forward_compat[0] == "13.1"
