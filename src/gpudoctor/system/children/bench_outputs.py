"""Part of a benchmark's child: writes down what a model computed, and compares two such records.

What is compared is fixed by the input: the encoder's output for the first window, and the log-probabilities of given
tokens after a given beginning (teacher-forced). The tokens that a search finds are not: a near tie falls either way.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FRAMES = 3000
FORCED_TOKENS = 48
# CTranslate2 adds the token that says "no time stamps" itself.
BEGINNING = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>")


def write_outputs(model: Any, audio: Any, tokens: list[int], path: str) -> None:
    """Compute the outputs of a loaded WhisperModel and write them to a file (.npz).

    Args:
        model: The model.
        audio: Samples.
        tokens: What a transcription found.
        path: The file.
    """
    import ctranslate2
    import numpy

    features = first_window(model, audio)
    single = ctranslate2.DataType.float32
    encoded = model.model.encode(ctranslate2.StorageView.from_array(features))
    # One more time: its answer on the CPU; the first stays on the device for the decoder.
    seen = model.model.encode(ctranslate2.StorageView.from_array(features), to_cpu=True).to(single)
    ids = (model.hf_tokenizer.token_to_id(token) for token in BEGINNING)
    start = [i for i in ids if i is not None]
    end_of_text = model.hf_tokenizer.token_to_id("<|endoftext|>")
    forced = [(101 + 37 * i * i) % end_of_text for i in range(FORCED_TOKENS)]
    probabilities = model.model.align(encoded, start, [forced], FRAMES)[0].text_token_probs
    with numpy.errstate(divide="ignore"):
        log_probs = numpy.log(numpy.array(probabilities, dtype=numpy.float64))
    numpy.savez(path, encoder=numpy.array(seen), log_probs=log_probs, tokens=numpy.array(tokens, dtype=numpy.int64))


def first_window(model: Any, audio: Any) -> Any:
    """Return the spectrogram of the first 30 seconds, padded."""
    import numpy

    features = model.feature_extractor(audio)[:, :FRAMES]
    missing = FRAMES - features.shape[-1]
    padded = numpy.pad(features, ((0, 0), (0, missing))) if missing > 0 else features
    return numpy.ascontiguousarray(padded[None], dtype=numpy.float32)


def compare(reference: str, other: str) -> dict[str, object]:
    """Return by how much two records differ; None where that is no number (NaN, another shape)."""
    import numpy

    with numpy.load(reference) as before, numpy.load(other) as after:
        return {
            "encoder_error": difference(before["encoder"], after["encoder"], numpy.linalg.norm),
            "log_prob_error": difference(before["log_probs"], after["log_probs"], spread),
            "tokens_equal": equal_share(before["tokens"].tolist(), after["tokens"].tolist()),
        }


def spread(values: Any) -> Any:
    """Return how much values vary, as a norm."""
    import numpy

    return numpy.linalg.norm(values - values.mean())


def difference(before: Any, after: Any, scale: Any) -> float | None:
    """Return the norm of a difference over a scale of what is the reference."""
    import numpy

    if before.shape != after.shape or not (numpy.isfinite(before).all() and numpy.isfinite(after).all()):
        return None
    whole = float(scale(before))
    error = float(numpy.linalg.norm(after.astype(numpy.float64) - before.astype(numpy.float64)))
    return error / whole if whole else None


def equal_share(before: list[int], after: list[int]) -> float | None:
    """Return the share of tokens that are the same at the same place."""
    length = min(len(before), len(after))
    return sum(before[i] == after[i] for i in range(length)) / length if length else None
