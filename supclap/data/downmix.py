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
        self._moves = self._moves or _moves(block[:1000]) or _moves(block)
        self._zero = self._zero and not block.any()
        if block.shape[1] == 1:
            mono: np.ndarray = block[:, 0]
            return mono
        # Of two channels by hand: the same numbers, ten times as fast.
        two = block.shape[1] == 2
        mono = (block[:, 0] + block[:, 1]) / np.float32(2) if two else block.mean(axis=1)
        self._of_channels += sum(map(_power, block.T)) / block.shape[1]
        self._of_mean += _power(mono)
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


def _moves(block: np.ndarray) -> bool:
    return bool((block != block[0]).any())


def _power(channel: np.ndarray) -> float:
    """Sum of the squares of (samples,) without its mean."""
    moving = channel - np.float32(channel.mean(dtype=np.float64))
    return float(np.vdot(moving, moving))
