"""The deep check on environments made from real wheels: the deaths that users report, without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from gpudoctor.canary.judge import apply_canary
from gpudoctor.canary.run import run_canary
from gpudoctor.loader.target import Target
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.canary import CanaryReport, CanaryStep
from gpudoctor.model.fact import Present
from gpudoctor.model.finding import Finding
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.probes.take import SnapshotRequest, take_snapshot
from gpudoctor.probes.variables import judged_environment
from gpudoctor.rules.engine import judge
from gpudoctor.system.real import RealSystem
from support.wheels import nvidia_dirs, site_packages, wheel_env

pytestmark = pytest.mark.wheels

MATRIX = load_matrix()
PATIENT_S = 120.0
NO_GRAPH = (
    "Unable to load any of {libcudnn_graph.so.9.1.0, libcudnn_graph.so.9.1, libcudnn_graph.so.9, libcudnn_graph.so}"
)
NO_OPS = "Unable to load any of {libcudnn_ops.so.9.1.0, libcudnn_ops.so.9.1, libcudnn_ops.so.9, libcudnn_ops.so}"
NO_CUBLAS = "Library libcublas.so.12 is not found or cannot be loaded"
CUDNN_STEPS = ("cudnn-start", "cudnn-ops", "cudnn-cnn", "cudnn-engines")


@dataclass(frozen=True)
class Deep:
    """A deep check, as a command would make it."""

    snapshot: Snapshot
    report: CanaryReport
    findings: tuple[Finding, ...]

    def step(self, name: str, consumer: str = "ctranslate2", scenario: str = "alone") -> CanaryStep:
        return next(s for s in self.report.seen(consumer) if (s.name, s.scenario) == (name, scenario))

    def outcomes(self, consumer: str = "ctranslate2", scenario: str = "alone") -> dict[str, str]:
        return {s.name: s.outcome for s in self.report.seen(consumer) if s.scenario == scenario}

    def on_libraries(self) -> list[tuple[str, str | None, str, str]]:
        return sorted((f.rule, f.cause, f.level, f.confidence) for f in self.findings if f.rule.startswith("GPD2"))


def deep(python: Path, ld_library_path: str = "") -> Deep:
    system = RealSystem()
    assignments = (f"LD_LIBRARY_PATH={ld_library_path}",)
    snapshot = take_snapshot(system, MATRIX, SnapshotRequest(python=str(python), assignments=assignments))
    assert isinstance(snapshot.interpreter, Present)
    found = snapshot.interpreter.value
    environment = judged_environment(system, assignments, ()).environment
    target = Target(found.executable, found.prefix, found.site_dirs, environment, system.cwd())
    report = run_canary(system, MATRIX, target, snapshot.resolutions, limit_s=PATIENT_S)
    return Deep(snapshot, report, apply_canary(judge(snapshot, MATRIX).findings, report, snapshot))


def all_dirs(slug: str) -> str:
    return ":".join(nvidia_dirs(wheel_env(slug)))


def library_dir(slug: str, package: str) -> Path:
    return site_packages(wheel_env(slug)) / "nvidia" / package / "lib"


def links_to(folder: Path, *origins: Path) -> Path:
    """Make a folder of links, which a test may then damage."""
    folder.mkdir()
    for origin in origins:
        for file in origin.glob("lib*.so*"):
            (folder / file.name).symlink_to(file)
    return folder


class TestCtranslate2WithCudnn9:
    def test_off_the_path_it_aborts_and_that_is_proof(self) -> None:
        seen = deep(wheel_env("ct2-460-cudnn91"))

        start = seen.step("cudnn-start")
        assert (start.outcome, start.signal, start.failed_call) == ("crashed", "SIGABRT", "cudnnCreate")
        assert NO_GRAPH in (start.stderr_excerpt or "")
        assert NO_CUBLAS in (seen.step("cublas").stderr_excerpt or "")
        assert seen.on_libraries() == [
            ("GPD201", "cuda-lib-not-loadable", "error", "proved"),
            ("GPD201", "cudnn-not-loadable", "error", "proved"),
        ]
        assert seen.report.disagreements == ()
        cudnn = next(f for f in seen.findings if f.cause == "cudnn-not-loadable")
        assert NO_GRAPH in cudnn.evidence[-1].value

    @pytest.mark.parametrize(("slug", "version"), [("ct2-460-cudnn91", "9.1.0"), ("ct2-460-cudnn910", "9.10.2")])
    def test_made_right_it_passes(self, slug: str, version: str) -> None:
        seen = deep(wheel_env(slug), all_dirs(slug))

        assert {seen.outcomes()[n] for n in (*CUDNN_STEPS, "import", "cublas")} == {"ok"}
        assert seen.on_libraries() == []
        assert seen.report.disagreements == ()
        reported = {v.family: (v.version, v.path) for v in seen.report.versions if v.consumer == "ctranslate2"}
        assert reported["cudnn"] == (version, str(library_dir(slug, "cudnn") / "libcudnn_graph.so.9"))
        assert reported["cublas"] == ("12.4.5", str(library_dir(slug, "cublas") / "libcublas.so.12"))
        engines = {Path(p).name for p in seen.step("cudnn-engines").maps}
        assert {"libcudnn_heuristic.so.9", "libcudnn_engines_precompiled.so.9"} <= engines

    def test_the_reason_behind_a_device_count_of_0(self) -> None:
        step = deep(wheel_env("ct2-460-bare")).step("device")

        # Without a GPU; with one the call returns the types.
        assert step.outcome in ("failed", "ok")
        assert step.outcome == "ok" or "CUDA failed with error" in (step.reason or "")

    def test_parts_of_two_builds(self, tmp_path: Path) -> None:
        mixed = links_to(tmp_path / "mixed", library_dir("ct2-460-cudnn91", "cudnn"))
        (mixed / "libcudnn_ops.so.9").unlink()
        (mixed / "libcudnn_ops.so.9").symlink_to(library_dir("ct2-460-cudnn910", "cudnn") / "libcudnn_ops.so.9")
        seen = deep(wheel_env("ct2-460-cudnn91"), f"{mixed}:{library_dir('ct2-460-cudnn91', 'cublas')}")

        # cuDNN says "Unable to load" though the file is there: a symbol of it is not in the graph library.
        assert NO_OPS in (seen.step("cudnn-ops").stderr_excerpt or "")
        assert seen.report.disagreements == ()
        proved = [f for f in seen.findings if f.confidence == "proved" and f.rule.startswith("GPD2")]
        assert [f.cause for f in proved] == ["cudnn-mixed"]

    def test_a_part_that_is_cut_short(self, tmp_path: Path) -> None:
        broken = links_to(tmp_path / "broken", library_dir("ct2-460-cudnn91", "cudnn"))
        whole = (broken / "libcudnn_cnn.so.9").read_bytes()
        (broken / "libcudnn_cnn.so.9").unlink()
        (broken / "libcudnn_cnn.so.9").write_bytes(whole[: len(whole) // 2])
        seen = deep(wheel_env("ct2-460-cudnn91"), f"{broken}:{library_dir('ct2-460-cudnn91', 'cublas')}")

        assert seen.outcomes()["cudnn-ops"] == "ok"
        assert (seen.step("cudnn-cnn").outcome, seen.step("cudnn-cnn").signal) == ("crashed", "SIGBUS")
        assert seen.report.disagreements == ()
        assert [f.confidence for f in seen.findings if f.rule.startswith("GPD2")] == ["proved"]

    def test_engines_that_are_missing(self, tmp_path: Path) -> None:
        partial = links_to(tmp_path / "partial", library_dir("ct2-460-cudnn91", "cudnn"))
        for engine in ("libcudnn_heuristic.so.9", "libcudnn_engines_precompiled.so.9"):
            (partial / engine).unlink()
        seen = deep(wheel_env("ct2-460-cudnn91"), f"{partial}:{library_dir('ct2-460-cudnn91', 'cublas')}")

        step = seen.step("cudnn-engines")

        assert seen.outcomes()["cudnn-cnn"] == "ok"
        # No abort here, but a code, and the words on the error output.
        assert (step.outcome, step.reason) == ("failed", "cudnnBackendFinalize answered 1001")
        assert "Unable to load any of {libcudnn_engines_precompiled.so.9.1.0" in (step.stderr_excerpt or "")
        assert ("GPD201", "cudnn-not-loadable", "error", "proved") in seen.on_libraries()
        assert seen.report.disagreements == ()


class TestOtherAges:
    @pytest.mark.parametrize("made_right", [False, True])
    def test_4_4_0_wants_cudnn_8_whatever_the_path(self, made_right: bool) -> None:
        slug = "ct2-440-cudnn91"
        seen = deep(wheel_env(slug), all_dirs(slug) if made_right else "")

        assert "Could not load library libcudnn_ops_infer.so.8" in (seen.step("cudnn-start").stderr_excerpt or "")
        assert seen.step("cublas").outcome == ("ok" if made_right else "crashed")
        assert ("GPD202", "cudnn-major-mismatch", "error", "proved") in seen.on_libraries()
        assert {f.confidence for f in seen.findings if f.rule.startswith("GPD2")} == {"proved"}
        assert seen.report.disagreements == ()

    def test_4_8_5_with_cublas_off_the_path(self) -> None:
        seen = deep(wheel_env("ct2-485-cublas12"))

        assert seen.step("cublas").signal == "SIGABRT"
        assert {seen.outcomes()[n] for n in CUDNN_STEPS} == {"skipped"}
        assert seen.on_libraries() == [("GPD201", "cuda-lib-not-loadable", "error", "proved")]

    def test_4_8_5_made_right(self) -> None:
        seen = deep(wheel_env("ct2-485-cublas12"), all_dirs("ct2-485-cublas12"))

        assert seen.step("cublas").outcome == "ok"
        assert seen.on_libraries() == []

    def test_4_8_5_with_cublas_13_only(self) -> None:
        seen = deep(wheel_env("ct2-485-cublas13"), all_dirs("ct2-485-cublas13"))

        assert seen.step("cublas").signal == "SIGABRT"
        assert seen.on_libraries() == [("GPD203", "cuda-major-mismatch", "error", "proved")]


class TestBesideTorch:
    def test_torch_hides_the_cublas_fault_and_not_the_cudnn_fault(self) -> None:
        seen = deep(wheel_env("torch-251-ct2-460"))

        # 4.6.0 imports torch itself: a process of it without torch does not exist.
        assert seen.outcomes("ctranslate2", "alone") == {}
        assert set(seen.outcomes("torch").values()) <= {"ok", "failed"}
        assert {seen.outcomes("torch")[n] for n in ("import", "cudnn-version", "versions", *CUDNN_STEPS)} == {"ok"}
        assert seen.step("cublas", scenario="after-torch").outcome == "ok"
        assert NO_GRAPH in (seen.step("cudnn-start", scenario="after-torch").stderr_excerpt or "")
        assert ("GPD201", "cudnn-not-loadable", "error", "proved") in seen.on_libraries()
        assert seen.report.disagreements == ()

    def test_made_right(self) -> None:
        slug = "torch-251-ct2-460"
        seen = deep(wheel_env(slug), all_dirs(slug))
        after = seen.outcomes("ctranslate2", "after-torch")

        assert {after[n] for n in ("import", "cublas", *CUDNN_STEPS)} == {"ok"}
        assert seen.on_libraries() == []
        assert seen.report.disagreements == ()
        reported = {(v.consumer, v.family): v.version for v in seen.report.versions}
        assert reported["torch", "cudnn"] == "9.1.0"
        assert reported["torch", "cudart"] == "12.4"

    def test_works_by_accident_after_torch_only(self) -> None:
        seen = deep(wheel_env("torch-251-ct2-485"))

        assert seen.step("cublas").signal == "SIGABRT"
        assert seen.step("cublas", scenario="after-torch").outcome == "ok"
        assert ("GPD206", "cuda-lib-not-loadable", "error", "proved") in seen.on_libraries()
        assert seen.report.disagreements == ()

    def test_torchs_dispatch_library_above_older_parts(self, tmp_path: Path) -> None:
        """Every version check answers 0, then cudnnCreate aborts for want of a symbol."""
        site = newer_torch(tmp_path)
        older = library_dir("ct2-460-cudnn91", "cudnn")
        seen = deep(site.parents[2], str(older))
        start = seen.step("cudnn-start", "torch")

        assert (start.outcome, start.signal, start.failed_call) == ("crashed", "SIGABRT", "cudnnCreate")
        assert "undefined symbol: cudnnGetLibConfig" in (start.stderr_excerpt or "")
        assert "cudnn-mixed" in {f.cause for f in seen.findings if f.confidence == "proved"}


def newer_torch(tmp_path: Path) -> Path:
    """Make an environment of links to torch, with a newer cuDNN beside it; return its site-packages."""
    env = wheel_env("torch-251-ct2-460")
    origin = site_packages(env)
    site = tmp_path / "venv" / origin.relative_to(env)
    for folder in (site / "torch" / "lib", site / "nvidia", tmp_path / "venv" / "bin"):
        folder.mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").write_text((env / "pyvenv.cfg").read_text())
    (tmp_path / "venv" / "bin" / "python").symlink_to((env / "bin" / "python").resolve())
    # Real folders where `$ORIGIN/../..` has to lead back here; links to files below them.
    link_entries(origin, site, leave=("torch", "nvidia"))
    link_entries(origin / "torch", site / "torch", leave=("lib",))
    link_entries(origin / "torch" / "lib", site / "torch" / "lib")
    link_entries(origin / "nvidia", site / "nvidia", leave=("cudnn",))
    (site / "nvidia" / "cudnn").symlink_to(library_dir("ct2-460-cudnn910", "cudnn").parent)
    return site


def link_entries(origin: Path, folder: Path, leave: tuple[str, ...] = ()) -> None:
    for entry in origin.iterdir():
        if entry.name not in leave:
            (folder / entry.name).symlink_to(entry)


class TestOnnxruntime:
    def test_off_the_path(self) -> None:
        seen = deep(wheel_env("ort-1202-cuda12"))
        step = seen.step("provider-libraries", "onnxruntime")

        assert (seen.outcomes("onnxruntime")["import"], step.outcome) == ("ok", "failed")
        assert "libcublasLt.so.12 => not found" in (step.reason or "")
        assert seen.on_libraries()
        assert {f.confidence for f in seen.findings if f.rule.startswith("GPD2")} == {"proved"}
        assert seen.report.disagreements == ()

    def test_made_right_it_is_listed_and_not_loaded(self) -> None:
        slug = "ort-1202-cuda12"
        seen = deep(wheel_env(slug), all_dirs(slug))
        step = seen.step("provider-libraries", "onnxruntime")

        assert step.outcome == "ok"
        assert str(library_dir(slug, "cudnn") / "libcudnn.so.9") in step.maps
        assert seen.on_libraries() == []
        assert seen.report.disagreements == ()
        assert {s.outcome for s in seen.report.seen("onnxruntime")} == {"ok"}
