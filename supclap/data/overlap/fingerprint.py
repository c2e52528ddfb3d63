"""A fingerprint of a sound that a codec, a gain and a shift in time leave nearly as it is.

Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002), at 16 kHz: frames of
0.384 s every 24 ms; the energies of 33 bands between 250 and 3,500 Hz, equally wide on a
logarithmic scale; bit m of frame n is 1 where the difference of band m to band m + 1 is greater
than in the frame before. 32 bits a frame, 42 frames a second.

Of the same sound the bits of both agree but for some; of two others half of them. Frames that are
silent beside the clip's loudest say nothing and are left out.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from supclap.data.clips import SAMPLE_RATE

FRAME, HOP = 6_144, 384  # samples: 0.384 s, 24 ms
BANDS = 33
LOWEST, HIGHEST = 250.0, 3_500.0  # Hz
QUIET = 1e-6  # of the loudest frame's energy
_BLOCK = 512  # frames that are transformed at once
_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def fingerprint(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fingerprint of a clip.

    Args:
        samples: (S,) int16 at 16 kHz.

    Returns:
        (F,) uint32, a frame's 32 bits each, and (F,) bool, whether the frame says anything. F is 0
        where the clip is shorter than two frames.
    """
    count = (len(samples) - FRAME) // HOP + 1
    if count < 2:
        return np.zeros(0, np.uint32), np.zeros(0, bool)
    energies = np.concatenate(
        [_energies(samples, start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    )
    steps = energies[:, :-1] - energies[:, 1:]
    bits = np.diff(steps, axis=0) > 0
    words = np.packbits(bits, axis=1, bitorder="little").view(np.uint32)[:, 0]
    loud = energies.sum(1)
    says = loud > max(QUIET * float(loud.max()), 1.0)  # and one that is all zeros never does
    return words, says[1:] & says[:-1]


def bit_errors(one: np.ndarray, other: np.ndarray) -> float:
    """The share of bits that differ between two runs of frames, (F,) uint32 each."""
    differing = _ONES[np.bitwise_xor(one, other).view(np.uint8)].sum(dtype=np.int64)
    return float(differing) / (32 * len(one))


def _energies(samples: np.ndarray, first: int, last: int) -> np.ndarray:
    """(frames, BANDS) float64 of the frames first to last."""
    part = samples[first * HOP : (last - 1) * HOP + FRAME].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(part, FRAME)[::HOP]
    spectra = np.fft.rfft(frames * _window(), axis=1)
    power = np.square(np.abs(spectra[:, : _edges()[-1]])).astype(np.float64)
    found: np.ndarray = np.add.reduceat(power, _edges()[:-1], axis=1)
    return found


@cache
def _window() -> np.ndarray:
    return np.hanning(FRAME).astype(np.float32)


@cache
def _edges() -> np.ndarray:
    """(BANDS + 1,) int64: the bins at which the bands begin, and the last one ends."""
    hertz = LOWEST * (HIGHEST / LOWEST) ** (np.arange(BANDS + 1) / BANDS)
    return np.round(hertz * FRAME / SAMPLE_RATE).astype(np.int64)
