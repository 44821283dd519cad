"""GPD104, GPD107, GPD302, GPD651: does the assumed driver serve these builds, and has the GPU code in them?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpudoctor.lint.plan import Chosen, is_build_known, is_from_conda
from gpudoctor.lint.scene import Scene, edit, line_of, say
from gpudoctor.matrix.claims import HasGpuCode, NeedsDriver
from gpudoctor.matrix.gpus import KnownGpu
from gpudoctor.matrix.versions import driver_tuple
from gpudoctor.model.finding import Evaluation, NotApplicable, Open, Pass, Subject
from gpudoctor.rules.base import Rule
from gpudoctor.rules.gpu_code import Code, way_of
from gpudoctor.rules.reading import listed, unique

Rules = Mapping[str, Rule]
_JUDGED = ("torch", "ctranslate2", "onnxruntime-gpu")


def builds(scene: Scene) -> tuple[tuple[Chosen, str], ...]:
    """Return the packages with GPU code and the CUDA release of each."""
    found = ((c, scene.cuda(c)) for n, c in scene.plan.packages.items() if n in _JUDGED)
    return tuple((chosen, cuda) for chosen, cuda in found if cuda)


def judge_driver(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD104: the driver against the CUDA of each build."""
    needs = builds(scene)
    for chosen in (c for n, c in scene.plan.packages.items() if n in _JUDGED and not is_build_known(c)):
        whose = "conda's build" if is_from_conda(chosen) else "a build from a URL"
        yield Open(f"{chosen.titled} is {whose}: its CUDA is known only once it is installed", chosen.name)
    if not needs:
        yield NotApplicable("nothing in these files is a CUDA build")
        return
    if scene.target.driver is None:
        names = listed([c.titled for c, _ in needs])
        yield Open(f"{names}: the driver is not known; --assume-driver RELEASE judges for a machine", "driver")
        return
    failing = []
    for chosen, cuda in needs:
        least = _least(scene, cuda)
        if least is None:
            yield Open(f"{chosen.titled}: the matrix has no least driver for CUDA {cuda} on {scene.target.platform}")
        elif driver_tuple(scene.target.driver) < driver_tuple(least[0]):
            failing.append((chosen, cuda, *least))
        else:
            yield Pass(chosen.name)
    for chosen, cuda, least_release, fact in failing:
        yield say(
            rules["GPD104"],
            Subject(kind="driver", name="nvidia"),
            f"The assumed NVIDIA driver {scene.target.driver} is too old for CUDA {cuda}, which {chosen.titled} is "
            f"built for: it must be {least_release} or newer.",
            chosen.place,
            cause="driver-too-old",
            evidence=(
                ("driver", scene.target.driver),
                ("serves CUDA up to", scene.matrix.cuda_of_driver(scene.target.driver)),
                ("wanted", f"{least_release} or newer"),
                ("line", line_of(chosen)),
            ),
            facts=(fact,),
            fixes=(
                edit("Update the driver of the machines that this is for"),
                edit(f"Or take a release of {chosen.name} that is built for an older CUDA"),
            ),
        )


def _least(scene: Scene, cuda: str) -> tuple[str, str] | None:
    """Return the least driver of a CUDA major and the fact that says so; see rules.driver_use."""
    windows = scene.target.platform.startswith("windows")
    version = cuda if "." in cuda else f"{cuda}.0"
    known = [
        (driver_tuple(release), release, fact.id)
        for fact, claim in scene.matrix.facts("cuda", NeedsDriver, version, scene.target.platform)
        if not claim.ptx and (release := claim.windows if windows else claim.linux)
    ]
    return min(known)[1:] if known else None


