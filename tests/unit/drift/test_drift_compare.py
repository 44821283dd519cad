from __future__ import annotations

from collections.abc import Mapping

import pytest

from gpudoctor.drift.compare import compare, compare_by_rule
from gpudoctor.drift.lock import Lock, LockedDriver
from gpudoctor.drift.record import build_lock
from gpudoctor.drift.rules import DRIFT_RULES
from gpudoctor.matrix.index import Matrix
from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.finding import Finding, NotApplicable, Pass
from gpudoctor.model.snapshot import ProbeReport, Snapshot
from unit.drift.builders import (
    HOME,
    PACKAGES,
    change,
    distributions,
    environment,
    findings,
    interpreter,
    library,
    open_reasons,
    resolution,
    search_elements,
    site,
    wheel_path,
)

OPS = f"{site()}/nvidia/cudnn/lib/libcudnn_ops.so.9"
CNN = f"{site()}/nvidia/cudnn/lib/libcudnn_cnn.so.9"
BLAS = f"{site()}/nvidia/cublas/lib/libcublas.so.12"


def packages(**versions: str | None) -> Mapping[str, str]:
    changed = {**PACKAGES, **{name.replace("_", "-"): version for name, version in versions.items()}}
    return {name: version for name, version in changed.items() if version is not None}


def locked(snapshot: Snapshot | None = None, **options: object) -> Lock:
    return build_lock(snapshot or environment(), "1", **options)  # type: ignore[arg-type]


def drift(lock: Lock, snapshot: Snapshot, **options: object) -> list[Finding]:
    evaluations: tuple[object, ...] = compare(lock, snapshot, **options)  # type: ignore[arg-type]
    return findings(evaluations)


def only(lock: Lock, snapshot: Snapshot, **options: object) -> Finding:
    found = drift(lock, snapshot, **options)
    assert [f.rule for f in found] == [f.rule for f in found][:1], [f.message for f in found]
    return found[0]


# --- no drift --------------------------------------------------------------------------------------------------------


def test_the_same_state_passes_every_rule() -> None:
    judged = compare_by_rule(locked(), environment())
    assert [rule for rule, _ in judged] == list(DRIFT_RULES)
    kinds = {rule.id: [type(e) for e in evaluations] for rule, evaluations in judged}
    assert kinds.pop("GPD151") == kinds.pop("GPD152") == [NotApplicable]
    assert all(kind == [Pass] for kind in kinds.values())


def test_another_folder_user_kernel_and_driver_are_no_drift() -> None:
    moved = environment(root="/srv/bob/app", kernel="6.8", driver=Present("570.1"))
    evaluations = compare(locked(), moved)
    assert findings(evaluations) == []
    assert open_reasons(evaluations) == []


# --- one difference, one finding -------------------------------------------------------------------------------------


def test_another_cudnn_release_is_one_finding_with_its_libraries_under_it() -> None:
    finding = only(locked(), environment(packages=packages(nvidia_cudnn_cu12="9.10.2.21")))
    assert (finding.rule, finding.level, finding.cause) == ("GPD451", "error", None)
    assert finding.message == "nvidia-cudnn-cu12 was 9.1.0.70 when locked and is 9.10.2.21 now."
    assert finding.reason == "drift from a lock has no cause of its own"
    (under,) = finding.consequences
    assert "libcudnn_cnn.so.9, libcudnn_ops.so.9" in under
    assert "version 9.1.0.70" in under
    python = "/home/alice/speech/.venv/bin/python"
    assert [fix.commands[0] for fix in finding.fixes] == [
        f"uv pip install --python {python} nvidia-cudnn-cu12==9.1.0.70",
        f"gpudoctor fix --python {python} --packages --to gpudoctor.lock --apply",
        f"gpudoctor lock --python {python} -o gpudoctor.lock",
    ]


