"""Mixes the events of a scene into one clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from supclap.bounds import SPLITS
from supclap.data.clips import SAMPLE_RATE, Clip
from supclap.data.soundscenes.captions import captions, class_names
from supclap.data.soundscenes.conditions import CONDITIONS, background, reverberate, shift
from supclap.data.soundscenes.scenes import Event, PlannedClip, Scene
from supclap.data.soundscenes.waves import Array

# Levels of the sounding part of an event, in dBFS (root mean square).
_LEVELS = {"loud": -18.0, "quiet": -36.0, "near": -25.0, "far": -29.0}
_MIDDLE = -27.0
_SPREAD = 1.5
_BACKGROUND = (-54.0, -45.0)
_FRAME = 160  # samples: 10 ms

# (event, samples, split, generator) -> (samples,) float32 of any level
Source = Callable[[Event, int, str, np.random.Generator], Array]


@dataclass(frozen=True)
class Composer:
    """Makes the planned clips. The same seed, plan and source give the same clips to the bit."""

    seed: int
    seconds: float
    source: Source

    def clip(self, planned: PlannedClip) -> Clip:
        """One clip with its captions; its source says how it was made."""
        split, scene = planned.split, planned.scene
        number = SPLITS.index(split)
        rng = np.random.default_rng([self.seed, number, planned.index])
        sound = self.mix(scene, split, rng)
        made = str(scene)
        if split == "shifted":
            condition = CONDITIONS[planned.index % len(CONDITIONS)]
            sound = shift(rng, sound, condition)
            made = f"{made} ({condition})"
        # Words have a generator of their own: shifted is captioned exactly as test is.
        spoken = "test" if split == "shifted" else split
        words = np.random.default_rng([self.seed, SPLITS.index(spoken), planned.index, 1])
        names = class_names()
        return Clip(
            clip_id=f"{split}-{planned.index:06d}",
            audio=_to_int16(sound),
            captions=captions(scene, planned.captions, words) if planned.captions else (),
            labels=tuple(names[event.kind] for event in scene.events),
            source=made,
        )

    def mix(self, scene: Scene, split: str, rng: np.random.Generator) -> Array:
        """The scene's sound in quiet surroundings, (samples,) float32."""
        samples = round(self.seconds * SAMPLE_RATE)
        sound = background(rng, samples, float(rng.uniform(*_BACKGROUND)))
        for event, (start, length) in zip(
            scene.events, _places(scene.arrangement, samples, rng), strict=True
        ):
            played = _play(event, self.source(event, length, split, rng), rng)[: samples - start]
            sound[start : start + len(played)] += played
        return sound


def _places(arrangement: str, samples: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Start and length of every event, in samples."""
    if arrangement == "then":
        first, last = (rng.uniform(0.38, 0.46, 2) * samples).astype(int)
        start = int(rng.uniform(0, 0.03) * samples)
        return [(start, first), (int(rng.uniform(0.5, 0.97 - last / samples) * samples), last)]
    count = 1 if arrangement == "single" else 2
    lengths = (rng.uniform(0.7, 0.95, count) * samples).astype(int)
    return [(int(rng.uniform(0, samples - length)), int(length)) for length in lengths]


def _play(event: Event, sound: Array, rng: np.random.Generator) -> Array:
    """The event at its level and distance; far away its echo sounds on behind it."""
    said = next((word for word in event.attributes if word in _LEVELS), None)
    level = _LEVELS.get(said or "", _MIDDLE) + rng.uniform(-_SPREAD, _SPREAD)
    if said == "far":
        padded = np.concatenate([sound, np.zeros(SAMPLE_RATE // 4, np.float32)])
        sound = reverberate(rng, padded, float(rng.uniform(0.5, 0.8)), 0.85, 1400)
    elif said == "near":
        sound = sound + 0.7 * np.diff(sound, prepend=sound[:1])  # presence: more treble
    return sound * np.float32(10 ** (level / 20) / _loudness(sound))


def _loudness(sound: Array) -> float:
    """Root mean square of the sounding part: the loudest third of the 10 ms frames."""
    frames = sound[: len(sound) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.sort(np.einsum("ft,ft->f", frames, frames))[-max(1, len(frames) // 3) :]
    return float(np.sqrt(power.mean() / _FRAME)) + 1e-9


def _to_int16(sound: Array) -> Array:
    """Peaks beyond half of full scale are bent, not cut: (samples,) int16."""
    over = np.abs(sound) > 0.5
    if over.any():
        sound = sound.copy()
        beyond = np.abs(sound[over]) - 0.5
        sound[over] = np.sign(sound[over]) * (0.5 + 0.48 * np.tanh(beyond / 0.48))
    return np.round(sound * 32767).astype(np.int16)
