"""A benchmark beside an earlier one."""

from __future__ import annotations

import msgspec

from gpudoctor.model.bench import Against, BenchDocument, BenchRun, Change
from gpudoctor.model.errors import InputFileError
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, encodable


def read_document(system: ReadSystem, path: str) -> BenchDocument:
    """Read what `bench --save` or `--format json` wrote.

    Raises:
        InputFileError: It is not there, or no such document.
    """
    try:
        data = system.read_bytes(path, 1 << 24)
    except (NotThere, CannotLook) as error:
        raise InputFileError(f"--against {error}") from error
    try:
        return msgspec.json.decode(data, type=BenchDocument)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputFileError(
            f"--against {path}: this is no document of `gpudoctor bench --save` ({error}); write one with --save"
        ) from error


def compare_with(document: BenchDocument, before: BenchDocument, file: str, tolerance: float) -> Against:
    """Return what changed since an earlier document.

    Args:
        document: The one of now.
        before: The earlier one.
        file: Its name.
        tolerance: Share by which a run may be slower.
    """
    earlier = {_key(run): run for run in before.runs}
    changes = tuple(
        _change(run, earlier[_key(run)], tolerance)
        for run in document.runs
        if _key(run) in earlier and _same_work(document, before)
    )
    measured = {(c.model, c.device, c.compute_type) for c in changes}
    missing = tuple(f"{m} on {d} in {t}" for m, d, t in earlier if (m, d, t) not in measured)
    lost_gpu = before.device_used == "cuda" and document.device_used != "cuda"
    return Against(
        file=encodable(file),
        tolerance=tolerance,
        changes=changes,
        missing=missing,
        differences=_differences(document, before),
        regressed=lost_gpu or not changes or any(change.slower for change in changes),
    )


def _key(run: BenchRun) -> tuple[str, str, str]:
    return run.model, run.device, run.compute_type


def _work(document: BenchDocument) -> tuple[object, ...]:
    s = document.settings
    length = round(s.audio_s, 1) if s.audio_s is not None else None
    return length, s.beam_size, s.batch_size, s.max_new_tokens


def _same_work(one: BenchDocument, other: BenchDocument) -> bool:
    return _work(one) == _work(other)


def _change(now: BenchRun, before: BenchRun, tolerance: float) -> Change:
    ratio = now.inference_s.median / before.inference_s.median if before.inference_s.median else 0.0
    return Change(
        model=now.model,
        device=now.device,
        compute_type=now.compute_type,
        before_s=before.inference_s.median,
        now_s=now.inference_s.median,
        ratio=ratio,
        slower=ratio > 1 + tolerance,
    )


def _differences(now: BenchDocument, before: BenchDocument) -> tuple[str, ...]:
    """Return what makes the times compare less well, or not at all."""
    rows: list[tuple[str, object, object]] = [
        ("audio, seconds", _work(before)[0], _work(now)[0]),
        ("beam size", before.settings.beam_size, now.settings.beam_size),
        ("batch size", before.settings.batch_size, now.settings.batch_size),
        ("tokens", before.settings.max_new_tokens, now.settings.max_new_tokens),
        ("threads", before.machine.cpu_threads, now.machine.cpu_threads),
        ("processor", before.machine.cpu, now.machine.cpu),
        ("GPU", before.machine.gpu, now.machine.gpu),
        ("driver", before.machine.driver, now.machine.driver),
        ("CTranslate2", before.target.ctranslate2, now.target.ctranslate2),
        ("faster-whisper", before.target.faster_whisper, now.target.faster_whisper),
        ("device", before.device_used, now.device_used),
    ]
    return tuple(f"{what}: {_shown(old)} then, {_shown(new)} now" for what, old, new in rows if old != new)


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
