"""What fails only because no driver is here, and what cuDNN refuses in words only."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from fakehw.build import build as build_driver
from gpudoctor.canary.answer import read_steps
from gpudoctor.canary.excuse import without_driver
from gpudoctor.canary.steps import Plan, ctranslate2_stage
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.canary import CanaryStep
from gpudoctor.model.loading import Resolution
from gpudoctor.system.protocol import ChildResult
from gpudoctor.system.real import RealSystem
from unit.canary.fake_target import predicted

MATRIX = load_matrix()
RUNTIME = "libcudnn_engines_runtime_compiled.so.9"
HEURISTIC = "libcudnn_heuristic.so.9"
NO_DRIVER = "libcuda.so.1: cannot open shared object file: No such file or directory"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two libraries: one that links the driver's, one that does not."""
    folder = tmp_path_factory.mktemp("libraries")
    driver = build_driver(tmp_path_factory.mktemp("driver"))
    common = ["gcc", "-shared", "-fPIC", "-x", "c", "/dev/null", "-Wl,--no-as-needed"]
    subprocess.run([*common, "-x", "none", str(driver.libcuda), "-o", str(folder / RUNTIME)], check=True, timeout=60)
    subprocess.run([*common, "-o", str(folder / HEURISTIC)], check=True, timeout=60)
    return folder


def rows(folder: Path) -> tuple[Resolution, ...]:
    return tuple(predicted("present", str(folder / name), name) for name in (RUNTIME, HEURISTIC))


def driver_step(reason: str | None) -> CanaryStep:
    outcome = "failed" if reason else "ok"
    return CanaryStep(consumer="driver", scenario="alone", name="cuInit", outcome=outcome, reason=reason)


def refused(*names: str) -> CanaryStep:
    words = "".join(f"Unable to load any of {{{n}.28.0, {n}}}.\n" for n in names)
    return CanaryStep(
        consumer="ctranslate2", scenario="alone", name="cudnn-engines", outcome="failed", stderr_excerpt=words
    )


def outcome(folder: Path, step: CanaryStep, driver: str | None = NO_DRIVER) -> str:
    steps = (driver_step(driver), step)
    return without_driver(RealSystem(), MATRIX, steps, rows(folder))[-1].outcome


def test_a_library_that_links_the_drivers_is_not_judged_without_a_driver(folder: Path) -> None:
    step = without_driver(RealSystem(), MATRIX, (driver_step(NO_DRIVER), refused(RUNTIME)), rows(folder))[-1]

    assert step.outcome == "skipped"
    assert step.reason == f"{RUNTIME} links libcuda.so.1, which only a driver brings, and there is none here"


def test_with_a_driver_it_is(folder: Path) -> None:
    assert outcome(folder, refused(RUNTIME), driver=None) == "failed"


def test_a_driver_that_answers_is_there(folder: Path) -> None:
    assert outcome(folder, refused(RUNTIME), driver="cuInit answered 100") == "failed"


def test_another_library_beside_it_is_not_excused(folder: Path) -> None:
    assert outcome(folder, refused(RUNTIME, HEURISTIC)) == "failed"
    assert outcome(folder, refused(HEURISTIC)) == "failed"


def test_a_silent_failure_is_not_excused(folder: Path) -> None:
    assert outcome(folder, refused()) == "failed"


def test_a_file_that_is_gone_is_not_excused(folder: Path, tmp_path: Path) -> None:
    assert outcome(tmp_path, refused(RUNTIME)) == "failed"


@pytest.mark.parametrize(("name", "expected"), [("cudnn-engines", "failed"), ("cudnn-cnn", "ok")])
def test_an_engine_that_is_refused_in_words_only(name: str, expected: str) -> None:
    plan = Plan(stages=(ctranslate2_stage("alone", ()),), libraries="", limit_s=1)
    line = {"stage": 0, "step": name, "outcome": "ok", "stderr": f"Unable to load any of {{{HEURISTIC}.1.0}}\n"}
    lines = [{"stage": 0, "step": "import", "outcome": "ok"}, line]
    result = ChildResult(0, b"".join(msgspec.json.encode(x) + b"\n" for x in lines), b"", timed_out=False)
    step = next(s for s in read_steps(plan, result) if s.name == name)

    assert step.outcome == expected
    assert step.reason == (None if expected == "ok" else f"Unable to load any of {{{HEURISTIC}.1.0}}")


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"hello\n",
        b"{}\n",
        b"[1]\n",
        b'{"stage": 9, "step": "x", "outcome": "ok"}\n',
        b"\xff\xfe\n",
        b'{"stage": 0',
    ],
)
def test_noise_among_the_documents_is_passed_over(noise: bytes) -> None:
    plan = Plan(stages=(ctranslate2_stage("alone", ()),), libraries="", limit_s=1)
    said = noise + b'\n{"stage": 0, "step": "import", "outcome": "ok"}\n'
    steps = read_steps(plan, ChildResult(-9, said, b"", timed_out=True))

    assert steps[0].outcome == "ok"
    assert {(s.outcome, s.reason) for s in steps[1:]} == {("skipped", "the whole took too long")}
