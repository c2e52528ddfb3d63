"""From a file or an array to the waveform that a model takes: 16 kHz, mono, float32, one length."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from supclap.data.decode import decode
from supclap.data.faults import Unreadable
from supclap.errors import InputError


def read_audio(path: Path, seconds: float | None = None) -> np.ndarray:
    """A sound file of any rate and number of channels -> (samples,) int16 at 16 kHz, mono.

    It is read exactly as `supclap prepare` reads it, so that a file and the prepared clip of it
    have the same embedding. ``seconds``: no more than so much from its beginning.

    Raises:
        InputError: no such file, not a readable sound, truncated, damaged, empty, not finite,
            silent, or of channels that cancel each other.
    """
    if not os.path.lexists(path):
        raise InputError(f"{path}: no such file")
    try:
        return decode(path, seconds)
    except Unreadable as error:
        raise InputError(f"{path}: {error}") from None


def as_waveform(samples: np.ndarray, where: str) -> np.ndarray:
    """(samples,) of int16, or of floats in [-1, 1] -> (samples,) float32 in [-1, 1].

    Raises:
        InputError: another type or shape, no samples, NaN or infinite ones; it names ``where``.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or not (samples.dtype == np.int16 or samples.dtype.kind == "f"):
        raise InputError(
            f"{where}: expected (samples,) of int16 or floats at 16 kHz, "
            f"found {samples.dtype} of shape {samples.shape}"
        )
    if not samples.size:
        raise InputError(f"{where}: has no samples")
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32768
    if not np.isfinite(samples).all():
        raise InputError(f"{where}: has samples that are NaN or infinite")
    return samples.astype(np.float32)


def fit(waveform: np.ndarray, length: int) -> np.ndarray:
    """Crops (samples,) to its first ``length`` samples or pads it with zeros at its end."""
    if len(waveform) >= length:
        return waveform[:length]
    return np.pad(waveform, (0, length - len(waveform)))


def windows(samples: np.ndarray, length: int) -> list[tuple[int, np.ndarray]]:
    """Cuts (samples,) into windows of ``length`` that cover it: (start, window) of each.

    They stand side by side; the last one ends where the sound ends and may overlap the one before.
    A sound shorter than ``length`` is one window, as it is.
    """
    last = max(len(samples) - length, 0)
    starts = [*range(0, last, length), last]
    return [(start, samples[start : start + length]) for start in starts]
