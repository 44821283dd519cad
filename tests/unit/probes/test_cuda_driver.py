from __future__ import annotations

import time
from pathlib import Path

import pytest

from fakehw.build import FakeDriver, build
from gpudoctor.model.fact import Present, Unknown
from gpudoctor.model.machine import CudaDriverProbe
from gpudoctor.probes.cuda_driver import CudaAnswer, cuda_not_asked, finish_cuda, start_cuda
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.protocol import ChildResult
from gpudoctor.system.real import RealSystem

PATIENT_S = 60.0


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> FakeDriver:
    return build(tmp_path_factory.mktemp("driver"))


def ask(driver: FakeDriver, settings: str, timeout_s: float = PATIENT_S, **more: str) -> CudaAnswer:
    environment = driver.environment(settings, **more)
    return finish_cuda(start_cuda(RealSystem(), environment, str(driver.libcuda), timeout_s))


def probe_of(answer: CudaAnswer) -> CudaDriverProbe:
    assert isinstance(answer.probe, Present), answer
    return answer.probe.value


def test_a_driver_that_works(driver: FakeDriver) -> None:
    answer = ask(driver, "cuda = 12080\ncount = 2\n")

    assert probe_of(answer) == CudaDriverProbe(
        init_code=Present(0), driver_version=Present("12.8"), device_count=Present(2)
    )
    assert answer.report.status == "ok"


def test_the_judged_environment_decides_what_is_visible(driver: FakeDriver) -> None:
    assert probe_of(ask(driver, "count = 2\n", CUDA_VISIBLE_DEVICES="")).device_count == Present(0)


@pytest.mark.parametrize("code", [100, 803, 999])
def test_a_start_that_fails(driver: FakeDriver, code: int) -> None:
    probe = probe_of(ask(driver, f"cuInit = {code}\n"))

    assert probe.init_code == Present(code)
    assert probe.driver_version == Present("12.4")
    assert probe.device_count == Unknown(f"cuInit answered {code}")


def test_calls_that_fail(driver: FakeDriver) -> None:
    probe = probe_of(ask(driver, "cuDriverGetVersion = 34\ncuDeviceGetCount = 100\n"))

    assert probe.driver_version == Unknown("cuDriverGetVersion answered 34")
    assert probe.device_count == Unknown("cuDeviceGetCount answered 100")


def test_a_start_that_hangs_keeps_the_version(driver: FakeDriver) -> None:
    began = time.monotonic()
    answer = ask(driver, "cuInit = hang\n", timeout_s=2.0)

    assert time.monotonic() - began < 30, "the call would have hung for ever"
    assert probe_of(answer).init_code == Unknown("cuInit: no answer within 2 s")
    assert probe_of(answer).driver_version == Present("12.4")
    assert answer.report.status == "timeout"


@pytest.mark.parametrize(("fault", "signal"), [("crash", "SIGSEGV"), ("abort", "SIGABRT")])
def test_a_start_that_crashes(driver: FakeDriver, fault: str, signal: str) -> None:
    answer = ask(driver, f"cuInit = {fault}\n")

    assert probe_of(answer).init_code == Unknown(f"cuInit: crashed with {signal}")
    assert answer.report.status == "crashed"


def test_a_flood_is_no_answer(driver: FakeDriver) -> None:
    assert ask(driver, "cuDriverGetVersion = flood\n", timeout_s=1.0).probe == Unknown("no answer within 1 s")


@pytest.mark.parametrize("content", [b"", b"not a library", b"\x7fELF"])
def test_a_file_that_is_no_library(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "libcuda.so.1"
    path.write_bytes(content)

    answer = finish_cuda(start_cuda(RealSystem(), {}, str(path), PATIENT_S))

    assert isinstance(answer.probe, Unknown)
    assert "cannot be loaded" in answer.probe.reason
    assert answer.report.status == "failed"


def test_a_library_that_is_another(driver: FakeDriver) -> None:
    answer = finish_cuda(start_cuda(RealSystem(), {}, str(driver.libnvidia_ml), PATIENT_S))

    assert isinstance(answer.probe, Unknown)
    assert "cuDriverGetVersion" in answer.probe.reason


def test_a_silent_child_is_unknown() -> None:
    system = MemorySystem(children={"libcuda.py": ChildResult(0, b"", b"", False)})

    assert finish_cuda(start_cuda(system, {}, "/x")).probe == Unknown("the probe gave no answer")


def test_not_asked_is_unknown() -> None:
    assert cuda_not_asked("no libcuda").probe == Unknown("no libcuda")
