from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from fakehw.build import FakeDriver, build
from fakehw.unprivileged import UnprivilegedSystem
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.machine import Fabric, Gpu, MigDevice, NvmlError
from gpudoctor.probes.nvml import NvmlAnswer, finish_nvml, nvml_not_asked, start_nvml
from gpudoctor.system import children
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.protocol import ChildResult
from gpudoctor.system.real import RealSystem

TWO_GPUS = """\
driver = 550.54.15
cuda = 12040
count = 2
gpu0.name = NVIDIA L4
gpu0.uuid = GPU-0a
gpu0.bus = 00000000:07:00.0
gpu0.cc = 8.9
gpu0.total = 24000000000
gpu0.free = 20000000000
gpu0.reserved = 500000000
gpu1.name = NVIDIA A100-SXM4-80GB
gpu1.uuid = GPU-1b
gpu1.bus = 00000000:0A:00.0
gpu1.cc = 8.0
gpu1.total = 80000000000
gpu1.free = 79000000000
gpu1.mig = 0
"""
PATIENT_S = 60.0


@pytest.fixture(scope="module")
def driver() -> Iterator[FakeDriver]:
    # Not under tmp_path, which no other user may enter.
    with tempfile.TemporaryDirectory(prefix="gpudoctor-fakehw-") as folder:
        Path(folder).chmod(0o755)
        yield build(Path(folder) / "driver")


@pytest.fixture(scope="module")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> FakeDriver:
    return build(tmp_path_factory.mktemp("old"), nvml_release="418.226.00", cuda_release="418.226.00", old=True)


def ask(driver: FakeDriver, settings: str, timeout_s: float = PATIENT_S, **more: str) -> NvmlAnswer:
    return finish_nvml(start_nvml(RealSystem(), driver.environment(settings, **more), timeout_s))


def gpus_of(answer: NvmlAnswer) -> tuple[Gpu, ...]:
    assert isinstance(answer.gpus, Present), answer
    return answer.gpus.value


def test_two_gpus_are_described_in_full(driver: FakeDriver) -> None:
    answer = ask(driver, TWO_GPUS)

    assert answer.release == Present("550.54.15")
    assert answer.cuda_version == Present("12.4")
    assert answer.error == Absent()
    assert answer.report.status == "ok"
    first, second = gpus_of(answer)
    assert first == Gpu(
        index=0,
        name=Present("NVIDIA L4"),
        uuid=Present("GPU-0a"),
        pci_bus_id=Present("00000000:07:00.0"),
        compute_capability=Present("8.9"),
        memory_total_bytes=Present(24_000_000_000),
        memory_free_bytes=Present(19_500_000_000),  # version 2 does not count what is reserved as free
        mig_enabled=Absent(),
        error=Absent(),
    )
    assert (second.index, second.name, second.mig_enabled) == (1, Present("NVIDIA A100-SXM4-80GB"), Present(False))


def test_mig_slices_are_listed_across_empty_slots(driver: FakeDriver) -> None:
    slices = "gpu1.mig = 1\ngpu1.mig_devices = 3\ngpu1.mig_total = 10000000000\ngpu1.mig_free = 9000000000"
    settings = TWO_GPUS.replace("gpu1.mig = 0", slices)

    _, gpu = gpus_of(ask(driver, settings))

    assert gpu.mig_enabled == Present(True)
    assert gpu.mig_devices == tuple(
        MigDevice(
            uuid=Present(f"MIG-{slot}b"),
            memory_total_bytes=Present(10_000_000_000),
            memory_free_bytes=Present(9_000_000_000),
        )
        for slot in (0, 1, 3)
    )


def test_failing_memory_is_told(driver: FakeDriver) -> None:
    healthy, failing = gpus_of(ask(driver, f"{TWO_GPUS}gpu1.ecc = 3\ngpu1.remap_failed = 1\ngpu0.ecc = 0\n"))

    assert (failing.ecc_uncorrected, failing.row_remap_failed) == (Present(3), Present(True))
    assert (healthy.ecc_uncorrected, healthy.row_remap_failed) == (Present(0), Absent())


