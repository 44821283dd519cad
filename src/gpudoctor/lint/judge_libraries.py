"""GPD201, GPD202, GPD203, GPD206: who brings the libraries that a consumer opens, and will it look there?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from gpudoctor.lint.library_wants import (
    Want,
    fixes_of_cuda,
    fixes_of_major,
    fixes_of_nothing,
    fixes_of_path,
    provider_of,
    wants_of,
)
from gpudoctor.lint.paths import names_folder
from gpudoctor.lint.plan import Chosen, is_behind_url, is_build_known, is_from_conda
from gpudoctor.lint.scene import Scene, say
from gpudoctor.lint.types import LOADER_CONF
from gpudoctor.matrix.versions import matches_version
from gpudoctor.model.finding import Evaluation, Level, Location, NotApplicable, Open, Pass, Subject
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


_SEARCHED = ("LD_LIBRARY_PATH", LOADER_CONF)
_SYSTEM_FOLDER = re.compile(r"(/usr)?/lib(64)?(/\w+-linux-gnu)?")

_CONDA = {
    "cudnn": ("cudnn",),
    **dict.fromkeys(("libcublas", "cudatoolkit", "cuda-libraries", "cuda-toolkit", "pytorch-cuda"), ("cublas",)),
    **dict.fromkeys(("cuda", "cuda-version"), ("cublas",)),
    "torch": ("cublas", "cudnn", "cufft"),
}


class Supply(msgspec.Struct, frozen=True, kw_only=True):
    """A library family that something brings.

    Attributes:
        family: `cudnn`, `cublas`, ….
        major: Its SONAME's major.
        how: `system` (where every program looks), `wheel` (where none looks by itself), `torch` (where torch does),
            `conda` (below the environment's prefix, with a major of "" where nobody can tell it).
        words: Who brings it.
        place: The line.
        directory: For wheels, the folder below site-packages.
        fact: Fact that says so, where one does.
        cuda: CUDA major that it is built for, where its SONAME serves several: cuDNN.
        distribution: The wheel.
    """

    family: str
    major: str
    how: str
    words: str
    place: Location
    directory: str = ""
    fact: str | None = None
    cuda: str | None = None
    distribution: str = ""


def judge_libraries(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield what becomes of each consumer's libraries."""
    consumers = [c for n, c in scene.plan.packages.items() if n in _CONSUMERS]
    if not consumers:
        yield NotApplicable("no consumer that opens GPU libraries by name")
        return
    if scene.target.platform != "linux-x86_64":
        yield Open(f"which libraries are found on {scene.target.platform} is not known from files", "libraries")
        return
    supplies = tuple(supplies_of(scene))
    for consumer in consumers:
        if not is_build_known(consumer) and not is_behind_url(consumer):
            whose = "conda's build" if is_from_conda(consumer) else "a build from a URL"
            yield Open(f"{consumer.titled} is {whose}: which libraries it opens is not known", consumer.name)
            continue
        if consumer.version is None:
            yield Open(f"{consumer.name}: which release would be installed is not known", consumer.name)
            continue
        for want in wants_of(scene, consumer):
            yield _judge(scene, rules, consumer, want, supplies)


# --- who brings what -------------------------------------------------------------------------------------------------


def supplies_of(scene: Scene) -> Iterator[Supply]:
    """Yield everything in the files that brings libraries."""
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
    yield from _conda(scene)
    yield from _wheels(scene)
    yield from _bundled(scene)


def _conda(scene: Scene) -> Iterator[Supply]:
    """Yield what conda's packages bring; with a torch of conda's, libraries of majors that nobody can tell."""
    mine = [r for r in scene.parts.requirements if r.installer == "conda"]
    for requirement in mine:
        families = _CONDA.get(requirement.name, ())
        major = re.match(r"[=~]=\s*(\d+)", requirement.specifier)
        for family in families:
            named = any(family in _CONDA.get(r.name, ()) for r in mine if r.name != "torch")
            if requirement.name == "torch" and named:
                continue
            known = major[1] if major and requirement.name != "torch" else ""
            words = f"conda's {requirement.name}"
            yield Supply(family=family, major=known, how="conda", words=words, place=requirement.place)


def _wheels(scene: Scene) -> Iterator[Supply]:
    for family in scene.matrix.families.values():
        for provider in family.providers:
            chosen = scene.plan.packages.get(provider.distribution)
            if chosen is None or not matches_version(provider.versions, chosen.version):
                continue
            by_torch = _is_of_torch(scene, chosen)
            theirs = ", which torch requires" if by_torch and not chosen.lines else ""
            yield Supply(
                family=family.name,
                major=provider.major,
                how="torch" if by_torch else "wheel",
                words=f"{chosen.titled}{theirs}",
                place=chosen.place,
                directory=provider.directory,
                cuda=provider.cuda,
                distribution=chosen.name,
            )


def _is_of_torch(scene: Scene, chosen: Chosen) -> bool:
    """Tell whether torch requires a wheel, by itself or through another package (`cuda-toolkit`)."""
    direct = {n.by for n in chosen.needs}
    above = {n.by for name in direct if name in scene.plan.packages for n in scene.plan.packages[name].needs}
    return "torch" in direct | above


def _bundled(scene: Scene) -> Iterator[Supply]:
    """Yield what a torch without NVIDIA's wheels carries in its own folder: builds of PyTorch's index do."""
    torch = scene.plan.packages.get("torch")
    if torch is None or torch.version is None or not is_build_known(torch):
        return
    label = torch.version.partition("+")[2]
    if label and not label.startswith("cu"):
        return  # built for the CPU, or for another maker's GPUs
    if any(name.startswith("nvidia-") and _is_of_torch(scene, c) for name, c in scene.plan.packages.items()):
        return
    cuda = scene.cuda(torch)
    words = f"{torch.titled}, in its own folder or in wheels beside it"
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
    wheels = [s for s in fitting if s.how != "conda"]
    reached = [_is_reached(scene, consumer, s) for s in wheels]
    if True in reached:
        return Pass(consumer.name)
    if any(s.how == "conda" and s.major in (want.major, "") for s in mine):
        return Open(
            f"{consumer.titled} needs {want.title}, which conda brings: whether it looks in conda's lib folder "
            "is for `gpudoctor check` to say, once it is installed",
            consumer.name,
        )
    if None in reached or (not fitting and any(r.installs for r in scene.parts.repairs)):
        return _decided_later(scene, consumer, want)
    if want.family == "cudnn" and not all(i.cudnn_known for i in scene.images):
        return Open(f"{consumer.titled} needs cuDNN {want.major}, and which one the base image holds is not known")
    own_folder = next((s for s in fitting if s.how == "torch"), None)
    if own_folder is not None:
        return _through_torch(scene, rules, consumer, want, own_folder)
    if fitting:
        own = (s for s in fitting if not _is_of_other(scene, consumer, s))
        return _off_path(scene, rules, consumer, want, next(own, fitting[0]))
    if mine:
        return _other_major(scene, rules, consumer, want, supplies)
    return _nowhere(scene, rules, consumer, want)


def _is_of_other(scene: Scene, consumer: Chosen, supply: Supply) -> bool:
    """Tell whether a library is built for another CUDA than its consumer: the same name, and no substitute."""
    cuda = scene.cuda(consumer)
    return supply.cuda is not None and cuda is not None and cuda.split(".")[0] != supply.cuda


def _is_reached(scene: Scene, consumer: Chosen, supply: Supply) -> bool | None:
    """Tell whether a consumer finds a wheel's library; None where a command or variable decides it when it runs."""
    if scene.parts.repairs or _is_linked(scene, consumer, supply):
        return True
    folder = supply.directory or "torch/lib"
    answers = [names_folder(s.value, folder) for s in scene.parts.settings if s.name in _SEARCHED]
    return True if True in answers else None if None in answers else False


def _decided_later(scene: Scene, consumer: Chosen, want: Want) -> Open:
    lines = [*(s.place for s in scene.parts.settings if s.name in _SEARCHED), *(r.place for r in scene.parts.repairs)]
    where = listed(list(dict.fromkeys(f"{p.file}:{p.line}" for p in lines)))
    return Open(
        f"{consumer.titled} needs {want.title}; whether it finds it is decided by {where}, when that runs",
        consumer.name,
    )


def _is_linked(scene: Scene, consumer: Chosen, supply: Supply) -> bool:
    folders = {"ctranslate2": "ctranslate2.libs", "onnxruntime-gpu": "onnxruntime/capi"}
    return any(
        (folders[consumer.name] in link.folder or _SYSTEM_FOLDER.fullmatch(link.folder))
        and (supply.directory in link.source or supply.family in link.source)
        for link in scene.parts.links
    )


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
    itself = scene.matrix.imports_torch(consumer.name, consumer.version)
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
        f"{consumer.titled}{_today(consumer)} gets {want.title} only in a process that {when}{who}: "
        f"it comes with {supply.words}, where {consumer.name} never looks by itself.",
        consumer.place,
        cause=_cause(scene, want),
        level=level,
        evidence=_evidence(consumer, want, ("brought by", supply.words)),
        facts=tuple(f for f in (want.fact, supply.fact) if f),
        fixes=fixes_of_path(scene, consumer, want, supply.directory),
    )


