"""Engines and tools."""

from __future__ import annotations

import numpy as np

from supclap.data.clips import SAMPLE_RATE
from supclap.data.soundscenes.synthesis.draw import Draw, Synthesizer
from supclap.data.soundscenes.waves import Array, bump, decay, glide, noise, partials, seconds


def _engine(d: Draw) -> Array:
    revs = d.near(42, 0.06) * d.pitch
    curve = glide(revs * d.rng.uniform(0.96, 1.04, 6), d.samples)
    body = partials(curve, d.samples, d.strengths(14, 0.35))
    strokes = 0.6 + 0.4 * np.sin(2 * np.pi * revs / 2 * seconds(d.samples))
    exhaust = noise(d.rng, d.samples, 80, 900 * d.pitch, -0.4)
    return (body + 1.2 * exhaust) * strokes.astype(np.float32) * bump(d.samples, 0.08, 0.08)


def _helicopter(d: Draw) -> Array:
    turn = (11 * d.pace * seconds(d.samples) + d.rng.random()) % 1
    blades = np.exp(-turn * np.float32(d.near(5))).astype(np.float32)
    wash = noise(d.rng, d.samples, 60, 1300, -0.4)
    whine = partials(d.near(520), d.samples, [0.08, 0.05])
    return (wash * (0.1 + blades) + whine) * bump(d.samples, 0.08, 0.08)


def _chainsaw(d: Draw) -> Array:
    revs = d.near(115, 0.06) * d.pitch
    curve = glide(revs * d.rng.uniform(0.85, 1.15, 5), d.samples)
    curve *= 1 + 0.03 * noise(d.rng, d.samples, 5, 60)
    teeth = noise(d.rng, d.samples, 1500 * d.pitch, 5000 * d.pitch)
    return (partials(curve, d.samples, d.strengths(24, 0.2)) + 0.8 * teeth) * bump(
        d.samples, 0.05, 0.05
    )


def _jackhammer(d: Draw) -> Array:
    length = int(0.06 * SAMPLE_RATE)
    clang = d.near(1700)
    strike = noise(d.rng, length * 4, 150, 4500, -0.2).reshape(4, length) * decay(length, 0.014)
    ring = partials(clang, length, [0.5, 0.3]) * decay(length, 0.01)
    return d.pulses(14, lambda i: strike[i % 4] + ring, jitter=0.03)


def _vacuum_cleaner(d: Draw) -> Array:
    motor = d.near(290, 0.04) * d.pitch
    whine = partials(motor, d.samples, [0.6, 0.5, 0.3, 0.5, 0.2, 0.1])
    air = noise(d.rng, d.samples, 250 * d.pitch, 4500 * d.pitch, -0.35)
    return (0.8 * whine + air) * bump(d.samples, 0.15, 0.1)


def _drilling(d: Draw) -> Array:
    tone = d.near(480, 0.04) * d.pitch
    load = glide([1.15, *d.rng.uniform(0.9, 1.05, 4), 1.1], d.samples)
    whir = partials(tone * load, d.samples, [0.3, 1, 0.2, 0.7, 0.4, 0.5])
    grind = noise(d.rng, d.samples, 1800, 5200) * (0.3 + 0.3 * (load < 1))
    return (whir + grind.astype(np.float32)) * bump(d.samples, 0.06, 0.06)


MACHINES: dict[str, Synthesizer] = {
    "engine": _engine,
    "helicopter": _helicopter,
    "chainsaw": _chainsaw,
    "jackhammer": _jackhammer,
    "vacuum_cleaner": _vacuum_cleaner,
    "drilling": _drilling,
}
