"""The rules on packages and their releases, beyond the four cases of each."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Present
from gpudoctor.model.finding import Fail, Finding
from gpudoctor.model.snapshot import ProbeReport, Snapshot
from gpudoctor.rules.engine import judge
from gpudoctor.rules.registry import find_rule
from gpudoctor.rules.releases import is_own_build, other_side, upper_bound
from unit.rules.builders import (
    Parts,
    answer,
    assumed_driver,
    build,
    dist,
    installed,
    interpreter,
    lib,
    machine,
    replace,
    search_path,
    shared,
    torch,
    with_,
)
from unit.rules.package_cases import (
    BARE_CT2,
    CODEC,
    QUIET,
    RESOLVED,
    changed_cudnn,
    family,
    fault,
    no_ffmpeg,
    old_cxx,
    old_libc,
    stack,
    whisper,
)

MATRIX = load_matrix()


def findings(rule_id: str, snapshot: Snapshot) -> list[Finding]:
    rule = find_rule(rule_id)
    assert rule is not None
    return [e.finding for e in rule.evaluate(snapshot, MATRIX) if isinstance(e, Fail)]


def only(rule_id: str, snapshot: Snapshot) -> Finding:
    found = findings(rule_id, snapshot)
    assert len(found) == 1, [f.message for f in found]
    return found[0]


def commands(finding: Finding) -> str:
    return "\n".join(c for fix in finding.fixes for c in fix.commands)


@pytest.mark.parametrize("case", sorted(QUIET))
def test_no_false_alarm(case: str) -> None:
    rule_id, snapshot = QUIET[case]
    assert findings(rule_id, snapshot) == []


class TestTorchFamily:
    def test_another_release(self) -> None:
        found = only("GPD402", family())
        assert found.cause == "torch-family-abi-mismatch"
        assert "torchaudio 2.11.0" in found.message
        assert "torch 2.5.1" in found.message
        assert '"torchaudio==2.5.1"' in commands(found)
        assert any("pip check" in c for c in found.consequences)

    def test_the_same_release_with_another_cuda(self) -> None:
        found = only("GPD402", family("2.11.0", "13.0", ("2.15.0", "13.2")))
        assert "CUDA 13.0" in found.message
        assert "CUDA 13.2" in found.message
        assert "https://download.pytorch.org/whl/cu130" in commands(found)

    def test_a_cuda_torchaudio_beside_a_cpu_torch(self) -> None:
        seen = family("2.11.0", "13.0", ("2.11.0", "13.0"))
        cpu = build("torch", "2.11.0+cpu", None, gpu=False)
        seen = replace(seen, builds=(*(b for b in seen.builds if b.package != "torch"), cpu))
        assert "without CUDA" in only("GPD402", seen).message

    def test_only_the_majors_are_known_and_differ(self) -> None:
        assert only("GPD402", family("2.5.1", "13", ("2.5.1", "12.4")))

    def test_torchvision_of_another_cuda_major(self) -> None:
        vision = Parts(distributions=(dist("torchvision", "0.29.2"),), builds=(build("torchvision", "0.29.2", "12.6"),))
        assert only("GPD402", with_(machine(), torch("2.15.0", "13.2"), vision)).subject.name == "torchvision"

    def test_who_imports_it_is_named(self) -> None:
        users = Parts(distributions=(dist("whisperx", "3.4.5", ("torchaudio>=2.5.1",)),))
        assert "whisperx requires torchaudio" in only("GPD402", with_(family(), users)).consequences

    def test_what_torchcodec_misses_of_another_cuda_is_no_second_headline(self) -> None:
        codec = Parts(
            distributions=(dist("torchcodec", "0.17.0"),),
            builds=(build("torchcodec", "0.17.0", "13.0"),),
            libraries=(lib("/x/libnvrtc.so.12", "nvrtc", "12.4.127", "nvidia-cuda-nvrtc-cu12"),),
            resolutions=(answer("torchcodec", "libnvrtc.so.13", "nvrtc", when="at import"),),
        )
        verdict = judge(with_(machine(), torch(), codec), MATRIX, select=("GPD2", "GPD402"))
        assert [f.rule for f in verdict.findings] == ["GPD402"]
        assert any("libnvrtc.so.13" in c for c in verdict.findings[0].consequences)

    def test_the_driver_is_not_blamed_for_a_package_of_another_torch(self) -> None:
        seen = replace(family("2.11.0", "13.0"), driver=assumed_driver("550.54.15"))
        verdict = judge(seen, MATRIX, select=("GPD104", "GPD402"))
        assert [f.rule for f in verdict.findings] == ["GPD402"]
        assert any("550.54.15 is too old for CUDA 13, which torchaudio" in c for c in verdict.findings[0].consequences)
        alone = judge(seen, MATRIX, select=("GPD104",)).findings
        assert [f.rule for f in alone] == ["GPD104"]

    def test_the_driver_stays_blamed_for_what_torch_itself_needs(self) -> None:
        seen = replace(family("2.11.0", "13.0"), driver=assumed_driver("450.80.02"))
        verdict = judge(seen, MATRIX, select=("GPD104", "GPD402"))
        driver = next(f for f in verdict.findings if f.rule == "GPD104")
        assert "which torch 2.5.1 uses" in driver.message
        assert "torchaudio" not in driver.message

    def test_a_fitting_family_is_one_finding_on_the_driver(self) -> None:
        seen = replace(family("2.11.0", "13.0", ("2.11.0", "13.0")), driver=assumed_driver("550.54.15"))
        (found,) = judge(seen, MATRIX, select=("GPD104", "GPD402")).findings
        assert "torch 2.11.0 and torchaudio 2.11.0 use" in found.message

    def test_a_torch_of_another_cuda_than_its_family_is_one_headline_with_its_driver(self) -> None:
        seen = replace(family("2.11.0+cu126", "12.6", ("2.11.0+cu130", "13.0")), driver=assumed_driver("550.54.15"))
        (found,) = judge(seen, MATRIX, select=("GPD104", "GPD402")).findings
        assert found.rule == "GPD402"
        assert any("which torch 2.11.0+cu130 uses" in c for c in found.consequences)
        assert "whl/cu126" in commands(found)

    def test_but_not_where_neither_of_the_two_cudas_is_served(self) -> None:
        seen = replace(family("2.11.0+cu130", "13.0", ("2.15.0", "13.2")), driver=assumed_driver("550.54.15"))
        verdict = judge(seen, MATRIX, select=("GPD104", "GPD402"))
        assert [f.rule for f in verdict.findings] == ["GPD104", "GPD402"]


class TestConflicts:
    def test_numpy_2_beside_an_old_torch(self) -> None:
        found = only("GPD403", with_(machine(), torch("2.2.2", "12.1"), installed("numpy==2.1.3")))
        assert (found.cause, found.confidence) == ("numpy-abi", "table")
        assert '"numpy<2"' in commands(found)
        assert '"torch>=2.3"' in commands(found)
        assert found.facts

    def test_an_api_that_was_removed(self) -> None:
        seen = with_(machine(), installed("pyannote-audio==3.3.2", "torchaudio==2.9.0"))
        assert {f.cause for f in findings("GPD403", seen)} == {"python-api-removed"}

    def test_what_files_tell_better_is_left_to_other_rules(self) -> None:
        seen = with_(machine(), torch("2.5.1", "12.4"), installed("ctranslate2==4.4.0", "torchaudio==2.11.0"))
        assert findings("GPD403", seen) == []


class TestRequirements:
    def test_another_release_than_required(self) -> None:
        found = only("GPD404", whisper("ctranslate2==3.24.0", "onnxruntime==1.20.1"))
        assert (found.level, found.cause) == ("warning", None)
        assert "ctranslate2<5,>=4.0" in found.message

    def test_what_is_not_there_at_all(self) -> None:
        found = only("GPD404", whisper("onnxruntime==1.20.1"))
        assert found.level == "error"
        assert "not installed" in found.message

    @pytest.mark.parametrize("packages", [("onnxruntime==1.20.1",), ("onnxruntime==1.20.1", "silero-vad==4.0.1")])
    def test_what_was_not_seen_is_open_where_more_may_be_on_sys_path(self, packages: tuple[str, ...]) -> None:
        """Declared by metadata (ctranslate2), or known by the matrix alone (silero-vad 4 needs torch)."""
        doubt = Present(interpreter(path_unknowns=("site-packages/x.pth runs code",)))
        verdict = judge(replace(whisper(*packages), interpreter=doubt), MATRIX, select=("GPD404",))
        assert verdict.findings == ()
        assert len(verdict.open) == len(packages)
        assert all("not seen here, but more may be on sys.path" in q.reason for q in verdict.open)

    def test_but_a_release_that_was_seen_is_judged_there_too(self) -> None:
        doubt = Present(interpreter(path_unknowns=("site-packages/x.pth runs code",)))
        assert only("GPD404", replace(whisper("ctranslate2==3.24.0", "onnxruntime==1.20.1"), interpreter=doubt))

    def test_an_older_library_than_torch_pins(self) -> None:
        pinned = torch(requires=('nvidia-nvjitlink-cu12==12.4.127; platform_system == "Linux"',))
        found = only("GPD404", with_(machine(), pinned, installed("nvidia-nvjitlink-cu12==12.1.105")))
        assert found.cause == "cuda-libs-mixed"

    def test_a_pair_that_is_judged_already(self) -> None:
        audio = Parts(
            distributions=(dist("torchaudio", "2.9.0", ("torch==2.9.0",)),),
            builds=(build("torchaudio", "2.9.0", "12.8"),),
        )
        assert findings("GPD404", with_(machine(), torch(), audio)) == []

    def test_hostile_lines(self) -> None:
        lines = (
            "",
            ";",
            "torch (",
            "torch[x]",
            "torch>=1.9.*",
            "torch @ https://x/y.whl",
            f"torch{'>' * 900}",
            "torchx>=9$(reboot)",
        )
        assert findings("GPD404", with_(whisper(requires=lines), torch())) == []


class TestImports:
    def test_an_older_cxx_library_of_the_environment(self) -> None:
        prefix = "/srv/app/.venv"
        conda = Present(interpreter(kind="conda", prefix=prefix))
        seen = replace(BARE_CT2, interpreter=conda, import_faults=(old_cxx(f"{prefix}/lib/libstdc++.so.6"),))
        found = only("GPD207", seen)
        assert found.cause == "libstdcxx-too-old"
        assert "GLIBCXX 3.4.32" in found.message
        assert "conda update" in commands(found)

    def test_one_on_the_search_path(self) -> None:
        seen = search_path(replace(BARE_CT2, import_faults=(old_cxx(),)), "/opt/old")
        assert "Take /opt/old out of LD_LIBRARY_PATH" in only("GPD207", seen).fixes[0].title

    def test_an_older_c_library(self) -> None:
        assert only("GPD207", replace(BARE_CT2, import_faults=(old_libc(),))).cause == "glibc-too-old"

    def test_an_executable_stack(self) -> None:
        found = only("GPD208", replace(BARE_CT2, import_faults=(stack(),)))
        assert '"ctranslate2>=4.6"' in commands(found)
        assert "GLIBC_TUNABLES" in commands(found)

    def test_one_fault_in_two_scenarios_is_one_finding(self) -> None:
        faults = (replace(stack(), scenario="after-torch"), stack())
        assert only("GPD208", replace(BARE_CT2, import_faults=faults))

    def test_what_follows_is_neither_a_finding_nor_open(self) -> None:
        late = answer("ctranslate2", "libcublas.so.12", "cublas", outcome="unknown", reason="not reached: x")
        seen = replace(with_(BARE_CT2, Parts(resolutions=(late,))), import_faults=(stack(),))
        verdict = judge(seen, MATRIX, select=("GPD2",))
        assert [f.rule for f in verdict.findings] == ["GPD208"]
        assert verdict.open == ()

    @pytest.mark.parametrize("rule", ["GPD207", "GPD208", "GPD209", "GPD702"])
    def test_a_loader_that_could_not_be_emulated_is_no_working_import(self, rule: str) -> None:
        row = answer("ctranslate2", "libcublas.so.12", "cublas", outcome="unknown", reason="it runs on musl")
        verdict = judge(with_(BARE_CT2, CODEC, Parts(resolutions=(row,))), MATRIX, select=(rule,))
        assert [(q.rule, "it runs on musl" in q.reason) for q in verdict.open] == [(rule, True)]

    def test_ffmpeg_beside_whisperx_is_a_warning(self) -> None:
        seen = replace(with_(machine(), torch(), CODEC), import_faults=(no_ffmpeg(),))
        assert only("GPD702", seen).level == "error"
        assert only("GPD702", with_(seen, installed("whisperx==3.8.0"))).level == "warning"

    def test_a_codec_that_lacks_something_else(self) -> None:
        other = no_ffmpeg()
        seen = replace(
            with_(machine(), torch(), CODEC),
            import_faults=(fault("torchcodec", "missing", "libgomp.so.1", "x", group="ffmpeg", file=other.file),),
        )
        assert findings("GPD702", seen) == []
        assert only("GPD209", seen)


class TestChangedFiles:
    def test_a_part_of_cudnn(self) -> None:
        found = only("GPD406", changed_cudnn(77))
        assert (found.level, found.cause) == ("warning", "cudnn-mixed")
        assert "nvidia-cudnn-cu12 9.1.0.70" in found.message

    def test_files_of_two_owners_are_left_to_the_rule_on_them(self) -> None:
        owners = ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13")
        seen = replace(changed_cudnn(77), shared_files=shared(owners, "nvidia-cudnn-cu13"))
        assert findings("GPD406", seen) == []

    def test_a_file_that_other_environments_share_was_changed_for_them_all(self) -> None:
        seen = changed_cudnn(77)
        linked = replace(seen, libraries=tuple(replace(x, links=3) for x in seen.libraries))
        found = only("GPD406", linked)
        assert any("every environment" in c for c in found.consequences)
        assert any("uv cache clean" in f.commands for f in found.fixes)
        alone = only("GPD406", seen)
        assert not any("every environment" in c for c in alone.consequences)
        assert len(alone.fixes) == 1

    def test_hard_links_alone_are_how_installers_save_space(self) -> None:
        seen = changed_cudnn(1 << 20)
        linked = replace(seen, libraries=tuple(replace(x, links=9) for x in seen.libraries))
        assert findings("GPD406", linked) == []


def test_a_folder_that_was_not_read_whole_is_open() -> None:
    seen = replace(RESOLVED, probes=(ProbeReport(probe="folder", status="failed", detail="/x/lib cannot be listed"),))
    verdict = judge(seen, MATRIX, select=("GPD201",))
    assert verdict.required_open
    assert "/x/lib cannot be listed" in verdict.open[0].reason


@pytest.mark.parametrize(
    ("version", "own"),
    [
        ("2.5.1", False),
        ("2.5.1+cu124", False),
        ("2.5.1+cpu", False),
        ("2.5.1.post1", False),
        ("2.6.0+cu126.with.pypi.cudnn", False),
        ("2.6.0a0+ecf3bae40a.nv25.1", True),
        ("2.6.0.dev20250101+cu126", True),
        ("2.5.1+gitabc", True),
        ("", True),
    ],
)
def test_whose_build_it_is(version: str, own: bool) -> None:
    assert is_own_build(version) is own


def test_bounds() -> None:
    assert (other_side(">=2"), other_side("<4.5.0"), other_side(">=2,<3"), other_side("")) == (
        "<2",
        ">=4.5.0",
        None,
        None,
    )
    assert (upper_bound(">=2.0,<2.3"), upper_bound("<=0.22.0"), upper_bound("")) == ("2.3", None, None)
