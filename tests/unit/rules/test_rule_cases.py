"""Every rule on a failing, a passing, a not-applicable and an open case."""

from __future__ import annotations

import pytest

from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Absent, Present, Unknown
from gpudoctor.model.machine import Libc, NvmlError
from gpudoctor.model.snapshot import ProbeReport, Snapshot
from gpudoctor.rules.registry import RULES, find_rule
from unit.rules.builders import (
    BLIND,
    CUBLAS,
    CUDNN,
    SITE,
    Parts,
    answer,
    assumed_driver,
    build,
    ct2_cublas,
    ct2_cudnn9,
    ctranslate2,
    cublas12,
    cublas13,
    cuda_says,
    cudnn8,
    cudnn9,
    dist,
    driver,
    driver_file,
    gpu,
    host,
    installed,
    interpreter,
    lib,
    machine,
    no_driver,
    onnxruntime_gpu,
    refusing,
    replace,
    search_path,
    shared,
    torch,
    with_,
    without_gpu,
)
from unit.rules.gpu_cases import GPU_CASES
from unit.rules.package_cases import PACKAGE_CASES

MATRIX = load_matrix()

HEALTHY = with_(machine(), ctranslate2(), cudnn9(), cublas12(), ct2_cudnn9(CUDNN), ct2_cublas(CUBLAS))
OFF_PATH = with_(machine(), ctranslate2(), cudnn9(), cublas12(), ct2_cudnn9(None), ct2_cublas(None))
WITH_PATH = search_path(HEALTHY, f"{CUDNN}:{CUBLAS}")
UNKNOWN_CUDNN = with_(
    machine(),
    ctranslate2(),
    Parts(resolutions=(answer("ctranslate2", "libcudnn_ops.so.9", "cudnn", outcome="unknown"),)),
)
UNKNOWN_CUBLAS = with_(
    machine(),
    ctranslate2(),
    Parts(resolutions=(answer("ctranslate2", "libcublas.so.12", "cublas", outcome="unknown"),)),
)
BARE_CT2 = with_(machine(), ctranslate2())
AFTER_TORCH = with_(
    machine(),
    ctranslate2("4.8.5"),
    torch(),
    cudnn9(),
    cublas12(),
    ct2_cublas(None),
    ct2_cublas(CUBLAS, "after-torch", found_via="already-loaded"),
)
MUSL = host(libc=Present(Libc(name="musl", version=Present("1.2.4"))))


def two_builds() -> Snapshot:
    """ops of 9.1.0 and cnn of 9.10.2, and both load."""
    other = "/opt/cudnn/lib"
    return with_(
        machine(),
        ctranslate2(),
        cudnn9(),
        cudnn9("9.10.2.21", other, None),
        ct2_cudnn9(CUDNN, parts=("graph", "ops")),
        ct2_cudnn9(other, parts=("cnn",)),
    )


def two_cublas() -> Snapshot:
    light = lib("/usr/local/cuda/lib64/libcublasLt.so.12", "cublas", "12.9.1")
    rows = (
        answer("torch", "libcublas.so.12", "cublas", f"{CUBLAS}/libcublas.so.12"),
        answer("torch", "libcublasLt.so.12", "cublas", light.path),
    )
    return with_(machine(), cublas12(), Parts(libraries=(light,), resolutions=rows))


def hidden(version: str | None) -> Snapshot:
    """libcublas of a toolkit in LD_LIBRARY_PATH before the wheel's."""
    toolkit = "/usr/local/cuda/lib64"
    file = lib(f"{toolkit}/libcublas.so.12", "cublas", version)
    row = answer("torch", "libcublas.so.12", "cublas", file.path, shadowed=f"{CUBLAS}/libcublas.so.12")
    return search_path(with_(machine(), cublas12(), Parts(libraries=(file,), resolutions=(row,))), toolkit)


def onnx_both(on_disk: str | None) -> Snapshot:
    owners = ("onnxruntime", "onnxruntime-gpu")
    return with_(
        machine(), installed("onnxruntime==1.20.1", "onnxruntime-gpu==1.20.2"), shared_files=shared(owners, on_disk)
    )


WSL = host(wsl=Present("2"), nvidia_pci=Absent(), device_nodes=Present(("/dev/dxg",)))
WSL_LIBCUDA = Present(driver_file("libcuda.so.1", "560.94", "/usr/lib/wsl/lib").value)
DOCKER = Present("docker")
NO_ACCESS = machine(host=host(container=DOCKER, device_nodes=Absent()), driver=no_driver(), gpus=Absent())
SECURE = Present(interpreter(secure_execution=Present(value=True)))