def judge_gpus(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD302 and GPD107: the GPU against the code of each build."""
    for chosen, cuda in builds(scene):
        known = scene.code(chosen)
        if not scene.target.gpus:
            yield Open(f"{chosen.titled}: the GPU is not known; --assume-gpu NAME judges for one", "gpu")
            continue
        if known is None or not (known[1].sass or known[1].ptx):
            yield Open(f"{chosen.titled}: for which GPUs this build has code is not known", chosen.name)
            continue
        fact, claim = known
        code = Code(sass=claim.sass, ptx=claim.ptx, cuda=cuda, from_files=False, facts=(fact.id,))
        ways = {gpu: way_of(code, gpu.compute_capability, tegra=gpu.tegra) for gpu in scene.target.gpus}
        lost = tuple(g for g, way in ways.items() if way == "none")
        compiled = tuple(g for g, way in ways.items() if way == "ptx")
        if lost:
            yield _no_code(rules["GPD302"], chosen, lost, claim, fact.id)
        elif compiled:
            yield _compiled(scene, rules["GPD107"], chosen, compiled, claim, fact.id)
        else:
            yield Pass(chosen.name)


def gpus_without_code(scene: Scene, chosen: Chosen) -> tuple[KnownGpu, ...]:
    """Return the assumed GPUs that a package, libraries of NVIDIA's too, has no code for; none where nobody knows."""
    known = scene.code(chosen)
    if known is None or not known[1].sass:
        return ()
    fact, claim = known
    code = Code(sass=claim.sass, ptx=claim.ptx, cuda=claim.cuda, from_files=False, facts=(fact.id,))
    return tuple(g for g in scene.target.gpus if way_of(code, g.compute_capability, tegra=g.tegra) == "none")


def is_served(scene: Scene, chosen: Chosen) -> bool:
    """Tell whether nothing that is known speaks against a build on the assumed driver and GPUs."""
    cuda = scene.cuda(chosen)
    least = _least(scene, cuda) if cuda and scene.target.driver and chosen.name in _JUDGED else None
    too_old = least is not None and driver_tuple(scene.target.driver or "") < driver_tuple(least[0])
    return not too_old and not gpus_without_code(scene, chosen)


def named_gpus(gpus: tuple[KnownGpu, ...]) -> str:
    """Return GPUs as people name them, with their compute capability."""
    return listed([f"{g.name} ({g.compute_capability})" for g in gpus])


def _no_code(rule: Rule, chosen: Chosen, gpus: tuple[KnownGpu, ...], claim: HasGpuCode, fact: str) -> Evaluation:
    return say(
        rule,
        Subject(kind="consumer", name=chosen.name),
        f"{chosen.titled} has no code for {named_gpus(gpus)}: its first kernel fails with “no kernel image is "
        "available”.",
        chosen.place,
        cause="gpu-arch-unsupported",
        evidence=(
            ("machine code for", ", ".join(claim.sass)),
            ("PTX for", ", ".join(claim.ptx) or "none"),
            ("line", line_of(chosen)),
        ),
        facts=(fact,),
        fixes=(edit(f"Take a build of {chosen.name} with code for this GPU; `gpudoctor pins` finds one"),),
    )


def _compiled(
    scene: Scene, rule: Rule, chosen: Chosen, gpus: tuple[KnownGpu, ...], claim: HasGpuCode, fact: str
) -> Evaluation:
    found = scene.matrix.facts(chosen.name, NeedsDriver, chosen.version, scene.target.platform)
    need = next(((f, c) for f, c in found if c.ptx), None)
    if scene.target.driver is None or need is None:
        return Open(
            f"{chosen.titled} has only PTX for {named_gpus(gpus)}, and which driver compiles it is not known", "driver"
        )
    least = need[1].windows if scene.target.platform.startswith("windows") else need[1].linux
    if least is None or driver_tuple(scene.target.driver) >= driver_tuple(least):
        return Pass(chosen.name)
    return say(
        rule,
        Subject(kind="consumer", name=chosen.name),
        f"{chosen.titled} has only PTX for {named_gpus(gpus)}, which driver {scene.target.driver} is too old to "
        f"compile: {least} or newer reads the PTX of CUDA {need[1].cuda}.",
        chosen.place,
        cause="gpu-arch-unsupported",
        level="error",
        evidence=(
            ("machine code for", ", ".join(claim.sass)),
            ("PTX for", ", ".join(claim.ptx)),
            ("driver", scene.target.driver),
            ("line", line_of(chosen)),
        ),
        facts=unique((fact, need[0].id)),
        fixes=(edit("Update the driver"), edit(f"Or take a release of {chosen.name} that is built with an older CUDA")),
    )


def judge_services(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD651: a service with GPU packages that gets no GPU."""
    if not scene.parts.services:
        yield NotApplicable("no compose file")
        return
    cuda = [c.titled for c, _ in builds(scene)] + [i.image.reference for i in scene.images if i.cuda or i.torch]
    for service in scene.parts.services:
        if not cuda:
            yield NotApplicable(f"{service.name} holds no GPU package that is known")
        elif service.gpu is None:
            yield Open(f"{service.name} extends another service, which may give it a GPU", service.name)
        elif service.gpu:
            yield Pass(service.name)
        else:
            yield say(
                rules["GPD651"],
                Subject(kind="target", name=service.name),
                f"The service {service.name} holds {listed(cuda)} and gets no GPU: no device reservation, no gpus, no "
                "NVIDIA runtime.",
                service.place,
                cause="container-no-gpu",
                confidence="read",
                fixes=(edit("Add a device reservation, or `gpus: all`"),),
            )