def test_another_copy_of_the_same_content_is_one_finding() -> None:
    snapshot = environment()
    copy = "/usr/lib/x86_64-linux-gnu/libcublas.so.12"
    (original,) = (x for x in snapshot.libraries if x.path == BLAS)
    twin = change(original, path=copy, real_path=copy, owner=None)
    other = change(
        snapshot,
        libraries=(*snapshot.libraries, twin),
        resolutions=(*snapshot.resolutions[:2], resolution("cublas", "cublas", copy, found_via="ld-cache")),
    )
    finding = only(locked(snapshot), other)
    assert (finding.rule, finding.subject.name) == ("GPD252", "ctranslate2")
    assert "{site}/nvidia/cublas/lib (ld-library-path) when locked, {system} (ld-cache) now" in finding.message
    assert finding.consequences == ()


def test_an_unset_search_path_is_one_finding_with_what_no_longer_loads_under_it() -> None:
    finding = only(locked(), environment(search_path=None))
    assert (finding.rule, finding.subject.kind, finding.level) == ("GPD551", "variable", "error")
    assert finding.message == (
        "LD_LIBRARY_PATH was {site}/nvidia/cudnn/lib:{site}/nvidia/cublas/lib when locked and is unset now."
    )
    assert len(finding.consequences) == 2
    assert "cudnn_cnn, cudnn_ops was {site}/nvidia/cudnn/lib (ld-library-path)" in finding.consequences[1]
    assert "is not found now" in finding.consequences[0]


def test_a_search_path_that_is_set_only_now_is_one_finding() -> None:
    assert only(locked(environment(search_path=None)), environment()).rule == "GPD551"


def test_one_more_folder_in_front_is_one_finding_even_when_nothing_resolves_differently() -> None:
    finding = only(locked(), environment(search_path=f"/opt/odd:{wheel_path()}"))
    assert (finding.rule, finding.consequences) == ("GPD551", ())


def test_an_empty_element_is_not_a_folder_of_the_same_place() -> None:
    finding = only(locked(), environment(search_path=f"{wheel_path()}:"))
    assert finding.message.endswith("{cwd} (empty) now.")


def test_an_unnamed_folder_is_told_by_the_libraries_in_it() -> None:
    before = change(environment(), search_elements=search_elements("/opt/a", opt_a=("libcudnn_ops.so.9",)))
    after = change(environment(), search_elements=search_elements("/opt/b", opt_b=("libcudnn_ops.so.8",)))
    moved = change(environment(), search_elements=search_elements("/opt/b", opt_b=("libcudnn_ops.so.9",)))
    finding = only(locked(before), after)
    assert finding.rule == "GPD551"
    assert "other GPU libraries" in finding.message
    assert drift(locked(before), moved) == []


def test_a_removed_wheel_is_one_finding_with_all_that_followed() -> None:
    gone = environment(packages=packages(nvidia_cudnn_cu12=None))
    missing = change(gone.search_elements[0], state="missing")
    gone = change(gone, search_elements=(missing, gone.search_elements[1]))
    finding = only(locked(), gone)
    assert finding.message == "nvidia-cudnn-cu12 9.1.0.70 is locked and no longer installed."
    assert len(finding.consequences) == 2


def test_a_consumer_that_was_removed_takes_its_openings_along() -> None:
    gone = change(environment(packages=packages(ctranslate2=None)), resolutions=())
    finding = only(locked(), gone)
    assert (finding.subject.name, finding.level) == ("ctranslate2", "error")
    assert any("never opened" in line for line in finding.consequences)


def test_a_replaced_file_whose_owner_is_unchanged_is_library_drift() -> None:
    snapshot = environment()
    swapped = [change(x, size_bytes=x.size_bytes + 1) if x.path == OPS else x for x in snapshot.libraries]
    finding = only(locked(), change(snapshot, libraries=tuple(swapped)))
    assert (finding.rule, finding.level, finding.subject.kind) == ("GPD251", "error", "library")
    assert finding.message.startswith("libcudnn_ops.so.9 in {site}/nvidia/cudnn/lib: was ")
    python = "/home/alice/speech/.venv/bin/python"
    assert [command for fix in finding.fixes for command in fix.commands] == [
        f"uv pip install --force-reinstall --no-deps --python {python} nvidia-cudnn-cu12==9.1.0.70",
        f"gpudoctor lock --python {python} -o gpudoctor.lock",
    ]


