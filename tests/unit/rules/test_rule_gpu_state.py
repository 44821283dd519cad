"""GPD106, GPD108, GPD109, GPD110, GPD602 to GPD604: what the driver and the container's devices say."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.machine import CudaDriverProbe, Fabric
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from unit.rules.builders import ABSENT, BLIND, cuda_says, driver, driver_file, gpu, host, machine, refusing, replace
from unit.rules.gpu_cases import DOCKER, H100, IN_PROGRESS, compat, engine, fabric

MATRIX = load_matrix()


def found(snapshot: Snapshot) -> list[tuple[str, str, str | None]]:
    return [(f.rule, f.level, f.cause) for f in judge(snapshot, MATRIX).findings]


class TestForwardCompatibility:
    def test_on_a_geforce_it_is_the_headline_and_the_refusal_its_symptom(self) -> None:
        (finding,) = judge(machine(driver=compat()), MATRIX).findings
        assert (finding.rule, finding.cause, finding.confidence) == ("GPD108", "forward-compat", "proved")
        assert "GeForce" in finding.message
        assert len(finding.consequences) == 1

    def test_a_package_older_than_the_driver(self) -> None:
        old = compat("470.57.02", 803)
        (finding,) = judge(machine(driver=old, gpus=Present((H100,))), MATRIX).findings
        assert "older than the driver" in finding.message

    def test_where_it_starts_it_is_fine(self) -> None:
        assert found(machine(driver=compat(code=0), gpus=Present((H100,)))) == []

    def test_where_it_was_not_asked_the_gpu_decides(self) -> None:
        unasked = compat(cuda=Unknown("no answer within 5 s"))
        finding = next(f for f in judge(machine(driver=unasked), MATRIX).findings if f.rule == "GPD108")
        assert finding.confidence == "table"
        verdict = judge(machine(driver=unasked, gpus=Present((H100,))), MATRIX, ("GPD108",))
        assert (verdict.findings, [q.rule for q in verdict.open]) == ((), ["GPD108"])

    def test_another_refusal_is_another_fault(self) -> None:
        assert [r for r, _, _ in found(machine(driver=compat(code=999)))] == ["GPD106"]


class TestFabric:
    @pytest.mark.parametrize(
        "state",
        [IN_PROGRESS, Present(Fabric(state="not-started", status=0)), Present(Fabric(state="completed", status=9))],
    )
    def test_not_ready(self, state: Present[Fabric]) -> None:
        assert found(fabric(state)) == [("GPD109", "error", "fabric-manager")]

    def test_where_cuda_starts_nothing_is_wrong(self) -> None:
        assert found(fabric(IN_PROGRESS, 0)) == []

    def test_without_a_state_the_refusal_speaks(self) -> None:
        assert found(fabric(ABSENT)) == [("GPD106", "error", "fabric-manager")]


class TestMemoryErrors:
    def test_spent_rows_are_an_error(self) -> None:
        spent = replace(H100, ecc_uncorrected=Present(0), row_remap_failed=Present(value=True))
        assert found(machine(gpus=Present((spent,)))) == [("GPD110", "error", "gpu-hardware-fault")]

    def test_errors_since_start_are_a_warning(self) -> None:
        (finding,) = judge(machine(gpus=Present((replace(H100, ecc_uncorrected=Present(1)),))), MATRIX).findings
        assert finding.level == "warning"
        assert "1 uncorrectable memory error since" in finding.message


@pytest.mark.parametrize("rule", ["GPD109", "GPD110"])
def test_gpus_that_could_not_be_asked_are_no_gpus_without_faults(rule: str) -> None:
    silent = driver(nvml=Unknown("no answer within 5 s"), nvml_error=Unknown("no answer within 5 s"))
    verdict = judge(machine(driver=silent, gpus=Unknown("no answer within 5 s")), MATRIX, (rule,))
    assert [(q.rule, "no answer within 5 s" in q.reason) for q in verdict.open] == [(rule, True)]


class TestMissingUvm:
    NODES = host(device_nodes=Present(("/dev/nvidia0", "/dev/nvidiactl")))

    def test_the_device_file_is_named(self) -> None:
        (finding,) = judge(machine(driver=cuda_says(999), host=self.NODES), MATRIX).findings
        assert finding.cause == "driver-state-broken"
        assert "/dev/nvidia-uvm is missing" in finding.message

    def test_in_a_container_it_is_to_be_passed_in(self) -> None:
        inside = replace(self.NODES, container=DOCKER)
        (finding,) = judge(machine(driver=cuda_says(304), host=inside), MATRIX).findings
        assert "--device /dev/nvidia-uvm" in finding.fixes[0].title

    def test_with_the_file_it_is_the_state(self) -> None:
        (finding,) = judge(machine(driver=cuda_says(999)), MATRIX).findings
        assert "suspend" in finding.message


class TestContainers:
    def test_a_lost_gpu_is_the_headline(self) -> None:
        lost = machine(host=host(container=DOCKER), driver=refusing(999, "Unknown Error"), gpus=Absent())
        assert found(lost) == [("GPD604", "error", "container-lost-gpu")]

    def test_on_a_host_the_same_answer_is_the_drivers_state(self) -> None:
        assert found(machine(driver=refusing(999))) == [("GPD106", "error", "driver-state-broken")]

    def test_a_runtime_that_is_configured_and_not_installed(self) -> None:
        half = machine(host=host(container_engine=engine(runtime=Present("nvidia-container-runtime"))))
        assert found(half) == [("GPD603", "warning", "container-toolkit-missing")]

    def test_without_the_toolkit_it_is_a_note(self) -> None:
        assert found(machine(host=host(container_engine=engine()))) == [("GPD603", "note", "container-toolkit-missing")]

    def test_docker_desktop_has_no_gpu_although_the_toolkit_is_there(self) -> None:
        desktop = engine(toolkit=Present("/usr/bin/nvidia-ctk"), desktop=Present("/home/user/.docker/config.json"))
        (finding,) = judge(machine(host=host(container_engine=desktop)), MATRIX).findings
        assert (finding.rule, finding.level, finding.cause) == ("GPD603", "note", "driver-not-visible-to-docker")
        assert "docker context use default" in finding.fixes[0].commands

    def test_a_snap_without_a_runtime_of_its_own(self) -> None:
        (finding,) = judge(machine(host=host(container_engine=engine(program="/snap/bin/docker"))), MATRIX).findings
        assert (finding.rule, finding.level, finding.cause) == ("GPD603", "note", "driver-not-visible-to-docker")
        assert "snap" in finding.message

    def test_a_snap_that_cannot_be_looked_into_is_open(self) -> None:
        blind = engine(program="/snap/bin/docker", toolkit=BLIND, runtime=BLIND)
        verdict = judge(machine(host=host(container_engine=blind)), MATRIX)
        assert verdict.findings == ()
        assert [q.rule for q in verdict.open] == ["GPD603"]

    def test_in_a_container_the_host_is_not_judged(self) -> None:
        inside = host(container=DOCKER, container_engine=engine())
        assert found(machine(host=inside)) == []


def test_under_wsl_an_answer_of_nvml_does_not_save_a_libcuda_that_fails() -> None:
    wsl = host(wsl=Present("2"), nvidia_pci=Absent(), device_nodes=Present(("/dev/dxg",)))
    probe = CudaDriverProbe(init_code=Present(100), driver_version=ABSENT, device_count=ABSENT)
    linux = driver_file("libcuda.so.1", "550.54.15")
    shadowed = driver("560.94", kernel_module=Absent(), libcuda=linux, cuda=Present(probe))
    assert ("GPD602", "error", "wsl-libcuda") in found(machine(host=wsl, driver=shadowed))
    assert found(machine(host=wsl, driver=replace(shadowed, cuda=driver().cuda), gpus=Present((gpu(),)))) == []
