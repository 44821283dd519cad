"""GPD474: pins to releases and builds that the index which is asked does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gpudoctor.lint.indexes import LABELLED, has_build, label_served
from gpudoctor.lint.plan import Chosen, known_releases
from gpudoctor.lint.scene import Scene, edit, line_of, package, say
from gpudoctor.lint.types import TORCH_INDEX
from gpudoctor.matrix.claims import HasGpuCode, NeedsPython
from gpudoctor.matrix.versions import matches_version
from gpudoctor.model.finding import Evaluation, Location, Open
from gpudoctor.rules.base import Rule

Rules = Mapping[str, Rule]
_LABEL = re.compile(r"cu\d+|cpu|xpu|rocm[\d.]+")
_NOTHING_RUNS = "an installer refuses it: nothing of it ever runs"
# PyTorch's pages that list the builds of every label.
_ALL_LABELS = re.compile(r"download(?:-r2)?\.pytorch\.org/whl(?:/torch_stable\.html|/torch)?/?$")
_INDEX_VARIABLE = re.compile(
    r"(PIP|UV)_(EXTRA_INDEX_URL|INDEX_URL|INDEX|DEFAULT_INDEX|FIND_LINKS|TORCH_BACKEND|CONFIG_FILE)"
)


def judge_newer(scene: Scene, chosen: Chosen) -> Iterator[Evaluation]:
    """Yield an open answer for a pinned release that is newer than the matrix, or that is no version at all."""
    from packaging.version import InvalidVersion, Version

    line, known = chosen.lines[0], known_releases(scene.matrix, chosen.name)
    elsewhere = line.url or line.index or line.locked or line.installer == "conda" or "+" in (chosen.version or "")
    if not known or elsewhere or scene.target.platform != "linux-x86_64" or chosen.public is None:
        return
    try:
        wanted = Version(chosen.public)
    except InvalidVersion:
        yield Open(f"{chosen.name}=={chosen.version} is no version that can be compared", chosen.name)
        return
    if wanted > Version(known[0]) and not wanted.is_prerelease:
        where = place_of(line.place)
        yield Open(f"{where}: {chosen.titled} is newer than the matrix, which ends at {known[0]}", chosen.name)


def judge_missing(scene: Scene, rules: Rules, chosen: Chosen, missing: str) -> Evaluation:
    """Return GPD474 for a pinned release that was never published."""
    known = known_releases(scene.matrix, chosen.name)
    nearest = _nearest(known, missing)
    unpublished = tuple(
        (f.id, f.note) for f, c in scene.matrix.facts(chosen.name, NeedsPython, missing) if suits_nobody(c)
    )
    fails = "fails" if unpublished else "fails, or builds it from source"
    return say(
        rules["GPD474"],
        package(chosen),
        f"{chosen.name} {missing} has no wheel on the package index (its releases begin with {known[-1]} and end with "
        f"{known[0]}): an install of these files {fails}.",
        chosen.place,
        cause="no-wheel-for-python",
        level="error" if unpublished else "warning",
        evidence=(
            ("line", line_of(chosen)),
            ("nearest", ", ".join(nearest)),
            *(("known", note) for _, note in unpublished),
        ),
        facts=tuple(fact for fact, _ in unpublished),
        fixes=(edit(f"Pin a release that exists, such as {chosen.name}=={nearest[0]}"),),
    )


def suits_nobody(claim: NeedsPython) -> bool:
    """Tell whether no Python 3 is among a release's: that is how the matrix says that it was never published."""
    return not any(matches_version(claim.versions, f"3.{minor}") for minor in range(20))


def _nearest(known: tuple[str, ...], missing: str) -> list[str]:
    from packaging.version import Version

    wanted = Version(missing)
    older = [v for v in known if Version(v) < wanted]
    return [*older[:1], *[v for v in reversed(known) if Version(v) > wanted][:1]]


def place_of(place: Location) -> str:
    """Return a place in words."""
    return f"{place.file}:{place.line}" if place.line else place.file


