"""Part of a benchmark's child: writes a Whisper model of random weights that CTranslate2 and faster-whisper load.

Layers, heads and sizes are those of the real model, and so is the arithmetic and its time. The text is noise.

Source: https://github.com/OpenNMT/CTranslate2 (specs/whisper_spec.py) for the parts of a model, and
https://github.com/openai/whisper (tokenizer.py) for the order of the special tokens (2026-11-21).
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SEED = 20261121
SCALE = 0.02
AUDIO_POSITIONS = 1500
TEXT_POSITIONS = 448
TIME_STAMPS = 1501
# Tokens of every vocabulary beside the text, the languages and the time stamps.
TASK_TOKENS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")


def write_model(shape: dict[str, int], folder: str, say: Callable[..., None]) -> None:
    """Write a model into a folder.

    Args:
        shape: As in gpudoctor.matrix.types.WhisperModel.
        folder: Exists and is empty.
        say: Tells of progress.
    """
    from ctranslate2.specs import WhisperSpec

    special = special_tokens(shape["vocabulary"])
    text = [f" w{i}" for i in range(shape["vocabulary"] - len(special))]
    spec = WhisperSpec(shape["encoder_layers"], shape["heads"], shape["decoder_layers"], shape["heads"])
    Weights(shape, say).fill(spec)
    spec.register_vocabulary(text + special)
    configure(spec, shape, len(text))
    spec.validate()
    spec.optimize()
    spec.save(folder)
    write_tokenizer(text, special, os.path.join(folder, "tokenizer.json"))
    write_preprocessor(shape["mel_bins"], os.path.join(folder, "preprocessor_config.json"))


def special_tokens(vocabulary: int) -> list[str]:
    """Return the special tokens in their order; the larger vocabulary has one language more."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    languages = _LANGUAGE_CODES[: 100 if vocabulary >= 51866 else 99]
    stamps = [f"<|{i * 0.02:.2f}|>" for i in range(TIME_STAMPS)]
    head = ["<|endoftext|>", "<|startoftranscript|>"]
    return [*head, *(f"<|{c}|>" for c in languages), *(f"<|{t}|>" for t in TASK_TOKENS), *stamps]


def configure(spec: Any, shape: dict[str, int], end_of_text: int) -> None:
    """Fill in what the model says of its tokens."""
    languages = 100 if shape["vocabulary"] >= 51866 else 99
    layers, heads = shape["decoder_layers"], shape["heads"]
    spec.config.lang_ids = list(range(end_of_text + 2, end_of_text + 2 + languages))
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [end_of_text]
    spec.config.alignment_heads = [[layer, head] for layer in range(layers // 2, layers) for head in range(heads)]


class Weights:
    """Random weights, the same in every run, in half precision."""

    def __init__(self, shape: dict[str, int], say: Callable[..., None]) -> None:
        import numpy

        self._numpy = numpy
        self._random = numpy.random.default_rng(SEED)
        self._shape = shape
        self._width = shape["width"]
        self._say = say

    def fill(self, spec: Any) -> None:
        """Fill all of a specification."""
        width = self._width
        encoder, decoder = spec.encoder, spec.decoder
        self._conv(encoder.conv1, self._shape["mel_bins"])
        self._conv(encoder.conv2, width)
        encoder.position_encodings.encodings = self._weight(AUDIO_POSITIONS, width)
        self._norm(encoder.layer_norm)
        for number, layer in enumerate(encoder.layer):
            self._say("making", part="encoder", done=number, total=len(encoder.layer))
            self._attention(layer.self_attention)
            self._feed_forward(layer.ffn)
        decoder.embeddings.weight = self._weight(self._shape["vocabulary"], width)
        decoder.position_encodings.encodings = self._weight(TEXT_POSITIONS, width)
        decoder.projection.weight = decoder.embeddings.weight
        self._norm(decoder.layer_norm)
        for number, layer in enumerate(decoder.layer):
            self._say("making", part="decoder", done=number, total=len(decoder.layer))
            self._attention(layer.self_attention)
            self._cross_attention(layer.attention)
            self._feed_forward(layer.ffn)

    def _weight(self, *shape: int) -> Any:
        values = self._random.standard_normal(shape, dtype=self._numpy.float32)
        values *= SCALE
        return values.astype(self._numpy.float16)

    def _zeros(self, size: int) -> Any:
        return self._numpy.zeros(size, self._numpy.float16)

    def _norm(self, norm: Any) -> None:
        norm.gamma = self._numpy.ones(self._width, self._numpy.float16)
        norm.beta = self._zeros(self._width)

    def _conv(self, conv: Any, channels: int) -> None:
        conv.weight = self._weight(self._width, channels, 3)
        conv.bias = self._zeros(self._width)

    def _linear(self, linear: Any, outputs: int, inputs: int) -> None:
        linear.weight = self._weight(outputs, inputs)
        linear.bias = self._zeros(outputs)

    def _attention(self, attention: Any) -> None:
        self._norm(attention.layer_norm)
        self._linear(attention.linear[0], 3 * self._width, self._width)
        self._linear(attention.linear[1], self._width, self._width)

    def _cross_attention(self, attention: Any) -> None:
        self._norm(attention.layer_norm)
        self._linear(attention.linear[0], self._width, self._width)
        self._linear(attention.linear[1], 2 * self._width, self._width)
        self._linear(attention.linear[2], self._width, self._width)

    def _feed_forward(self, ffn: Any) -> None:
        self._norm(ffn.layer_norm)
        self._linear(ffn.linear_0, 4 * self._width, self._width)
        self._linear(ffn.linear_1, self._width, 4 * self._width)


def write_tokenizer(text: list[str], special: list[str], path: str) -> None:
    """Write a tokenizer that knows the tokens by number and makes no sense of any text."""
    from tokenizers import AddedToken, Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(text)}, unk_token=text[0]))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(path)


def write_preprocessor(mel_bins: int, path: str) -> None:
    """Write how audio becomes a spectrogram: faster-whisper assumes 80 bins where nothing says otherwise."""
    config = {"feature_size": mel_bins, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
