"""The mean of a sound's channels, and whether anything of them is left in it."""

from __future__ import annotations

import numpy as np

from supclap.data.faults import Silent, Unreadable

CANCELLED = 1e-4  # of the channels' power is in their mean: 40 dB less


class Downmix:
    """Takes a sound block by block.

    Powers are variances within a block: a constant offset, as of a microphone's supply, is neither
    sound nor a remedy where the sound is cancelled.
    """

    def __init__(self) -> None:
        self._moves = False  # whether any channel takes more than one value
        self._zero = True
        self._of_channels = self._of_mean = 0.0  # sums over the samples

    def mean(self, block: np.ndarray) -> np.ndarray:
        """(samples, channels) float32, finite -> (samples,) float32, the mean of the channels."""
        self._moves |= bool((block.min(axis=0) != block.max(axis=0)).any())
        self._zero &= not block.any()
        if block.shape[1] == 1:
            mono: np.ndarray = block[:, 0]
            return mono
        mono = block.mean(axis=1)
        self._of_channels += float(block.var(axis=0, dtype=np.float64).mean()) * len(block)
        self._of_mean += float(mono.var(dtype=np.float64)) * len(block)
        return mono

    def check(self) -> None:
        """Raises Silent where nothing moves, Unreadable where the channels cancel."""
        if not self._moves:
            value = "zero" if self._zero else "the same"
            raise Silent(f"digital silence: every sample is {value}")
        if self._of_mean < CANCELLED * self._of_channels:
            raise Unreadable(
                "its channels cancel: their mean is more than 40 dB below them, as where one is "
                "inverted; keep one channel alone"
            )
