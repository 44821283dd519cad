"""GPD1xx and GPD6xx on the machines that users really have, and GPD301, GPD401, GPD5xx in detail."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.environment import Variable
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.finding import Finding
from gpudoctor.model.machine import NvmlError
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from unit.rules.builders import (
    CUBLAS,
    Parts,
    answer,
    assumed_driver,
    build,
    ct2_cublas,
    ctranslate2,
    cublas12,
    cuda_says,
    dist,
    driver,
    driver_file,
    gpu,
    host,
    installed,
    lib,
    machine,
    no_driver,
    refusing,
    replace,
    search_path,
    shared,
    torch,
    with_,
    without_gpu,
)

MATRIX = load_matrix()
CONTAINER = Present("docker")


def found(snapshot: Snapshot) -> list[tuple[str, str, str | None]]:
    return [(f.rule, f.level, f.cause) for f in judge(snapshot, MATRIX).findings]


def only(snapshot: Snapshot) -> Finding:
    (finding,) = judge(snapshot, MATRIX).findings
    return finding


def open_rules(snapshot: Snapshot) -> list[str]:
    return [q.rule for q in judge(snapshot, MATRIX).open]


class TestDriverMissing:
    def test_a_module_that_is_not_loaded(self) -> None:
        asleep = driver(
            kernel_module=Absent(), nvml=Absent(), nvml_error=Present(NvmlError(code=9, message="not loaded"))
        )
        finding = only(machine(driver=asleep, gpus=Absent()))
        assert (finding.rule, finding.cause) == ("GPD101", "driver-missing")
        assert "kernel module is not loaded" in finding.message
        assert "modprobe" in finding.fixes[0].commands[0]

    def test_a_module_without_libraries(self) -> None:
        half = driver(libcuda=Absent(), nvml=Absent(), cuda=Absent())
        assert "libcuda.so.1 is not installed" in only(machine(driver=half)).message

    def test_an_assumed_driver_replaces_the_probe(self) -> None:
        snapshot = replace(without_gpu(), driver=assumed_driver("550.54.15"))
        assert found(snapshot) == []
        assert open_rules(snapshot) == []

    def test_macos_has_no_gpu_and_no_fault(self) -> None:
        mac = machine(host=host(os="macos", nvidia_pci=Unknown("no PCI")), driver=no_driver(), gpus=Absent())
        assert found(mac) == [("GPD102", "note", "no-nvidia-gpu")]

    def test_windows_without_an_answer_is_open_never_a_pass(self) -> None:
        silent = machine(
            host=host(os="windows", nvidia_pci=Unknown("not enumerated on Windows"), device_nodes=Absent()),
            driver=no_driver(),
            gpus=Absent(),
        )
        assert found(silent) == []
        assert {"GPD101", "GPD102"} <= set(open_rules(silent))

    def test_a_jetson_is_left_to_its_own_system(self) -> None:
        jetson = machine(host=host(tegra=Present("36.3.0"), nvidia_pci=Absent(), machine="aarch64"), driver=no_driver())
        assert found(jetson) == []


class TestMismatch:
    def test_two_releases(self) -> None:
        split = driver("550.54.15", kernel_module=Present("535.183.01"), nvml=Absent())
        finding = only(machine(driver=split))
        assert (finding.rule, finding.cause) == ("GPD103", "driver-kernel-mismatch")
        assert "535.183.01" in finding.message
        assert "550.54.15" in finding.message
        assert "reboot" in finding.fixes[0].title.lower()

    def test_nvml_code_18_alone(self) -> None:
        assert found(machine(driver=refusing(18))) == [("GPD103", "error", "driver-kernel-mismatch")]

    def test_a_forward_compatibility_libcuda_is_newer_by_design(self) -> None:
        compat = driver_file("libcuda.so.1", "580.65.06", "/usr/local/cuda-13.0/compat")
        assert found(machine(driver=driver(libcuda=compat))) == []

    def test_in_a_container_the_image_is_to_blame(self) -> None:
        split = driver("550.54.15", kernel_module=Present("535.183.01"), nvml=Absent())
        assert "image" in only(machine(driver=split, host=host(container=CONTAINER))).fixes[0].title


class TestTooOld:
    @pytest.mark.parametrize(
        ("cuda", "release", "serves", "fails"),
        [
            ("12.9", "570.86.10", "12.8", False),  # minor-version compatibility
            ("12.4", "525.60.13", "12.0", False),
            ("12.4", "525.60.11", "12.0", False),  # libcuda itself says that it serves CUDA 12
            ("12.4", "520.61.05", "11.8", True),
            ("13.0", "570.86.10", "12.8", True),
            ("13.0", "580.65.06", "13.0", False),
            ("11.8", "450.80.02", "11.0", False),
        ],
    )
    def test_minimums(self, cuda: str, release: str, serves: str, fails: bool) -> None:
        snapshot = machine(driver=driver(release, serves), builds=(build("torch", "2.8.0", cuda),))
        assert [r for r, _, _ in found(snapshot) if r == "GPD104"] == ["GPD104"] * fails

    @pytest.mark.parametrize(("release", "fails"), [("525.60.13", False), ("525.60.11", True), ("525.9.99", True)])
    def test_an_assumed_release_is_compared_as_numbers(self, release: str, fails: bool) -> None:
        snapshot = machine(driver=assumed_driver(release), gpus=Absent(), builds=(build("torch", "2.8.0", "12.8"),))
        assert bool(found(snapshot)) == fails

    def test_a_cpu_build_needs_no_driver(self) -> None:
        snapshot = without_gpu(machine(builds=(build("torch", "2.5.1+cpu", None, gpu=False),)))
        assert open_rules(snapshot) == []

    def test_the_libraries_tell_where_the_build_does_not(self) -> None:
        row = answer("dictated", "libcudart.so.13", "cudart", "/opt/lib/libcudart.so.13")
        snapshot = machine(driver=driver("550.54.15", "12.4"), resolutions=(row,))
        assert found(snapshot) == [("GPD104", "error", "driver-too-old")]

    def test_an_unreadable_release_is_open(self) -> None:
        snapshot = machine(driver=driver("unknown-build", "x"), builds=(build("torch", "2.8.0", "12.8"),))
        assert found(snapshot) == []
        assert "GPD104" in open_rules(snapshot)

    def test_an_unknown_cuda_version_is_open(self) -> None:
        snapshot = machine(builds=(build("ctranslate2", "4.6.0", None),))
        assert "GPD104" in open_rules(snapshot)


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "cause"),
        [
            (34, "driver-missing"),
            (46, None),
            (802, "fabric-manager"),
            (803, "forward-compat"),
            (804, "forward-compat"),
            (999, "driver-state-broken"),
        ],
    )
    def test_what_libcuda_says(self, code: int, cause: str | None) -> None:
        finding = only(machine(driver=cuda_says(code)))
        assert (finding.rule, finding.cause, finding.confidence) == ("GPD106", cause, "proved")

    def test_an_unheard_of_code_is_open(self) -> None:
        assert found(machine(driver=cuda_says(4242))) == []
        assert "GPD106" in open_rules(machine(driver=cuda_says(4242)))

    def test_no_device_because_of_the_variable(self) -> None:
        hidden = machine(driver=cuda_says(100), variables=(Variable(name="CUDA_VISIBLE_DEVICES", value=""),))
        assert found(hidden) == [("GPD506", "warning", "wrong-device-selected")]

    def test_no_device_in_a_container(self) -> None:
        inside = machine(driver=cuda_says(100), host=host(container=CONTAINER))
        assert found(inside) == [("GPD106", "error", "container-no-gpu")]

    def test_no_permission_is_open_never_a_pass(self) -> None:
        snapshot = machine(driver=refusing(4, "Insufficient Permissions"), gpus=Unknown("no permission"))
        assert found(snapshot) == []
        assert {"GPD105", "GPD106"} <= set(open_rules(snapshot))

    def test_a_lost_gpu_is_named(self) -> None:
        lost = gpu(index=1, error=Present(NvmlError(code=15, message="GPU is lost")))
        finding = only(machine(gpus=Present((gpu(), lost))))
        assert (finding.rule, finding.cause) == ("GPD105", "gpu-hardware-fault")
        assert finding.subject.kind == "gpu"


class TestContainer:
    def test_a_gpu_on_the_host_makes_it_an_error(self) -> None:
        closed = machine(host=host(container=CONTAINER, device_nodes=Absent()), driver=no_driver(), gpus=Absent())
        finding = only(closed)
        assert (finding.rule, finding.level, finding.cause) == ("GPD601", "error", "container-no-gpu")
        assert "docker run --gpus all" in finding.fixes[0].commands[0]

    def test_without_a_sign_of_a_gpu_it_is_a_note(self) -> None:
        nothing = without_gpu()
        inside = replace(nothing, host=replace(nothing.host, container=CONTAINER))
        assert found(inside) == [("GPD601", "note", "container-no-gpu")]

    def test_device_files_without_libcuda_is_the_missing_capability(self) -> None:
        snapshot = machine(host=host(container=CONTAINER), driver=no_driver(), gpus=Absent())
        assert "compute" in only(snapshot).message


class TestWsl:
    WSL = host(wsl=Present("2"), nvidia_pci=Absent(), device_nodes=Present(("/dev/dxg",)))

    def test_no_driver_on_windows_is_a_note(self) -> None:
        snapshot = machine(host=self.WSL, driver=no_driver(), gpus=Absent())
        assert found(snapshot) == [("GPD602", "note", "driver-missing")]

    def test_a_linux_driver_that_hides_the_one_of_windows(self) -> None:
        snapshot = machine(host=self.WSL, driver=refusing(9), gpus=Absent())
        assert found(snapshot) == [("GPD602", "error", "wsl-libcuda")]

    def test_wsl_1(self) -> None:
        snapshot = machine(host=host(wsl=Present("1"), nvidia_pci=Absent()), driver=no_driver(), gpus=Absent())
        assert "WSL 2" in only(snapshot).message


class TestCpuBuilds:
    CPU_TORCH = Parts(
        distributions=(dist("torch", "2.5.1+cpu"),), builds=(build("torch", "2.5.1+cpu", None, gpu=False),)
    )
    CPU_ONNX = Parts(
        distributions=(dist("onnxruntime", "1.20.1"),), builds=(build("onnxruntime", "1.20.1", None, gpu=False),)
    )

    def test_torch_beside_a_gpu(self) -> None:
        assert found(with_(machine(), self.CPU_TORCH)) == [("GPD301", "warning", "cpu-only-build")]

    def test_torch_under_a_model_that_computes_on_it(self) -> None:
        snapshot = with_(machine(), self.CPU_TORCH, installed("openai-whisper==20240930"))
        assert found(snapshot) == [("GPD301", "error", "cpu-only-build")]

    def test_cuda_wheels_without_a_gpu(self) -> None:
        snapshot = without_gpu(with_(machine(), self.CPU_TORCH, cublas12()))
        assert ("GPD301", "warning", "cpu-only-build") in found(snapshot)

    def test_the_cpu_onnxruntime_of_faster_whisper_is_healthy(self) -> None:
        snapshot = with_(machine(), self.CPU_ONNX, installed("faster-whisper==1.1.1"))
        assert found(snapshot) == []

    def test_an_onnxruntime_that_somebody_requires_is_healthy(self) -> None:
        needs = Parts(distributions=(dist("silero-vad", "5.1", ("onnxruntime>=1.16.1",)),))
        assert found(with_(machine(), self.CPU_ONNX, needs)) == []

    def test_requiring_onnxruntime_gpu_is_not_requiring_the_cpu_one(self) -> None:
        needs = Parts(distributions=(dist("x", "1", ("onnxruntime-gpu>=1.16.1",)),))
        assert found(with_(machine(), self.CPU_ONNX, needs)) == [("GPD301", "note", "cpu-only-build")]

    def test_ctranslate2_for_arm(self) -> None:
        snapshot = with_(
            machine(host=host(machine="aarch64")), Parts(builds=(build("ctranslate2", "4.6.0", None, gpu=False),))
        )
        finding = only(snapshot)
        assert finding.level == "error"
        assert "source" in finding.fixes[0].title


class TestSharedFiles:
    @pytest.mark.parametrize(
        ("on_disk", "level"), [("onnxruntime", "error"), ("onnxruntime-gpu", "warning"), (None, "error")]
    )
    def test_who_is_on_disk_decides(self, on_disk: str | None, level: str) -> None:
        owners = ("onnxruntime", "onnxruntime-gpu")
        snapshot = with_(
            machine(),
            installed("onnxruntime==1.20.1", "onnxruntime-gpu==1.20.2"),
            shared_files=shared(owners, on_disk),
        )
        finding = only(snapshot)
        assert (finding.rule, finding.level, finding.cause) == ("GPD401", level, "cpu-only-build")
        assert '"onnxruntime-gpu==1.20.2"' in finding.fixes[0].commands[1]

    @pytest.mark.parametrize(("on_disk", "level"), [("nvidia-cudnn-cu12", "warning"), ("nvidia-cudnn-cu13", "error")])
    def test_two_cudnns(self, on_disk: str, level: str) -> None:
        owners = ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13")
        snapshot = with_(
            machine(),
            ctranslate2(),
            installed("nvidia-cudnn-cu12==9.1.0.70", "nvidia-cudnn-cu13==9.28.0.42"),
            shared_files=shared(owners, on_disk, 10, "nvidia/cudnn/lib/libcudnn.so.9"),
        )
        assert found(snapshot) == [("GPD401", level, "cudnn-cuda-mismatch")]

    def test_an_empty_file_that_all_wheels_share_is_no_fault(self) -> None:
        snapshot = with_(
            machine(),
            installed("nvidia-cublas-cu12==12.4.5.8", "nvidia-cudnn-cu12==9.1.0.70"),
            shared_files=shared(("nvidia-cublas-cu12", "nvidia-cudnn-cu12"), None, 1, "nvidia/__init__.py"),
        )
        assert found(snapshot) == []

    def test_in_two_folders_they_share_nothing(self) -> None:
        pair = (dist("onnxruntime", "1.20.1"), replace(dist("onnxruntime-gpu", "1.20.2"), site_dir="/usr/lib/python3"))
        assert found(machine(distributions=pair)) == []


class TestSearchPath:
    BASE = with_(machine(), ctranslate2("4.8.5"), cublas12(), ct2_cublas(CUBLAS))

    def test_a_stale_folder_is_harmless(self) -> None:
        snapshot = search_path(self.BASE, f"{CUBLAS}:/usr/local/cuda-11/lib64", e1="missing")
        assert found(snapshot) == [("GPD501", "note", None)]

    @pytest.mark.parametrize("value", ["/x:", ":/x", "/x::/y"])
    def test_an_empty_element(self, value: str) -> None:
        empty = f"e{value.split(':').index('')}"
        assert found(search_path(self.BASE, value, **{empty: "empty"})) == [("GPD502", "warning", None)]

    def test_a_relative_element(self) -> None:
        finding = only(search_path(self.BASE, "lib", e0="relative"))
        assert finding.rule == "GPD502"
        assert "relative" in finding.message

    def test_an_empty_variable_is_as_good_as_none(self) -> None:
        assert found(replace(self.BASE, variables=(Variable(name="LD_LIBRARY_PATH", value=""),))) == []

    @pytest.mark.parametrize(
        "raw", ["~/lib", '"/opt/lib"', "'/opt/lib'", "$HOME/lib", "${CUDA_HOME}/lib64", "$LIBDIR/cuda"]
    )
    def test_what_nobody_expands(self, raw: str) -> None:
        assert found(search_path(self.BASE, raw, e0="relative")) == [("GPD505", "warning", None)]

    @pytest.mark.parametrize("raw", ["$ORIGIN/lib", "${ORIGIN}/lib", "/opt/$LIB", "/opt/$PLATFORM"])
    def test_what_the_loader_expands(self, raw: str) -> None:
        assert found(search_path(self.BASE, raw)) == []

    def test_the_same_release_in_two_folders_is_no_shadow(self) -> None:
        toolkit = lib("/usr/local/cuda/lib64/libcublas.so.12", "cublas", "12.4.5")
        row = answer("torch", "libcublas.so.12", "cublas", toolkit.path, shadowed=f"{CUBLAS}/libcublas.so.12")
        snapshot = with_(machine(), cublas12(), Parts(libraries=(toolkit,), resolutions=(row,)))
        assert found(search_path(snapshot, "/usr/local/cuda/lib64")) == []


def test_torch_with_its_wheels_is_healthy() -> None:
    assert found(with_(machine(), torch())) == []
