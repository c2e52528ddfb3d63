"""The sound of every synthetic kind, drawn anew each time.

A synthesizer takes a `Draw` and returns (samples,) float32 of any level: pitch and pace are in
it, level and distance are added by the mixer. What varies besides (timbre, rhythm, the base
frequency by some percent) is nature, and no caption mentions it.
"""

from __future__ import annotations

import numpy as np

from supclap.data.soundscenes.scenes import Event
from supclap.data.soundscenes.synthesis.animals import ANIMALS
from supclap.data.soundscenes.synthesis.draw import Draw, Synthesizer
from supclap.data.soundscenes.synthesis.impulsive import IMPULSIVE
from supclap.data.soundscenes.synthesis.machines import MACHINES
from supclap.data.soundscenes.synthesis.noises import NOISES
from supclap.data.soundscenes.synthesis.tonal import TONAL
from supclap.data.soundscenes.waves import Array

SYNTHESIZERS: dict[str, Synthesizer] = {**TONAL, **NOISES, **IMPULSIVE, **ANIMALS, **MACHINES}
_PITCH = {"high": 1.5, "low": 1 / 1.5}
_PACE = {"fast": 2.0, "slow": 0.5}


def synthesize(event: Event, samples: int, rng: np.random.Generator) -> Array:
    """The event's sound, (samples,) float32, at no particular level."""
    pitch = pace = 1.0
    for word in event.attributes:
        pitch *= _PITCH.get(word, 1.0)
        pace *= _PACE.get(word, 1.0)
    draw = Draw(rng, samples, pitch * rng.uniform(0.92, 1.08), pace * rng.uniform(0.88, 1.12))
    return SYNTHESIZERS[event.kind](draw)
