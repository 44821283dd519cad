"""GPD301, GPD401 to GPD405, GPD472 to GPD474: which releases would meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpudoctor.lint.judge_published import judge_missing, judge_newer, place_of, suits_nobody
from gpudoctor.lint.plan import Chosen, Disagreement, is_build_known
from gpudoctor.lint.scene import Scene, cuda_of_label, edit, line_of, package, say, who
from gpudoctor.matrix.claims import Conflicts, HasGpuCode, NeedsPython, PairsWith, Requires, Yanked
from gpudoctor.matrix.versions import matches_version
from gpudoctor.model.finding import Evaluation, Open, Pass, Subject
from gpudoctor.rules.base import Rule
from gpudoctor.rules.reading import listed
from gpudoctor.rules.releases import clashes

Rules = Mapping[str, Rule]
_NO_CAUSE = "an installer refuses it: nothing of it ever runs"


def judge_disagreements(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD472: requirements that exclude each other."""
    for bad in scene.plan.disagreements:
        yield _disagreement(scene, rules["GPD472"], bad)


def _disagreement(scene: Scene, rule: Rule, bad: Disagreement) -> Evaluation:
    wants = [f"{who(scene, n.by)} requires {bad.name}{n.specifier}" for n in bad.needs if n.specifier]
    lines = [f"{r.place.file}:{r.place.line or '?'} {r.name}{r.specifier}" for r in bad.lines]
    stated = listed([f"{r.name}{r.specifier}" for r in bad.lines if r.specifier]) or bad.name
    against = f", but {listed(wants)}" if wants else ": no release is all of that"
    return say(
        rule,
        package(bad.name),
        f"The files want {stated}{against}; an installer refuses this, or a later install line replaces what an "
        "earlier one installed.",
        bad.place,
        cause=None,
        reason=_NO_CAUSE,
        evidence=tuple(("line", line) for line in lines) + tuple(("required by", w) for w in wants),
        facts=tuple(n.fact for n in bad.needs),
        fixes=(
            edit(f"Change one of these lines; `gpudoctor pins` finds releases of {bad.name} and the others that fit"),
        ),
    )


# --- pairs and conflicts ---------------------------------------------------------------------------------------------


