"""What a synthesizer is given: how long, how high, how fast, and a generator of all the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from supclap.data.clips import SAMPLE_RATE
from supclap.data.soundscenes.waves import Array, onsets, train


@dataclass(frozen=True)
class Draw:
    """What a synthesizer needs to know. ``pitch`` and ``pace`` are factors around 1."""

    rng: np.random.Generator
    samples: int
    pitch: float
    pace: float

    def near(self, value: float, spread: float = 0.15) -> float:
        """A value that varies by up to the given share."""
        return value * float(self.rng.uniform(1 - spread, 1 + spread))

    def strengths(self, count: int, slope: float) -> list[float]:
        """Strengths of harmonics that fall as number^-slope, each varied by a third."""
        return [float(self.rng.uniform(0.67, 1.33)) * n**-slope for n in range(1, count + 1)]

    def call(self, length: float) -> int:
        """Samples of one call of an animal of about ``length`` seconds: fast calls are shorter."""
        return int(self.near(length) / max(1.0, self.pace) * SAMPLE_RATE)

    def pulses(self, rate: float, grain: Callable[[int], Array], jitter: float = 0.08) -> Array:
        """A pulse train at ``rate`` times the pace, per second."""
        places = onsets(self.rng, self.samples, rate * self.pace, jitter)
        return train(places, self.samples, grain)


# (samples,) float32 of any level
Synthesizer = Callable[[Draw], Array]