@pytest.mark.parametrize(
    ("state", "fabric"),
    [
        ("1", Present(Fabric(state="not-started", status=0))),
        ("2", Present(Fabric(state="in-progress", status=0))),
        ("3\ngpu0.fabric_status = 999", Present(Fabric(state="completed", status=999))),
        ("0", Absent()),
        ("9", Unknown("NVML: unheard-of fabric state 9")),
    ],
)
def test_the_fabric_state_is_told(driver: FakeDriver, state: str, fabric: object) -> None:
    assert gpus_of(ask(driver, f"{TWO_GPUS}gpu0.fabric = {state}\n"))[0].fabric == fabric


def test_an_old_driver_knows_neither_fabric_nor_rows(old_driver: FakeDriver) -> None:
    first = gpus_of(ask(old_driver, TWO_GPUS))[0]
    assert (first.fabric, first.row_remap_failed, first.ecc_uncorrected) == (Absent(), Absent(), Absent())


def test_no_gpu_is_absent_not_unknown(driver: FakeDriver) -> None:
    answer = ask(driver, "driver = 550.54.15\ncount = 0\n")

    assert answer.gpus == Absent(("NVML",))
    assert answer.release == Present("550.54.15")


@pytest.mark.parametrize(
    ("code", "part"), [(18, "mismatch"), (9, "Driver Not Loaded"), (4, "Permission"), (999, "Unknown Error")]
)
def test_a_refusal_to_start_is_a_fact(driver: FakeDriver, code: int, part: str) -> None:
    answer = ask(driver, f"{TWO_GPUS}nvmlInit = {code}\n")

    assert isinstance(answer.error, Present)
    assert answer.error.value.code == code
    assert part in answer.error.value.message
    assert isinstance(answer.release, Unknown)
    assert isinstance(answer.gpus, Unknown)
    assert f"code {code}" in answer.gpus.reason


def test_a_code_of_the_future_is_passed_on(driver: FakeDriver) -> None:
    answer = ask(driver, "nvmlInit = 4242\n")

    assert answer.error == Present(NvmlError(code=4242, message="fake NVML error 4242"))


def test_a_user_without_rights_on_the_device_is_refused(driver: FakeDriver) -> None:
    device = driver.directory / "nvidiactl"
    device.touch(mode=0o600)
    settings = f"{TWO_GPUS}device = {device}\n"
    assert ask(driver, settings).error == Absent(), "who owns the device is not refused"

    child, module = Path(children.__file__).parent / "nvml.py", Path(pynvml.__file__)
    system = UnprivilegedSystem(child, module, driver.libnvidia_ml, driver.directory / "settings")
    if system.effective_uid() != 0:
        device.chmod(0)
    answer = finish_nvml(start_nvml(system, driver.environment(settings), PATIENT_S))

    assert isinstance(answer.error, Present), answer
    assert answer.error.value.code == 4
    assert isinstance(answer.gpus, Unknown)


def test_a_device_that_is_gone_means_that_no_driver_is_loaded(driver: FakeDriver) -> None:
    answer = ask(driver, f"device = {driver.directory}/none\n")

    assert isinstance(answer.error, Present)
    assert answer.error.value.code == 9


def test_a_lost_gpu_does_not_hide_the_other(driver: FakeDriver) -> None:
    lost, well = gpus_of(ask(driver, f"{TWO_GPUS}gpu0.handle = 15\n"))

    assert lost.error == Present(NvmlError(code=15, message="GPU is lost"))
    assert isinstance(lost.name, Unknown)
    assert lost.index == 0
    assert well.name == Present("NVIDIA A100-SXM4-80GB")
    assert well.error == Absent()