def judge_pairs(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD402: releases, or CUDA builds of one family that do not match."""
    rule = rules.get("GPD402")
    if rule is None:
        return
    disagreeing = {d.name for d in scene.plan.disagreements}
    for chosen in scene.plan.packages.values():
        if chosen.version is None:
            continue
        for fact, claim in scene.matrix.facts(chosen.name, PairsWith, chosen.version, scene.target.platform):
            other = scene.plan.packages.get(claim.package)
            if other is None or other.version is None:
                continue
            if not matches_version(claim.versions, other.version):
                if not (claim.declared and claim.package in disagreeing):
                    yield _pair(scene, rule, chosen, other, claim, fact.id)
            elif trouble := _cuda_trouble(scene, chosen, other, claim):
                yield _cuda_pair(rule, chosen, other, claim, fact.id, trouble)
            else:
                yield Pass(chosen.name)


def _pair(scene: Scene, rule: Rule, chosen: Chosen, other: Chosen, claim: PairsWith, fact: str) -> Evaluation:
    fitting = next((v for v in chosen.candidates if _pair_fits(scene, chosen.name, v, other)), None)
    today = "" if chosen.pinned else f" ({chosen.name} is not pinned, and this is what an install takes today)"
    fix = (
        edit(f"Pin {chosen.name}=={fitting}, which fits {other.titled}")
        if fitting
        else edit(f"Take a release of {chosen.name} for {other.titled}, or {claim.package}{claim.versions}")
    )
    return say(
        rule,
        package(chosen),
        f"{chosen.titled} is made for {claim.package} {claim.versions.lstrip('=')}, not for {other.titled}{today}: "
        f"{claim.symptom or 'they do not work together'}.",
        chosen.place,
        cause=claim.cause or "torch-family-abi-mismatch",
        evidence=((chosen.name, line_of(chosen)), (other.name, line_of(other))),
        facts=(fact,),
        fixes=(fix,),
    )


def _pair_fits(scene: Scene, name: str, version: str, other: Chosen) -> bool:
    found = scene.matrix.facts(name, PairsWith, version, scene.target.platform)
    return all(matches_version(c.versions, other.version) for _, c in found if c.package == other.name) and bool(found)


def _cuda_trouble(scene: Scene, chosen: Chosen, other: Chosen, claim: PairsWith) -> tuple[str, str] | None:
    """Return the two CUDA releases of a pair that compares them and would find them unequal."""
    if claim.cuda is None:
        return None
    mine, theirs = _cuda(scene, chosen, other), _cuda(scene, other, other)
    if mine is None or theirs is None:
        return None
    same = mine == theirs if claim.cuda == "same-release" else mine.split(".")[0] == theirs.split(".")[0]
    return None if same else (mine, theirs)


def _cuda(scene: Scene, chosen: Chosen, torch: Chosen) -> str | None:
    """Return a build's CUDA: its label's; else that of the package index, which builds a family with one CUDA."""
    if labelled := cuda_of_label(chosen.version):
        return labelled
    if "+" in (chosen.version or ""):
        return None
    known = scene.matrix.facts(torch.name, HasGpuCode, torch.public, scene.target.platform)
    own = scene.matrix.facts(chosen.name, HasGpuCode, chosen.version, scene.target.platform)
    found = own or known
    return found[0][1].cuda if found else None


def _cuda_pair(
    rule: Rule, chosen: Chosen, other: Chosen, claim: PairsWith, fact: str, trouble: tuple[str, str]
) -> Evaluation:
    return say(
        rule,
        package(chosen),
        f"{chosen.titled} is a build for CUDA {trouble[0]}, {other.titled} one for CUDA {trouble[1]}: they come from "
        f"different indexes, and {claim.symptom or 'they compare the two'}.",
        chosen.place,
        cause=claim.cause or "torch-family-abi-mismatch",
        evidence=((chosen.name, line_of(chosen)), (other.name, line_of(other))),
        facts=(fact,),
        fixes=(edit(f"Install {chosen.name} and {other.name} from the same index, in one install line"),),
    )


def judge_clashes(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD403 (releases that break each other) and GPD401 (packages that overwrite each other)."""
    rule = rules.get("GPD403")
    for clash in clashes(scene.matrix, scene.plan.versions(), scene.target.platform):
        one, other = scene.plan.packages[clash.fact.subject], scene.plan.packages[clash.claim.package]
        if rule is None or _is_of_libraries(scene, clash.claim):
            continue
        if _torch_takes_part(scene, clash.claim):
            yield _clash(scene, rule, one, other, clash.claim, clash.fact.id)
    for fact in scene.matrix.data.facts:
        claim = fact.claim
        if not isinstance(claim, Conflicts) or not claim.shares_files:
            continue
        one_, other_ = scene.plan.packages.get(fact.subject), scene.plan.packages.get(claim.package)
        if one_ is None or other_ is None:
            continue
        if matches_version(fact.when.versions, one_.public) and matches_version(claim.versions, other_.public):
            yield _shared(rules["GPD401"], one_, other_, claim, fact.id)


def _is_of_libraries(scene: Scene, claim: Conflicts) -> bool:
    """Tell whether a conflict is one of GPU libraries: who brings which is judged by itself, images and all."""
    cause = scene.matrix.causes.get(claim.cause or "")
    return cause is not None and cause.group == "libraries"


def _torch_takes_part(scene: Scene, claim: Conflicts) -> bool:
    """Tell whether torch has the default that a conflict of two other packages comes from.

    The matrix says of some package with which torch that begins; of two packages that conflict through it, it does not.
    """
    torch = scene.plan.version("torch")
    if claim.cause != "torch-weights-only" or claim.package == "torch" or torch is None:
        return True
    since = {
        f.claim.versions
        for f in scene.matrix.data.facts
        if isinstance(f.claim, Conflicts) and f.claim.cause == claim.cause and f.claim.package == "torch"
    }
    return not since or any(matches_version(versions, torch) for versions in since)


def _clash(scene: Scene, rule: Rule, one: Chosen, other: Chosen, claim: Conflicts, fact: str) -> Evaluation:
    movable = [c for c in (one, other) if not c.pinned]
    today = f" ({listed([c.name for c in movable])}: not pinned, what an install takes today)" if movable else ""
    shown = next((c for c in (other, one) if c.lines), other)
    outside = (v for v in other.candidates if not matches_version(claim.versions, v))
    paired = scene.matrix.facts(other.name, PairsWith, other.version, scene.target.platform)
    fitting = next((v for v in outside if not paired or _pair_fits(scene, other.name, v, one)), None)
    fix = (
        edit(f"Limit {other.name} to a release outside {claim.versions}, such as {other.name}=={fitting}")
        if fitting and not other.pinned
        else edit(f"Move {one.name} or {other.name} to releases that fit each other")
    )
    return say(
        rule,
        package(shown),
        f"{one.titled} does not work with {other.titled}{today}: {claim.symptom or 'they break each other'}.",
        shown.place,
        cause=claim.cause,
        level=claim.level,
        evidence=((one.name, line_of(one)), (other.name, line_of(other))),
        facts=(fact,),
        fixes=(fix,),
        reason=None if claim.cause else "the taxonomy has no cause for it",
    )


def _shared(rule: Rule, one: Chosen, other: Chosen, claim: Conflicts, fact: str) -> Evaluation:
    keep = claim.keep
    words = f"; the one installed last wins, so {keep} may be gone" if keep else "; the one installed last wins"
    shown = next((c for c in (other, one) if c.lines and c.name != keep), one if one.lines else other)
    return say(
        rule,
        Subject(kind="distribution", name=f"{one.name}, {other.name}"),
        f"{one.titled} and {other.titled} write the same files into one folder{words}, and nothing says so.",
        shown.place,
        cause="cpu-only-build" if keep else "cudnn-cuda-mismatch",
        level="warning" if keep else "error",
        evidence=((one.name, line_of(one)), (other.name, line_of(other))),
        facts=(fact,),
        fixes=(
            edit(f"Install {keep} in a last line of its own, with --no-deps and --force-reinstall")
            if keep
            else edit(f"Leave out {one.name} or {other.name}"),
        ),
    )


# --- single releases -------------------------------------------------------------------------------------------------


def judge_releases(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD473, GPD474, GPD405, GPD404 and GPD301: what is wrong with a release by itself."""
    for chosen in scene.plan.unchosen:
        if chosen.name not in {d.name for d in scene.plan.disagreements}:
            wanted = f"{chosen.name}{chosen.bounded}"
            yield Open(f"{wanted} ({line_of(chosen)}): no release with a wheel is known that fits", chosen.name)
    for chosen in scene.plan.packages.values():
        if chosen.missing:
            yield judge_missing(scene, rules, chosen, chosen.missing)
        if chosen.version is None:
            continue
        yield from _withdrawn(scene, rules, chosen)
        if is_build_known(chosen):
            yield from _python(scene, rules, chosen)
        yield from _cpu_only(scene, rules, chosen)
        yield from _forgotten(scene, rules, chosen)


def _withdrawn(scene: Scene, rules: Rules, chosen: Chosen) -> Iterator[Evaluation]:
    if not chosen.pinned or not chosen.lines or chosen.lines[0].index:
        return  # another index has marks of its own
    yanked = scene.matrix.facts(chosen.name, Yanked, chosen.version)
    if yanked:
        fact, claim = yanked[0]
        yield say(
            rules["GPD473"],
            package(chosen),
            f"{chosen.titled} was withdrawn by its maintainers{f' ({claim.reason})' if claim.reason else ''}.",
            chosen.place,
            cause=None,
            reason="what is broken in a withdrawn release is its maintainers' to say",
            evidence=(("line", line_of(chosen)),),
            facts=(fact.id,),
            fixes=(edit(f"Pin another release of {chosen.name}"),),
        )
        return
    yield from judge_newer(scene, chosen)


def _python(scene: Scene, rules: Rules, chosen: Chosen) -> Iterator[Evaluation]:
    rule, python = rules.get("GPD405"), scene.target.python
    if rule is None or python is None or chosen.version is None:
        return
    found = scene.matrix.facts(chosen.name, NeedsPython, chosen.version, scene.target.platform)
    bad = next(((f, c) for f, c in found if not matches_version(c.versions, python) and not suits_nobody(c)), None)
    if bad is None:
        if found:
            yield Pass(chosen.name)
        return
    decided = scene.target.python_place
    yield say(
        rule,
        package(chosen),
        f"{chosen.titled} has no wheel for Python {python}: it needs Python {bad[1].versions}.",
        chosen.place,
        cause="no-wheel-for-python",
        level="error",
        evidence=(("line", line_of(chosen)), ("Python", f"{python}, from {place_of(decided)}" if decided else python)),
        facts=(bad[0].id,),
        fixes=(edit(f"Take a Python {bad[1].versions}, or another release of {chosen.name}"),),
    )


def _cpu_only(scene: Scene, rules: Rules, chosen: Chosen) -> Iterator[Evaluation]:
    label = (chosen.version or "").partition("+")[2]
    code = scene.code(chosen)
    is_cpu = label == "cpu" or (code is not None and code[1].cuda is None and chosen.name != "onnxruntime")
    if not is_cpu or (not chosen.lines and label == "cpu"):
        return
    if not _gpu_is_meant(scene, chosen):
        return
    yield say(
        rules["GPD301"],
        Subject(kind="consumer", name=chosen.name),
        f"{chosen.titled} is a build without GPU code{' for ' + scene.target.platform if code and not label else ''}, "
        "although a GPU is meant: it will run on the CPU.",
        chosen.place,
        cause="cpu-only-build",
        evidence=(("line", line_of(chosen)), ("index", chosen.lines[0].index if chosen.lines else None)),
        facts=(code[0].id,) if code else (),
        fixes=(edit("Take the build from a CUDA index, such as https://download.pytorch.org/whl/cu128"),)
        if label
        else (),
    )


def _gpu_is_meant(scene: Scene, chosen: Chosen) -> bool:
    cuda_wheels = any(
        n.startswith(("nvidia-cu", "onnxruntime-gpu")) and c.lines
        for n, c in scene.plan.packages.items()
        if n != chosen.name
    )
    return bool(scene.target.gpus or scene.target.driver or cuda_wheels or any(i.cuda for i in scene.images))


def _forgotten(scene: Scene, rules: Rules, chosen: Chosen) -> Iterator[Evaluation]:
    """Yield GPD404: what a release needs and its metadata does not say, CUDA libraries apart (those are GPD201's)."""
    rule = rules.get("GPD404")
    if rule is None:
        return
    providers = {p.distribution for f in scene.matrix.families.values() for p in f.providers}
    found = scene.matrix.facts(chosen.name, Requires, chosen.version, scene.target.platform, scene.target.python)
    for fact, claim in found:
        other = scene.plan.packages.get(claim.package)
        if claim.declared or claim.package in providers or claim.package.startswith("nvidia-"):
            continue
        if other is None or (other.version is not None and not matches_version(claim.versions, other.version)):
            have = f", and the files install {other.titled}" if other else ", and nothing in the files installs it"
            yield say(
                rule,
                package(chosen),
                f"{chosen.titled} needs {claim.package}{claim.versions}, which its metadata does not say{have}.",
                chosen.place,
                cause=None,
                level="warning",
                reason="a requirement that is not stated",
                evidence=(("line", line_of(chosen)),),
                facts=(fact.id,),
                fixes=(edit(f"Add {claim.package}{claim.versions}"),),
            )
