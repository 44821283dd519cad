"""Which releases of packages that are not pinned go with the rest: each is judged as if it were pinned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from gpudoctor.lint.judge_cudnn import judge_cudnn
from gpudoctor.lint.judge_libraries import judge_libraries
from gpudoctor.lint.judge_machine import gpus_without_code, judge_driver, judge_gpus
from gpudoctor.lint.judge_packages import judge_clashes, judge_disagreements, judge_pairs, judge_releases
from gpudoctor.lint.plan import Chosen, is_build_known, make_plan
from gpudoctor.lint.scene import Scene
from gpudoctor.lint.types import Parts, Requirement
from gpudoctor.matrix.claims import HasGpuCode
from gpudoctor.matrix.versions import matches_version
from gpudoctor.model.finding import Fail, Finding
from gpudoctor.rules.base import Rule

Rules = Mapping[str, Rule]

# Faults that come with a release, and that another release of the package would not have.
_OF_RELEASES = ("GPD104", "GPD107", "GPD202", "GPD203", "GPD302", "GPD402", "GPD403", "GPD405", "GPD472")
_JUDGES = (
    judge_disagreements,
    judge_pairs,
    judge_clashes,
    judge_driver,
    judge_gpus,
    judge_cudnn,
    judge_libraries,
    judge_releases,
)
# A set of which so many were tried in vain is `gpudoctor pins`' to find, which searches for one.
_MOST_TRIALS = 120
_MOST_LINES = 2000


def recommend(scene: Scene, rules: Rules, names: list[str]) -> dict[str, str]:
    """Return a release of each of these packages, so that none is ruled out by the rest, the driver or the GPUs.

    Args:
        scene: The environment.
        rules: The rules, by id.
        names: Packages that are not pinned, of which the newest that fits is wanted.

    Returns:
        The releases, by package; empty where such a set was not found.
    """
    scene = _of_known(scene)
    if len(scene.parts.requirements) > _MOST_LINES:
        return {}
    pins: dict[str, str] = {}
    trials = _MOST_TRIALS
    waiting = sorted(names, key=_order)
    while waiting:
        name = waiting.pop(0)
        for version in _allowed(scene.plan.packages[name]):
            trials -= 1
            if trials < 0:
                return {}
            trial = _pinned(scene, {**pins, name: version})
            if not _is_ruled_out(trial, rules, name, version, waiting):
                pins[name] = version
                break
        else:
            return {}
    return pins


def _of_known(scene: Scene) -> Scene:
    """Return the environment without the packages that the matrix knows nothing of: each trial goes through all."""
    known = {r.name for r in scene.parts.requirements}
    known = {name for name in known if scene.matrix.knows(name) or scene.matrix.releases(name)}
    parts = Parts()
    parts.add(scene.parts)
    parts.requirements = [r for r in parts.requirements if r.name in known]
    return msgspec.structs.replace(scene, parts=parts)


def _order(name: str) -> int:
    """Return torch first, by which its family and the libraries are chosen, and the libraries last."""
    return (name != "torch") + (not name.startswith("torch")) + name.startswith("nvidia-")


def _allowed(chosen: Chosen) -> Iterator[str]:
    """Yield the releases that the lines allow, newest first: the one that an install takes today before all."""
    today = chosen.public
    if today in chosen.candidates:
        yield today
    for version in chosen.candidates:
        if version != today and all(matches_version(n.specifier, version) for n in chosen.needs):
            yield version


def _pinned(scene: Scene, pins: dict[str, str]) -> Scene:
    """Return the environment with some packages pinned, as a constraints file would."""
    parts = Parts()
    parts.add(scene.parts)
    for name, version in pins.items():
        place = scene.plan.packages[name].place
        parts.requirements.append(Requirement(place=place, name=name, specifier=f"=={version}", constraint=True))
    plan = make_plan(parts, scene.images, scene.matrix, scene.target)
    return msgspec.structs.replace(scene, parts=parts, plan=plan)


def _is_ruled_out(scene: Scene, rules: Rules, name: str, version: str, waiting: list[str]) -> bool:
    chosen = scene.plan.packages.get(name)
    if chosen is None or chosen.public != version or gpus_without_code(scene, chosen) or _is_unknown(scene, chosen):
        return True
    movable = [c for c in (scene.plan.packages.get(n) for n in waiting) if c is not None and c.public]
    return any(
        _names(finding, name, version) and not any(_names(finding, c.name, c.public or "") for c in movable)
        for finding in _faults(scene, rules)
    )


def _is_unknown(scene: Scene, chosen: Chosen) -> bool:
    """Tell whether nothing is known of a release, where the package's other releases hold GPU code."""
    if not is_build_known(chosen) or scene.code(chosen) is not None:
        return False
    platform = scene.target.platform
    facts = (f for f in scene.matrix.data.facts if f.subject == chosen.name and isinstance(f.claim, HasGpuCode))
    return any(platform in f.when.platforms or not f.when.platforms for f in facts)


def _faults(scene: Scene, rules: Rules) -> Iterator[Finding]:
    for judge in _JUDGES:
        for answer in judge(scene, rules):
            if isinstance(answer, Fail) and answer.finding.level != "note":
                finding = answer.finding
                if finding.rule in _OF_RELEASES or finding.cause == "cudnn-cuda-mismatch":
                    yield finding


def _names(finding: Finding, name: str, version: str) -> bool:
    """Tell whether a finding speaks of a release: `torch 2.5.1+cu124`, `torch==2.5.1`."""
    release = rf"(?<![\w.-]){re.escape(name)}(?: |==){re.escape(version)}(?:\+[\w.]+)?(?!\.?\d)"
    return re.search(release, finding.message) is not None