def test_a_gpu_lost_between_two_questions_keeps_what_it_said(driver: FakeDriver) -> None:
    gpu, _ = gpus_of(ask(driver, f"{TWO_GPUS}gpu0.memory = 15\n"))

    assert gpu.name == Present("NVIDIA L4")
    assert gpu.error == Present(NvmlError(code=15, message="GPU is lost"))
    assert isinstance(gpu.memory_total_bytes, Unknown)


def test_a_gpu_that_shares_the_processors_memory_has_none_of_its_own(driver: FakeDriver) -> None:
    gpu, _ = gpus_of(ask(driver, f"{TWO_GPUS}gpu0.memory = 3\n"))

    assert isinstance(gpu.memory_total_bytes, Unknown)
    assert gpu.error == Absent()


def test_an_old_driver_answers_what_it_can(old_driver: FakeDriver) -> None:
    answer = ask(old_driver, TWO_GPUS)

    gpu, _ = gpus_of(answer)
    assert answer.cuda_version == Present("12.4")
    assert gpu.memory_free_bytes == Present(20_000_000_000)
    assert gpu.mig_enabled == Unknown("this driver's NVML has no such function")
    assert gpu.error == Absent()


def test_a_function_that_fails_leaves_the_rest(driver: FakeDriver) -> None:
    answer = ask(driver, f"{TWO_GPUS}nvmlSystemGetCudaDriverVersion = 13\nnvmlDeviceGetUUID = 4\n")

    gpu, _ = gpus_of(answer)
    assert answer.cuda_version == Present("12.4"), "the newer function is asked when the older one fails"
    assert isinstance(gpu.uuid, Unknown)
    assert gpu.name == Present("NVIDIA L4")
    assert gpu.error == Absent(), "a question that needs more rights says nothing of the GPU's health"


def test_a_name_that_is_no_text(driver: FakeDriver) -> None:
    path = driver.settings("")
    path.write_bytes(TWO_GPUS.encode().replace(b"NVIDIA L4", b"NVIDIA \xff\xfe"))
    environment = {"LD_LIBRARY_PATH": str(driver.directory), "GPUDOCTOR_FAKE_DRIVER": str(path)}

    gpu, _ = gpus_of(finish_nvml(start_nvml(RealSystem(), environment, PATIENT_S)))

    assert isinstance(gpu.name, Unknown)
    assert gpu.compute_capability == Present("8.9")


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetCount_v2"])
def test_a_call_that_hangs_for_ever_is_unknown(driver: FakeDriver, function: str) -> None:
    began = time.monotonic()
    answer = ask(driver, f"{TWO_GPUS}{function} = hang\n", timeout_s=1.0)

    assert time.monotonic() - began < 30, "the call would have hung for ever"
    assert answer.gpus == Unknown("no answer within 1 s")
    assert answer.error == Unknown("no answer within 1 s")
    assert answer.report.status == "timeout"


def test_a_hang_at_one_gpu_keeps_what_was_said_before(driver: FakeDriver) -> None:
    answer = ask(driver, f"{TWO_GPUS}nvmlDeviceGetName = hang\n", timeout_s=3.0)

    assert answer.release == Present("550.54.15")
    assert answer.report.status == "timeout"
    assert [gpu.name for gpu in gpus_of(answer)] == [Unknown("no answer within 3 s")] * 2


@pytest.mark.parametrize(("fault", "signal"), [("crash", "SIGSEGV"), ("abort", "SIGABRT")])
def test_a_crash_is_unknown_with_the_signal(driver: FakeDriver, fault: str, signal: str) -> None:
    answer = ask(driver, f"{TWO_GPUS}nvmlInit = {fault}\n")

    assert answer.gpus == Unknown(f"crashed with {signal}")
    assert answer.report.status == "crashed"


