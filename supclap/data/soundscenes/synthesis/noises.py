"""Noise-like events: weather, water and steam."""

from __future__ import annotations

import numpy as np

from supclap.data.soundscenes.synthesis.draw import Draw, Synthesizer
from supclap.data.soundscenes.waves import Array, bump, decay, glide, noise


def _rain(d: Draw) -> Array:
    body = noise(d.rng, d.samples, 700, 7500, -0.15)
    drops = d.rng.random(d.samples, dtype=np.float32) < 0.004
    click = noise(d.rng, 96, 2500, 7500) * decay(96, 0.0012)
    patter = np.convolve(drops.astype(np.float32), click)[: d.samples]
    return (body + 1.2 * patter) * bump(d.samples, 0.05, 0.05)


def _wind(d: Draw) -> Array:
    middle = 420 * d.pitch
    gusts = glide(d.rng.uniform(0.25, 1, max(4, int(d.samples / 5000))), d.samples)
    body = noise(d.rng, d.samples, 60, middle * 1.2, -0.3)
    howl = noise(d.rng, d.samples, middle * 0.85, middle * 1.15)
    return (0.6 * body + howl * gusts) * gusts * bump(d.samples, 0.1, 0.1)


def _sea_waves(d: Draw) -> Array:
    peak = d.rng.uniform(0.35, 0.65)
    swell = glide([0.1, 0.25, 0.5, 1, 0.7, 0.35, 0.15], d.samples)
    swell = np.roll(swell, int((peak - 0.5) * d.samples * 0.5))
    low = noise(d.rng, d.samples, 80, 1500, -0.4)
    foam = noise(d.rng, d.samples, 1000, 6500, -0.4)
    return (low + foam * swell) * swell * bump(d.samples, 0.1, 0.1)


def _steam(d: Draw) -> Array:
    middle = 3000 * d.pitch
    hiss = noise(d.rng, d.samples, middle * 0.75, middle * 1.35)
    return hiss * bump(d.samples, d.near(0.03, 0.5), d.near(0.15, 0.5))


def _thunderstorm(d: Draw) -> Array:
    rumble = noise(d.rng, d.samples, 30, 260, -0.5)
    rolls = glide(d.rng.uniform(0.15, 1, max(5, d.samples // 2500)), d.samples)
    crack = noise(d.rng, d.samples, 150, 2500, -0.7) * decay(d.samples, d.near(0.12, 0.3))
    fall = glide([1, 0.8, 0.55, 0.3, 0.1], d.samples)
    return (rumble * rolls + np.float32(0.7) * crack) * fall


NOISES: dict[str, Synthesizer] = {
    "rain": _rain,
    "wind": _wind,
    "sea_waves": _sea_waves,
    "steam": _steam,
    "thunderstorm": _thunderstorm,
}
