"""Recording conditions: distance for one event, and the other world of the ``shifted`` split."""

from __future__ import annotations

import numpy as np

from supclap.data.clips import SAMPLE_RATE
from supclap.data.soundscenes.waves import Array, noise, seconds

CONDITIONS = ("reverberant", "band-limited", "noisy")


def background(rng: np.random.Generator, samples: int, level: float) -> Array:
    """Room noise of a random colour at ``level`` dBFS, (samples,) float32."""
    sound = noise(rng, samples, 30, 7900, float(rng.uniform(-0.8, -0.1)))
    return sound * np.float32(10 ** (level / 20))


def reverberate(
    rng: np.random.Generator, sound: Array, time: float, wet: float, cutoff: float
) -> Array:
    """Adds the echo of a room, (samples,) float32 of the same length and about the same power.

    Args:
        time: seconds until the echo has fallen by 60 dB.
        wet: share of the echo in the power, 0 to 1.
        cutoff: Hz above which the room swallows the sound, by 12 dB per octave.
    """
    length = int(time * SAMPLE_RATE)
    tail = rng.standard_normal(length, dtype=np.float32)
    tail *= np.exp(seconds(length) * np.float32(-6.9 / time))
    tail *= np.float32(np.sqrt(wet / np.sum(tail**2)))
    tail[0] += np.float32(np.sqrt(1 - wet))
    padded = -(-(len(sound) + length) // 512) * 512
    spectrum = np.fft.rfft(sound, padded) * np.fft.rfft(tail, padded)
    spectrum *= _low_pass(padded, cutoff)
    return np.fft.irfft(spectrum, padded)[: len(sound)].astype(np.float32, copy=False)


def shift(rng: np.random.Generator, sound: Array, condition: str) -> Array:
    """The scene as another recorder in another place would have caught it, same shape."""
    if condition == "reverberant":
        return reverberate(rng, sound, float(rng.uniform(0.6, 1.2)), 0.6, 6000)
    if condition == "band-limited":
        padded = -(-len(sound) // 512) * 512
        frequency = _frequencies(padded)
        low, high = rng.uniform(200, 400), rng.uniform(2800, 3800)
        gain = _low_pass(padded, high) ** 2 / np.sqrt(
            1 + (low / np.maximum(frequency, 1)) ** 8
        ).astype(np.float32)
        shaped = np.fft.irfft(np.fft.rfft(sound, padded) * gain, padded)[: len(sound)]
        return shaped.astype(np.float32, copy=False)
    hum = np.sin(2 * np.pi * 50 * seconds(len(sound))) * np.float32(0.005)
    return sound + hum + background(rng, len(sound), float(rng.uniform(-45, -39)))


def _frequencies(samples: int) -> Array:
    return np.arange(samples // 2 + 1, dtype=np.float32) * np.float32(SAMPLE_RATE / samples)


def _low_pass(samples: int, cutoff: float) -> Array:
    return (1 / (1 + (_frequencies(samples) / np.float32(cutoff)) ** 2)).astype(np.float32)
