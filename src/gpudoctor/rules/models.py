"""GPD303, GPD701: number formats that the GPU lacks, and models that do not fit into its memory."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.matrix.claims import ComputeType, NeedsMemory
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Fact as MatrixFact
from gpudoctor.model.fact import Present, Unknown, value_of
from gpudoctor.model.finding import Evaluation, Evidence, Fail, Fix, Level, NotApplicable, Open, Pass, Subject
from gpudoctor.model.machine import Gpu, PlannedModel
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.base import Rule
from gpudoctor.rules.devices import Device, described, distinct_gpus, gpu_name, no_gpu_answer, no_gpu_reason, selection
from gpudoctor.rules.gpu_code import platform_of
from gpudoctor.rules.pages import gpu as pages
from gpudoctor.rules.reading import (
    consumer_subject,
    consumer_version,
    evidence,
    is_installed,
    items_of,
    label,
    listed,
    numbers,
    unique,
)
from gpudoctor.rules.remedies import pip_command

CT2 = "ctranslate2"
# What people ask for by name. The formats with bfloat16 are asked for rarely, and only on purpose.
_COMMON = ("float16", "int8", "int8_float16")
# In the order in which to suggest them: what loses least, then what takes least memory.
_PREFERRED = ("float16", "int8_float16", "int8", "int8_float32")
_LOWER_BOUND = re.compile(r">=\s*([0-9][0-9.]*)")
_MEMORY_OF = "faster-whisper"
_GIB = 1 << 30


def _no_gpu_here(snapshot: Snapshot) -> str:
    """Return why nothing can be said of a model that somebody asked about: never a pass, whatever the reason is."""
    return no_gpu_reason(snapshot)[1]


# --- GPD303 ----------------------------------------------------------------------------------------------------------


class _Lack(msgspec.Struct, frozen=True):
    """A number format that CTranslate2 does not offer on some GPUs."""

    compute_type: str
    gpus: tuple[Gpu, ...]
    fact: str
    otherwise: str | None


def _compute_types(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    build = snapshot.build(CT2)
    if build is None or build.gpu == Present(value=False):
        return (NotApplicable("CTranslate2 with GPU code is not installed"),)
    gpus = distinct_gpus(snapshot)
    asked = unique(m.compute_type for m in snapshot.models if m.compute_type)
    if not gpus and asked:
        return (Open(f"whether {CT2} offers {listed(asked)} cannot be told: {_no_gpu_here(snapshot)}", CT2),)
    if not gpus:
        return no_gpu_answer(snapshot)
    if unknown := [gpu_name(g) for g in gpus if not _capability(g)]:
        return (Open(f"the compute capability of {listed(unknown)} is not known", CT2),)
    facts = matrix.facts(CT2, ComputeType, consumer_version(snapshot, matrix, CT2), platform_of(snapshot))
    if not facts:
        return (NotApplicable("the matrix knows no number formats of this release"),)
    lacks = tuple(x for f, claim in facts if (x := _lack(f, claim, gpus)) and x.compute_type in (asked or _COMMON))
    if not lacks:
        return (Pass(CT2),)
    if asked:
        return tuple(_asked_for(snapshot, matrix, lack) for lack in lacks)
    return (_not_offered(snapshot, matrix, lacks),)


def _capability(gpu: Gpu) -> tuple[int, ...]:
    return numbers(value_of(gpu.compute_capability) or "")


def _lack(fact: MatrixFact, claim: ComputeType, gpus: tuple[Gpu, ...]) -> _Lack | None:
    least, missing = numbers(claim.least), {numbers(c) for c in claim.not_on}
    without = tuple(g for g in gpus if _capability(g) < least or _capability(g) in missing)
    return _Lack(claim.compute_type, without, fact.id, claim.otherwise) if without else None


def _asked_for(snapshot: Snapshot, matrix: Matrix, lack: _Lack) -> Fail:
    name = label(snapshot, matrix, CT2)
    if lack.otherwise:
        words, level = f"and computes in {lack.otherwise} instead, which is slower or takes more memory", "warning"
    else:
        words, level = f"so loading a model with compute_type={lack.compute_type!r} or its first step fails", "error"
    return compute_type_unsupported.fail(
        consumer_subject(CT2),
        f"{name} does not offer {lack.compute_type} on {described(lack.gpus)}, {words}.",
        cause="compute-type-unsupported",
        confidence="table",
        level="error" if level == "error" else "warning",
        evidence=_lack_evidence(snapshot, (lack,)),
        facts=(lack.fact,),
        fixes=(*_other_types(snapshot, matrix, lack.gpus), *_newer_release(snapshot, matrix, (lack,))),
    )


def _not_offered(snapshot: Snapshot, matrix: Matrix, lacks: tuple[_Lack, ...]) -> Fail:
    """Nobody said which format will be asked for: only whisperX, which asks for float16 by itself, is sure to meet it.

    Source: whisperx==3.3.1, 3.4.2 and 3.8.6: whisperx/asr.py (compute_type="float16" on cuda), read 2026-11-21
    """
    types = unique(x.compute_type for x in lacks)
    breaks = is_installed(snapshot, "whisperx") and any(x.compute_type == "float16" and not x.otherwise for x in lacks)
    level: Level = "warning" if breaks else "note"
    gpus = unique(g for x in lacks for g in x.gpus)
    tail = "; whisperX asks for float16 unless told otherwise" if breaks else "; the default works"
    return compute_type_unsupported.fail(
        consumer_subject(CT2),
        f"{label(snapshot, matrix, CT2)} does not offer {listed(types)} on {described(gpus)}: asking for "
        f"{'one of them' if len(types) > 1 else 'it'} by name fails{tail}.",
        cause="compute-type-unsupported",
        confidence="table",
        level=level,
        evidence=_lack_evidence(snapshot, lacks),
        facts=unique(x.fact for x in lacks),
        fixes=(*_other_types(snapshot, matrix, gpus), *_newer_release(snapshot, matrix, lacks)),
    )


def _lack_evidence(snapshot: Snapshot, lacks: tuple[_Lack, ...]) -> tuple[Evidence, ...]:
    return evidence(
        ("GPU", described(unique(g for x in lacks for g in x.gpus))),
        ("not offered", ", ".join(unique(x.compute_type for x in lacks))),
        ("asked for", ", ".join(_shown(m) for m in snapshot.models) or None),
    )


def _other_types(snapshot: Snapshot, matrix: Matrix, gpus: tuple[Gpu, ...]) -> tuple[Fix, ...]:
    facts = matrix.facts(CT2, ComputeType, consumer_version(snapshot, matrix, CT2), platform_of(snapshot))
    fine = [c.compute_type for f, c in facts if _lack(f, c, gpus) is None]
    offered = unique((*(t for t in _PREFERRED if t in fine), "float32"))[:3]
    return (
        Fix(
            title=f"Ask for another number format: {listed(offered)}; whisperX takes it as --compute_type",
            applicability="display-only",
            commands=(f'WhisperModel("large-v3", device="cuda", compute_type="{offered[0]}")',),
        ),
    )


def _newer_release(snapshot: Snapshot, matrix: Matrix, lacks: tuple[_Lack, ...]) -> tuple[Fix, ...]:
    """Return the step to the first release that offers all of these formats on these GPUs, where there is one."""
    installed = numbers(consumer_version(snapshot, matrix, CT2) or "")
    firsts = [_first_release(snapshot, matrix, lack, installed) for lack in lacks]
    if not firsts or None in firsts:
        return ()
    release = ".".join(map(str, max(f for f in firsts if f)))
    return (
        Fix(
            title=f"Or install {CT2} {release} or newer, which offers {listed(unique(x.compute_type for x in lacks))} "
            "on this GPU",
            applicability="unsafe",
            commands=(pip_command(snapshot, f'"{CT2}>={release}"'),),
        ),
    )


def _first_release(
    snapshot: Snapshot, matrix: Matrix, lack: _Lack, installed: tuple[int, ...]
) -> tuple[int, ...] | None:
    platform = platform_of(snapshot)
    offering = (
        numbers(bound[1])
        for fact in matrix.data.facts
        if fact.subject == CT2
        and isinstance(fact.claim, ComputeType)
        and fact.claim.compute_type == lack.compute_type
        and (not fact.when.platforms or platform in fact.when.platforms)
        and _lack(fact, fact.claim, lack.gpus) is None
        and (bound := _LOWER_BOUND.search(fact.when.versions))
    )
    return min((release for release in offering if release > installed), default=None)


# --- GPD701 ----------------------------------------------------------------------------------------------------------


class _Load(msgspec.Struct, frozen=True):
    """What one planned model takes."""

    model: PlannedModel
    compute_type: str
    peak_bytes: int
    facts: tuple[str, ...]
    measured: bool


def _memory(snapshot: Snapshot, matrix: Matrix) -> tuple[Evaluation, ...]:
    if not snapshot.models:
        return (NotApplicable("no model was named with --model"),)
    if not items_of(snapshot.gpus):
        asked = listed([_shown(model) for model in snapshot.models])
        why = f"whether {asked} fit{'s' if len(snapshot.models) == 1 else ''} cannot be told: {_no_gpu_here(snapshot)}"
        return (Open(why, "gpu"),)
    devices = selection(snapshot).devices
    if not devices:
        return (NotApplicable("the process sees no GPU"),)
    known = [(d, total) for d in devices if (total := _total(d)) is not None]
    if not known:
        return (
            Open(
                "the memory of the GPU is not known; --assume-gpu takes it with the name, as in 'RTX 3060 12GB'", "gpu"
            ),
        )
    # One service puts all its models on one GPU unless told otherwise: the largest has the best chance.
    device, total = max(known, key=lambda pair: (pair[1], _free(pair[0]) or 0))
    loads = [_load(snapshot, matrix, model, device.gpu) for model in snapshot.models]
    if blind := [load for load in loads if isinstance(load, Open)]:
        return tuple(blind)
    return (_fits(device, total, tuple(x for x in loads if isinstance(x, _Load))),)


def _total(device: Device) -> int | None:
    return value_of(device.slice.memory_total_bytes if device.slice else device.gpu.memory_total_bytes)


def _free(device: Device) -> int | None:
    return value_of(device.slice.memory_free_bytes if device.slice else device.gpu.memory_free_bytes)


def _load(snapshot: Snapshot, matrix: Matrix, model: PlannedModel, gpu: Gpu) -> _Load | Open:
    wanted = model.compute_type or _own_type(snapshot, matrix, gpu)
    rows = [
        (fact, claim)
        for fact, claim in memory_rows(matrix)
        if claim.model in (model.name, model.name.removesuffix(".en")) and claim.compute_type == wanted
    ]
    if not rows:
        return Open(f"the matrix has no memory figure for {model.name} in {wanted}", model.name)
    exact = [r for r in rows if r[1].batch_size == model.batch_size]
    # Without a row for this batch size the nearest smaller one is the least that it takes.
    fact, claim = (
        exact[0]
        if exact
        else max(
            (r for r in rows if r[1].batch_size <= model.batch_size), key=lambda r: r[1].batch_size, default=rows[0]
        )
    )
    measured = fact.status != "inferred" and bool(exact)
    return _Load(model, wanted, claim.peak_bytes, (fact.id,), measured)


def memory_rows(matrix: Matrix) -> tuple[tuple[MatrixFact, NeedsMemory], ...]:
    """Return what the matrix knows of the memory that models take under faster-whisper."""
    return tuple(
        (f, f.claim) for f in matrix.data.facts if f.subject == _MEMORY_OF and isinstance(f.claim, NeedsMemory)
    )


def _own_type(snapshot: Snapshot, matrix: Matrix, gpu: Gpu) -> str:
    """Return what CTranslate2 computes in by itself: the float16 of the published models, where the GPU has it."""
    version = consumer_version(snapshot, matrix, CT2)
    for fact, claim in matrix.facts(CT2, ComputeType, version, platform_of(snapshot)):
        if claim.compute_type == "float16" and _lack(fact, claim, (gpu,)):
            return claim.otherwise or "float32"
    return "float16"


def _fits(device: Device, total: int, loads: tuple[_Load, ...]) -> Evaluation:
    needed, free = sum(x.peak_bytes for x in loads), _free(device)
    measured = all(x.measured for x in loads)
    if needed > total:
        return _too_small(device, total, loads, "error" if measured else "warning")
    if free is not None and needed > free:
        return _in_use(device, total, free, loads)
    return Pass(gpu_name(device.gpu))


def _too_small(device: Device, total: int, loads: tuple[_Load, ...], level: Level) -> Fail:
    needed = sum(x.peak_bytes for x in loads)
    about = "" if level == "error" else "about "
    return gpu_memory.fail(
        _subject(device),
        f"{_what(loads)} {'need' if len(loads) > 1 else 'needs'} {about}{_gib(needed)} of GPU memory and "
        f"{_where(device)} has {_gib(total)}: CUDA will run out of memory.",
        cause="gpu-oom",
        confidence="table",
        level=level,
        evidence=_memory_evidence(device, loads),
        facts=unique(f for x in loads for f in x.facts),
        fixes=_smaller(loads),
    )


def _in_use(device: Device, total: int, free: int, loads: tuple[_Load, ...]) -> Fail:
    return gpu_memory.fail(
        _subject(device),
        f"{_what(loads)} {'need' if len(loads) > 1 else 'needs'} about {_gib(sum(x.peak_bytes for x in loads))} of GPU "
        f"memory; {_where(device)} has {_gib(total)}, of which other processes leave {_gib(free)} free now.",
        cause="gpu-oom",
        confidence="table",
        level="warning",
        evidence=_memory_evidence(device, loads),
        facts=unique(f for x in loads for f in x.facts),
        fixes=(
            Fix(
                title="End the processes that hold the GPU's memory, or wait for them",
                applicability="display-only",
                commands=("nvidia-smi --query-compute-apps=pid,used_memory,name --format=csv",),
            ),
            *_smaller(loads),
        ),
    )


def _subject(device: Device) -> Subject:
    return Subject(kind="gpu", name=gpu_name(device.gpu))


def _where(device: Device) -> str:
    return f"a MIG slice of {gpu_name(device.gpu)}" if device.slice else gpu_name(device.gpu)


def _what(loads: tuple[_Load, ...]) -> str:
    names = [_shown(x.model) if x.model.compute_type else f"{x.model.name} ({x.compute_type})" for x in loads]
    return f"{listed(names)} together" if len(names) > 1 else names[0]


def _shown(model: PlannedModel) -> str:
    batch = f" in batches of {model.batch_size}" if model.batch_size > 1 else ""
    return f"{model.name} ({model.compute_type}){batch}" if model.compute_type else f"{model.name}{batch}"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:.1f} GiB"


def _memory_evidence(device: Device, loads: tuple[_Load, ...]) -> tuple[Evidence, ...]:
    free = device.slice.memory_free_bytes if device.slice else device.gpu.memory_free_bytes
    return evidence(
        *(
            (
                x.model.name,
                f"{x.compute_type}, {_gib(x.peak_bytes)}, {'measured by others' if x.measured else 'an estimate'}",
            )
            for x in loads
        ),
        ("memory", _gib(total) if (total := _total(device)) is not None else None),
        ("free", _gib(free.value) if isinstance(free, Present) else None),
        ("not known", free.reason if isinstance(free, Unknown) else None),
    )


def _smaller(loads: tuple[_Load, ...]) -> tuple[Fix, ...]:
    large = any(x.compute_type in ("float16", "float32", "bfloat16") for x in loads)
    ways = [
        *(["a quantized format (compute_type='int8_float16' or 'int8')"] if large else []),
        "a smaller model (large-v3-turbo, distil-large-v3, medium)",
        *(["smaller batches"] if any(x.model.batch_size > 1 for x in loads) else []),
        *(["one model a GPU"] if len(loads) > 1 else []),
    ]
    return (Fix(title=f"Use {' or '.join(ways)}", applicability="display-only"),)


compute_type_unsupported = Rule(
    id="GPD303",
    name="compute-type-unsupported",
    title="CTranslate2 does not offer a number format on this GPU",
    level="note",
    causes=("compute-type-unsupported",),
    page=pages.GPD303,
    evaluate=_compute_types,
)
gpu_memory = Rule(
    id="GPD701",
    name="gpu-memory-too-small",
    title="The models do not fit into the GPU's memory",
    level="warning",
    causes=("gpu-oom",),
    page=pages.GPD701,
    evaluate=_memory,
)