def test_a_library_that_floods_stdout_neither_freezes_nor_fills_memory(driver: FakeDriver) -> None:
    answer = ask(driver, f"{TWO_GPUS}nvmlInit = flood\n", timeout_s=1.0)

    assert answer.report.status == "timeout"
    assert isinstance(answer.gpus, Unknown)


def test_no_library_says_what_the_loader_says(tmp_path: Path) -> None:
    answer = finish_nvml(start_nvml(RealSystem(), {"LD_LIBRARY_PATH": str(tmp_path)}, PATIENT_S))

    assert isinstance(answer.error, Present)
    assert answer.error.value.code == 12
    assert "libnvidia-ml.so.1: cannot open shared object file" in answer.error.value.message


def test_a_library_that_is_none_says_what_the_loader_says(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("version https://git-lfs.github.com/spec/v1\n")

    answer = finish_nvml(start_nvml(RealSystem(), {"LD_LIBRARY_PATH": str(tmp_path)}, PATIENT_S))

    assert isinstance(answer.error, Present)
    assert "invalid ELF header" in answer.error.value.message or "file too short" in answer.error.value.message


def test_the_judged_environment_cannot_bend_the_child(driver: FakeDriver, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the judged environment ran')")
    (tmp_path / "evil.so").write_text("not a library")
    answer = ask(
        driver,
        TWO_GPUS,
        PYTHONPATH=str(tmp_path),
        PYTHONHOME=str(tmp_path),
        PYTHONSTARTUP=str(tmp_path / "json.py"),
        LD_PRELOAD=str(tmp_path / "evil.so"),
        LD_DEBUG="all",
        LD_DEBUG_OUTPUT=str(tmp_path / "trace"),
    )

    assert answer.report.status == "ok"
    assert len(gpus_of(answer)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.so", "json.py"]


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (ChildResult(0, b"", b"", False), "ok"),
        (ChildResult(0, b"\xff\xfe\n", b"", False), "failed"),
        (ChildResult(0, b"[]\n{}\n", b"", False), "failed"),
        (ChildResult(0, b'{"kind":"gpu","index":0}\n', b"", False), "ok"),
        (ChildResult(1, b"", b"Traceback\nModuleNotFoundError: No module named 'pynvml'\n", False), "failed"),
        (ChildResult(-99, b'{"kind":"sys', b"", False), "crashed"),
        (ChildResult(0xC0000005, b"", b"", False), "crashed"),
    ],
)
def test_any_other_end_of_the_child_is_unknown(result: ChildResult, status: str) -> None:
    system = MemorySystem(children={"nvml.py": result})

    answer = finish_nvml(start_nvml(system, {}))

    assert isinstance(answer.gpus, Unknown)
    assert isinstance(answer.release, Unknown)
    assert answer.report.status == status


def test_values_of_the_wrong_type_are_unknown() -> None:
    lines = (
        b'{"kind":"system","driver":{"value":7},"cuda":{"value":"x"},"count":{"value":2}}\n'
        b'{"kind":"gpu","index":0,"memory":{"value":[1]},"mig":{"value":[]}}\n'
    )
    answer = finish_nvml(start_nvml(MemorySystem(children={"nvml.py": ChildResult(0, lines, b"", False)}), {}))

    first, second = gpus_of(answer)
    assert isinstance(answer.release, Unknown)
    assert isinstance(answer.cuda_version, Unknown)
    assert isinstance(first.memory_total_bytes, Unknown)
    assert isinstance(first.mig_enabled, Unknown)
    assert isinstance(second.name, Unknown), "a GPU that was counted and not described is there all the same"


def test_a_child_that_cannot_be_started_is_unknown() -> None:
    answer = finish_nvml(start_nvml(MemorySystem(), {}))

    assert isinstance(answer.gpus, Unknown)
    assert answer.report.status == "failed"


def test_not_asked_is_unknown() -> None:
    answer = nvml_not_asked("the driver is assumed")

    assert answer.gpus == Unknown("the driver is assumed")
    assert answer.report.status == "skipped"
