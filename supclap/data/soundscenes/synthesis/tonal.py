"""Tonal events: signals, bells and instruments."""

from __future__ import annotations

import numpy as np

from supclap.data.clips import SAMPLE_RATE
from supclap.data.soundscenes.synthesis.draw import Draw, Synthesizer
from supclap.data.soundscenes.waves import Array, bump, decay, glide, noise, partials, seconds


def _beep(d: Draw) -> Array:
    tone = 1000 * d.pitch
    length = int(d.near(0.09) * SAMPLE_RATE)
    pulse = partials(tone, length, [1, 0, d.near(0.2)]) * bump(length, 0.004, 0.006)
    return d.pulses(4, lambda _: pulse, jitter=0.01)


def _whistle(d: Draw) -> Array:
    middle = d.near(1600, 0.05) * d.pitch
    curve = glide(middle * d.rng.uniform(0.85, 1.15, 4), d.samples)
    curve *= 1 + 0.012 * np.sin(d.near(36) * seconds(d.samples))
    breath = noise(d.rng, d.samples, middle * 0.8, middle * 1.3)
    return (partials(curve, d.samples, [1, 0.08]) + 0.08 * breath) * bump(d.samples, 0.06, 0.1)


def _church_bells(d: Draw) -> Array:
    base = 420 * d.pitch
    length = int(0.9 * SAMPLE_RATE)
    ratios = (0.5, 1.0, 1.19, 1.5, 2.0, 2.66, 4.1)
    strike = sum(
        partials(base * ratio * d.near(1, 0.01), length, [d.near(1 / (1 + i * 0.4), 0.3)])
        * decay(length, 0.45 / (1 + 0.5 * i))
        for i, ratio in enumerate(ratios)
    )
    return d.pulses(2.2, lambda _: np.asarray(strike) * np.float32(d.near(1, 0.2)))


def _siren(d: Draw) -> Array:
    turn = 2 * np.pi * 1.6 * d.pace * seconds(d.samples) + d.rng.uniform(0, 6.28)
    curve = (750 * d.pitch * 2 ** (0.5 * np.sin(turn))).astype(np.float32)
    return partials(curve, d.samples, d.strengths(5, 1.2)) * bump(d.samples, 0.05, 0.05)


def _car_horn(d: Draw) -> Array:
    base = d.near(400, 0.05) * d.pitch
    chord = sum(
        partials(base * ratio, d.samples, d.strengths(9, 0.7)) for ratio in (1, d.near(1.25, 0.02))
    )
    if d.rng.random() < 0.5:
        return np.asarray(chord) * bump(d.samples, 0.02, 0.03)
    half = int(d.samples * d.rng.uniform(0.3, 0.6))
    pause = min(d.samples - half, int(0.08 * SAMPLE_RATE))
    shape = np.concatenate(
        [bump(half, 0.02, 0.03), np.zeros(pause), bump(d.samples - half - pause, 0.02, 0.03)]
    )
    return np.asarray(chord) * shape.astype(np.float32)


def _flute(d: Draw) -> Array:
    scale = 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)
    step = SAMPLE_RATE / (3.2 * d.pace)
    count = int(np.ceil(d.samples / step))
    notes = 520 * d.pitch * d.rng.choice(scale, count)
    which = np.minimum((np.arange(d.samples) / step).astype(np.int64), count - 1)
    vibrato = 1 + 0.006 * np.sin(33 * seconds(d.samples))
    inside = (np.arange(d.samples) / step) % 1
    shape = np.clip(np.minimum(inside / 0.15, (1 - inside) / 0.1), 0, 1).astype(np.float32)
    tone = partials((notes[which] * vibrato).astype(np.float32), d.samples, [1, 0.35, 0.12, 0.04])
    return (tone + 0.05 * noise(d.rng, d.samples, 800, 5000)) * shape


def _guitar(d: Draw) -> Array:
    scale = 2 ** (np.array([0, 3, 5, 7, 10, 12]) / 12)
    length = int(0.6 * SAMPLE_RATE)

    def pluck(_: int) -> Array:
        tone = 196 * d.pitch * float(d.rng.choice(scale))
        dull = partials(tone, length, d.strengths(4, 0.8)) * decay(length, 0.3)
        bright = partials(tone, length, [0, 0, 0, 0, *d.strengths(8, 0.5)]) * decay(length, 0.07)
        return dull + np.float32(0.6) * bright

    return d.pulses(3.2, pluck)


TONAL: dict[str, Synthesizer] = {
    "beep": _beep,
    "whistle": _whistle,
    "church_bells": _church_bells,
    "siren": _siren,
    "car_horn": _car_horn,
    "flute": _flute,
    "guitar": _guitar,
}
