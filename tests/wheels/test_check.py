"""`gpudoctor check` and `libs` as a user types them, on environments made from real wheels."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from support.command import gpudoctor
from support.wheels import nvidia_dirs, site_packages, wheel_env

pytestmark = pytest.mark.wheels

LIBRARY_RULES = ("GPD2", "GPD3", "GPD4", "GPD5")


def check(slug: str, *arguments: str, **environment: str) -> dict:
    """Return the JSON report on an environment."""
    done = gpudoctor("check", "--python", wheel_env(slug), "--format", "json", *arguments, **environment)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert done.returncode == report["summary"]["exit_status"]
    return report


def library_findings(report: dict) -> list[dict]:
    return [f for f in report["findings"] if f["rule"].startswith(LIBRARY_RULES)]


def resolutions(slug: str, *arguments: str, **environment: str) -> dict[tuple[str, str], dict]:
    """Return the answers of `libs` by (consumer, SONAME), scenario alone."""
    done = gpudoctor("libs", "--python", wheel_env(slug), "--format", "json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["resolutions"]
    return {(r["consumer"], r["soname"]): r for r in rows if r["scenario"] == "alone"}


def only(findings: list[dict]) -> dict:
    assert len(findings) == 1, [(f["rule"], f["message"]) for f in findings]
    return findings[0]


def ld_path(slug: str) -> str:
    return ":".join(nvidia_dirs(wheel_env(slug)))


class TestCtranslate2NeedsCudnn9:
    def test_cudnn_9_installed_but_off_the_path(self) -> None:
        report = check("ct2-460-cudnn91")
        by_cause = {f["cause"]: f for f in library_findings(report)}
        assert set(by_cause) == {"cudnn-not-loadable", "cuda-lib-not-loadable"}
        finding = by_cause["cudnn-not-loadable"]
        assert (finding["rule"], finding["level"]) == ("GPD201", "error")
        assert finding["subject"] == {"kind": "consumer", "name": "ctranslate2"}
        assert "ctranslate2 4.6.0" in finding["message"]
        assert "nvidia/cudnn/lib" in json.dumps(finding)
        assert report["summary"]["exit_status"] == 1

    def test_cudnn_8_where_9_is_wanted(self) -> None:
        findings = library_findings(check("ct2-460-cudnn8"))
        wrong = [f for f in findings if f["rule"] == "GPD202"]
        assert only(wrong)["cause"] == "cudnn-major-mismatch"
        assert not [f for f in findings if f["rule"] == "GPD201" and f["cause"] == "cudnn-not-loadable"]

    def test_cudnn_8_on_the_path_changes_nothing(self) -> None:
        findings = library_findings(check("ct2-460-cudnn8", LD_LIBRARY_PATH=ld_path("ct2-460-cudnn8")))
        assert [f["rule"] for f in findings] == ["GPD202"]

    def test_no_nvidia_wheels_at_all(self) -> None:
        report = check("ct2-460-bare")
        causes = {f["cause"] for f in library_findings(report)}
        assert causes == {"cudnn-not-loadable", "cuda-lib-not-loadable"}
        assert "not installed" in json.dumps(report["findings"])

    @pytest.mark.parametrize("slug", ["ct2-460-cudnn91", "ct2-460-cudnn910"])
    def test_made_right_by_ld_library_path(self, slug: str) -> None:
        assert library_findings(check(slug, LD_LIBRARY_PATH=ld_path(slug))) == []

    def test_made_right_by_the_env_option(self) -> None:
        path = ld_path("ct2-460-cudnn91")
        assert library_findings(check("ct2-460-cudnn91", "--env", f"LD_LIBRARY_PATH={path}")) == []

    def test_libs_names_the_file_and_the_rule(self) -> None:
        slug = "ct2-460-cudnn91"
        rows = resolutions(slug, LD_LIBRARY_PATH=ld_path(slug))
        ops = rows["ctranslate2", "libcudnn_ops.so.9"]
        assert ops["path"] == str(site_packages(wheel_env(slug)) / "nvidia/cudnn/lib/libcudnn_ops.so.9")
        assert (ops["outcome"], ops["found_via"], ops["link"]) == ("present", "ld-library-path", "dlopen")

    def test_libs_lists_the_places_tried(self) -> None:
        rows = resolutions("ct2-460-cudnn91")
        cublas = rows["ctranslate2", "libcublas.so.12"]
        assert (cublas["outcome"], cublas["path"]) == ("absent", None)
        assert any("ctranslate2.libs" in step["path"] for step in cublas["searched"])
        assert not any("nvidia/cublas" in step["path"] for step in cublas["searched"])


class TestOtherCtranslate2Ages:
    def test_4_4_0_wants_cudnn_8(self) -> None:
        findings = library_findings(check("ct2-440-cudnn91", LD_LIBRARY_PATH=ld_path("ct2-440-cudnn91")))
        finding = only(findings)
        assert (finding["rule"], finding["cause"]) == ("GPD202", "cudnn-major-mismatch")
        assert "ctranslate2 4.4.0" in finding["message"]

    def test_4_8_5_with_cublas_13_only(self) -> None:
        finding = only(library_findings(check("ct2-485-cublas13")))
        assert (finding["rule"], finding["cause"]) == ("GPD203", "cuda-major-mismatch")

    def test_4_8_5_with_cublas_12_off_the_path_and_no_word_of_cudnn(self) -> None:
        finding = only(library_findings(check("ct2-485-cublas12")))
        assert (finding["rule"], finding["cause"]) == ("GPD201", "cuda-lib-not-loadable")
        assert "cudnn" not in json.dumps(finding).lower()

    def test_4_8_5_made_right(self) -> None:
        assert library_findings(check("ct2-485-cublas12", LD_LIBRARY_PATH=ld_path("ct2-485-cublas12"))) == []


class TestOnnxruntime:
    def test_cuda_12_age_off_the_path(self) -> None:
        findings = library_findings(check("ort-1202-cuda12"))
        assert findings
        assert {f["subject"]["name"] for f in findings} == {"onnxruntime"}
        assert {f["rule"] for f in findings} == {"GPD201"}

    def test_cuda_12_age_made_right(self) -> None:
        assert library_findings(check("ort-1202-cuda12", LD_LIBRARY_PATH=ld_path("ort-1202-cuda12"))) == []

    @pytest.mark.parametrize("slug", ["ort-1270-bare", "ort-1311-bare"])
    def test_cuda_13_age_without_libraries(self, slug: str) -> None:
        report = check(slug)
        findings = library_findings(report)
        assert {f["subject"]["name"] for f in findings} == {"onnxruntime"}
        assert "cuda-lib-not-loadable" in {f["cause"] for f in findings}
        assert "libcuda.so.1" not in json.dumps([f["message"] for f in findings])

    def test_both_distributions_in_one_environment(self) -> None:
        findings = library_findings(check("ort-both"))
        shared = only([f for f in findings if f["rule"] == "GPD401"])
        assert "onnxruntime" in shared["message"]
        assert "onnxruntime-gpu" in shared["message"]


class TestBesideTorch:
    def test_torch_finds_its_own(self) -> None:
        findings = library_findings(check("torch-251-ct2-460"))
        assert [f for f in findings if f["subject"]["name"] == "torch"] == []

    def test_ctranslate2_finds_cublas_only_through_torch(self) -> None:
        findings = library_findings(check("torch-251-ct2-460"))
        by_rule = {f["rule"]: f for f in findings if f["subject"]["name"] == "ctranslate2"}
        assert by_rule["GPD201"]["cause"] == "cudnn-not-loadable"
        assert by_rule["GPD206"]["level"] == "note"  # 4.6.0 imports torch itself

    def test_ctranslate2_that_does_not_import_torch_itself(self) -> None:
        findings = library_findings(check("torch-251-ct2-485"))
        accident = only([f for f in findings if f["subject"]["name"] == "ctranslate2"])
        assert (accident["rule"], accident["level"]) == ("GPD206", "error")

    def test_made_right(self) -> None:
        slug = "torch-251-ct2-460"
        assert library_findings(check(slug, LD_LIBRARY_PATH=ld_path(slug))) == []

    def test_a_directory_that_shadows_torch(self) -> None:
        other = str(site_packages(wheel_env("ct2-460-cudnn910")) / "nvidia/cudnn/lib")
        findings = library_findings(check("torch-251-ct2-460", LD_LIBRARY_PATH=other))
        assert "GPD503" in {f["rule"] for f in findings if f["level"] in ("warning", "error")}


def test_a_snapshot_is_judged_the_same_elsewhere(tmp_path: Path) -> None:
    env = wheel_env("ct2-460-cudnn91")
    file = tmp_path / "s.json"
    assert gpudoctor("snapshot", "--python", env, "-o", file).returncode == 0
    replayed = json.loads(gpudoctor("check", "--snapshot", file, "--format", "json").stdout)
    live = check("ct2-460-cudnn91")
    assert [(f["rule"], f["cause"]) for f in replayed["findings"]] == [
        (f["rule"], f["cause"]) for f in live["findings"]
    ]


class TestWithoutAGpu:
    def test_strict_is_3_while_the_driver_cannot_be_judged(self) -> None:
        path = ld_path("ct2-460-cudnn91")
        report = check("ct2-460-cudnn91", "--strict", LD_LIBRARY_PATH=path)
        assert report["open"]
        assert report["summary"]["exit_status"] == 3

    def test_an_assumed_machine_closes_what_was_open(self) -> None:
        path = ld_path("ct2-460-cudnn91")
        assumed = ("--assume-driver", "550.54.15", "--assume-gpu", "RTX 3090")
        report = check("ct2-460-cudnn91", "--strict", *assumed, LD_LIBRARY_PATH=path)
        assert (report["findings"], report["open"], report["summary"]["exit_status"]) == ([], [], 0)

    def test_an_assumed_driver_that_is_too_old(self) -> None:
        path = ld_path("ct2-460-cudnn91")
        assumed = ("--assume-driver", "470.82.01", "--assume-gpu", "RTX 3090")
        report = check("ct2-460-cudnn91", *assumed, LD_LIBRARY_PATH=path)
        assert {f["cause"] for f in report["findings"]} == {"driver-too-old"}
        assert report["summary"]["exit_status"] == 1


class TestTorchFamily:
    """torchaudio 2.11.0 and torchcodec name no torch, so installers put them beside any."""

    SLUG = "torch-251-torchaudio-2110"

    def test_the_pair_is_named_and_the_import_fails(self) -> None:
        found = [f for f in library_findings(check(self.SLUG)) if f["rule"] == "GPD402"]
        by_name = {f["subject"]["name"]: f for f in found}
        assert set(by_name) == {"torchaudio", "torchcodec"}
        assert by_name["torchaudio"]["cause"] == "torch-family-abi-mismatch"
        assert "torchaudio==2.5.1" in json.dumps(by_name["torchaudio"]["fixes"])
        done = subprocess.run(
            [wheel_env(self.SLUG) / "bin" / "python", "-c", "import torchaudio"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "undefined symbol: aoti_torch_abi_version" in done.stderr

    def test_torchcodec_without_ffmpeg(self) -> None:
        codec = [f for f in check(self.SLUG)["findings"] if f["rule"] == "GPD702"]
        assert [f["cause"] for f in codec] == ["torchcodec-load"]

    def test_a_healthy_environment_has_none_of_these(self) -> None:
        path = ld_path("torch-251-ct2-460")
        rules = {f["rule"] for f in check("torch-251-ct2-460", LD_LIBRARY_PATH=path)["findings"]}
        assert not rules & {"GPD207", "GPD208", "GPD209", "GPD402", "GPD403", "GPD404", "GPD405", "GPD406", "GPD702"}


def test_a_library_that_was_replaced_in_place(tmp_path: Path) -> None:
    """A part of cuDNN cut to another size: seen without reading it."""
    site = site_packages(wheel_env("ct2-460-cudnn91"))
    copy = tmp_path / "env"
    shutil.copytree(wheel_env("ct2-460-cudnn91"), copy, symlinks=True, copy_function=os.link)
    part = copy / site.relative_to(wheel_env("ct2-460-cudnn91")) / "nvidia/cudnn/lib/libcudnn_heuristic.so.9"
    assert changed_files(copy) == []
    part.unlink()  # never through the link: the other environments share the file
    part.write_bytes(b"\x7fELF" + bytes(5000))
    (found,) = changed_files(copy)
    assert (found["subject"]["name"], found["cause"]) == ("nvidia-cudnn-cu12", "cudnn-mixed")
    assert "libcudnn_heuristic.so.9" in found["message"]


def changed_files(env: Path) -> list[dict]:
    report = json.loads(gpudoctor("check", "--python", env, "--format", "json").stdout)
    return [f for f in report["findings"] if f["rule"] == "GPD406"]


class TestCudnnForAnotherCuda:
    """nvidia-cudnn-cu13 brings `libcudnn_ops.so.9`, too: the loader takes it, and only its package tells the CUDA."""

    SLUG = "ct2-460-cudnn-cu13"

    def on_path(self, driver: str) -> list[dict]:
        path = ":".join(nvidia_dirs(wheel_env(self.SLUG)))
        machine = ("--assume-driver", driver, "--assume-gpu", "A10G")
        return library_findings(check(self.SLUG, *machine, LD_LIBRARY_PATH=path))

    def test_on_a_driver_of_cuda_12_it_is_an_error(self) -> None:
        finding = only(self.on_path("550.54.15"))
        assert (finding["rule"], finding["level"], finding["cause"]) == ("GPD210", "error", "cudnn-cuda-mismatch")
        assert "nvidia-cudnn-cu13 9.19.0.56" in finding["message"]

    def test_on_a_driver_of_cuda_13_it_lacks_its_own_cublas(self) -> None:
        finding = only(self.on_path("580.95.05"))
        assert (finding["rule"], finding["level"]) == ("GPD210", "warning")
        assert "libcublasLt.so.13" in finding["message"]

    def test_no_path_is_advised_for_it(self) -> None:
        findings = {f["cause"]: f for f in library_findings(check(self.SLUG))}
        assert set(findings) == {"cuda-lib-not-loadable", "cudnn-cuda-mismatch"}
        commands = [c for fix in findings["cuda-lib-not-loadable"]["fixes"] for c in fix["commands"]]
        assert not any("nvidia/cudnn" in c for c in commands)
        assert findings["cuda-lib-not-loadable"]["fixes"][0]["title"].startswith("First see to libcudnn_graph.so.9")

    @pytest.mark.parametrize(
        "command", [("fix",), ("fix", "--packages"), ("env",), ("run", "--", "true")], ids=" ".join
    )
    def test_no_repair_takes_it(self, command: tuple[str, ...]) -> None:
        done = gpudoctor(command[0], "--python", wheel_env(self.SLUG), *command[1:])
        assert done.returncode == 1
        assert "libcudnn_graph.so.9 is built for CUDA 13" in done.stdout + done.stderr


def test_a_changed_file_that_other_environments_share_is_told_as_theirs_too(tmp_path: Path) -> None:
    """As uv leaves it: one file, linked into the cache and into each environment."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    for env in (ours, other):
        shutil.copytree(wheel_env("ct2-485-cublas12"), env, symlinks=True, copy_function=os.link)
    library = site_packages(ours) / "nvidia/cublas/lib/libnvblas.so.12"
    changed = tmp_path / "changed"
    changed.write_bytes(library.read_bytes() + b"patched")
    for env in (ours, other):  # what patches one in place changes the other: the wheels of the tests stay as they are
        place = site_packages(env) / "nvidia/cublas/lib/libnvblas.so.12"
        place.unlink()
        os.link(changed, place)
    done = gpudoctor("check", "--python", ours, "--select", "GPD406", "--format", "json")
    finding = only(json.loads(done.stdout)["findings"])
    assert finding["subject"]["name"] == "nvidia-cublas-cu12"
    assert any("libnvblas.so.12 has 3 names" in e["value"] for e in finding["evidence"])
    assert any("every environment" in c for c in finding["consequences"])


@pytest.mark.parametrize("slug", ["ct2-460-cudnn8", "ct2-485-cublas12"])
def test_the_repair_that_is_advised_first_has_a_plan(slug: str) -> None:
    findings = library_findings(check(slug))
    assert findings
    for finding in findings:
        program, *arguments = shlex.split(finding["fixes"][0]["commands"][0])
        assert program == "gpudoctor"
        # The installer asks the package index, whose certificate may be the machine's own.
        trust = {k: v for k, v in os.environ.items() if k.startswith("SSL_CERT")}
        done = gpudoctor(*(a for a in arguments if a != "--apply"), **trust)
        assert done.stdout.startswith("repair "), done.stdout + done.stderr
