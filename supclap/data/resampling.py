"""Sound at any rate to 16 kHz, block by block.

Done in the frequency domain, on blocks of whole seconds: a second is a whole number of samples at
any rate, so every rate is treated alike (a polyphase filter from 44,099 Hz would need 16,000
phases), a file of hours needs no more memory than half a minute, and the processes that decode need
not load PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from supclap.data.clips import SAMPLE_RATE

_BLOCK = 30  # seconds resampled at once
_SAMPLES = 6_000_000  # of a block at most: at rates above any of music a block is shorter
_MARGIN = 1  # seconds on either side of a block that are thrown away again
_PASS, _STOP = 0.95, 1.0  # of the lower Nyquist frequency: where the filter begins and ends to fall


def resample(sound: np.ndarray, rate: int) -> np.ndarray:
    """(samples,) float32 at ``rate`` Hz -> (samples x 16000 / rate, rounded up,) at 16 kHz.

    Band-limited: nothing above 95 % of the lower Nyquist frequency is kept whole, nothing above
    100 % at all, so that nothing folds back.
    """
    blocks = (sound[at : at + rate] for at in range(0, len(sound), rate))
    return np.concatenate([np.zeros(0, np.float32), *resampled(blocks, rate)])


def resampled(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """16 kHz blocks from blocks of any length. The samples of a block depend on the sound alone."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    seconds = max(min(_BLOCK, _SAMPLES // rate), 1)
    size, margin = seconds * rate, _MARGIN * rate
    held = np.zeros(margin, np.float32)  # starts with the margin before the next block
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= margin + size + margin:
            yield _convert(held[: margin + size + margin], rate, seconds * SAMPLE_RATE)
            held = held[size:]
    while len(held) > margin:
        rest = min(len(held) - margin, size)
        # Up to whole seconds, and a margin of zeros behind: the transform is circular.
        padded = np.zeros(2 * margin + -(-rest // rate) * rate, np.float32)
        padded[: min(len(held), len(padded))] = held[: len(padded)]
        yield _convert(padded, rate, -(-rest * SAMPLE_RATE // rate))
        held = held[size:] if len(held) > margin + size else held[:0]


def _convert(window: np.ndarray, rate: int, samples: int) -> np.ndarray:
    """The first ``samples`` after the margin of a window of whole seconds, at 16 kHz."""
    length = len(window) // rate * SAMPLE_RATE
    spectrum = np.fft.rfft(window)
    bins = min(len(spectrum), length // 2 + 1)
    limit = min(rate, SAMPLE_RATE) / 2 * len(window) / rate  # in bins
    place = (np.arange(bins) / limit - _PASS) / (_STOP - _PASS)
    fall = 0.5 + 0.5 * np.cos(np.pi * np.clip(place, 0, 1))
    sound = np.fft.irfft(spectrum[:bins] * fall, n=length) * (length / len(window))
    start = _MARGIN * SAMPLE_RATE
    return sound[start : start + samples].astype(np.float32)