def _off_path(scene: Scene, rules: Rules, consumer: Chosen, want: Want, supply: Supply) -> Evaluation:
    after = "the first transcription on the GPU fails" if consumer.name == "ctranslate2" else "it falls back to the CPU"
    open_end = "" if scene.is_closed else ", unless whoever starts it sets LD_LIBRARY_PATH"
    other = _is_of_other(scene, consumer, supply)
    built = f", and which is built for CUDA {supply.cuda} as {consumer.name} is not" if other else ""
    return say(
        rules["GPD201"],
        _consumer(consumer),
        f"{consumer.titled}{_today(consumer)} will not find {want.title}: it comes with {supply.words}, where "
        f"{consumer.name} never looks{built}; {after}{'' if other else open_end}.",
        consumer.place,
        cause="cudnn-cuda-mismatch" if other else _cause(scene, want),
        level="error" if scene.is_closed else "warning",
        evidence=_evidence(consumer, want, ("brought by", supply.words)),
        facts=tuple(f for f in (want.fact, supply.fact) if f),
        fixes=fixes_of_cuda(scene, consumer, want) if other else fixes_of_path(scene, consumer, want, supply.directory),
    )


def _other_major(scene: Scene, rules: Rules, consumer: Chosen, want: Want, supplies: tuple[Supply, ...]) -> Evaluation:
    mine = [s for s in supplies if s.family == want.family]
    rule = rules["GPD202" if want.family == "cudnn" else "GPD203"]
    cause = "cudnn-major-mismatch" if want.family == "cudnn" else "cuda-major-mismatch"
    have = listed(list(dict.fromkeys(f"{s.major} ({s.words})" for s in mine)))
    return say(
        rule,
        _consumer(consumer),
        f"{consumer.titled}{_today(consumer)} needs {want.title}, and these files bring only {have}: one is "
        "no substitute for the other.",
        consumer.place,
        cause=cause,
        evidence=_evidence(consumer, want, *(("brought by", f"{s.words}: {s.major}") for s in mine)),
        facts=(want.fact,),
        fixes=fixes_of_major(scene, consumer, want, frozenset((s.family, s.major) for s in supplies)),
    )


def _nowhere(scene: Scene, rules: Rules, consumer: Chosen, want: Want) -> Evaluation:
    if not scene.is_closed:
        provider = provider_of(scene, consumer, want)
        wish = f"{consumer.name}=={consumer.public}" if consumer.pinned else consumer.name
        ways = f"; {provider} would bring it, and `gpudoctor pins {wish}` names the release" if provider else ""
        return Open(
            f"{consumer.titled} opens {want.names[0]}, which nothing in these files brings: whether the machine has "
            f"{want.title} is not known{ways}",
            consumer.name,
        )
    return say(
        rules["GPD201"],
        _consumer(consumer),
        f"{consumer.titled}{_today(consumer)} needs {want.title}, and nothing in these files brings it: the "
        "base image holds none, and no package does.",
        consumer.place,
        cause=_cause(scene, want),
        evidence=_evidence(consumer, want, ("base image", scene.images[0].image.reference)),
        facts=(want.fact,),
        fixes=fixes_of_nothing(scene, consumer, want),
    )
