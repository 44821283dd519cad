"""GPD201 to GPD206 on the environments that users really have."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.finding import Finding
from gpudoctor.model.loading import Library, Resolution, SearchStep
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import Verdict, judge
from gpudoctor.rules.libraries import condensed
from unit.rules.builders import (
    CU13,
    CUBLAS,
    CUDNN,
    SITE,
    VENV,
    Parts,
    answer,
    ct2_cublas,
    ct2_cudnn8,
    ct2_cudnn9,
    ctranslate2,
    cublas12,
    cublas13,
    cudnn8,
    cudnn9,
    dist,
    installed,
    interpreter,
    lib,
    machine,
    onnxruntime_gpu,
    replace,
    search_path,
    torch,
    with_,
)

MATRIX = load_matrix()


def verdict(snapshot: Snapshot) -> Verdict:
    return judge(snapshot, MATRIX)


def rules(snapshot: Snapshot) -> list[str]:
    return [f.rule for f in verdict(snapshot).findings]


def only(snapshot: Snapshot) -> Finding:
    (finding,) = verdict(snapshot).findings
    return finding


def by_cause(snapshot: Snapshot) -> dict[str | None, Finding]:
    found = verdict(snapshot).findings
    assert len({f.cause for f in found}) == len(found)
    return {f.cause: f for f in found}


def evidence(finding: Finding) -> dict[str, str]:
    return {e.label: e.value for e in finding.evidence}


def commands(finding: Finding) -> list[str]:
    return [c for fix in finding.fixes for c in fix.commands]


OFF_PATH = with_(machine(), ctranslate2(), cudnn9(), cublas12(), ct2_cudnn9(None), ct2_cublas(None))


class TestInstalledWhereNobodyLooks:
    def test_one_finding_for_cudnn_and_one_for_cublas(self) -> None:
        found = by_cause(OFF_PATH)
        assert {f.rule for f in found.values()} == {"GPD201"}
        assert set(found) == {"cudnn-not-loadable", "cuda-lib-not-loadable"}

    def test_the_message_names_consumer_version_library_place_and_fate(self) -> None:
        message = by_cause(OFF_PATH)["cudnn-not-loadable"].message
        for words in ("ctranslate2 4.6.0", "libcudnn_ops.so.9", CUDNN, "never searches", "transcription", "abort"):
            assert words in message

    def test_the_headline_names_every_part_and_repeats_none(self) -> None:
        finding = by_cause(OFF_PATH)["cudnn-not-loadable"]
        assert finding.consequences == ()
        for name in ("libcudnn_graph.so.9", "libcudnn_ops.so.9", "libcudnn_cnn.so.9"):
            assert name in finding.message

    def test_one_command_serves_all_that_the_consumer_misses_and_leaves_no_empty_element(self) -> None:
        command = f'export LD_LIBRARY_PATH="{CUDNN}:{CUBLAS}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"'
        for finding in by_cause(OFF_PATH).values():
            by_hand = next(f for f in finding.fixes if f.commands == (command,))
            assert "os.environ does nothing" in by_hand.title
            assert by_hand.applicability == "safe"

    def test_a_folder_outside_the_environment_is_no_safe_fix(self) -> None:
        elsewhere = "/opt/cudnn/lib"
        snapshot = with_(machine(), ctranslate2(), cudnn9("9.1.0", elsewhere, None), ct2_cudnn9(None))
        assert only(snapshot).fixes[0].applicability == "unsafe"

    def test_the_release_that_needs_no_cudnn_is_offered(self) -> None:
        finding = by_cause(OFF_PATH)["cudnn-not-loadable"]
        assert any('"ctranslate2>=4.6.3"' in c for c in commands(finding))

    def test_gpudoctor_s_own_repair_comes_first_and_names_the_interpreter(self) -> None:
        for finding in by_cause(OFF_PATH).values():
            first = finding.fixes[0]
            assert first.commands == (
                f"gpudoctor fix --python {VENV}/bin/python --apply",
                f"gpudoctor run --python {VENV}/bin/python -- COMMAND",
            )
            assert first.applicability == "safe"

    def test_the_facts_used_are_named(self) -> None:
        assert by_cause(OFF_PATH)["cudnn-not-loadable"].facts == ("ctranslate2-cudnn9",)

    def test_another_processor_s_file_does_not_count_as_installed(self) -> None:
        arm = lib("/opt/arm/libcublas.so.12", "cublas", "12.4", machine="aarch64")
        snapshot = with_(machine(), ctranslate2("4.8.5"), Parts(libraries=(arm,)), ct2_cublas(None))
        assert "not installed" in only(snapshot).message

    def test_the_complete_folder_is_preferred(self) -> None:
        lonely = lib("/opt/old/libcudnn_ops.so.9", "cudnn", "9.0.0")
        snapshot = with_(machine(), ctranslate2(), Parts(libraries=(lonely,)), cudnn9(), ct2_cudnn9(None))
        assert "/opt/old" not in only(snapshot).message

    def test_healthy_gives_nothing(self) -> None:
        healthy = with_(machine(), ctranslate2(), cudnn9(), cublas12(), ct2_cudnn9(CUDNN), ct2_cublas(CUBLAS))
        assert verdict(healthy).findings == ()
        assert verdict(healthy).open == ()

    def test_an_older_dispatch_library_with_a_complete_newer_set_is_healthy(self) -> None:
        newer = with_(machine(), ctranslate2(), cudnn9("9.10.2.21"), cublas12(), ct2_cudnn9(CUDNN), ct2_cublas(CUBLAS))
        assert verdict(newer).findings == ()


class TestWhatTheRealLoaderAnswers:
    """Shapes seen in answers of the loader on real wheels."""

    def test_a_culprit_that_is_the_library_itself_is_none(self) -> None:
        row = ct2_cudnn9(None, parts=("ops",)).resolutions[0]
        row = replace(row, culprit=row.soname)
        finding = only(with_(machine(), ctranslate2(), cudnn9(), Parts(resolutions=(row,))))
        assert "cannot load libcudnn_ops.so.9: it is installed" in finding.message

    def test_files_that_nobody_loads_are_listed_unread_and_count(self) -> None:
        unread = replace(lib(f"{CUBLAS}/libcublas.so.12", "cublas", "12.4.5.8"), elf=Unknown("nobody loads it"))
        snapshot = with_(machine(), ctranslate2("4.8.5"), Parts(libraries=(unread,)), ct2_cublas(None))
        assert "is installed at" in only(snapshot).message

    def test_an_unread_file_too_small_to_be_a_library_does_not(self) -> None:
        pointer = replace(
            lib(f"{CUBLAS}/libcublas.so.12", "cublas", "12.4.5.8"), elf=Unknown("nobody loads it"), size_bytes=132
        )
        snapshot = with_(machine(), ctranslate2("4.8.5"), Parts(libraries=(pointer,)), ct2_cublas(None))
        assert "is not installed" in only(snapshot).message

    def test_what_is_never_reached_is_no_open_question_of_its_own(self) -> None:
        late = answer(
            "ctranslate2",
            "libcudnn_heuristic.so.9",
            "cudnn",
            outcome="unknown",
            reason="not reached: libcudnn_graph.so.9, which opens it, is not loaded",
        )
        result = verdict(with_(OFF_PATH, Parts(resolutions=(late,))))
        assert result.open == ()
        assert any(
            "libcudnn_heuristic.so.9 can be judged only after" in c for f in result.findings for c in f.consequences
        )

    def test_but_it_is_where_nothing_else_is_wrong(self) -> None:
        late = answer("torch", "libcudnn_heuristic.so.9", "cudnn", outcome="unknown", reason="not reached: why ever")
        assert {"GPD201", "GPD202", "GPD204"} <= {q.rule for q in verdict(machine(resolutions=(late,))).open}

    def test_the_detours_of_an_rpath_are_left_out_of_commands(self) -> None:
        detour = lib(
            f"{SITE}/torch/lib/../../nvidia/cublas/lib/libcublas.so.12",
            "cublas",
            "12.4.5.8",
            real=f"{CUBLAS}/libcublas.so.12",
        )
        snapshot = with_(machine(), ctranslate2("4.8.5"), Parts(libraries=(detour,)), ct2_cublas(None))
        assert any(c.startswith(f'export LD_LIBRARY_PATH="{CUBLAS}$') for c in commands(only(snapshot)))

    def test_a_toolkit_elsewhere_on_the_machine_is_no_other_major_of_this_environment(self) -> None:
        stray = lib("/usr/local/cuda-13.0/lib64/libcublas.so.13", "cublas", "13.0")
        snapshot = with_(machine(), ctranslate2("4.8.5"), Parts(libraries=(stray,)), ct2_cublas(None))
        assert only(snapshot).rule == "GPD201"
        assert only(search_path(snapshot, "/usr/local/cuda-13.0/lib64")).rule == "GPD203"

    def test_subfolders_for_processor_features_do_not_fill_the_evidence(self) -> None:
        tried = ("/lib/glibc-hwcaps/x86-64-v3", "/lib/tls/x86_64/x86_64", "/lib/tls", "/lib/x86_64", "/lib")
        steps = tuple(SearchStep(rule="default", path=f"{d}/libcublas.so.12", result="missing") for d in tried)
        snapshot = with_(machine(), ctranslate2("4.8.5"), ct2_cublas(None, searched=steps))
        assert evidence(only(snapshot))["searched"] == "default: /lib (missing)"


class TestNotInstalled:
    BARE = with_(machine(), ctranslate2(), ct2_cudnn9(None), ct2_cublas(None))

    def test_says_so_and_names_the_distribution(self) -> None:
        found = by_cause(self.BARE)
        assert "not installed" in found["cudnn-not-loadable"].message
        assert f'{VENV}/bin/python -m pip install "nvidia-cudnn-cu12>=9.1,<10"' in commands(found["cudnn-not-loadable"])
        assert f'{VENV}/bin/python -m pip install "nvidia-cublas-cu12"' in commands(found["cuda-lib-not-loadable"])

    def test_an_install_alone_does_not_help_a_consumer_that_searches_elsewhere(self) -> None:
        finding = by_cause(self.BARE)["cuda-lib-not-loadable"]
        ours, by_hand = finding.fixes[:2]
        assert ours.commands == (f"gpudoctor fix --python {VENV}/bin/python --packages --apply",)
        assert by_hand.commands[1].startswith(f'export LD_LIBRARY_PATH="{CUBLAS}$')

    def test_an_install_alone_helps_a_consumer_whose_rpath_leads_there(self) -> None:
        step = SearchStep(
            rule="rpath", path=f"{SITE}/torch/lib/../../nvidia/cublas/lib/libcublas.so.12", result="missing"
        )
        row = answer("torch", "libcublas.so.12", "cublas", searched=(step,), link="needed", when="at import")
        snapshot = with_(machine(), installed("torch==2.5.1"), Parts(resolutions=(row,)))
        finding = only(snapshot)
        assert not any("LD_LIBRARY_PATH" in c for c in commands(finding))
        assert "`import torch` will fail" in finding.message

    def test_a_venv_without_pip_gets_uv(self) -> None:
        snapshot = replace(self.BARE, distributions=(dist("ctranslate2", "4.6.0"),))
        assert all(
            c.startswith(("uv pip install --python", "export", "gpudoctor fix"))
            for f in verdict(snapshot).findings
            for c in commands(f)
        )

    def test_where_there_is_no_uv_either_pip_is_brought_first(self) -> None:
        """A command that begins with a program that is not here helps nobody, nor does a repair that refuses."""
        bare = (dist("ctranslate2", "4.6.0"),)
        snapshot = replace(self.BARE, distributions=bare, uv=Absent(("/usr/bin/uv",)))
        finding = by_cause(snapshot)["cudnn-not-loadable"]
        ours, by_hand = finding.fixes[:2]
        bring, repair = ours.commands
        assert (bring, repair.split()[:2]) == (f"{VENV}/bin/python -m ensurepip", ["gpudoctor", "fix"])
        assert by_hand.commands[0].startswith(f"{bring} && {VENV}/bin/python -m pip install ")
        assert not any("uv pip" in c for f in verdict(snapshot).findings for c in commands(f))

    def test_more_on_sys_path_than_was_seen_makes_it_open(self) -> None:
        doubt = interpreter(path_unknowns=("site-packages/x.pth runs code",))
        result = verdict(replace(self.BARE, interpreter=Present(doubt)))
        assert result.findings == ()
        assert {q.rule for q in result.open} == {"GPD201"}
        assert "x.pth runs code" in result.open[0].reason

    def test_no_consumer_seen_on_a_path_that_is_not_fully_known_is_open_once(self) -> None:
        doubt = interpreter(path_unknowns=("site-packages/x.pth runs code",))
        result = verdict(machine(interpreter=Present(doubt)))
        assert [q.rule for q in result.open] == ["GPD201"]
        assert "x.pth runs code" in result.open[0].reason
        assert verdict(machine()).open == ()

    def test_a_file_that_is_seen_is_a_finding_in_spite_of_that_doubt(self) -> None:
        doubt = interpreter(path_unknowns=("site-packages/x.pth runs code",))
        assert rules(replace(OFF_PATH, interpreter=Present(doubt))) == ["GPD201", "GPD201"]

    def test_optional_openings_are_no_fault(self) -> None:
        optional = next((f.id, o) for f in MATRIX.data.facts for o in getattr(f.claim, "opens", ()) if o.optional)
        fact, opening = optional
        row = answer("onnxruntime", opening.names[0], "cudnn", role=opening.role, fact=fact)
        assert rules(with_(machine(), Parts(resolutions=(row,)))) == []

    def test_4_8_5_without_any_cudnn_has_no_cudnn_finding(self) -> None:
        assert rules(with_(machine(), ctranslate2("4.8.5"), cublas12(), ct2_cublas(CUBLAS))) == []


class TestOtherMajor:
    def test_cudnn_8_where_9_is_wanted(self) -> None:
        finding = only(with_(machine(), ctranslate2(), cudnn8(), ct2_cudnn9(None)))
        assert (finding.rule, finding.cause) == ("GPD202", "cudnn-major-mismatch")
        assert "needs cuDNN 9" in finding.message
        assert "only cuDNN 8 is installed" in finding.message
        assert finding.consequences == ()

    def test_cudnn_9_where_8_is_wanted(self) -> None:
        finding = only(with_(machine(), ctranslate2("4.4.0"), cudnn9(), ct2_cudnn8(None)))
        assert (finding.rule, finding.cause) == ("GPD202", "cudnn-major-mismatch")
        assert any("nvidia-cudnn-cu12>=8,<9" in c for c in commands(finding))

    def test_the_bundled_dispatch_library_is_no_cudnn(self) -> None:
        # libcudnn-74a4c495.so.9.1.0 lies beside ctranslate2 in every environment.
        assert "not installed" in only(with_(machine(), ctranslate2(), ct2_cudnn9(None))).message

    def test_both_majors_installed_is_a_matter_of_the_path(self) -> None:
        snapshot = with_(machine(), ctranslate2(), cudnn8(folder="/opt/cudnn8"), cudnn9(), ct2_cudnn9(None))
        assert only(snapshot).rule == "GPD201"

    def test_a_replacement_that_would_break_torch_is_not_safe(self) -> None:
        pinned = Parts(distributions=(dist("torch", "2.2.2", ("nvidia-cudnn-cu12==8.9.2.26; x",)),))
        finding = only(with_(machine(), ctranslate2(), pinned, cudnn8(), ct2_cudnn9(None)))
        assert "upgrade" in finding.fixes[0].title.lower()
        assert all(f.applicability != "safe" for f in finding.fixes)
        assert "torch asks for another release" in finding.fixes[1].title

    def test_cublas_13_where_12_is_wanted(self) -> None:
        finding = only(with_(machine(), ctranslate2("4.8.5"), cublas13(), ct2_cublas(None)))
        assert (finding.rule, finding.cause) == ("GPD203", "cuda-major-mismatch")
        assert "libcublas.so.12" in finding.message
        assert "13" in finding.message
        assert any("nvidia-cublas-cu12" in c for c in commands(finding))

    def test_what_is_missing_altogether_joins_the_wrong_major(self) -> None:
        thirteen = with_(machine(), onnxruntime_gpu(), cublas13())
        found = by_cause(thirteen)
        assert set(found) == {"cuda-major-mismatch", "cudnn-not-loadable"}
        assert "libcudart.so.12" in " ".join(found["cuda-major-mismatch"].consequences)


class TestDamagedAndDependent:
    def test_a_dependency_is_named_as_the_culprit(self) -> None:
        row = ct2_cublas(None, culprit="libcublasLt.so.12", reason="libcublasLt.so.12: not found").resolutions[0]
        finding = only(with_(machine(), ctranslate2("4.8.5"), Parts(resolutions=(row,))))
        assert "libcublas.so.12, because libcublasLt.so.12, which it needs, cannot be loaded" in finding.message

    @pytest.mark.parametrize("failure", ["not-elf", "truncated", "not-regular"])
    def test_a_damaged_file_is_named_and_its_owner_installed_anew(self, failure: str) -> None:
        path = f"{CUBLAS}/libcublas.so.12"
        steps = (
            SearchStep(rule="rpath", path=f"{SITE}/ctranslate2.libs/libcublas.so.12", result="missing"),
            SearchStep(rule="LD_LIBRARY_PATH", path=path, result=failure),
        )
        row = ct2_cublas(None, failure=failure, reason="a Git LFS pointer, not a library", searched=steps)
        snapshot = with_(machine(), ctranslate2("4.8.5"), cublas12(), row)
        finding = only(snapshot)
        assert path in finding.message
        assert "Git LFS pointer" in finding.message
        assert commands(finding) == [
            f"{VENV}/bin/python -m pip install --force-reinstall --no-deps --no-cache-dir "
            '"nvidia-cublas-cu12==12.4.5.8"'
        ]

    def test_a_too_old_glibc_is_its_own_cause(self) -> None:
        row = answer("torch", "libtorch_cuda.so", "torch", failure="symbol-version", culprit="libc.so.6")
        assert only(with_(machine(), Parts(resolutions=(row,)))).cause == "glibc-too-old"

    def test_what_only_the_driver_brings_is_no_library_finding(self) -> None:
        own = answer("onnxruntime", "libcuda.so.1", "libcuda")
        below = answer("onnxruntime", "libcublas.so.12", "cublas", culprit="libcuda.so.1")
        assert rules(with_(machine(), Parts(resolutions=(own, below)))) == []


class TestMixed:
    def test_an_undefined_symbol_in_cudnn(self) -> None:
        row = answer(
            "torch",
            "libcudnn_cnn.so.9",
            "cudnn",
            failure="undefined-symbol",
            reason="undefined symbol: _ZN5cudnn5graph13LibraryLoader, version libcudnn_graph.so.9",
        )
        finding = only(with_(machine(), cudnn9(), Parts(resolutions=(row,))))
        assert (finding.rule, finding.cause, finding.level) == ("GPD204", "cudnn-mixed", "error")
        assert "LibraryLoader" in evidence(finding)["reason"]

    def test_an_undefined_symbol_in_the_toolkit(self) -> None:
        row = answer(
            "torch",
            "libcusparse.so.12",
            "cusparse",
            failure="undefined-symbol",
            culprit="libnvJitLink.so.12",
            when="at import",
        )
        finding = only(with_(machine(), Parts(resolutions=(row,))))
        assert (finding.rule, finding.cause) == ("GPD205", "cuda-libs-mixed")

    def test_a_dispatch_library_that_is_newer_than_its_parts_aborts(self) -> None:
        shim = lib(f"{CUDNN}/libcudnn.so.9", "cudnn", "9.10.2.21")
        old = lib("/opt/cudnn/libcudnn_graph.so.9", "cudnn", "9.1.0")
        rows = (
            answer("torch", "libcudnn.so.9", "cudnn", shim.path, link="needed"),
            answer("torch", "libcudnn_graph.so.9", "cudnn", old.path),
        )
        finding = only(with_(machine(), Parts(libraries=(shim, old), resolutions=rows)))
        assert (finding.rule, finding.level) == ("GPD204", "error")
        assert "9.10.2.21" in finding.message
        assert "abort" in finding.message

    def test_the_bundled_dispatch_library_tells_its_release_by_its_name(self) -> None:
        finding = only(with_(machine(), ctranslate2(), cudnn9("9.0.0.312"), ct2_cudnn9(CUDNN)))
        assert (finding.rule, finding.cause) == ("GPD204", "cudnn-mixed")

    def test_unknown_releases_are_no_mixture(self) -> None:
        parts = tuple(
            lib(f"/opt/{folder}/libcudnn_{part}.so.9", "cudnn", None) for folder, part in (("a", "ops"), ("b", "cnn"))
        )
        rows = tuple(answer("torch", p.path.rpartition("/")[2], "cudnn", p.path) for p in parts)
        assert rules(with_(machine(), Parts(libraries=parts, resolutions=rows))) == []

    def test_a_file_name_s_three_numbers_and_a_wheel_s_four_are_one_release(self) -> None:
        parts = (
            lib("/a/libcublas.so.12", "cublas", "12.4.5.8", "nvidia-cublas-cu12"),
            lib("/a/libcublasLt.so.12", "cublas", "12.4.5"),
        )
        rows = tuple(answer("torch", p.path.rpartition("/")[2], "cublas", p.path) for p in parts)
        assert rules(with_(machine(), Parts(libraries=parts, resolutions=rows))) == []


class TestFoundInTheField:
    """Verdicts that were wrong on environments that people install."""

    def test_two_majors_of_one_library_in_one_process_are_no_mixture(self) -> None:
        # torch 2.15 for CUDA 13 opens the cuBLAS 12 that was installed for ctranslate2, too: each set is complete.
        both = tuple(
            answer("torch", name, "cublas", f"{folder}/{name}", link="needed", role="cublas")
            for folder, major in ((CUBLAS, "12"), (CU13, "13"))
            for name in (f"libcublas.so.{major}", f"libcublasLt.so.{major}")
        )
        parts = Parts(distributions=(dist("torch", "2.15.0"),), resolutions=both)
        assert rules(with_(machine(), parts, cublas12(), cublas13())) == []

    def test_two_releases_of_one_major_still_are(self) -> None:
        rows = (
            answer("torch", "libcublas.so.12", "cublas", f"{CUBLAS}/libcublas.so.12"),
            answer("torch", "libcublasLt.so.12", "cublas", "/opt/old/libcublasLt.so.12"),
            answer("torch", "libcublas.so.13", "cublas", f"{CU13}/libcublas.so.13"),
        )
        older = lib("/opt/old/libcublasLt.so.12", "cublas", "12.1.0.1")
        parts = Parts(libraries=(older,), resolutions=rows)
        assert rules(with_(machine(), parts, cublas12(), cublas13())) == ["GPD205"]

    def test_a_file_that_an_installed_package_lost_is_installed_anew(self) -> None:
        whole = cudnn9()
        left = tuple(x for x in whole.libraries if "_ops" not in x.path)
        snapshot = with_(
            machine(),
            ctranslate2(),
            replace_libraries(whole, left),
            ct2_cudnn9(None, parts=("ops",)),
            ct2_cublas(CUBLAS),
        )
        finding = only(snapshot)
        assert "nvidia-cudnn-cu12 9.1.0.70 is installed, but this file of it is gone" in finding.message
        (command,) = commands(finding)
        assert "--force-reinstall" in command
        assert '"nvidia-cudnn-cu12==9.1.0.70"' in command

    def test_a_release_that_is_too_old_is_no_damage(self) -> None:
        whole = cudnn9("9.0.0.312")
        left = tuple(x for x in whole.libraries if "_ops" not in x.path)
        snapshot = with_(
            machine(),
            ctranslate2(),
            replace_libraries(whole, left),
            ct2_cudnn9(None, parts=("ops",)),
            ct2_cublas(CUBLAS),
        )
        assert any('install "nvidia-cudnn-cu12>=9.1,<10"' in c for c in commands(only(snapshot)))

    def test_a_file_cut_short_is_named_and_installed_anew(self) -> None:
        path = f"{CUDNN}/libcudnn_cnn.so.9"
        row = ct2_cudnn9(None, parts=("cnn",)).resolutions[0]
        row = replace(
            row,
            failure="truncated",
            reason=f"{path}: the file is cut short",
            searched=(*row.searched, SearchStep(rule="ld-library-path", path=path, result="found")),
        )
        finding = only(with_(machine(), ctranslate2(), cudnn9(), Parts(resolutions=(row,))))
        assert evidence(finding)["file"] == path
        assert any("--force-reinstall" in c and "nvidia-cudnn-cu12" in c for c in commands(finding))

    @staticmethod
    def first_command(snapshot: Snapshot) -> str:
        every = (c for f in verdict(snapshot).findings if f.rule == "GPD201" for c in commands(f))
        return next(c for c in every if not c.startswith("gpudoctor "))

    def test_one_command_serves_what_is_asked_for_later_too(self) -> None:
        # onnxruntime-gpu of the CUDA 13 age opens cuDNN by name once its provider is loaded, and not before.
        late = answer(
            "onnxruntime",
            "libcudnn.so.9",
            "cudnn",
            outcome="unknown",
            failure=None,
            reason="not reached: libcublas.so.13: cannot open shared object file",
            searched=(),
        )
        parts = Parts(
            distributions=(dist("onnxruntime-gpu", "1.31.1"),),
            resolutions=(answer("onnxruntime", "libcublas.so.13", "cublas", link="needed"), late),
        )
        snapshot = with_(machine(), parts, cublas13(), cudnn9(owner="nvidia-cudnn-cu13"))
        assert self.first_command(snapshot).startswith(f'export LD_LIBRARY_PATH="{CU13}:{CUDNN}$')
        on_path = search_path(snapshot, CUDNN)
        assert self.first_command(on_path).startswith(f'export LD_LIBRARY_PATH="{CU13}$')

    def test_what_is_reached_only_after_torch_is_no_question_beside_works_by_accident(self) -> None:
        def rows(scenario: str, folder: str | None) -> tuple[Resolution, ...]:
            late = {"outcome": "unknown", "failure": None, "reason": "not reached: libcublas.so.12", "searched": ()}
            graph = f"{CUDNN}/libcudnn_graph.so.9" if folder else None
            return (
                answer(
                    "onnxruntime",
                    "libcublas.so.12",
                    "cublas",
                    folder and f"{folder}/libcublas.so.12",
                    scenario=scenario,
                ),
                answer(
                    "onnxruntime", "libcudnn_graph.so.9", "cudnn", graph, scenario=scenario, **({} if folder else late)
                ),
            )

        parts = Parts(
            distributions=(dist("onnxruntime-gpu", "1.23.2"),),
            resolutions=(*rows("alone", None), *rows("after-torch", CUBLAS)),
        )
        found = verdict(with_(machine(), torch(), parts, cublas12(), cudnn9()))
        assert [f.rule for f in found.findings] == ["GPD206"]
        assert found.open == ()


def replace_libraries(parts: Parts, libraries: tuple[Library, ...]) -> Parts:
    return Parts(parts.distributions, parts.builds, libraries, parts.resolutions)


class TestBesideTorch:
    @staticmethod
    def lucky(version: str, *extra: str) -> Snapshot:
        return with_(
            machine(),
            ctranslate2(version),
            torch(),
            installed(*extra),
            cudnn9(),
            cublas12(),
            ct2_cublas(None),
            ct2_cublas(CUBLAS, "after-torch", found_via="already-loaded"),
        )

    def test_a_consumer_that_imports_torch_itself_is_a_note(self) -> None:
        finding = only(self.lucky("4.6.0"))
        assert (finding.rule, finding.level) == ("GPD206", "note")

    def test_a_consumer_that_does_not_is_an_error_and_only_one(self) -> None:
        finding = only(self.lucky("4.8.5"))
        assert (finding.rule, finding.level, finding.cause) == ("GPD206", "error", "cuda-lib-not-loadable")
        assert any(f'"{CUBLAS}$' in command for command in commands(finding))

    @pytest.mark.parametrize("name", ["whisperx==3.4.2", "pyannote-audio==3.3.2"])
    def test_a_package_that_imports_torch_first_makes_it_a_warning(self, name: str) -> None:
        finding = only(self.lucky("4.8.5", name))
        assert finding.level == "warning"
        assert name.partition("==")[0] in finding.message

    def test_missing_in_both_scenarios_is_one_finding(self) -> None:
        both = with_(machine(), ctranslate2("4.8.5"), torch(), cudnn9(), cublas12(), ct2_cublas(None))
        both = with_(both, ct2_cublas(None, "after-torch"))
        assert rules(both) == ["GPD201"]

    def test_the_cudnn_of_4_6_0_stays_missing_after_torch(self) -> None:
        snapshot = with_(self.lucky("4.6.0"), ct2_cudnn9(None), ct2_cudnn9(None, "after-torch"))
        assert rules(snapshot) == ["GPD201", "GPD206"]

    def test_a_fault_that_only_torch_brings_says_so(self) -> None:
        row = ct2_cublas(None, "after-torch", failure="undefined-symbol").resolutions[0]
        snapshot = with_(
            machine(),
            ctranslate2("4.8.5"),
            torch(),
            cudnn9(),
            cublas12(),
            ct2_cublas(CUBLAS),
            Parts(resolutions=(row,)),
        )
        finding = only(snapshot)
        assert (finding.rule, finding.level) == ("GPD205", "warning")
        assert finding.message.startswith("In a process that imported torch first")
        assert only(with_(snapshot, installed("whisperx==3.4.2"))).level == "error"


class TestOnnxruntime:
    def test_the_fate_is_the_cpu(self) -> None:
        found = verdict(with_(machine(), onnxruntime_gpu())).findings
        assert {f.subject.name for f in found} == {"onnxruntime"}
        assert all("fall back to the CPU" in f.message for f in found)

    @pytest.mark.parametrize(("version", "offered"), [("1.20.2", False), ("1.22.0", True)])
    def test_preload_dlls_is_offered_where_it_exists(self, version: str, offered: bool) -> None:
        found = verdict(with_(machine(), onnxruntime_gpu(version), cublas12(), cudnn9())).findings
        assert any("preload_dlls" in fix.title for f in found for fix in f.fixes) == offered

    def test_what_it_will_miss_next_is_installed_in_the_same_round(self) -> None:
        first = answer("onnxruntime", "libcublasLt.so.12", "cublas", link="needed")
        late = answer(
            "onnxruntime", "libcudnn.so.9", "cudnn", outcome="unknown", reason="not reached: libcublasLt.so.12"
        )
        bare = replace(with_(machine(), onnxruntime_gpu()), resolutions=(first, late))
        both = '"nvidia-cublas-cu12" "nvidia-cudnn-cu12>=9,<10"'
        assert any(both in c for c in commands(only(bare)))
        assert not any("nvidia-cudnn-cu12" in c for c in commands(only(with_(bare, cudnn9()))))


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/opt/cuda/lib64/libcublas.so.12", "/opt/cuda/lib64"),
        ("/opt/cuda/lib64/glibc-hwcaps/x86-64-v3/libcublas.so.12", "/opt/cuda/lib64"),
        ("/opt/cuda/lib64/tls/x86_64/libcublas.so.12", "/opt/cuda/lib64"),
        ("libcublas.so.12", "the current folder"),
        ("tls/x86_64/libcublas.so.12", "the current folder"),
        ("glibc-hwcaps/x86-64-v4/libcublas.so.12", "the current folder"),
        ("lib/tls/libcublas.so.12", "./lib"),
    ],
)
def test_places_are_told_without_the_loaders_own_subfolders(path: str, folder: str) -> None:
    step = SearchStep(rule="ld-library-path", path=path, result="missing")
    assert condensed((step,)) == f"ld-library-path: {folder} (missing)"


class TestIgnoredVariable:
    def test_the_ignored_variable_is_the_headline(self) -> None:
        secure = Present(interpreter(secure_execution=Present(value=True)))
        snapshot = replace(search_path(OFF_PATH, f"{CUDNN}:{CUBLAS}"), interpreter=secure)
        finding = only(snapshot)
        assert (finding.rule, finding.level) == ("GPD504", "error")
        assert sum("cannot load" in c for c in finding.consequences) == 2

    def test_ld_library_path_is_no_way_out_then(self) -> None:
        secure = Present(interpreter(secure_execution=Present(value=True)))
        findings = verdict(replace(OFF_PATH, interpreter=secure)).findings
        assert findings
        assert not [c for finding in findings for c in commands(finding) if "export" in c]


def test_a_binary_without_any_environment_is_judged_too() -> None:
    row = answer("dictated", "libcudnn.so.9", "cudnn", when="at start", link="needed")
    snapshot = machine(interpreter=Absent(), distributions=(), resolutions=(row,))
    finding = only(snapshot)
    assert "dictated cannot load libcudnn.so.9" in finding.message
    assert "it will fail at start" in finding.message


def test_an_unknown_release_of_a_consumer_is_left_out_of_its_name() -> None:
    row = answer("ctranslate2", "libcublas.so.12", "cublas")
    snapshot = with_(machine(), Parts(distributions=(dist("ctranslate2", None),), resolutions=(row,)))
    assert only(snapshot).message.startswith("ctranslate2 cannot load")


def test_unknown_and_absent_side_by_side_give_both() -> None:
    rows = (
        answer("ctranslate2", "libcublas.so.12", "cublas"),
        answer("ctranslate2", "libcudnn_ops.so.9", "cudnn", outcome="unknown", reason="the cache could not be read"),
    )
    result = verdict(with_(machine(), Parts(resolutions=rows)))
    assert [f.rule for f in result.findings] == ["GPD201"]
    assert any(q.rule == "GPD201" and "cache could not be read" in q.reason for q in result.open)


def test_the_interpreter_being_unknown_is_a_doubt() -> None:
    bare = replace(TestNotInstalled.BARE, interpreter=Unknown("pyvenv.cfg cannot be read"))
    assert verdict(bare).findings == ()
