"""The few shapes that all synthesized events are made of. Every array is float32 at 16 kHz."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from supclap.data.clips import SAMPLE_RATE

Array = np.ndarray
TURN = np.float32(2 * np.pi / SAMPLE_RATE)


def seconds(samples: int) -> Array:
    """Times of the samples in seconds, (samples,)."""
    return np.arange(samples, dtype=np.float32) / SAMPLE_RATE


def phase(frequency: Array | float, samples: int) -> Array:
    """Phase in radians, (samples,), of an oscillator at ``frequency`` Hz: one, or (samples,)."""
    if isinstance(frequency, np.ndarray):
        # In float64: float32 would drift by whole turns within a long clip.
        turns = np.cumsum(frequency, dtype=np.float64) / SAMPLE_RATE
        return (2 * np.pi * (turns - np.floor(turns))).astype(np.float32)
    return (TURN * np.float32(frequency)) * np.arange(samples, dtype=np.float32)


def partials(frequency: Array | float, samples: int, strengths: Sequence[float]) -> Array:
    """Harmonics 1, 2, ... of a tone with the given strengths, (samples,); none above 7.5 kHz."""
    base = phase(frequency, samples)
    highest = float(np.max(frequency))
    sound = np.zeros(samples, np.float32)
    for number, strength in enumerate(strengths, 1):
        if strength and number * highest < 7500:
            sound += np.float32(strength) * np.sin(np.float32(number) * base)
    return sound


def glide(points: Sequence[float] | Array, samples: int) -> Array:
    """A curve through equally spaced points, (samples,)."""
    places = np.arange(samples, dtype=np.float32) * np.float32((len(points) - 1) / max(1, samples))
    left = places.astype(np.int32)
    values = np.asarray(points, np.float32)
    steps = np.append(np.diff(values), np.float32(0))
    curve: Array = values[left] + steps[left] * (places - left).astype(np.float32)
    return curve


def bump(samples: int, attack: float, release: float) -> Array:
    """Rises within ``attack`` and falls within ``release`` seconds, flat between, (samples,)."""
    shape = np.ones(samples, np.float32)
    rise = min(samples, max(1, int(attack * SAMPLE_RATE)))
    fall = min(samples, max(1, int(release * SAMPLE_RATE)))
    shape[:rise] *= _ramp(rise)
    shape[-fall:] *= _ramp(fall)[::-1]
    return shape


def _ramp(samples: int) -> Array:
    return np.arange(samples, dtype=np.float32) / np.float32(samples)


def decay(samples: int, time: float) -> Array:
    """exp(-t / time) behind an attack of 1 ms, (samples,)."""
    shape = np.exp(seconds(samples) * np.float32(-1 / time))
    rise = min(16, samples)
    shape[:rise] *= _ramp(rise)
    return shape


def noise(
    rng: np.random.Generator, samples: int, low: float, high: float, slope: float = 0
) -> Array:
    """Gaussian noise between ``low`` and ``high`` Hz, (samples,), of about unit power.

    Args:
        slope: exponent of the spectrum's amplitude over frequency: 0 white, -0.5 pink, -1 brown.
    """
    padded = -(-samples // 512) * 512  # a length that the FFT likes
    bins = padded // 2 + 1
    first = int(low / SAMPLE_RATE * padded)
    last = min(bins, max(first + 2, int(high / SAMPLE_RATE * padded)))
    first = max(1, min(first, last - 1))
    spectrum = np.zeros(bins, np.complex64)
    values = rng.standard_normal((last - first, 2), dtype=np.float32)
    if slope:
        weights = np.exp(np.float32(slope) * _logarithms(bins)[first:last])
        weights /= np.sqrt(np.dot(weights, weights) / len(weights))
        values *= weights[:, None]
    spectrum[first:last] = values.view(np.complex64)[:, 0]
    power = 2 * np.sqrt(last - first)
    sound: Array = np.fft.irfft(spectrum, padded)[:samples].astype(np.float32, copy=False)
    return sound * np.float32(padded / power)


@lru_cache(maxsize=64)  # lengths differ from event to event, but round up to few sizes
def _logarithms(count: int) -> Array:
    """log of 0, 1, 2, ... (the first entry stands for no frequency and is not used)."""
    return np.log(np.maximum(np.arange(count, dtype=np.float32), 1))


def onsets(rng: np.random.Generator, samples: int, rate: float, jitter: float = 0.08) -> Array:
    """Sample positions of a pulse train at ``rate`` per second, at least one, sorted."""
    step = SAMPLE_RATE / rate
    count = max(1, int(samples / step))
    places = (np.arange(count) + jitter * rng.uniform(-1, 1, count)) * step
    return np.clip(places + rng.uniform(0.02, 0.2) * step, 0, samples - 1).astype(np.int64)


def train(places: Array, samples: int, grain: Callable[[int], Array]) -> Array:
    """The sum of the pulses ``grain(number)`` at the given places, cut at the end, (samples,)."""
    sound = np.zeros(samples, np.float32)
    for number, place in enumerate(places):
        pulse = grain(number)[: samples - place]
        sound[place : place + len(pulse)] += pulse
    return sound
