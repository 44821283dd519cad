"""What gpudoctor advises for a library that is there and not found, where the same consumer lacks something else, too.

`gpudoctor fix` changes nothing for a consumer of which something stays missing: advice that it refuses is none.
"""

from __future__ import annotations

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.finding import Finding, Fix
from gpudoctor.model.loading import SearchStep
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from unit.rules.builders import (
    CUBLAS,
    CUDNN,
    VENV,
    answer,
    ct2_cublas,
    ct2_cudnn8,
    ct2_cudnn9,
    ctranslate2,
    cublas12,
    cudnn9,
    dist,
    machine,
    replace,
    torch,
    with_,
)

MATRIX = load_matrix()
REPAIR = f"gpudoctor fix --python {VENV}/bin/python --apply"
WITH_PACKAGES = f"gpudoctor fix --python {VENV}/bin/python --packages --apply"
BASE = with_(machine(), ctranslate2(), cublas12(), ct2_cublas(None))


def about_cublas(snapshot: Snapshot) -> Finding:
    findings = judge(snapshot, MATRIX).findings
    return next(f for f in findings if f.cause == "cuda-lib-not-loadable" and "libcublas" in f.message)


def first(snapshot: Snapshot) -> Fix:
    return about_cublas(snapshot).fixes[0]


def test_one_for_another_cuda_comes_first() -> None:
    fix = first(with_(BASE, cudnn9(owner="nvidia-cudnn-cu13"), ct2_cudnn9(None)))
    assert fix.title.startswith("First see to libcudnn_graph.so.9, libcudnn_ops.so.9 and libcudnn_cnn.so.9, ")
    assert "; then let gpudoctor make the environment find them" in fix.title
    assert (fix.applicability, fix.commands[0]) == ("display-only", REPAIR)


def test_one_that_is_not_installed_is_installed_in_the_same_run() -> None:
    fix = first(with_(BASE, ct2_cudnn9(None)))
    assert fix.commands == (WITH_PACKAGES,)
    assert "install what is missing" in fix.title


def test_one_of_another_major_too() -> None:
    snapshot = with_(machine(), ctranslate2("4.4.0"), cublas12(), cudnn9(), ct2_cublas(None), ct2_cudnn8(None))
    assert first(snapshot).commands == (WITH_PACKAGES,)


def test_one_whose_install_breaks_another_is_the_users_to_decide() -> None:
    pinned = dist("somebody", "1.0", ("nvidia-cudnn-cu12==8.9.2.26",))
    snapshot = with_(BASE, ct2_cudnn9(None))
    fix = first(replace(snapshot, distributions=(*snapshot.distributions, pinned)))
    assert fix.title.startswith("First see to libcudnn_graph.so.9")


def test_a_damaged_one_comes_first() -> None:
    broken = {"failure": "not-elf", "searched": (SearchStep(rule="rpath", path=f"{CUDNN}/x", result="not-elf"),)}
    row = answer("ctranslate2", "libcudnn.so.9", "cudnn", role="cudnn", **broken)
    snapshot = replace(BASE, resolutions=(*BASE.resolutions, row))
    assert first(snapshot).title.startswith("First see to libcudnn.so.9")


def test_what_is_only_perhaps_opened_hinders_nothing() -> None:
    row = answer("ctranslate2", "libnvrtc.so.12", "nvrtc", role="nvrtc", assumed=True)
    snapshot = replace(BASE, resolutions=(*BASE.resolutions, row))
    assert first(snapshot).commands[0] == REPAIR


def test_another_consumer_s_troubles_hinder_nothing() -> None:
    row = answer("onnxruntime", "libcudnn.so.9", "cudnn", role="cudnn")
    snapshot = replace(BASE, resolutions=(*BASE.resolutions, row))
    assert first(snapshot).commands[0] == REPAIR


def test_a_native_program_is_told_the_same() -> None:
    rows = (
        answer("dictated", "libcublas.so.12", "cublas", role="cublas"),
        answer("dictated", "libcudnn.so.9", "cudnn", role="cudnn"),
    )
    fix = first(replace(with_(machine(), cublas12()), resolutions=rows, binary="/opt/dictated"))
    assert fix.title.startswith("First see to libcudnn.so.9, ")
    assert "; then let gpudoctor make it find them, by links" in fix.title


def test_what_only_torch_s_own_finds_has_the_same_way_out() -> None:
    lucky = with_(
        machine(),
        ctranslate2("4.8.5"),
        torch(),
        cublas12(),
        ct2_cublas(None),
        ct2_cublas(CUBLAS, "after-torch", found_via="already-loaded"),
    )
    assert first(lucky).commands[0] == REPAIR
    assert about_cublas(lucky).rule == "GPD206"
    assert first(with_(lucky, ct2_cudnn9(None), ct2_cudnn9(None, "after-torch"))).commands == (WITH_PACKAGES,)


class TestInstalling:
    """`fix --packages` installs what is missing, and takes it back where something of the consumer stays missing."""

    BARE = with_(machine(), ctranslate2(), ct2_cublas(None))

    def test_it_is_no_advice_beside_one_for_another_cuda(self) -> None:
        finding = about_cublas(with_(self.BARE, cudnn9(owner="nvidia-cudnn-cu13"), ct2_cudnn9(None)))
        assert not any("gpudoctor fix" in c for fix in finding.fixes for c in fix.commands)
        assert finding.fixes[0].title.startswith("Install nvidia-cublas-cu12")

    def test_it_names_the_consumer_where_the_packages_of_another_one_clash(self) -> None:
        rows = (
            answer("onnxruntime", "libcublas.so.12", "cublas", f"{CUBLAS}/libcublas.so.12", role="cublas"),
            answer("onnxruntime", "libcudnn.so.9", "cudnn", role="cudnn"),
        )
        pinned = dist("somebody", "1.0", ("nvidia-cudnn-cu12==8.9.2.26",))
        bare = replace(self.BARE, resolutions=(*self.BARE.resolutions, *rows))
        assert first(bare).commands == (WITH_PACKAGES,)
        clashing = replace(bare, distributions=(*bare.distributions, pinned))
        assert first(clashing).commands == (WITH_PACKAGES.replace(" --apply", " --for ctranslate2 --apply"),)