def test_a_file_that_no_longer_loads_because_it_changed_is_one_finding() -> None:
    snapshot = environment()
    cut = tuple(change(x, size_bytes=7) if x.path == OPS else x for x in snapshot.libraries)
    broken = change(resolution("cudnn", "cudnn_ops", None), failure="truncated")
    finding = only(locked(), change(snapshot, libraries=cut, resolutions=(broken, *snapshot.resolutions[1:])))
    assert finding.rule == "GPD251"
    assert len(finding.consequences) == 1


def test_a_dependency_at_fault_explains_the_library_that_needs_it() -> None:
    snapshot = environment()
    cut = tuple(change(x, size_bytes=7) if x.path == OPS else x for x in snapshot.libraries)
    broken = change(resolution("cublas", "cublas", None), culprit="libcudnn_ops.so.9")
    finding = only(locked(), change(snapshot, libraries=cut, resolutions=(*snapshot.resolutions[:2], broken)))
    assert (finding.rule, len(finding.consequences)) == ("GPD251", 1)


def test_another_build_id_of_the_same_size_is_library_drift() -> None:
    snapshot = environment()
    (blas,) = (x for x in snapshot.libraries if x.path == BLAS)
    rebuilt = library(
        BLAS, "cublas", version="12.4.5.8", size_bytes=blas.size_bytes, owner=blas.owner, build_id="f" * 40
    )
    other = change(snapshot, libraries=(*(x for x in snapshot.libraries if x.path != BLAS), rebuilt))
    assert "build ffffffffffff now" in only(locked(), other).message


def test_another_digest_is_library_drift() -> None:
    lock = locked(digests={OPS: "sha256-ends:aa", CNN: "sha256-ends:bb"})
    now = {OPS: "sha256-ends:aa", CNN: "sha256-ends:cc"}
    finding = only(lock, environment(), digests=now)
    assert "content sha256-ends:bb when locked and is content sha256-ends:cc now" in finding.message


def test_a_library_that_is_found_only_now_is_drift_of_its_own() -> None:
    snapshot = environment()
    before = change(snapshot, resolutions=(*snapshot.resolutions[:2], resolution("cublas", "cublas", None)))
    after = change(
        snapshot, resolutions=(*snapshot.resolutions[:2], resolution("cublas", "cublas", BLAS, found_via="runpath"))
    )
    before, after = (change(s, search_elements=()) for s in (before, after))
    finding = only(locked(before), after)
    assert (finding.rule, finding.subject.name) == ("GPD252", "ctranslate2")


@pytest.mark.parametrize(
    ("now", "level"),
    [("3.11.9", "warning"), ("3.12.1", "error"), ("4.11.7", "error")],
)
def test_another_interpreter(now: str, level: str) -> None:
    snapshot = change(environment(), interpreter=Present(interpreter(version=Present(now))))
    finding = only(locked(), snapshot)
    assert (finding.rule, finding.level, finding.subject.kind) == ("GPD452", level, "target")


@pytest.mark.parametrize(
    ("name", "version", "level"),
    [("numpy", "2.2.0", "error"), ("numpy", None, "error"), ("requests", "2.0", "warning"), ("nvidia-x", "1", "error")],
)
def test_level_of_a_distribution_drift(name: str, version: str | None, level: str) -> None:
    finding = only(locked(), environment(packages=packages(**{name: version})))
    assert (finding.rule, finding.subject.name, finding.level) == ("GPD451", name, level)


def test_independent_differences_are_findings_of_their_own() -> None:
    snapshot = environment(packages=packages(numpy="2.2.0", nvidia_cublas_cu12="12.6.4.1"), search_path="/opt/x")
    assert sorted(f.subject.name for f in drift(locked(), snapshot)) == [
        "LD_LIBRARY_PATH",
        "numpy",
        "nvidia-cublas-cu12",
    ]


