"""What a consumer opens, release by release, and what can be done where a file set does not bring it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gpudoctor.lint.judge_machine import is_served
from gpudoctor.lint.plan import Chosen, known_releases
from gpudoctor.lint.scene import Scene, edit
from gpudoctor.matrix.versions import matches_version
from gpudoctor.model.finding import Fix


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """A library family that a consumer opens.

    Attributes:
        family: `cudnn`, `cublas`, ….
        major: Its SONAME's major.
        title: As people name it: `cuDNN 9`.
        when: When it is opened.
        fact: Fact that says so.
        names: SONAMEs that are opened.
    """

    family: str
    major: str
    title: str
    when: str
    fact: str
    names: tuple[str, ...]


def wants_of(scene: Scene, consumer: Chosen) -> tuple[Want, ...]:
    """Return what a consumer opens: one a library family."""
    wants: dict[str, Want] = {}
    for fact, claim in scene.libraries(consumer):
        names = tuple(o.names[0].replace(".{shim}", f".{claim.major}") for o in claim.opens if not o.optional)
        if not names:
            continue  # opened when there, done without when not
        wants.setdefault(
            claim.library,
            Want(
                family=claim.library,
                major=claim.major,
                title=_title(scene, claim.library, claim.major),
                when=claim.when_opened,
                fact=fact.id,
                names=names,
            ),
        )
    code = scene.code(consumer)
    if "cublas" not in wants and code and code[1].cuda:
        major = code[1].cuda.split(".")[0]
        name = f"libcublas.so.{major}"
        wants["cublas"] = Want(
            family="cublas",
            major=major,
            title=_title(scene, "cublas", major),
            when="when it starts on the GPU",
            fact=code[0].id,
            names=(name,),
        )
    return tuple(wants.values())


def _title(scene: Scene, family: str, major: str) -> str:
    known = scene.matrix.families.get(family)
    return f"{known.title if known else family} {major}"


def fixes_of_path(scene: Scene, consumer: Chosen, want: Want, directory: str) -> tuple[Fix, ...]:
    """Return the ways out where a wheel brings the library, and the consumer does not look there."""
    if not directory:
        where = edit("Set LD_LIBRARY_PATH where the process is started, to the folders that `gpudoctor env` prints")
    else:
        line = f'ENV LD_LIBRARY_PATH="<site-packages>/{directory}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"'
        where = edit(
            "Set LD_LIBRARY_PATH where the process is started (`gpudoctor env` prints the folders of an installed one)",
            line,
        )
    without = newer_without(scene, consumer, want)
    return (where, edit(f"Or take {without}")) if without else (where,)


def fixes_of_major(scene: Scene, consumer: Chosen, want: Want, supplied: frozenset[tuple[str, str]]) -> tuple[Fix, ...]:
    """Return the ways out where the library is there with another major: a release that fits it, or the other major.

    Args:
        scene: The environment.
        consumer: Who wants it.
        want: What.
        supplied: Families and majors that the files bring.
    """
    ways = []
    fitting = next((v for v in _others(scene, consumer) if _fits(scene, consumer, v, supplied)), None)
    if fitting:
        ways.append(f"take {consumer.name}=={fitting}, which opens what these files bring")
    # Where the driver or the GPU does not serve the consumer, its libraries are no way out.
    provider = provider_of(scene, consumer, want) if is_served(scene, consumer) else None
    there = scene.plan.packages.get(provider.partition(">")[0]) if provider else None
    if provider and there is None:
        ways.append(f"add {provider}, and its folder to LD_LIBRARY_PATH")
    elif there is not None and there.lines and not any(n.specifier for n in there.needs):
        ways.append(f"take {provider}, and its folder into LD_LIBRARY_PATH")
    if not fitting:
        names = " ".join([consumer.name, *(n for n in ("torch",) if n in scene.plan.packages)])
        ways.append(f"let `gpudoctor pins {names}` find releases that fit each other")
    return _either(ways)


def fixes_of_cuda(scene: Scene, consumer: Chosen, want: Want) -> tuple[Fix, ...]:
    """Return the ways out where the library that is there is built for another CUDA."""
    without, provider = newer_without(scene, consumer, want), provider_of(scene, consumer, want)
    ways = [f"take {without}"] if without else []
    if provider:
        ways.append(f"install {provider} in an environment of its own: both write the same files")
    return _either(ways)


def fixes_of_nothing(scene: Scene, consumer: Chosen, want: Want) -> tuple[Fix, ...]:
    """Return the ways out where nothing brings the library."""
    provider = provider_of(scene, consumer, want)
    add = f"add {provider} and its folder to LD_LIBRARY_PATH" if provider else "bring it"
    without = newer_without(scene, consumer, want)
    return _either([f"{add}, or build on an image that has it", *([f"take {without}"] if without else [])])


def provider_of(scene: Scene, consumer: Chosen, want: Want) -> str | None:
    """Return the requirement that brings a library for a consumer; None where no wheel or several do.

    It names the releases where the newest one of the wheel has another SONAME: `nvidia-cudnn-cu12>=8,<9`.
    """
    provider = scene.matrix.provider(want.family, want.major, _cuda_major(scene, consumer))
    if provider is None:
        return None
    newest = known_releases(scene.matrix, provider.distribution)[:1]
    is_newest = all(matches_version(provider.versions, version) for version in newest)
    return provider.distribution + ("" if is_newest else provider.versions)


def _either(ways: list[str]) -> tuple[Fix, ...]:
    return tuple(edit(f"Or {way}" if n else f"{way[0].upper()}{way[1:]}") for n, way in enumerate(ways))


def _others(scene: Scene, consumer: Chosen) -> Iterator[str]:
    """Yield the other releases that whoever requires the consumer allows, newest first."""
    for version in known_releases(scene.matrix, consumer.name):
        if version != consumer.public and all(matches_version(n.specifier, version) for n in consumer.needs):
            yield version


def _fits(scene: Scene, consumer: Chosen, version: str, supplied: frozenset[tuple[str, str]]) -> bool:
    other = msgspec.structs.replace(consumer, version=version)
    wanted = wants_of(scene, other)
    return bool(wanted) and all((w.family, w.major) in supplied for w in wanted) and is_served(scene, other)


def newer_without(scene: Scene, consumer: Chosen, want: Want) -> str | None:
    """Return the oldest newer release that does not open the library, in words."""
    title = want.title.rpartition(" ")[0]
    for version in reversed(tuple(_others(scene, consumer))):
        opened = {w.family for w in wants_of(scene, msgspec.structs.replace(consumer, version=version))}
        if opened and want.family not in opened and _is_newer(version, consumer.public):
            return f"{consumer.name}>={version}, which needs no {title}"
    return None


def _is_newer(one: str, other: str | None) -> bool:
    from packaging.version import Version

    return other is None or Version(one) > Version(other)


def _cuda_major(scene: Scene, consumer: Chosen) -> str | None:
    cuda = scene.cuda(consumer)
    return cuda.split(".")[0] if cuda else None