def judge_builds(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD474 for a build label (`torch==2.5.1+cu121`) that no index which is asked serves, or of no build."""
    for chosen in scene.plan.packages.values():
        label = _LABEL.match((chosen.version or "").partition("+")[2])
        if label is None or not chosen.lines or chosen.name not in LABELLED:
            continue
        line = chosen.lines[0]
        if line.locked or line.url or line.installer == "conda":
            continue
        unserved = tuple(_unserved(scene, rules, chosen, label[0])) if "+" in line.specifier else ()
        yield from unserved or _unbuilt(scene, rules, chosen, label[0])


def _unserved(scene: Scene, rules: Rules, chosen: Chosen, label: str) -> Iterator[Evaluation]:
    own = [u for r in chosen.lines for u in (r.index, *r.extra_indexes) if u]
    # An index option holds for the whole command, other files that it reads included.
    others = [u for r in scene.parts.requirements for u in (r.index, *r.extra_indexes) if u]
    others += [s.value for s in scene.parts.settings if _INDEX_VARIABLE.fullmatch(s.name)]
    if any(label_served(u) == label or _ALL_LABELS.search(u) for u in (*own, *others)):
        return
    foreign = next((u for u in (*own, *others) if label_served(u) is None), None)
    if foreign:
        yield Open(f"{place_of(chosen.place)}: whether {foreign} has {chosen.titled} is not known", chosen.name)
        return
    given = f"{own[0]} has the builds for {label_served(own[0])} only" if own else "the package index has none of them"
    is_whole = bool(own) or bool(scene.images)
    unless = "" if is_whole else ", unless the installer is told of PyTorch's index elsewhere"
    yield say(
        rules["GPD474"],
        package(chosen),
        f"{chosen.titled} is a build of PyTorch's own index, and {given}: an install of these files finds no such "
        f"release{unless}.",
        chosen.place,
        cause=None,
        level="error" if is_whole else "warning",
        reason=_NOTHING_RUNS,
        evidence=(("line", line_of(chosen)), ("index", ", ".join(own) or "none is named")),
        fixes=(
            edit("Name the index that has it", f"--extra-index-url {TORCH_INDEX}/{label}"),
            edit(f"Or pin {chosen.name}=={chosen.public}, without the label"),
        ),
    )


def _unbuilt(scene: Scene, rules: Rules, chosen: Chosen, label: str) -> Iterator[Evaluation]:
    """Yield GPD474 for a label that PyTorch never built a release for."""
    target, known = scene.target, known_releases(scene.matrix, "torch")
    is_known = chosen.name == "torch" and label.startswith("cu") and chosen.public in known
    if not is_known or target.platform != "linux-x86_64" or has_build(scene.matrix, target, chosen.public or "", label):
        return
    built = [b for b in _labels(scene) if has_build(scene.matrix, target, chosen.public or "", b)]
    with_it = next((v for v in known if has_build(scene.matrix, target, v, label)), None)
    ways = [f"take one of its builds: {', '.join(built)}"] if built else []
    ways += [f"pin torch=={with_it}+{label}, the newest for {label}"] if with_it else []
    yield say(
        rules["GPD474"],
        package(chosen),
        f"PyTorch's index has no build of torch {chosen.public} for {label} that the matrix knows: an install of these "
        "files finds no such release.",
        chosen.place,
        cause=None,
        level="warning",
        reason=_NOTHING_RUNS,
        evidence=(("line", line_of(chosen)), ("index", chosen.lines[0].index), ("builds known", ", ".join(built))),
        fixes=tuple(edit(f"Or {way}" if n else f"{way[0].upper()}{way[1:]}") for n, way in enumerate(ways)),
    )


def _labels(scene: Scene) -> list[str]:
    """Return the CUDA labels of all builds that are known, oldest first."""
    facts = (f for f in scene.matrix.data.facts if f.subject == "torch" and isinstance(f.claim, HasGpuCode))
    return sorted({label for fact in facts for label in fact.when.builds if re.fullmatch(r"cu\d+", label)})
