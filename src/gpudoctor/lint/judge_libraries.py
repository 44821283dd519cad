"""GPD201, GPD202, GPD203, GPD206: who brings the libraries that a consumer opens, and will it look there?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from gpudoctor.lint.plan import Chosen
from gpudoctor.lint.scene import Scene, edit, say
from gpudoctor.matrix.index import matches_version
from gpudoctor.model.finding import Evaluation, Fix, Level, Location, NotApplicable, Open, Pass, Subject
from gpudoctor.rules.base import Rule
from gpudoctor.rules.reading import TORCH_FIRST, listed

Rules = Mapping[str, Rule]

_CONSUMERS = ("ctranslate2", "onnxruntime-gpu")
_APT = (
    (re.compile(r"libcudnn(?P<major>\d+)(?:-dev|-cuda-\d+|-dev-cuda-\d+)?$"), ("cudnn",)),
    (re.compile(r"cudnn(?P<major>\d+)?-cuda-\d+"), ("cudnn",)),
    (re.compile(r"libcublas-(?:dev-)?(?P<major>\d+)-\d+$"), ("cublas",)),
    (re.compile(r"cuda(?:-toolkit|-libraries|-runtime)?-(?P<major>\d+)(?:-\d+)?$"), ("cublas", "cufft")),
)


class Supply(msgspec.Struct, frozen=True, kw_only=True):
    """A library family that something brings.

    Attributes:
        family: `cudnn`, `cublas`, ….
        major: Its SONAME's major.
        how: `system` (where every program looks), `wheel` (where none looks by itself), `torch` (where torch does).
        words: Who brings it.
        place: The line.
        directory: For wheels, the folder below site-packages.
        fact: Fact that says so, where one does.
    """

    family: str
    major: str
    how: str
    words: str
    place: Location
    directory: str = ""
    fact: str | None = None


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer opens."""

    family: str
    major: str
    when: str
    fact: str
    names: tuple[str, ...]


