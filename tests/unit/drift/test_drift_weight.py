"""Whether a drift matters: by the rules and the matrix, for the state as it is now."""

from __future__ import annotations

import msgspec
import pytest

from gpudoctor.drift.compare import bind_rules
from gpudoctor.drift.lock import Lock, LockedGpus, capability_of, dump_lock, parse_lock
from gpudoctor.drift.record import build_lock
from gpudoctor.drift.weight import errors_of, words_of
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.errors import InputFileError
from gpudoctor.model.fact import Absent, Fact, Present, Unknown
from gpudoctor.model.finding import Finding
from gpudoctor.model.machine import Gpu
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from unit.drift.builders import PACKAGES, environment, open_reasons
from unit.rules import builders as b

MATRIX = load_matrix(None)


def judged(before: Snapshot, after: Snapshot) -> list[Finding]:
    rules = bind_rules(build_lock(before, MATRIX.version))
    return [f for f in judge(after, MATRIX, rules=rules).findings if f.rule != "GPD901"]


def matters(finding: Finding) -> str:
    return next(e.value for e in finding.evidence if e.label == "matters")


@pytest.mark.parametrize(
    ("name", "was", "version", "level"),
    [
        ("nvidia-cudnn-cu12", "9.1.0.70", "9.1.1.17", "warning"),
        ("nvidia-cudnn-cu12", "9.1.0.70", "9.10.2.21", "error"),
        ("numpy", "2.1.3", "2.1.4", "warning"),
        ("numpy", "2.1.3", "2.2.0", "error"),
        ("numpy", "2.1", "2.1.4", "warning"),
        ("numpy", "2", "2.1", "error"),
        ("numpy", "1!2.1.3", "2.1.3", "warning"),
        ("numpy", "2.1.3", "unreadable", "error"),
    ],
)
def test_a_patch_release_that_harms_nobody_is_a_warning(name: str, was: str, version: str, level: str) -> None:
    before = environment(packages={**PACKAGES, name: was})
    (finding,) = judged(before, environment(packages={**PACKAGES, name: version}))
    assert (finding.rule, finding.level) == ("GPD451", level)
    assert matters(finding) == "by the rules, no consumer has an error now"


def test_a_patch_release_that_breaks_a_consumer_is_an_error() -> None:
    """The same difference of a number, but a library no longer loads now."""
    lost = environment(packages={**PACKAGES, "nvidia-cudnn-cu12": "9.1.1.17"}, search_path=None)
    (finding,) = judged(environment(search_path=None), lost)
    assert finding.level == "error"
    assert "GPD201" in matters(finding)


def test_what_was_wrong_when_it_was_locked_is_no_consequence_of_the_drift() -> None:
    before = environment(search_path=None)
    lost = environment(packages={**PACKAGES, "nvidia-cudnn-cu12": "9.1.1.17"}, search_path=None)
    errors = tuple(words_of(e) for e in errors_of(before, MATRIX))
    lock = msgspec.structs.replace(build_lock(before, MATRIX.version), errors=errors)
    lock = parse_lock(dump_lock(lock), "gpudoctor.lock")
    assert errors
    (finding,) = (f for f in judge(lost, MATRIX, rules=bind_rules(lock)).findings if f.rule != "GPD901")
    assert (finding.level, matters(finding)) == (
        "warning",
        "by the rules, what is wrong now was wrong when it was locked",
    )


def test_a_package_beside_the_gpu_stack_is_behind_no_error_that_does_not_speak_of_it() -> None:
    lost = environment(packages={**PACKAGES, "numpy": "2.1.4"}, search_path=None)
    (finding,) = judged(environment(search_path=None), lost)
    assert (finding.level, matters(finding)) == ("warning", "by the rules, nothing that is wrong now comes from it")


@pytest.mark.parametrize("version", ["4.70.1", None])
def test_a_package_that_no_rule_concerns_is_a_warning_with_a_way_back(version: str | None) -> None:
    before = environment(packages={**PACKAGES, "tqdm": "4.66.1"})
    after = environment(packages={**PACKAGES, **({"tqdm": version} if version else {})})
    (finding,) = judged(before, after)
    assert (finding.rule, finding.level) == ("GPD451", "warning")
    commands = [command for fix in finding.fixes for command in fix.commands]
    assert commands[0].endswith(" tqdm==4.66.1")
    assert not any("--packages" in command for command in commands)


def test_a_package_that_no_rule_concerns_and_that_belongs_to_the_gpu_stack_is_an_error() -> None:
    def with_requirement(version: str) -> Snapshot:
        taken = environment(packages={**PACKAGES, "unheard-of": version})
        pinned = tuple(
            msgspec.structs.replace(d, requires=("nvidia-cudnn-cu12==9.1.0.70",)) if d.name == "unheard-of" else d
            for d in taken.distributions
        )
        return msgspec.structs.replace(taken, distributions=pinned)

    (finding,) = judged(with_requirement("1.0"), with_requirement("2.0"))
    assert finding.level == "error"
    assert any("--packages --to" in command for fix in finding.fixes for command in fix.commands)


