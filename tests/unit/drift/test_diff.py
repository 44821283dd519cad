"""Two states side by side: what differs, what follows from it, and for whom it changes something."""

from __future__ import annotations

import pytest

from gpudoctor.drift.diff import State, compare_states, state_of
from gpudoctor.drift.lock import dump_lock, parse_lock
from gpudoctor.drift.record import build_lock
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.diff import DiffDocument, DiffSide
from gpudoctor.model.environment import Variable
from gpudoctor.model.fact import Present, Unknown
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.report.canvas import Canvas
from gpudoctor.report.diff import render_diff, render_diff_markdown
from unit.drift.builders import PACKAGES, change, environment, interpreter

MATRIX = load_matrix(None)
KINDS = ("snapshot", "lock")


def state(snapshot: Snapshot, kind: str = "snapshot", **lock: object) -> State:
    side = DiffSide(name="x", kind=kind)  # type: ignore[arg-type]
    if kind == "snapshot":
        return state_of(side, snapshot, MATRIX)
    written = dump_lock(build_lock(snapshot, MATRIX.version, **lock))  # type: ignore[arg-type]
    return State(side, parse_lock(written, "x"))


def diff(
    left: Snapshot, right: Snapshot, kinds: tuple[str, str] = ("snapshot", "snapshot"), **more: object
) -> DiffDocument:
    return compare_states(state(left, kinds[0]), state(right, kinds[1]), MATRIX, **more)  # type: ignore[arg-type]


PAIRS = [(a, b) for a in KINDS for b in KINDS]


@pytest.mark.parametrize("kinds", PAIRS)
def test_the_same_in_another_folder_is_the_same(kinds: tuple[str, str]) -> None:
    found = diff(environment(), environment(root="/srv/bob/app"), kinds)
    assert (found.differences, found.open, found.exit_status) == ((), (), 0)
    counts = {e.area: e.count for e in found.equal}
    assert (counts["distribution"], counts["library"], counts["resolution"]) == (5, 3, 3)
    assert all(e.items == () for e in found.equal)


@pytest.mark.parametrize("kinds", PAIRS)
def test_another_cudnn_is_one_difference_either_way_round(kinds: tuple[str, str]) -> None:
    newer = environment(packages={**PACKAGES, "nvidia-cudnn-cu12": "9.10.2.21"})
    there, back = diff(environment(), newer, kinds), diff(newer, environment(), kinds)
    (one,), (other,) = there.differences, back.differences
    assert (one.area, one.subject, one.left, one.right) == (
        "distribution",
        "nvidia-cudnn-cu12",
        PACKAGES["nvidia-cudnn-cu12"],
        "9.10.2.21",
    )
    assert (other.left, other.right) == (one.right, one.left)
    assert one.message == f"nvidia-cudnn-cu12 was {one.left} in A and is {one.right} in B."
    assert one.follows, "the library files follow from it"
    assert there.exit_status == back.exit_status == 1


@pytest.mark.parametrize("kinds", PAIRS)
def test_what_changes_an_outcome_comes_first(kinds: tuple[str, str]) -> None:
    right = environment(packages={**PACKAGES, "numpy": "3.0"}, search_path=None)
    found = diff(environment(), right, kinds)
    (outcome,) = found.outcomes
    assert (outcome.consumer, outcome.left, outcome.changed) == ("ctranslate2", "3 libraries load", True)
    assert outcome.right.startswith("misses ")
    ours = [e for e in found.differences if e.area != "finding"]
    assert [(e.subject, e.matters) for e in ours] == [("LD_LIBRARY_PATH", True), ("numpy", False)]
    if kinds == ("snapshot", "snapshot"):
        assert found.differences[0].area == "finding"
        assert found.differences[0].right.startswith("error GPD201")


def test_a_lock_and_an_environment_differ_as_check_against_says() -> None:
    from gpudoctor.drift.compare import compare
    from unit.drift.builders import findings

    right = environment(packages={**PACKAGES, "numpy": "3.0", "extra": "1"}, search_path=None)
    lock = build_lock(environment(), MATRIX.version)
    drifted = {(f.rule, f.subject.name, f.level, len(f.consequences)) for f in findings(compare(lock, right))}
    areas = {"distribution": "GPD451", "variable": "GPD551"}
    document = diff(environment(), right, ("lock", "snapshot"))
    assert {(areas[e.area], e.subject, e.level, len(e.follows)) for e in document.differences} == drifted


def test_a_patch_release_that_harms_nobody_is_a_warning_as_in_check() -> None:
    newer = environment(packages={**PACKAGES, "nvidia-cudnn-cu12": "9.1.1.17"})
    assert [e.level for e in diff(environment(), newer).differences] == ["warning"]
    broken = environment(packages={**PACKAGES, "nvidia-cudnn-cu12": "9.1.1.17"}, search_path=None)
    bare = environment(search_path=None)
    assert [e.level for e in diff(bare, broken).differences if e.area == "distribution"] == ["error"]


@pytest.mark.parametrize("kinds", PAIRS)
def test_packages_that_no_rule_concerns_are_warnings(kinds: tuple[str, str]) -> None:
    left = environment(packages={**PACKAGES, "tqdm": "4.70.1", "pip": "23.2.1", "numpy": "2.1.3"})
    right = environment(packages={**PACKAGES, "tqdm": "4.66.1", "numpy": "2.4.0"})
    levels = {e.subject: e.level for e in diff(left, right, kinds).differences}
    assert levels == {"tqdm": "warning", "pip": "warning", "numpy": "error"}


