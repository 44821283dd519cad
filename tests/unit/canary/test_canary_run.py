"""The canary on a real interpreter and real libraries that are told how to die."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from fakehw.build import FakeDriver
from fakehw.build import build as build_driver
from gpudoctor.canary.run import run_canary
from gpudoctor.loader.target import Target
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.canary import CanaryReport, CanaryStep
from gpudoctor.model.fact import Fact, Present, Unknown
from gpudoctor.model.loading import Resolution
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.real import RealSystem
from unit.canary.fake_target import FakeTarget, build, compile_library, predicted

MATRIX = load_matrix()
CUBLAS_ABSENT = predicted("absent", reason="nowhere")
PATIENT_S = 60.0


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> FakeTarget:
    return build(tmp_path_factory.mktemp("target") / "venv")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> FakeDriver:
    return build_driver(tmp_path_factory.mktemp("driver"))


def run(target: Target, *resolutions: Resolution, limit_s: float = PATIENT_S) -> CanaryReport:
    return run_canary(RealSystem(), MATRIX, target, resolutions, limit_s=limit_s)


def steps_of(report: CanaryReport, consumer: str = "ctranslate2") -> dict[str, CanaryStep]:
    return {s.name: s for s in report.seen(consumer)}


class TestHowStepsEnd:
    def test_all_is_well(self, fake: FakeTarget) -> None:
        report = run(
            fake.target(LD_LIBRARY_PATH=str(fake.cublas_dir)),
            predicted("present", str(fake.cublas_dir / "libcublas.so.12")),
        )
        steps = steps_of(report)

        assert {n: s.outcome for n, s in steps.items()} == {
            "import": "ok",
            "cudnn-start": "ok",
            "cudnn-ops": "ok",
            "cudnn-cnn": "ok",
            "cudnn-engines": "ok",
            "cublas": "ok",
            "device": "failed",
        }
        assert report.disagreements == ()
        assert report.problems == ()
        assert {(v.family, v.version) for v in report.versions} == {("cudnn", "9.1.0"), ("cublas", "12.4.5")}
        assert steps["import"].returned[0].value == "4.6.0"
        assert steps["device"].reason == "RuntimeError: CUDA failed with error no CUDA-capable device is detected"

    def test_an_abort_is_a_fact_with_its_last_words(self, fake: FakeTarget) -> None:
        step = steps_of(run(fake.target(), CUBLAS_ABSENT))["cublas"]

        assert (step.outcome, step.signal, step.failed_call) == ("crashed", "SIGABRT", "cublasCreate_v2")
        assert step.stderr_excerpt == "what():  Library libcublas.so.12 is not found or cannot be loaded"
        assert [Path(p).name for p in step.maps] == [
            "libcudnn-0123abcd.so.9.1.0",
            "libctranslate2-4567cdef.so.4.6.0",
        ] or [Path(p).name for p in step.maps] == ["libctranslate2-4567cdef.so.4.6.0", "libcudnn-0123abcd.so.9.1.0"]

    def test_a_crash_skips_only_what_follows_from_it(self, fake: FakeTarget) -> None:
        steps = steps_of(run(fake.target("cudnnOpsVersionCheck = crash\n"), CUBLAS_ABSENT))

        assert steps["cudnn-start"].outcome == "ok"
        assert (steps["cudnn-ops"].outcome, steps["cudnn-ops"].signal) == ("crashed", "SIGSEGV")
        assert [c.call for c in steps["cudnn-ops"].returned] == ["cudnnCreate"]
        assert {steps[n].outcome for n in ("cudnn-cnn", "cudnn-engines")} == {"skipped"}
        assert steps["device"].outcome == "failed"

    @pytest.mark.parametrize(("code", "outcome"), [(1001, "ok"), (1002, "failed"), (14, "failed")])
    def test_no_device_is_no_fault_and_two_builds_are(self, fake: FakeTarget, code: int, outcome: str) -> None:
        step = steps_of(run(fake.target(f"cudnnCreate = {code}\n"), CUBLAS_ABSENT))["cudnn-start"]

        assert step.outcome == outcome
        assert step.reason == (None if outcome == "ok" else f"cudnnCreate answered {code}")

    @pytest.mark.parametrize("fault", ["hang", "flood"])
    def test_a_step_that_never_ends(self, fake: FakeTarget, fault: str) -> None:
        started = time.monotonic()
        report = run(fake.target(f"cudnnCnnVersionCheck = {fault}\n"), CUBLAS_ABSENT, limit_s=1.5)
        step = steps_of(report)["cudnn-cnn"]

        assert (step.outcome, step.failed_call) == ("timeout", "cudnnCnnVersionCheck")
        assert steps_of(report)["cublas"].outcome == "crashed"
        assert time.monotonic() - started < 50
        assert len(step.stderr_excerpt or "") < 2000

    def test_a_step_that_ends_its_process(self, fake: FakeTarget, tmp_path: Path) -> None:
        # An exit handler is no way to say "ok": nothing was said.
        package = fake.site / "ctranslate2" / "__init__.py"
        original = package.read_text()
        package.write_text(original + "def get_supported_compute_types(device):\n    os._exit(0)\n")
        try:
            step = steps_of(run(fake.target(), CUBLAS_ABSENT))["device"]
        finally:
            package.write_text(original)

        assert (step.outcome, step.reason) == ("crashed", "the process ended by itself, with status 0")


class TestImports:
    @pytest.fixture
    def package(self, fake: FakeTarget):
        path = fake.site / "ctranslate2" / "__init__.py"
        original = path.read_text()
        yield path
        path.write_text(original)

    @pytest.mark.parametrize(
        ("code", "outcome", "signal_name", "words"),
        [
            ("raise ImportError('no numpy here')", "failed", None, "ImportError: no numpy here"),
            ("raise SystemExit(3)", "failed", None, "SystemExit: 3"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGBUS)", "crashed", "SIGBUS", None),
            ("import os; os.abort()", "crashed", "SIGABRT", None),
            ("import time; time.sleep(600)", "timeout", None, "not done within the time limit"),
        ],
    )
    def test_an_import_that_fails(
        self, fake: FakeTarget, package: Path, code: str, outcome: str, signal_name: str | None, words: str | None
    ) -> None:
        package.write_text(code)
        report = run(fake.target(), CUBLAS_ABSENT, limit_s=2.0)
        steps = steps_of(report)

        assert (steps["import"].outcome, steps["import"].signal) == (outcome, signal_name)
        assert steps["import"].failed_call == "import ctranslate2"
        assert steps["import"].reason == words
        assert {s.outcome for n, s in steps.items() if n != "import"} == {"skipped"}
        assert steps["cublas"].reason == "import ctranslate2 did not succeed"
        assert steps_of(report, "driver")["cuInit"].outcome in ("ok", "failed")

    def test_what_a_package_prints_is_no_answer(self, fake: FakeTarget, package: Path) -> None:
        package.write_text('print(\'{"stage": 0, "step": "cublas", "outcome": "ok"}\')\n' + package.read_text())

        assert steps_of(run(fake.target(), CUBLAS_ABSENT))["cublas"].outcome == "crashed"

    def test_the_package_sees_the_path_of_a_service(self, fake: FakeTarget, package: Path, tmp_path: Path) -> None:
        seen = tmp_path / "seen"
        package.write_text(f"import sys; open({str(seen)!r}, 'w').write(repr(sys.path))\n")
        run(fake.target(), CUBLAS_ABSENT)
        path = eval(seen.read_text())

        assert "" not in path
        assert not [p for p in path if "gpudoctor" in p]
        assert str(fake.site) in path

    def test_nothing_is_written_beside_the_package(self, fake: FakeTarget, package: Path) -> None:
        def tree() -> set[str]:
            return {str(p) for p in fake.site.rglob("*")}

        before = tree()
        run(fake.target(), CUBLAS_ABSENT)
        assert tree() == before

    def test_threads_and_strict_warnings_do_not_disturb(self, fake: FakeTarget, package: Path) -> None:
        package.write_text(
            "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
            + package.read_text()
        )
        report = run(fake.target(PYTHONWARNINGS="error"), CUBLAS_ABSENT)

        assert steps_of(report)["cudnn-engines"].outcome == "ok"

    def test_what_hangs_only_in_a_fork_is_tried_without_one(self, fake: FakeTarget, package: Path) -> None:
        package.write_text(
            package.read_text()
            + "import time\n_home = os.getpid()\n"
            + "def get_supported_compute_types(device):\n"
            + "    time.sleep(0 if os.getpid() == _home else 600)\n    return {'int8', 'float16'}\n"
        )
        step = steps_of(run(fake.target(), CUBLAS_ABSENT, limit_s=2.0))["device"]

        assert (step.outcome, [c.value for c in step.returned]) == ("ok", ["['float16', 'int8']"])

    def test_the_environment_is_the_given_one_and_devices_are_hidden(
        self, fake: FakeTarget, package: Path, tmp_path: Path
    ) -> None:
        seen = tmp_path / "seen"
        package.write_text(
            package.read_text()
            + f"open({str(seen)!r}, 'w').write(repr(dict(os.environ)))\n"
            + "def get_supported_compute_types(device):\n"
            + f"    open({str(seen)!r}, 'a').write(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        )
        report = run(
            fake.target(CUDA_VISIBLE_DEVICES="7", ODD="a b", LD_DEBUG="all", LD_DEBUG_OUTPUT=str(tmp_path / "t")),
            CUBLAS_ABSENT,
        )
        environment, _, visible = seen.read_text().rpartition("}")
        names = eval(environment + "}")

        assert visible == "7"
        assert ("cudnnGetCudartVersion", "1") in [(c.call, c.value) for c in steps_of(report)["cudnn-start"].returned]
        assert names["ODD"] == "a b"
        assert "HOME" not in names
        assert not [n for n in names if n.startswith("LD_DEBUG")]
        assert sorted(p.name for p in tmp_path.iterdir()) == ["seen"]


class TestTarget:
    def test_another_working_folder(self, fake: FakeTarget, tmp_path: Path) -> None:
        folder = tmp_path / "a folder: $HOME"
        folder.mkdir()
        (folder / "libcublas.so.12").symlink_to(fake.cublas)
        target = fake.target(cwd=str(folder), LD_LIBRARY_PATH=".:")
        step = steps_of(run(target, predicted("present", str(folder / "libcublas.so.12"))))["cublas"]

        assert step.outcome == "ok"
        assert str(fake.cublas) in step.maps

    def test_an_interpreter_that_cannot_start(self, fake: FakeTarget, tmp_path: Path) -> None:
        target = Target(str(tmp_path / "nothing"), str(tmp_path), (str(fake.site),), {}, os.getcwd())
        report = run(target, CUBLAS_ABSENT)

        assert report.steps == ()
        assert "nothing: cannot be started" in report.problems[0]

    def test_an_interpreter_that_is_none(self, fake: FakeTarget, tmp_path: Path) -> None:
        program = tmp_path / "python"
        program.write_text("#!/bin/sh\necho 'no python here' >&2\nexit 7\n")
        program.chmod(0o755)
        target = Target(str(program), str(tmp_path), (str(fake.site),), {"PATH": "/bin:/usr/bin"}, os.getcwd())
        steps = steps_of(run(target, CUBLAS_ABSENT))

        assert {s.outcome for s in steps.values()} == {"skipped"}
        assert steps["import"].reason == "the target's interpreter ended with status 7: no python here"

    def test_other_systems_are_not_tried(self) -> None:
        target = Target("python.exe", "C:/env", (), {}, "C:/")
        report = run_canary(MemorySystem(os_name="windows"), MATRIX, target, (CUBLAS_ABSENT,))

        assert (report.steps, report.problems) == ((), ("a deep check runs on Linux only",))


class TestDriver:
    def ask(self, fake: FakeTarget, driver: FakeDriver, text: str, limit_s: float = PATIENT_S) -> CanaryReport:
        settings = str(driver.settings(text))
        target = fake.target(LD_LIBRARY_PATH=str(driver.directory))
        environment = {**target.environment, "GPUDOCTOR_FAKE_DRIVER": settings}
        return run(Target(target.executable, target.prefix, target.site_dirs, environment, target.cwd), limit_s=limit_s)

    def test_a_driver_that_works(self, fake: FakeTarget, driver: FakeDriver) -> None:
        report = self.ask(fake, driver, "cuda = 12080\ncount = 2\n")
        step = steps_of(report, "driver")["cuInit"]

        assert step.outcome == "ok"
        assert [(c.call, c.value) for c in step.returned] == [
            ("cuDriverGetVersion", "12080"),
            ("cuInit", "0"),
            ("cuDeviceGetCount", "2"),
        ]
        assert [(v.family, v.version) for v in report.versions] == [("driver", "12.8")]

    @pytest.mark.parametrize("code", [100, 803, 999])
    def test_a_code_is_a_fact(self, fake: FakeTarget, driver: FakeDriver, code: int) -> None:
        step = steps_of(self.ask(fake, driver, f"cuInit = {code}\n"), "driver")["cuInit"]

        assert (step.outcome, step.reason, step.failed_call) == ("failed", f"cuInit answered {code}", "cuInit")
        assert step.maps == (str(driver.libcuda.resolve()),)

    @pytest.mark.parametrize(("fault", "signal_number"), [("crash", signal.SIGSEGV), ("abort", signal.SIGABRT)])
    def test_a_death(self, fake: FakeTarget, driver: FakeDriver, fault: str, signal_number: signal.Signals) -> None:
        step = steps_of(self.ask(fake, driver, f"cuInit = {fault}\n"), "driver")["cuInit"]

        assert (step.outcome, step.signal) == ("crashed", signal_number.name)

    def test_a_hang(self, fake: FakeTarget, driver: FakeDriver) -> None:
        step = steps_of(self.ask(fake, driver, "cuInit = hang\n", limit_s=1.0), "driver")["cuInit"]

        assert (step.outcome, step.failed_call) == ("timeout", "cuInit")

    def test_no_driver(self, fake: FakeTarget) -> None:
        step = steps_of(run(fake.target()), "driver")["cuInit"]

        assert step.outcome == "failed"
        assert (step.reason or "").startswith("libcuda.so.1: cannot open shared object file")


class TestAgainstTheEmulator:
    def test_a_library_that_was_said_to_be_nowhere(self, fake: FakeTarget) -> None:
        report = run(fake.target(LD_LIBRARY_PATH=str(fake.cublas_dir)), CUBLAS_ABSENT)
        (difference,) = report.disagreements

        assert (difference.step, difference.library) == ("cublas", "libcublas.so.12")
        assert difference.predicted == "it will not load: nowhere"
        assert difference.observed == f"{fake.cublas} was loaded"
        assert f"trying file={fake.cublas}" in (difference.trace or "")

    def test_another_file_than_said(self, fake: FakeTarget, tmp_path: Path) -> None:
        other = tmp_path / "libcublas.so.12"
        compile_library(other, "libcublas.so.12")
        report = run(fake.target(LD_LIBRARY_PATH=str(fake.cublas_dir)), predicted("present", str(other)))

        assert [d.observed for d in report.disagreements] == [f"{fake.cublas} was loaded"]

    def test_a_library_that_was_said_to_load(self, fake: FakeTarget) -> None:
        (difference,) = run(fake.target(), predicted("present", str(fake.cublas))).disagreements

        assert "is not found or cannot be loaded" in difference.observed
        assert "find library=libcublas.so.12" in (difference.trace or "")
        assert len(difference.trace or "") < 17_000

    def test_a_link_to_the_same_file_is_the_same_file(self, fake: FakeTarget, tmp_path: Path) -> None:
        (tmp_path / "libcublas.so.12").symlink_to(fake.cublas)
        link = tmp_path / "libcublas.so.12"
        report = run(fake.target(LD_LIBRARY_PATH=str(tmp_path)), predicted("present", str(link)))

        assert report.disagreements == ()

    def test_what_nobody_could_tell_is_not_compared(self, fake: FakeTarget) -> None:
        assert run(fake.target(), predicted("unknown")).disagreements == ()

    def test_a_crash_for_another_reason_is_no_disagreement(self, fake: FakeTarget) -> None:
        rows = (predicted("present", "/x/libcudnn_ops.so.9", "libcudnn_ops.so.9"),)
        report = run(fake.target("cudnnOpsVersionCheck = crash\n"), *rows)

        assert report.disagreements == ()


class Holder(msgspec.Struct, frozen=True):
    """As a snapshot holds it."""

    canary: Fact[CanaryReport] = Unknown("not asked")


def test_a_report_is_plain_json(fake: FakeTarget) -> None:
    holder = Holder(Present(run(fake.target(), predicted("present", str(fake.cublas)))))

    assert msgspec.json.decode(msgspec.json.encode(holder), type=Holder) == holder