CASES: dict[str, dict[str, Snapshot]] = {
    "GPD101": {
        "fail": machine(driver=no_driver(), gpus=Absent(), host=host(device_nodes=Absent())),
        "pass": machine(),
        "not-applicable": without_gpu(),
        "open": machine(driver=no_driver(libcuda=BLIND), gpus=Absent()),
    },
    "GPD102": {
        "fail": without_gpu(),
        "pass": machine(),
        "not-applicable": machine(driver=assumed_driver("550.54.15")),
        "open": replace(without_gpu(), host=host(nvidia_pci=BLIND, device_nodes=Absent())),
    },
    "GPD103": {
        "fail": machine(driver=driver(kernel_module=Present("535.183.01"), nvml=Absent())),
        "pass": machine(),
        "not-applicable": without_gpu(),
        "open": machine(driver=driver(kernel_module=BLIND, nvml=BLIND)),
    },
    "GPD104": {
        "fail": replace(HEALTHY, driver=driver("470.57.02", "11.4")),
        "pass": HEALTHY,
        "not-applicable": machine(),
        "open": without_gpu(HEALTHY),
    },
    "GPD105": {
        "fail": machine(gpus=Present((gpu(error=Present(NvmlError(code=15, message="GPU is lost"))),))),
        "pass": machine(),
        "not-applicable": without_gpu(),
        "open": machine(gpus=Unknown("NVML gave no answer within 5 s")),
    },
    "GPD106": {
        "fail": machine(driver=cuda_says(804)),
        "pass": machine(),
        "not-applicable": without_gpu(),
        "open": machine(driver=refusing(4, "Insufficient Permissions")),
    },
    "GPD201": {
        "fail": OFF_PATH,
        "pass": HEALTHY,
        "not-applicable": machine(),
        "open": UNKNOWN_CUDNN,
    },
    "GPD202": {
        "fail": with_(machine(), ctranslate2(), cudnn8(), ct2_cudnn9(None)),
        "pass": HEALTHY,
        "not-applicable": with_(machine(), ctranslate2("4.8.5"), ct2_cublas(None)),
        "open": UNKNOWN_CUDNN,
    },
    "GPD203": {
        "fail": with_(machine(), ctranslate2("4.8.5"), cublas13(), ct2_cublas(None)),
        "pass": HEALTHY,
        "not-applicable": with_(machine(), ctranslate2(), ct2_cudnn9(None)),
        "open": UNKNOWN_CUBLAS,
    },
    "GPD204": {
        "fail": two_builds(),
        "pass": HEALTHY,
        "not-applicable": with_(machine(), ctranslate2("4.8.5"), ct2_cublas(CUBLAS)),
        "open": UNKNOWN_CUDNN,
    },
    "GPD205": {
        "fail": two_cublas(),
        "pass": HEALTHY,
        "not-applicable": with_(machine(), ctranslate2(), ct2_cudnn9(CUDNN)),
        "open": UNKNOWN_CUBLAS,
    },
    "GPD206": {
        "fail": AFTER_TORCH,
        "pass": with_(machine(), ctranslate2("4.8.5"), ct2_cublas(CUBLAS), ct2_cublas(CUBLAS, "after-torch")),
        "not-applicable": HEALTHY,
        "open": with_(
            machine(), ctranslate2("4.8.5"), ct2_cublas(None, outcome="unknown"), ct2_cublas(None, "after-torch")
        ),
    },
    "GPD301": {
        "fail": with_(machine(), Parts(builds=(build("torch", "2.5.1+cpu", None, gpu=False),))),
        "pass": with_(machine(), torch()),
        "not-applicable": without_gpu(with_(machine(), Parts(builds=(build("torch", "2.5.1+cpu", None, gpu=False),)))),
        "open": with_(machine(), Parts(builds=(replace(build("torch", "2.5.1", None), gpu=BLIND),))),
    },
    "GPD401": {
        "fail": onnx_both("onnxruntime"),
        "pass": with_(machine(), installed("onnxruntime==1.20.1")),
        "not-applicable": machine(distributions=(), interpreter=Absent()),
        "open": machine(distributions=(), interpreter=BLIND),
    },
    "GPD501": {
        "fail": search_path(HEALTHY, f"{CUDNN}:/opt/gone", e1="missing"),
        "pass": WITH_PATH,
        "not-applicable": HEALTHY,
        "open": search_path(HEALTHY, f"{CUDNN}:/root/lib", e1="unreadable"),
    },
    "GPD502": {
        "fail": search_path(HEALTHY, f"{CUDNN}:", e1="empty"),
        "pass": WITH_PATH,
        "not-applicable": HEALTHY,
        "open": replace(WITH_PATH, host=MUSL),
    },
    "GPD503": {
        "fail": hidden("12.9.1"),
        "pass": WITH_PATH,
        "not-applicable": HEALTHY,
        "open": hidden(None),
    },
    "GPD504": {
        "fail": replace(WITH_PATH, interpreter=SECURE),
        "pass": WITH_PATH,
        "not-applicable": HEALTHY,
        "open": replace(WITH_PATH, interpreter=Present(interpreter(secure_execution=BLIND))),
    },
    "GPD505": {
        "fail": search_path(HEALTHY, "~/cudnn/lib", e0="relative"),
        "pass": WITH_PATH,
        "not-applicable": HEALTHY,
        "open": replace(WITH_PATH, host=MUSL),
    },
    "GPD601": {
        "fail": NO_ACCESS,
        "pass": machine(host=host(container=DOCKER)),
        "not-applicable": machine(),
        "open": machine(host=host(container=BLIND)),
    },
    "GPD602": {
        "fail": machine(
            host=WSL,
            driver=no_driver(),
            gpus=Absent(),
            libraries=(lib("/usr/lib/wsl/lib/libcuda.so.1", "libcuda", None),),
        ),
        "pass": machine(host=WSL, driver=driver(libcuda=WSL_LIBCUDA)),
        "not-applicable": machine(),
        "open": machine(host=host(wsl=BLIND)),
    },
}
CASES |= GPU_CASES | PACKAGE_CASES


