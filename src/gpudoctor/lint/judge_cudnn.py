"""GPD302: has the cuDNN that a consumer gets from a wheel code for the assumed GPU?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from gpudoctor.lint.judge_libraries import Supply, supplies_of
from gpudoctor.lint.judge_machine import gpus_without_code, named_gpus
from gpudoctor.lint.library_wants import newer_without, wants_of
from gpudoctor.lint.plan import Chosen, known_releases
from gpudoctor.lint.scene import Scene, edit, line_of, say
from gpudoctor.matrix.claims import HasGpuCode
from gpudoctor.matrix.gpus import KnownGpu
from gpudoctor.matrix.versions import matches_version
from gpudoctor.model.finding import Evaluation, Fix, Subject
from gpudoctor.rules.base import Rule
from gpudoctor.rules.gpu_code import dotted

Rules = Mapping[str, Rule]
_CONSUMERS = ("torch", "ctranslate2", "onnxruntime-gpu")


def judge_cudnn(scene: Scene, rules: Rules) -> Iterator[Evaluation]:
    """Yield GPD302 for each consumer that opens a cuDNN without code for the GPU: from 9.11 on none before Turing."""
    supplies = [s for s in supplies_of(scene) if s.family == "cudnn"]
    if not scene.target.gpus or any(s.how in ("system", "conda") for s in supplies):
        return  # which one is found first is for the loader to say
    for name in _CONSUMERS:
        consumer = scene.plan.packages.get(name)
        if consumer is None or consumer.version is None or gpus_without_code(scene, consumer):
            continue  # a build that lacks code itself is told of already
        majors = {w.major for w in wants_of(scene, consumer) if w.family == "cudnn"}
        for supply in (s for s in supplies if s.major in majors and s.distribution in scene.plan.packages):
            cudnn = scene.plan.packages[supply.distribution]
            without = gpus_without_code(scene, cudnn)
            if without and _is_for(scene, consumer, supply):
                yield _no_code(scene, rules["GPD302"], consumer, cudnn, supply, without)


def _is_for(scene: Scene, consumer: Chosen, supply: Supply) -> bool:
    cuda = scene.cuda(consumer)
    return supply.cuda is None or cuda is None or cuda.split(".")[0] == supply.cuda


def _no_code(
    scene: Scene, rule: Rule, consumer: Chosen, cudnn: Chosen, supply: Supply, gpus: tuple[KnownGpu, ...]
) -> Evaluation:
    fact, claim = scene.matrix.facts(cudnn.name, HasGpuCode, cudnn.version, scene.target.platform)[0]
    today = "" if cudnn.pinned or not cudnn.lines else " (the release that an install takes today)"
    return say(
        rule,
        Subject(kind="consumer", name="onnxruntime" if consumer.name.startswith("onnxruntime") else consumer.name),
        f"{cudnn.titled}{today}, which {consumer.titled} opens, has no code for {named_gpus(gpus)}: convolutions fail "
        "with “CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH” or “no kernel image”.",
        cudnn.place,
        cause="gpu-arch-unsupported",
        evidence=(
            ("machine code for", ", ".join(dotted(a) for a in claim.sass)),
            ("PTX for", ", ".join(dotted(a) for a in claim.ptx) or "none"),
            ("asked by", line_of(consumer)),
            ("line", line_of(cudnn)),
        ),
        facts=(fact.id,),
        fixes=_ways_out(scene, consumer, cudnn, supply),
    )


def _ways_out(scene: Scene, consumer: Chosen, cudnn: Chosen, supply: Supply) -> tuple[Fix, ...]:
    ways = []
    if fitting := _last_with_code(scene, cudnn, supply):
        ways.append(f"pin {cudnn.name}=={fitting}, the last with code for this GPU")
    want = next(w for w in wants_of(scene, consumer) if w.family == "cudnn" and w.major == supply.major)
    if without := newer_without(scene, consumer, want):
        ways.append(f"take {without}")
    ways = ways or [f"take a build of {consumer.name} that needs an older cuDNN; `gpudoctor pins` finds one"]
    return tuple(edit(f"Or {way}" if n else f"{way[0].upper()}{way[1:]}") for n, way in enumerate(ways))


def _last_with_code(scene: Scene, cudnn: Chosen, supply: Supply) -> str | None:
    """Return the newest release of the wheel with the same SONAME, that whoever requires it allows, and with code."""
    for version in known_releases(scene.matrix, cudnn.name):
        other = msgspec.structs.replace(cudnn, version=version)
        allowed = all(matches_version(n.specifier, version) for n in cudnn.needs)
        known = scene.code(other)
        if allowed and known and known[1].sass and not gpus_without_code(scene, other):
            provider = scene.matrix.provider(supply.family, supply.major, supply.cuda)
            if provider is None or matches_version(provider.versions, version):
                return version
    return None