def test_a_hostile_name_is_never_offered_as_a_command() -> None:
    finding = only(locked(environment(packages=packages(**{"x;reboot": "1"}))), environment())
    assert not any("reboot" in command for fix in finding.fixes for command in fix.commands)


def test_what_was_added_and_is_no_business_of_the_gpu_is_one_finding() -> None:
    more = {f"p{n}": f"1.{n}" for n in range(20)}
    finding = only(locked(), environment(packages=packages(**more)))
    assert (finding.level, finding.message) == (
        "warning",
        "20 distributions are installed that the lock does not have, none of them of the GPU stack: "
        "p0, p1, p10, p11, p12 and 15 more.",
    )
    assert "p7 1.7" in finding.evidence[0].value
    two = drift(locked(), environment(packages=packages(p0="1", p1="1")))
    assert [f.subject.name for f in two] == ["p0", "p1"]


# --- the driver ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "now", "expected"),
    [
        ("recorded", "470.1", "not-applicable"),
        ("minimum", "550.54.15", "pass"),
        ("minimum", "550.100", "pass"),
        ("minimum", "550.54.2", "fail"),
        ("exact", "570.1", "fail"),
        ("exact", "550.54.15", "pass"),
        ("minimum", "550.x", "open"),
        ("minimum", None, "open"),
        ("exact", Unknown("no permission"), "open"),
    ],
)
def test_driver_policies(policy: str, now: str | Unknown | None, expected: str) -> None:
    fact: Fact[str] = Absent() if now is None else now if isinstance(now, Unknown) else Present(now)
    lock = change(locked(), driver=LockedDriver(policy=policy, release="550.54.15"))  # type: ignore[arg-type]
    judged = {rule.id: evaluations for rule, evaluations in compare_by_rule(lock, environment(driver=fact))}
    assert [type(e).__struct_config__.tag for e in judged["GPD151"]] == [expected]


# --- what could not be looked at is open, never passed ---------------------------------------------------------------


def test_a_lock_of_another_platform_is_open_throughout() -> None:
    snapshot = environment()
    arm = change(snapshot, host=change(snapshot.host, machine="aarch64"))
    judged = compare_by_rule(locked(), arm)
    assert all([type(e).__name__ for e in evaluations] == ["Open"] for _, evaluations in judged)
    assert "linux-x86_64" in open_reasons(judged[0][1])[0]


@pytest.mark.parametrize("side", ["locked", "now"])
def test_an_answer_that_is_not_known_is_open(side: str) -> None:
    snapshot = environment()
    unsure = change(resolution("cudnn", "cudnn_ops", None), outcome="unknown")
    vague = change(snapshot, resolutions=(unsure, *snapshot.resolutions[1:]))
    evaluations = compare(locked(vague), snapshot) if side == "locked" else compare(locked(), vague)
    assert findings(evaluations) == []
    assert len(open_reasons(evaluations)) == 1
    assert "cudnn_ops" in open_reasons(evaluations)[0]


def test_an_answer_that_a_failed_probe_left_out_is_open() -> None:
    report = ProbeReport(probe="loader", status="failed", detail="musl")
    evaluations = compare(locked(), change(environment(), resolutions=(), probes=(report,)))
    assert findings(evaluations) == []
    assert len(open_reasons(evaluations)) == 3
    hardware = ProbeReport(probe="nvml", status="failed", detail="no driver")
    assert drift(locked(), change(environment(), resolutions=(), probes=(hardware,))) != []


def test_distributions_that_could_not_be_read_are_open() -> None:
    blind = change(environment(), interpreter=Unknown("not readable"), distributions=(), builds=())
    evaluations = compare(locked(), blind)
    assert [f.rule for f in findings(evaluations) if f.rule in ("GPD451", "GPD452")] == []
    assert sum("not readable" in reason for reason in open_reasons(evaluations)) == 2