def locked(before: Snapshot) -> Lock:
    """Return a lock that says what was wrong, as `gpudoctor lock` writes it."""
    errors = tuple(words_of(e) for e in errors_of(before, MATRIX))
    lock = msgspec.structs.replace(build_lock(before, MATRIX.version), errors=errors)
    return parse_lock(dump_lock(lock), "gpudoctor.lock")


def found(lock: Lock, after: Snapshot) -> list[Finding]:
    return [f for f in judge(after, MATRIX, rules=bind_rules(lock)).findings if f.rule != "GPD901"]


def repaired_by_hook(before: Snapshot) -> Snapshot:
    """Return a state whose libraries are found without LD_LIBRARY_PATH."""
    there = environment().resolutions
    hooked = tuple(msgspec.structs.replace(r, found_via="already-loaded") for r in there)
    return msgspec.structs.replace(before, resolutions=hooked)


def test_a_repair_of_what_was_wrong_is_a_warning_that_says_so() -> None:
    broken = environment(search_path=None)
    for repaired in (repaired_by_hook(broken), environment()):
        drifts = found(locked(broken), repaired)
        assert drifts
        for finding in drifts:
            assert finding.level == "warning"
            assert matters(finding).startswith("by the rules, what was wrong when it was locked is mended: GPD201")
            assert [c.split()[1] for fix in finding.fixes for c in fix.commands] == ["lock"]


def test_what_is_found_now_is_an_error_where_nothing_was_wrong_or_something_else_is_now() -> None:
    broken = environment(search_path=None)
    sound = msgspec.structs.replace(locked(broken), errors=())
    assert {f.level for f in found(sound, environment())} == {"error"}
    packages = {**PACKAGES, "ctranslate2": "4.4.0"}
    worse = repaired_by_hook(environment(search_path=None, packages=packages))
    assert "error" in {f.level for f in found(locked(broken), worse)}


# --- GPUs ------------------------------------------------------------------------------------------------------------

AMPERE, ADA, UNREAD = (
    b.gpu(name=Present("RTX 3090"), compute_capability=Present("8.6")),
    b.gpu(name=Present("RTX 4090"), compute_capability=Present("8.9")),
    b.gpu(name=Present("RTX 3090"), compute_capability=Unknown("refused")),
)


def gpu_drift(policy: str, before: tuple[Gpu, ...], after: Fact[tuple[Gpu, ...]]) -> tuple[list[str], list[str]]:
    lock = build_lock(environment(gpus=Present(before)), MATRIX.version, gpu_policy=policy)  # type: ignore[arg-type]
    lock = parse_lock(dump_lock(lock), "gpudoctor.lock")  # what was written is what counts
    verdict = judge(environment(gpus=after), MATRIX, rules=bind_rules(lock))
    return [f.message for f in verdict.findings if f.rule == "GPD152"], open_reasons(verdict.evaluations["GPD152"])


@pytest.mark.parametrize(
    ("policy", "after", "fails"),
    [
        ("recorded", (), False),
        ("minimum", (AMPERE,), False),
        ("minimum", (ADA,), False),
        ("minimum", (ADA, AMPERE), False),
        ("minimum", (b.gpu(compute_capability=Present("7.5")),), True),
        ("minimum", (ADA, b.gpu(compute_capability=Present("7.5"))), True),
        ("minimum", (), True),
        ("exact", (AMPERE,), False),
        ("exact", (ADA,), True),
        ("exact", (AMPERE, AMPERE), True),
    ],
)
def test_gpus_by_policy(policy: str, after: tuple[Gpu, ...], fails: bool) -> None:
    found, asked = gpu_drift(policy, (AMPERE,), Present(after))
    assert (len(found), asked) == (int(fails), [])
    assert all("RTX 3090 (8.6)" in message for message in found)


@pytest.mark.parametrize("after", [Absent(), Unknown("no NVML"), Present((UNREAD,))])
def test_gpus_that_cannot_be_read_are_open(after: Fact[tuple[Gpu, ...]]) -> None:
    found, asked = gpu_drift("minimum", (AMPERE,), after)
    assert (found, len(asked)) == ([], 1)


def test_compute_capabilities_are_numbers() -> None:
    assert capability_of("A (10.0)") == (10, 0)
    assert (capability_of("A (unknown)"), capability_of("A"), capability_of("A (8)")) == (None, None, None)
    assert gpu_drift("minimum", (ADA,), Present((b.gpu(compute_capability=Present("10.0")),)))[0] == []


@pytest.mark.parametrize("devices", ["", 'devices = ["RTX 3090"]', 'devices = ["A (8.6)", "B (unknown)"]'])
def test_a_policy_without_what_it_needs_is_refused(devices: str) -> None:
    text = f'schema_version = 1\nmatrix_version = "1"\nplatform = "x"\n[gpus]\npolicy = "minimum"\n{devices}\n'
    with pytest.raises(InputFileError, match=r"gpus\.policy"):
        parse_lock(text, "gpudoctor.lock")


def test_the_policy_stands_where_it_can_be_edited() -> None:
    text = dump_lock(build_lock(environment(gpus=Present((AMPERE,))), "1"))
    assert '[gpus]\npolicy = "recorded"\ndevices = [\n    "RTX 3090 (8.6)",\n]\n' in text
    assert LockedGpus().policy == "recorded"