def test_a_repair_is_no_error_and_its_way_back_is_one() -> None:
    broken, whole = environment(search_path=None), environment()
    there, back = diff(broken, whole), diff(whole, broken)
    assert [e.level for e in there.differences if e.area != "finding"] == ["warning"]
    assert [e.level for e in back.differences if e.area != "finding"] == ["error"]
    assert {e.level for e in there.differences if e.area == "finding"} == {"note"}
    assert {e.level for e in back.differences if e.area == "finding"} == {"error"}


def test_an_answer_of_the_loader_is_told_with_the_name_of_its_library() -> None:
    whole = environment()
    less = change(whole, resolutions=whole.resolutions[:2])
    (entry,) = (e for e in diff(whole, less).differences if e.area == "resolution")
    assert (entry.subject, entry.right) == ("ctranslate2: cublas", "never opened")
    text = render_diff(diff(whole, less), Canvas(colored=False, width=100, ascii_only=False))
    assert text.endswith("{site} is the site-packages folder of each side\n")


def test_driver_and_gpus_of_two_machines_and_of_a_lock() -> None:
    one, other = environment(driver=Present("550.54.15")), environment(driver=Present("580.65.06"))
    assert [e.area for e in diff(one, other).differences] == ["driver"]
    assert diff(one, other, ("lock", "snapshot")).differences == ()
    exact = state(one, "lock", driver_policy="exact")
    assert [e.area for e in compare_states(exact, state(other), MATRIX).differences] == ["driver"]
    unread = environment(driver=Unknown("NVML hung"))
    found = diff(one, unread)
    assert ([e for e in found.differences if e.area == "driver"], found.open) == ([], ("the driver: not known in B",))


def test_other_variables_by_place() -> None:
    def with_variables(root: str, **values: str) -> Snapshot:
        variables = tuple(Variable(name=n, value=v, source="process") for n, v in values.items())
        return change(environment(root=root), variables=variables)

    one = with_variables("/home/a/x", CUDA_VISIBLE_DEVICES="0", CUDNN_LOGDEST="/home/a/x/.venv/log")
    other = with_variables("/srv/y", CUDA_VISIBLE_DEVICES="1", CUDNN_LOGDEST="/srv/y/.venv/log")
    found = [e for e in diff(one, other).differences if e.area == "variable"]
    assert [(e.subject, e.left, e.right) for e in found] == [("CUDA_VISIBLE_DEVICES", "0", "1")]


@pytest.mark.parametrize("hidden_side", [0, 1])
def test_what_one_side_could_not_see_is_open_and_no_difference(hidden_side: int) -> None:
    hidden = change(
        environment(packages={k: v for k, v in PACKAGES.items() if k != "numpy"}),
        interpreter=Present(interpreter(unknowns=("x.pth has an import line",))),
    )
    states = [environment(), environment()]
    states[hidden_side] = hidden
    found = diff(states[0], states[1])
    assert (found.differences, found.exit_status) == ((), 0)
    assert any("numpy" in q and "x.pth" in q for q in found.open)


def test_another_platform_is_one_difference_and_says_what_it_hides() -> None:
    snapshot = environment()
    arm = change(snapshot, host=change(snapshot.host, machine="aarch64"))  # type: ignore[arg-type]
    found = diff(snapshot, arm)
    assert [e.area for e in found.differences if e.area != "finding"] == ["platform"]
    assert "cannot be compared" in found.open[0]
    assert found.exit_status == 1


def test_all_names_what_is_the_same() -> None:
    found = diff(environment(), environment(), everything=True)
    items = {e.area: e.items for e in found.equal}
    assert "ctranslate2 4.6.0" in items["distribution"] or any(
        i.startswith("ctranslate2 ") for i in items["distribution"]
    )
    assert "{site}/nvidia/cudnn/lib/libcudnn_ops.so.9" in items["library"]


def test_only_one_consumer() -> None:
    found = diff(environment(), environment(search_path=None), consumers=("torch",))
    assert found.outcomes == ()


def test_text_and_markdown_show_hostile_names_as_they_are() -> None:
    evil = "a|b`c`\x1b[31m<b>\n# x\u202e@me"
    right = environment(packages={**PACKAGES, evil: "1"})
    document = diff(environment(), right)
    for text in (
        render_diff(document, Canvas(colored=False, width=10_000, ascii_only=False)),
        render_diff_markdown(document),
    ):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\n# x" not in text
    assert "| a|b" not in render_diff_markdown(document)
    assert "<b>" not in render_diff_markdown(document)


def test_text_is_short_where_nothing_differs() -> None:
    text = render_diff(diff(environment(), environment()), Canvas(colored=False, width=10_000, ascii_only=False))
    assert text.splitlines()[-1] == "no difference"
    assert len(text.splitlines()) == 5


def test_packages_beside_the_gpu_stack_that_one_side_has_are_one_line() -> None:
    more = {f"p{n}": f"1.{n}" for n in range(20)}
    document = diff(environment(), environment(packages={**PACKAGES, **more}))
    assert len(document.differences) == 20
    text = " ".join(render_diff(document, Canvas(colored=False, width=100, ascii_only=False)).split())
    assert "warn 20 distributions B p0 1.0, p1 1.1, p10 1.10," in text
    assert "not installed" not in text
    assert "20 differences" in text