def test_a_missing_distribution_is_open_when_part_of_sys_path_is_hidden() -> None:
    hidden = change(
        environment(packages=packages(numpy=None)),
        interpreter=Present(interpreter(unknowns=("x.pth has an import line",))),
    )
    evaluations = compare(locked(), hidden)
    assert findings(evaluations) == []
    assert "x.pth has an import line" in open_reasons(evaluations)[0]


def test_a_version_that_could_not_be_read_is_open() -> None:
    snapshot = environment()
    vague = tuple(change(d, version=Unknown("x")) if d.name == "numpy" else d for d in snapshot.distributions)
    evaluations = compare(locked(), change(snapshot, distributions=vague))
    assert findings(evaluations) == []
    assert "numpy" in open_reasons(evaluations)[0]


def test_digests_that_cannot_be_compared_are_open() -> None:
    evaluations = compare(locked(digests={OPS: "sha256-ends:aa"}), environment())
    assert findings(evaluations) == []
    assert "libcudnn_ops.so.9" in open_reasons(evaluations)[0]
    other_way = compare(locked(digests={OPS: "sha256-ends:aa"}), environment(), digests={OPS: "sha512:bb"})
    assert len(open_reasons(other_way)) == 1


def test_an_opening_that_another_matrix_brought_is_open() -> None:
    snapshot = environment()
    fewer = change(snapshot, resolutions=snapshot.resolutions[:2])
    assert findings(compare(locked(fewer), snapshot, matrix_version="2")) == []
    assert "write the lock again" in open_reasons(compare(locked(fewer), snapshot, matrix_version="2"))[0]
    assert drift(locked(fewer), snapshot) != []


def test_only_the_consumers_asked_for_are_compared() -> None:
    other = change(environment(), resolutions=())
    assert drift(locked(), other, consumers=("torch",)) == []
    assert drift(locked(), other, consumers=("ctranslate2",)) != []


def test_a_role_that_occurs_twice_is_compared_twice() -> None:
    snapshot = environment()
    first, *rest = snapshot.resolutions
    twice = change(snapshot, resolutions=(first, change(first, requester="other.so"), *rest))
    assert drift(locked(twice), twice) == []
    assert len(drift(locked(twice), snapshot)) == 1


def test_after_torch_follows_torch() -> None:
    with_torch = environment(packages=packages(torch="2.5.1"))
    extra = resolution("cublas", "cublas", BLAS, found_via="already-loaded", scenario="after-torch")
    with_torch = change(with_torch, resolutions=(*with_torch.resolutions, extra), search_elements=())
    finding = only(locked(with_torch), change(environment(), search_elements=()))
    assert finding.subject.name == "torch"
    assert len(finding.consequences) == 1


def test_rules_without_a_lock_are_not_applicable() -> None:
    assert len({rule.id for rule in DRIFT_RULES}) == len(DRIFT_RULES)
    for rule in DRIFT_RULES:
        assert rule.evaluate(environment(), Matrix.__new__(Matrix)) == (NotApplicable("no lock was given"),)
        for heading in ("## What\n", "## Why it matters\n", "## How it is known\n", "## What to do\n"):
            assert heading in rule.page


def test_distributions_of_another_folder_keep_their_names() -> None:
    snapshot = change(environment(), distributions=distributions(PACKAGES, root=f"{HOME}/other"))
    assert drift(locked(), snapshot) == []


def test_a_lock_as_large_as_one_may_be_is_compared() -> None:
    lock = locked()
    roles = tuple(change(lock.resolution[0], role=f"r{n}") for n in range(5_000))
    files = tuple(change(lock.library[0], path=f"{{site}}/{n}.so") for n in range(5_000))
    huge = change(lock, resolution=roles, library=files, distributions=lock.distributions)
    assert {f.rule for f in drift(huge, environment())} == {"GPD252"}
    assert compare(huge, environment(), matrix_version="2") != ()
