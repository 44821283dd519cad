"""GPD404: a requirement of the speech stack that is not met."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from gpudoctor.matrix.claims import Requires
from gpudoctor.matrix.index import Matrix, matches_version
from gpudoctor.model.environment import Distribution, Interpreter
from gpudoctor.model.fact import Unknown, value_of
from gpudoctor.model.finding import Evaluation, Fail, Fix, Level, NotApplicable, Open, Pass, Subject
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.family import torch_family_mismatch
from gpudoctor.rules.gpu_code import platform_of
from gpudoctor.rules.markers import marker_holds
from gpudoctor.rules.pages import packages as pages
from gpudoctor.rules.reading import evidence, listed, numbers, sys_path_doubt
from gpudoctor.rules.releases import is_own_build
from gpudoctor.rules.remedies import pip_command

# Only what can stand in a specifier set: it is shown as part of a command that people copy.
_LINE = re.compile(
    r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*\(?([<>=!~0-9A-Za-z.,*+\s_-]*)\)?\s*(?:;(.*))?"
)
_SEPARATORS = re.compile(r"[-_.]+")
_STACK = re.compile(
    r"torch|torchaudio|torchvision|torchcodec|ctranslate2|onnxruntime(-gpu)?|faster-whisper|whisperx|openai-whisper|"
    r"whisper-.*|pyannote-audio|silero-vad"
)
# Who imports them cannot be imported without.
_VITAL = ("torch", "ctranslate2", "faster-whisper", "pyannote-audio", "torchaudio")
# Any of these brings the module `onnxruntime`.
_ONNX = ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-rocm", "onnxruntime-qnn")
_NO_CAUSE = "the taxonomy has no cause for a requirement that is not met"


class _Unmet(msgspec.Struct, frozen=True):
    """One requirement that is not met.

    Attributes:
        by: Who requires.
        name: What is required, canonical.
        wanted: Specifier set as written; empty for any release.
        there: Version that is installed; None for none at all.
        fact: Id of the fact that says so, where the metadata does not.
    """

    by: Distribution
    name: str
    wanted: str
    there: str | None
    fact: str | None = None


def _evaluate(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    ours = _imported(snapshot)
    if not ours:
        return (NotApplicable("no package of the speech stack is installed"),)
    judged, doubt = _of_the_family(snapshot, matrix), sys_path_doubt(snapshot)
    evaluations: list[Evaluation] = []
    for distribution in ours:
        if isinstance(distribution.version, Unknown):
            reason = f"its metadata, which names its requirements, cannot be read: {distribution.version.reason}"
            evaluations.append(Open(f"{distribution.name}: {reason}", distribution.name))
        unmet = [
            u
            for u in (*_declared(snapshot, distribution), *_undeclared(snapshot, matrix, distribution))
            if (distribution.name, u.name) not in judged
        ]
        for members in _grouped(unmet):
            unseen = doubt if members[0].there is None else None
            evaluations.append(_not_seen(members, unseen) if unseen else _judge(snapshot, members))
    return tuple(evaluations) or (Pass("distributions"),)


def _not_seen(unmet: tuple[_Unmet, ...], doubt: str) -> Open:
    by, names = unmet[0].by.name, listed([u.name for u in unmet])
    return Open(f"{by} requires {names}, not seen here, but more may be on sys.path: {doubt}", by)


def _imported(snapshot: Snapshot) -> tuple[Distribution, ...]:
    return tuple(d for d in snapshot.distributions if _STACK.fullmatch(d.name) and snapshot.distribution(d.name) is d)


def _of_the_family(snapshot: Snapshot, matrix: Matrix) -> frozenset[tuple[str, str]]:
    """Return the pairs that GPD402 answers for, so that one fault is one finding."""
    answers = torch_family_mismatch.evaluate(snapshot, matrix)
    failed = {e.finding.subject.name for e in answers if isinstance(e, Fail)}
    return frozenset((name, "torch") for name in failed)


# --- what the metadata says ------------------------------------------------------------------------------------------


def _declared(snapshot: Snapshot, by: Distribution) -> Iterator[_Unmet]:
    for line in by.requires:
        match = _LINE.fullmatch(line)
        if match is None or "extra" in (match[3] or ""):
            continue
        name, wanted = _SEPARATORS.sub("-", match[1]).lower(), match[2].strip()
        there = _provided(snapshot, name)
        if there is None:
            missing = not _is_tolerated(snapshot, name)
        else:
            missing = not _meets(there, wanted) and not _is_harmless(name, wanted, there)
        # One that cannot be read alarms nobody.
        if missing and marker_holds(snapshot, match[3], unreadable=False):
            yield _Unmet(by, name, wanted, value_of(there.version) if there else None)


def _undeclared(snapshot: Snapshot, matrix: Matrix, by: Distribution) -> Iterator[_Unmet]:
    """Yield what the metadata forgets and the matrix knows; libraries of NVIDIA are judged by the loader's answers."""
    for fact, claim in matrix.facts(by.name, Requires, value_of(by.version), platform_of(snapshot), _python(snapshot)):
        if claim.declared or claim.package.startswith("nvidia-"):
            continue
        there = _provided(snapshot, claim.package)
        missing = not _is_tolerated(snapshot, claim.package) if there is None else not _meets(there, claim.versions)
        if missing:
            yield _Unmet(by, claim.package, claim.versions, value_of(there.version) if there else None, fact.id)