def judge_libraries(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield what becomes of each consumer's libraries."""
    consumers = [c for n, c in scene.plan.packages.items() if n in _CONSUMERS]
    if not consumers:
        yield NotApplicable("no consumer that opens GPU libraries by name")
        return
    if scene.target.platform != "linux-x86_64":
        yield Open(f"which libraries are found on {scene.target.platform} is not known from files", "libraries")
        return
    supplies = tuple(_supplies(scene))
    for consumer in consumers:
        if consumer.version is None:
            yield Open(f"{consumer.name}: which release would be installed is not known", consumer.name)
            continue
        for want in wants_of(scene, consumer):
            yield _judge(scene, rules, consumer, want, supplies)


def wants_of(scene: Scene, consumer: Chosen) -> tuple[Want, ...]:
    """Return what a consumer opens: one a library family."""
    wants: dict[str, Want] = {}
    for fact, claim in scene.libraries(consumer):
        names = tuple(o.names[0].replace(".{shim}", f".{claim.major}") for o in claim.opens if not o.optional)
        wants.setdefault(
            claim.library,
            Want(family=claim.library, major=claim.major, when=claim.when_opened, fact=fact.id, names=names),
        )
    code = scene.code(consumer)
    if "cublas" not in wants and code and code[1].cuda:
        major = code[1].cuda.split(".")[0]
        name = f"libcublas.so.{major}"
        wants["cublas"] = Want(
            family="cublas", major=major, when="when it starts on the GPU", fact=code[0].id, names=(name,)
        )
    return tuple(wants.values())


# --- who brings what -------------------------------------------------------------------------------------------------


def _supplies(scene: Scene) -> Iterator[Supply]:
    for image in scene.images:
        if image.cuda and image.libraries:
            major = image.cuda.split(".")[0]
            words = f"the base image {image.image.reference}"
            yield Supply(family="cublas", major=major, how="system", words=words, place=image.image.place)
        if image.cudnn:
            words = f"the base image {image.image.reference}"
            major = image.cudnn.split(".")[0]
            yield Supply(family="cudnn", major=major, how="system", words=words, place=image.image.place)
    for system in scene.parts.system:
        for pattern, families in _APT:
            if (match := pattern.match(system.name)) and match["major"]:
                for family in families:
                    words = f"the system package {system.name}"
                    yield Supply(family=family, major=match["major"], how="system", words=words, place=system.place)
    yield from _wheels(scene)
    yield from _bundled(scene)


def _wheels(scene: Scene) -> Iterator[Supply]:
    for family in scene.matrix.families.values():
        for provider in family.providers:
            chosen = scene.plan.packages.get(provider.distribution)
            if chosen is None or not matches_version(provider.versions, chosen.version):
                continue
            by_torch = any(n.by == "torch" for n in chosen.needs)
            yield Supply(
                family=family.name,
                major=provider.major,
                how="torch" if by_torch else "wheel",
                words=f"{chosen.titled}{', which torch requires' if by_torch else ''}",
                place=chosen.place,
                directory=provider.directory,
            )


def _bundled(scene: Scene) -> Iterator[Supply]:
    """Yield what a torch without NVIDIA's wheels carries in its own folder: builds of PyTorch's index do."""
    torch = scene.plan.packages.get("torch")
    if torch is None or torch.version is None:
        return
    if any(n.by == "torch" and name.startswith("nvidia-") for name, c in scene.plan.packages.items() for n in c.needs):
        return
    cuda = scene.cuda(torch)
    words = f"{torch.titled}, in its own folder"
    if cuda:
        yield Supply(family="cublas", major=cuda.split(".")[0], how="torch", words=words, place=torch.place)
    for fact, claim in scene.libraries(torch):
        if claim.library != "cublas":
            family, major = claim.library, claim.major
            yield Supply(family=family, major=major, how="torch", words=words, place=torch.place, fact=fact.id)


# --- the verdict -----------------------------------------------------------------------------------------------------


def _judge(scene: Scene, rules: Rules, consumer: Chosen, want: Want, supplies: tuple[Supply, ...]) -> Evaluation:
    mine = [s for s in supplies if s.family == want.family]
    fitting = [s for s in mine if s.major == want.major]
    if any(s.how == "system" for s in fitting):
        return Pass(consumer.name)
    wheels = [s for s in fitting if s.directory]
    if any(_is_on_path(scene, s.directory) or _is_linked(scene, consumer, s) for s in wheels):
        return Pass(consumer.name)
    if want.family == "cudnn" and not all(i.cudnn_known for i in scene.images):
        return Open(f"{consumer.titled} needs cuDNN {want.major}, and which one the base image holds is not known")
    own_folder = next((s for s in fitting if s.how == "torch"), None)
    if own_folder is not None:
        return _through_torch(scene, rules, consumer, want, own_folder)
    if fitting:
        return _off_path(scene, rules, consumer, want, fitting[0])
    if mine:
        return _other_major(scene, rules, consumer, want, mine)
    return _nowhere(scene, rules, consumer, want)


def _is_on_path(scene: Scene, directory: str) -> bool:
    return any(s.name == "LD_LIBRARY_PATH" and directory in s.value for s in scene.parts.settings)


def _is_linked(scene: Scene, consumer: Chosen, supply: Supply) -> bool:
    folders = {"ctranslate2": "ctranslate2.libs", "onnxruntime-gpu": "onnxruntime/capi"}
    return any(
        folders[consumer.name] in link.folder and (supply.directory in link.source or supply.family in link.source)
        for link in scene.parts.links
    )


def _title(scene: Scene, want: Want) -> str:
    family = scene.matrix.families.get(want.family)
    return f"{family.title if family else want.family} {want.major}"


def _consumer(consumer: Chosen) -> Subject:
    return Subject(kind="consumer", name="onnxruntime" if consumer.name.startswith("onnxruntime") else consumer.name)


def _cause(scene: Scene, want: Want) -> str:
    family = scene.matrix.families.get(want.family)
    return family.cause if family else "cuda-lib-not-loadable"


def _evidence(consumer: Chosen, want: Want, *more: tuple[str, str]) -> tuple[tuple[str, str | None], ...]:
    from gpudoctor.lint.scene import line_of

    return (
        ("wanted", ", ".join(want.names)),
        ("asked by", f"{consumer.titled}, {want.when}"),
        *more,
        ("line", line_of(consumer)),
    )


def _today(consumer: Chosen) -> str:
    return "" if consumer.pinned else " (the release that an install takes today)"


def _through_torch(scene: Scene, rules: Rules, consumer: Chosen, want: Want, supply: Supply) -> Evaluation:
    """Judge a library that only torch finds: another consumer gets it once torch has loaded it."""
    torch_first = next((n for n in TORCH_FIRST if n in scene.plan.packages), None)
    known = scene.matrix.consumers.get(consumer.name)
    itself = known and any(
        i.package == "torch" and matches_version(i.versions, consumer.version) for i in known.imports_first
    )
    loaded_at_import = want.family != "cudnn"
    if not loaded_at_import and torch_first is None:
        return _off_path(scene, rules, consumer, want, supply)
    level: Level = "error" if scene.is_closed else "warning"
    if torch_first is not None or consumer.name.startswith("onnxruntime"):
        level = "warning"
    if loaded_at_import and itself:
        level = "note"
    when = "imported torch before" if loaded_at_import else "ran a convolution with torch before"
    who = f"; {torch_first} does" if torch_first else ""
    who = f"; {consumer.name} itself imports it" if loaded_at_import and itself else who
    return say(
        rules["GPD206"],
        _consumer(consumer),
        f"{consumer.titled}{_today(consumer)} gets {_title(scene, want)} only in a process that {when}{who}: "
        f"it comes with {supply.words}, where {consumer.name} never looks by itself.",
        consumer.place,
        cause=_cause(scene, want),
        level=level,
        evidence=_evidence(consumer, want, ("brought by", supply.words)),
        facts=tuple(f for f in (want.fact, supply.fact) if f),
        fixes=(_path_fix(supply), *_newer_without(scene, consumer, want)),
    )


def _off_path(scene: Scene, rules: Rules, consumer: Chosen, want: Want, supply: Supply) -> Evaluation:
    after = "the first transcription on the GPU fails" if consumer.name == "ctranslate2" else "it falls back to the CPU"
    open_end = "" if scene.is_closed else ", unless whoever starts it sets LD_LIBRARY_PATH"
    return say(
        rules["GPD201"],
        _consumer(consumer),
        f"{consumer.titled}{_today(consumer)} will not find {_title(scene, want)}: it comes with {supply.words}, where "
        f"{consumer.name} never looks; {after}{open_end}.",
        consumer.place,
        cause=_cause(scene, want),
        level="error" if scene.is_closed else "warning",
        evidence=_evidence(consumer, want, ("brought by", supply.words)),
        facts=tuple(f for f in (want.fact, supply.fact) if f),
        fixes=(_path_fix(supply), *_newer_without(scene, consumer, want)),
    )


def _path_fix(supply: Supply) -> Fix:
    if not supply.directory:
        return edit(
            "Install the library's own package where every program looks: a base image or system package with it"
        )
    line = f'ENV LD_LIBRARY_PATH="<site-packages>/{supply.directory}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"'
    return edit(
        "Set LD_LIBRARY_PATH where the process is started (`gpudoctor env` prints the folders once it is installed)",
        line,
    )


def _newer_without(scene: Scene, consumer: Chosen, want: Want) -> tuple[Fix, ...]:
    """Return the fix that does without the library: a release that does not open it."""
    from gpudoctor.matrix.claims import NeedsLibrary

    for version in reversed(consumer.candidates or tuple(scene.matrix.releases(consumer.name))):
        opened = {c.library for _, c in scene.matrix.facts(consumer.name, NeedsLibrary, version, scene.target.platform)}
        if opened and want.family not in opened and _is_newer(version, consumer.public):
            return (
                edit(f"Or take {consumer.name}>={version}, which needs no {_title(scene, want).rpartition(' ')[0]}"),
            )
    return ()


def _is_newer(one: str, other: str | None) -> bool:
    from packaging.version import Version

    return other is None or Version(one) > Version(other)


def _other_major(scene: Scene, rules: Rules, consumer: Chosen, want: Want, mine: list[Supply]) -> Evaluation:
    rule = rules["GPD202" if want.family == "cudnn" else "GPD203"]
    cause = "cudnn-major-mismatch" if want.family == "cudnn" else "cuda-major-mismatch"
    have = listed(list(dict.fromkeys(f"{s.major} ({s.words})" for s in mine)))
    provider = scene.matrix.provider(want.family, want.major, _cuda_major(scene, consumer))
    fixes = [*_newer_without(scene, consumer, want)]
    if provider:
        fixes.append(edit(f"Or add {provider.distribution}, and its folder to LD_LIBRARY_PATH"))
    return say(
        rule,
        _consumer(consumer),
        f"{consumer.titled}{_today(consumer)} needs {_title(scene, want)}, and these files bring only {have}: one is "
        "no substitute for the other.",
        consumer.place,
        cause=cause,
        evidence=_evidence(consumer, want, *(("brought by", f"{s.words}: {s.major}") for s in mine)),
        facts=(want.fact,),
        fixes=tuple(fixes),
    )


def _cuda_major(scene: Scene, consumer: Chosen) -> str | None:
    cuda = scene.cuda(consumer)
    return cuda.split(".")[0] if cuda else None


def _nowhere(scene: Scene, rules: Rules, consumer: Chosen, want: Want) -> Evaluation:
    if not scene.is_closed:
        return Open(
            f"{consumer.titled} opens {want.names[0]}, which nothing in these files brings: whether the machine has "
            f"{_title(scene, want)} is not known",
            consumer.name,
        )
    provider = scene.matrix.provider(want.family, want.major, _cuda_major(scene, consumer))
    fix = (
        f"Add {provider.distribution} and its folder to LD_LIBRARY_PATH" if provider else f"Bring {_title(scene, want)}"
    )
    return say(
        rules["GPD201"],
        _consumer(consumer),
        f"{consumer.titled}{_today(consumer)} needs {_title(scene, want)}, and nothing in these files brings it: the "
        "base image holds none, and no package does.",
        consumer.place,
        cause=_cause(scene, want),
        evidence=_evidence(consumer, want, ("base image", scene.images[0].image.reference)),
        facts=(want.fact,),
        fixes=(edit(f"{fix}, or build on an image that has it"), *_newer_without(scene, consumer, want)),
    )
