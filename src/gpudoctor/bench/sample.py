"""The sample: sound with the rhythm and the spectrum of speech, made here, the same in every release."""

from __future__ import annotations

import io
import math
import random
import sys
import wave
from array import array

SAMPLE_RATE = 16000
WINDOW_S = 30
_SYLLABLE_S = 0.2
_SEED = 1
_PEAK = 12000


def sample_wav(windows: int = 1) -> bytes:
    """Return a WAV file of so many windows of 30 seconds: what one step of a Whisper model takes.

    Syllables of a gliding tone with overtones, breath noise, a pause now and then. It says nothing; its length and
    level are what matters to the time.
    """
    one = _window()
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(one * windows)
    return file.getvalue()


def _window() -> bytes:
    chance = random.Random(_SEED)  # noqa: S311 - sound, no secret
    samples = array("h")
    for _ in range(round(WINDOW_S / _SYLLABLE_S)):
        samples.extend(_syllable(chance))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _syllable(chance: random.Random) -> array[int]:
    """Return a fifth of a second: a vowel with its glide, or a pause."""
    length = round(_SYLLABLE_S * SAMPLE_RATE)
    if chance.random() < 0.15:
        return array("h", bytes(2 * length))
    pitch, glide = chance.uniform(90, 220), chance.uniform(-40, 40)
    loudness, breath = chance.uniform(0.3, 1.0), chance.uniform(0.02, 0.2)
    samples = array("h")
    phase = 0.0
    for number in range(length):
        share = number / length
        phase += 2 * math.pi * (pitch + glide * share) / SAMPLE_RATE
        tone = math.sin(phase) + 0.5 * math.sin(3 * phase) + 0.25 * math.sin(7 * phase)
        value = (tone / 1.75 + breath * chance.uniform(-1, 1)) * loudness * math.sin(math.pi * share)
        samples.append(round(value / 1.2 * _PEAK))
    return samples