def _provided(snapshot: Snapshot, name: str) -> Distribution | None:
    names = (name, *_ONNX) if name == "onnxruntime" else (name,)
    return next((d for n in names if (d := snapshot.distribution(n))), None)


def _meets(there: Distribution, wanted: str) -> bool:
    """Tell whether a release satisfies a specifier set; one that cannot be told satisfies it."""
    version = value_of(there.version)
    if version is None or not wanted or is_own_build(version):
        return True
    if wanted == f"=={version}":  # torch pins a dozen packages: no need to parse them all
        return True
    try:
        return matches_version(wanted.replace("(", "").replace(")", ""), version)
    except ValueError:  # packaging's InvalidSpecifier: `torch (>=1.9.*)` of old metadata
        return True


def _is_tolerated(snapshot: Snapshot, name: str) -> bool:
    """Tell whether the absence of a package says nothing: the loader's answers do, or another installer brought it."""
    if name.startswith(("nvidia-", "triton", "pytorch-triton", "cuda-")):
        return True
    interpreter = value_of(snapshot.interpreter)
    return interpreter is not None and interpreter.kind == "conda"


def _is_harmless(name: str, wanted: str, there: Distribution) -> bool:
    """Tell whether a newer release than the pinned one is as good: NVIDIA's libraries are compatible within a major."""
    if not name.startswith("nvidia-"):
        return name.startswith(("triton", "pytorch-triton", "cuda-"))
    known = value_of(there.version)
    pinned, version = numbers(wanted.removeprefix("==")), numbers(known or "")
    return pinned[:1] == version[:1] and version > pinned


def _python(snapshot: Snapshot) -> str | None:
    interpreter: Interpreter | None = value_of(snapshot.interpreter)
    return value_of(interpreter.version) if interpreter else None


# --- the finding -----------------------------------------------------------------------------------------------------


def _judge(snapshot: Snapshot, unmet: tuple[_Unmet, ...]) -> Evaluation:
    """Return the finding on one requirement, or on all of one package that are not there at all."""
    head = unmet[0]
    release = value_of(head.by.version)
    by = f"{head.by.name} {release or '?'}"
    wanted = tuple(f"{u.name}{u.wanted}" for u in unmet)
    library = head.name.startswith("nvidia-")
    return requirement_not_met.fail(
        Subject(kind="distribution", name=head.by.name),
        f"{by} requires {listed(wanted)}, but {_what(unmet)}: {_fate(head)}.",
        cause="cuda-libs-mixed" if library else None,
        reason=None if library else _NO_CAUSE,
        level=_level(unmet),
        confidence="table" if head.fact else "read",
        evidence=evidence(
            ("required by", by),
            ("wanted", ", ".join(wanted)),
            ("installed", f"{head.name} {head.there}" if head.there else "none of them" if unmet[1:] else "no"),
            ("its metadata", "does not say so" if head.fact else None),
        ),
        facts=tuple(u.fact for u in unmet if u.fact),
        fixes=(_fix(snapshot, unmet, wanted),),
    )


def _grouped(unmet: list[_Unmet]) -> Iterator[tuple[_Unmet, ...]]:
    """Yield what is not there at all together, and every other one by itself."""
    missing = tuple(u for u in unmet if u.there is None)
    if missing:
        yield missing
    yield from ((u,) for u in unmet if u.there is not None)


def _what(unmet: tuple[_Unmet, ...]) -> str:
    if unmet[0].there:
        return f"{unmet[0].name} {unmet[0].there} is installed"
    return "they are not installed" if len(unmet) > 1 else "it is not installed"


def _level(unmet: tuple[_Unmet, ...]) -> Level:
    return "error" if any(u.there is None and u.name in _VITAL for u in unmet) else "warning"


def _fate(unmet: _Unmet) -> str:
    if unmet.there is None:
        return f"whatever of {unmet.by.name} needs it fails when it is imported"
    if unmet.name.startswith("nvidia-"):
        return "an older library than it was built with may lack what it calls"
    return "its maker has not meant these two to work together"


def _fix(snapshot: Snapshot, unmet: tuple[_Unmet, ...], wanted: tuple[str, ...]) -> Fix:
    names = {u.name for u in unmet}
    others = [d.name for d in snapshot.distributions if d is not unmet[0].by and names & _required_by(d)]
    note = f"; {listed(others)} require{'s' if len(others) == 1 else ''} {'some of these' if unmet[1:] else 'it'} too"
    return Fix(
        title=f"Install {listed(wanted)}{note if others else ''}",
        applicability="display-only" if others else "unsafe",
        commands=(pip_command(snapshot, " ".join(f'"{line}"' for line in wanted)),),
    )


def _required_by(distribution: Distribution) -> set[str]:
    matches = (_LINE.fullmatch(line) for line in distribution.requires)
    return {_SEPARATORS.sub("-", m[1]).lower() for m in matches if m and "extra" not in (m[3] or "")}


requirement_not_met = Rule(
    id="GPD404",
    name="requirement-not-met",
    title="A requirement of a package of the speech stack is not met",
    level="warning",
    causes=("cuda-libs-mixed",),
    page=pages.GPD404,
    evaluate=_evaluate,
    required=False,
)
