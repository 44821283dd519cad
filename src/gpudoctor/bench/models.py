"""Models: what `--model` means, and the folder that holds it."""

from __future__ import annotations

import posixpath
from typing import Literal

import msgspec

from gpudoctor.bench.jobs import Event, Shop
from gpudoctor.bench.progress import Progress
from gpudoctor.bench.sample import sample_wav
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.tables import WhisperModel
from gpudoctor.model.errors import GpuDoctorError, UsageError
from gpudoctor.system.caching import cache_home, obtain
from gpudoctor.system.protocol import CannotLook, NotThere, ReadSystem, encodable
from gpudoctor.system.writing import write_atomically

SYNTHETIC = "synthetic:"
# Changed whenever the same shape would give another file: it is part of the file's name in the cache.
RECIPE = 1
SAMPLE_RECIPE = 1
# A large model comes through a slow line: no step of fetching it tells how far it is.
FETCH_LIMIT_S = 3600.0


class ModelChoice(msgspec.Struct, frozen=True):
    """One `--model`.

    Attributes:
        given: As the user wrote it.
        kind: Made here, a folder, or a name that faster-whisper knows.
        name: Size, folder or name.
        shape: The shape, where the matrix knows it.
    """

    given: str
    kind: Literal["synthetic", "folder", "named"]
    name: str
    shape: WhisperModel | None = None


def choose_model(system: ReadSystem, matrix: Matrix, given: str) -> ModelChoice:
    """Return what a `--model` means.

    Raises:
        UsageError: Nothing.
    """
    if given.startswith(SYNTHETIC):
        size = given.removeprefix(SYNTHETIC)
        shape = matrix.model(size)
        if shape is None:
            known = ", ".join(m.name for m in matrix.data.models)
            raise UsageError(f"--model {given!r}: the shape of {size!r} is not known; there are: {known}")
        return ModelChoice(given, "synthetic", shape.name, shape)
    if encodable(given) != given:
        raise UsageError(f"--model {given!r}: CTranslate2 opens no path that is not UTF-8; rename the folder")
    try:
        kind = system.stat(given).kind
    except (NotThere, CannotLook) as error:
        if given.startswith((".", "/", "~")) or given.count("/") > 1 or not given.strip():
            raise UsageError(f"--model {given!r}: there is no such folder") from error
        return ModelChoice(given, "named", given, matrix.model(given))
    if kind != "directory" or "model.bin" not in _names(system, given):
        if matrix.model(given) is not None:  # a file that happens to be called as a model is
            return ModelChoice(given, "named", given, matrix.model(given))
        raise UsageError(f"--model {given!r}: this is no folder of a CTranslate2 model (it has no model.bin)")
    return ModelChoice(given, "folder", posixpath.join(system.cwd(), given), _shape_by_name(matrix, given))


def _names(system: ReadSystem, folder: str) -> tuple[str, ...]:
    try:
        return system.listdir(folder)
    except (NotThere, CannotLook):
        return ()


def _shape_by_name(matrix: Matrix, folder: str) -> WhisperModel | None:
    """Return the shape that a folder's name speaks of, as `faster-whisper-small` does."""
    last = posixpath.basename(posixpath.normpath(folder))
    return matrix.model(last) or matrix.model(last.rpartition("whisper-")[2])


def locate_model(
    system: ReadSystem, shop: Shop, model: ModelChoice, model_format: str | None, progress: Progress
) -> str:
    """Return the folder of a model, making or fetching it first.

    Raises:
        GpuDoctorError: It cannot be had; the sentence offers what can.
    """
    match model.kind:
        case "synthetic":
            return _make(system, shop, model, model_format, progress)
        case "named":
            return _fetch(shop, model, progress)
        case "folder":
            return model.name


def _fetch(shop: Shop, model: ModelChoice, progress: Progress) -> str:
    progress.step(f"looking for {model.name} in the Hugging Face cache and the network")
    result = shop.do({"job": "fetch", "name": model.name}, limit_s=FETCH_LIMIT_S)
    fetched, unknown, failed = result.first("fetched"), result.first("unknown"), result.first("failed")
    if fetched is not None and fetched.path:
        return fetched.path
    if unknown is not None:
        raise UsageError(f"--model {model.given!r}: faster-whisper knows {', '.join(unknown.names)}")
    detail = failed.message.strip().split("\n")[0][:200] if failed else "the process that fetches it died"
    offer = f"{SYNTHETIC}{model.shape.name}" if model.shape else f"{SYNTHETIC}tiny"
    raise GpuDoctorError(
        f"the model {model.name} is not in the Hugging Face cache and cannot be downloaded ({detail or failed}); "
        f"`--model {offer}` needs no download: the same arithmetic with random weights"
    )


def _make(system: ReadSystem, shop: Shop, model: ModelChoice, model_format: str | None, progress: Progress) -> str:
    shape = model.shape
    if shape is None:  # choose_model sees to it
        raise UsageError(f"--model {model.given!r}: the shape is not known")

    def told(event: Event) -> None:
        if event.event == "making":
            progress.step(f"making {model.given}: {event.part} layer {event.done + 1} of {event.total}")

    def make(folder: str) -> None:
        progress.step(f"making {model.given}, once: it is kept in the cache")
        fields = {k: v for k, v in msgspec.to_builtins(shape).items() if isinstance(v, int)}
        result = shop.do({"job": "make", "shape": fields, "folder": folder}, told)
        if not result.succeeded:
            failed = result.first("failed")
            said = failed.words[0] if failed and failed.words else _last_words(result.ending.output.lines())
            raise GpuDoctorError(f"{model.given} cannot be made: {said}")

    progress.step(f"looking for {model.given} in the cache")
    name = f"whisper-{model.name}-{model_format or 'x'}-r{RECIPE}"
    # Half precision, and as much again for a tokenizer, a vocabulary and what the estimate misses.
    return obtain(
        cache_home(system.environ()),
        name,
        make,
        needed_bytes=int(shape.parameters * 2.2) + (1 << 25),
        waiting=lambda: progress.step(f"waiting for another gpudoctor that makes {model.given}"),
    )


def _last_words(lines: tuple[bytes, ...]) -> str:
    text = next((line.decode("utf-8", "replace").strip() for line in reversed(lines) if line.strip()), "")
    return text[:300] or "its process died without a word"


def sample_file(system: ReadSystem, windows: int, progress: Progress) -> str:
    """Return the file of the sample, making it first where it is not there.

    Raises:
        GpuDoctorError: There is no place for it.
    """

    def make(folder: str) -> None:
        progress.step("making the sample audio")
        write_atomically(posixpath.join(folder, "sample.wav"), sample_wav(windows))

    folder = obtain(cache_home(system.environ()), f"sample-{windows}-r{SAMPLE_RECIPE}", make)
    return posixpath.join(folder, "sample.wav")
