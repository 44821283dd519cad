"""GPD471: packages of a coupled set that are not pinned, and whose allowed releases differ in what they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpudoctor.lint.plan import Chosen
from gpudoctor.lint.recommend import recommend
from gpudoctor.lint.scene import Scene, edit, line_of, package, say, who
from gpudoctor.matrix.claims import Conflicts, HasGpuCode, NeedsLibrary, PairsWith, Requires
from gpudoctor.matrix.versions import matches_version
from gpudoctor.model.finding import Evaluation, Fix
from gpudoctor.rules.base import Rule
from gpudoctor.rules.reading import listed

Rules = Mapping[str, Rule]


def judge_unpinned(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD471: packages of a coupled set whose allowed releases differ in what they need."""
    coupled = [c for c in scene.plan.packages.values() if _is_coupled(scene, c.name)]
    together = len(coupled) + sum(bool(i.cuda or i.torch) for i in scene.images)
    found: dict[str, list[tuple[str, str, str]]] = {}
    for chosen in scene.plan.packages.values():
        if chosen.pinned or together < 2 or chosen.version is None:
            continue
        if not chosen.lines and not (_opens(scene, chosen.name) and not chosen.name.startswith("nvidia-")):
            continue
        if any(r.locked or r.url for r in chosen.lines):
            continue
        groups = _groups(scene, chosen)
        if len(groups) > 1:
            found[chosen.name] = groups
    fitting = recommend(scene, rules, list(found))
    for name, groups in found.items():
        chosen = scene.plan.packages[name]
        wishes = [*found, *(f"{c.name}=={c.public}" for c in coupled if c.pinned and c.version)]
        yield _unpinned(scene, rules["GPD471"], chosen, groups, _way_out(chosen, fitting, wishes))


def _opens(scene: Scene, name: str) -> bool:
    return any(isinstance(f.claim, (NeedsLibrary, HasGpuCode)) for f in scene.matrix.data.facts if f.subject == name)


def _is_coupled(scene: Scene, name: str) -> bool:
    return any(
        isinstance(f.claim, (NeedsLibrary, HasGpuCode, PairsWith)) for f in scene.matrix.data.facts if f.subject == name
    )


def _groups(scene: Scene, chosen: Chosen) -> list[tuple[str, str, str]]:
    """Return what the allowed releases need, as (words, newest, oldest), newest first; alike neighbours are one."""
    groups: list[list[str]] = []
    words: list[str] = []
    fitting = [v for v in chosen.candidates if all(matches_version(n.specifier, v) for n in chosen.needs)]
    for version in fitting:
        said = _needs_words(scene, chosen.name, version)
        if words and words[-1] == said:
            groups[-1].append(version)
        elif said or not words:
            words.append(said)
            groups.append([version])
    return [(w, g[0], g[-1]) for w, g in zip(words, groups, strict=True)]


def _needs_words(scene: Scene, name: str, version: str) -> str:
    """Return in words what decides with whom a release works."""
    platform, matrix = scene.target.platform, scene.matrix
    parts = []
    code = matrix.facts(name, HasGpuCode, version, platform)
    if code and code[0][1].cuda and _opens_by_name(scene, name):
        parts.append(f"CUDA {code[0][1].cuda.split('.')[0]}")
    titles = {
        f"{matrix.families[c.library].title} {c.major}"
        for _, c in matrix.facts(name, NeedsLibrary, version, platform)
        if c.library in matrix.families and c.library != "cublas"
    }
    parts += sorted(titles)
    for _, pair in matrix.facts(name, PairsWith, version, platform):
        parts.append(f"{pair.package} {pair.versions.lstrip('=')}")
    for _, need in matrix.facts(name, Requires, version, platform, scene.target.python):
        partner = scene.plan.packages.get(need.package)
        # What a pinned partner excludes, an installer passes over.
        coupled = partner is not None and not partner.pinned and _opens(scene, need.package)
        if coupled and need.versions and not need.package.startswith("nvidia-"):
            parts.append(f"{need.package}{need.versions}")
    for fact in matrix.data.facts:
        claim = fact.claim
        if isinstance(claim, Conflicts) and claim.package == name and not claim.shares_files:
            other = scene.plan.packages.get(fact.subject)
            if other and other.version and matches_version(fact.when.versions, other.version):
                parts.append(f"{'not ' if matches_version(claim.versions, version) else ''}for {other.titled}")
    if not parts and code and code[0][1].sass:
        parts.append(f"GPUs from {_dotted(code[0][1].sass[0])} on")
    return ", ".join(dict.fromkeys(parts))


def _opens_by_name(scene: Scene, name: str) -> bool:
    return any(isinstance(f.claim, NeedsLibrary) for f in scene.matrix.data.facts if f.subject == name)


def _dotted(architecture: str) -> str:
    digits = architecture.rstrip("abcdefghijklmnopqrstuvwxyz")
    return f"{digits[:-1]}.{digits[-1]}"


def _way_out(chosen: Chosen, fitting: dict[str, str], wishes: list[str]) -> Fix:
    """Return which release to pin: one that nothing in these files and none of the assumptions rules out."""
    if chosen.name in fitting:
        return edit(f"Pin the release that works, such as {chosen.name}=={fitting[chosen.name]}, or commit a lock")
    asked = " ".join(wishes)
    return edit(
        f"Pin a release that works with the rest, which today's may not; `gpudoctor pins {asked}` looks for one"
    )


def _unpinned(scene: Scene, rule: Rule, chosen: Chosen, groups: list[tuple[str, str, str]], way_out: Fix) -> Evaluation:
    texts = [f"{a if a == b else f'{b} to {a}'}: {words or 'no GPU library by name'}" for words, a, b in groups]
    if chosen.lines:
        head = f"{chosen.name} is not pinned"
    else:
        by = listed([who(scene, n.by) for n in chosen.needs])
        head = f"{chosen.name} is not pinned: {by} {'takes' if len(chosen.needs) == 1 else 'take'} whichever is newest"
    return say(
        rule,
        package(chosen),
        f"{head}; the releases that may be installed differ in what they need, and today it is {chosen.public}.",
        chosen.place,
        cause=None,
        reason="nothing fails as long as the newest release fits",
        evidence=(
            ("line", line_of(chosen)),
            ("allowed", chosen.bounded or "any release"),
            *(("needs", text) for text in texts[:4]),
            ("needs", f"and {len(texts) - 4} more" if len(texts) > 4 else None),
        ),
        fixes=(way_out,),
    )
