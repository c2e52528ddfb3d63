"""From a file or an array to the waveform that a model takes: 16 kHz, mono, float32, one length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from supclap.audio_library import torchaudio
from supclap.data.clips import SAMPLE_RATE
from supclap.errors import InputError


def read_audio(path: Path) -> np.ndarray:
    """A sound file of any rate and number of channels -> (samples,) float32 at 16 kHz, mono.

    Raises:
        InputError: no such file, not a readable sound, empty, not finite, or digital silence.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: not a readable sound file: {error}") from None
    mono = as_waveform(samples.mean(1), str(path))
    if not np.any(mono):
        raise InputError(f"{path}: is silent (every sample is zero)")
    if rate != SAMPLE_RATE:
        resampled = torchaudio.functional.resample(torch.from_numpy(mono), rate, SAMPLE_RATE)
        mono = resampled.numpy()
    return mono


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