def kinds(rule_id: str, snapshot: Snapshot) -> set[str]:
    rule = find_rule(rule_id)
    assert rule is not None
    return {type(e).__struct_config__.tag for e in rule.evaluate(snapshot, MATRIX)}


@pytest.mark.parametrize("kind", ["fail", "pass", "not-applicable", "open"])
@pytest.mark.parametrize("rule_id", sorted(CASES))
def test_each_rule_answers_each_kind(rule_id: str, kind: str) -> None:
    assert kinds(rule_id, CASES[rule_id][kind]) == {kind}


def test_no_rule_lacks_cases() -> None:
    # The internal error is raised by the engine alone: see test_rule_engine.py.
    assert {r.id for r in RULES} == {*CASES, "GPD901"}


@pytest.mark.parametrize("rule_id", sorted(CASES))
def test_a_finding_is_complete(rule_id: str) -> None:
    rule = find_rule(rule_id)
    assert rule is not None
    for evaluation in rule.evaluate(CASES[rule_id]["fail"], MATRIX):
        finding = evaluation.finding  # type: ignore[union-attr]
        assert (finding.rule, finding.name) == (rule.id, rule.name)
        assert finding.help == f"gpudoctor rule {rule.id}"
        assert finding.message.endswith(".")
        assert len(finding.message) < 420
        assert "\n" not in finding.message
        assert finding.evidence
        assert finding.fixes
        assert (finding.cause is None) == (finding.reason is not None)
        assert finding.cause is None or finding.cause in rule.causes
        assert all(MATRIX.fact(fact) for fact in finding.facts)


def test_every_cause_is_one_of_the_taxonomy() -> None:
    known = {c.id for c in MATRIX.data.causes}
    assert {cause for rule in RULES for cause in rule.causes} <= known


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.id)
def test_every_page_has_the_same_shape(rule) -> None:
    headings = [line for line in rule.page.splitlines() if line.startswith("## ")]
    assert headings == [
        "## What it finds",
        "## Why it happens",
        "## How gpudoctor knows",
        "## What to do",
        "## Sources",
    ]
    assert rule.page.rstrip().splitlines()[-1].startswith("- ")


def test_ids_and_names_are_unique() -> None:
    assert len({r.id for r in RULES}) == len({r.name for r in RULES}) == len(RULES)


def test_a_rule_is_found_by_id_in_any_case_and_by_name() -> None:
    assert find_rule("gpd201") is find_rule("GPD201") is find_rule("unresolved-library")
    assert find_rule("GPD999") is None


def test_where_nothing_could_be_emulated_library_rules_are_open_and_never_pass() -> None:
    unlike = (
        machine(host=host(os="windows"), builds=(build("ctranslate2", "4.6.0", "12.2"),)),
        machine(host=host(os="macos"), builds=(build("torch", "2.5.1", None),)),
        machine(host=MUSL, builds=(build("ctranslate2", "4.6.0", "12.2"),)),
        replace(BARE_CT2, probes=(ProbeReport(probe="loader", status="crashed", detail="no ld.so.cache"),)),
    )
    for snapshot in unlike:
        for rule_id in ("GPD201", "GPD202", "GPD203", "GPD204", "GPD205", "GPD206"):
            assert kinds(rule_id, snapshot) == {"open"}, (rule_id, snapshot.host.os)


def test_site_is_what_the_builders_say() -> None:
    assert SITE.startswith("/srv/app/.venv/")
    assert dist("x").site_dir == SITE
    assert onnxruntime_gpu().resolutions
