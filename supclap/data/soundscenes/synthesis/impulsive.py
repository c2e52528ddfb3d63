"""Impulsive events: blows, steps, drops and crackles."""

from __future__ import annotations

import numpy as np

from supclap.data.clips import SAMPLE_RATE
from supclap.data.soundscenes.synthesis.draw import Draw, Synthesizer
from supclap.data.soundscenes.waves import Array, bump, decay, glide, noise, partials, train


def _knock(d: Draw) -> Array:
    length = int(0.12 * SAMPLE_RATE)
    tone = d.near(190)

    def hit(_: int) -> Array:
        wood = partials(d.near(tone, 0.03), length, [1, 0.6, 0.35]) * decay(length, 0.022)
        tap = noise(d.rng, length, 300, 2400) * decay(length, 0.006)
        return (wood + 0.5 * tap) * np.float32(d.near(1, 0.25))

    return d.pulses(4, hit)


def _clapping(d: Draw) -> Array:
    length = int(0.08 * SAMPLE_RATE)
    middle = d.near(1500)

    def clap(_: int) -> Array:
        tone = d.near(middle, 0.1)
        return noise(d.rng, length, tone * 0.6, tone * 2.6) * decay(length, d.near(0.012, 0.2))

    return d.pulses(4.5, clap, jitter=0.12)


def _footsteps(d: Draw) -> Array:
    length = int(0.16 * SAMPLE_RATE)
    toe = int(d.near(0.055) * SAMPLE_RATE)

    def step(_: int) -> Array:
        sound = noise(d.rng, length, 60, 420, -0.3) * decay(length, 0.025)
        scrape = noise(d.rng, length - toe, 900, 3200) * bump(length - toe, 0.01, 0.07)
        sound[toe:] += np.float32(0.22) * scrape
        return sound * np.float32(d.near(1, 0.2))

    return d.pulses(2.8, step, jitter=0.05)


def _hammer(d: Draw) -> Array:
    length = int(0.25 * SAMPLE_RATE)
    base = 1150 * d.pitch
    ratios = [d.near(ratio, 0.03) for ratio in (1, 1.47, 2.09, 2.76, 3.53)]

    def hit(_: int) -> Array:
        ring = sum(partials(base * ratio, length, [1 / (1 + i)]) for i, ratio in enumerate(ratios))
        tap = noise(d.rng, length, 500, 6000) * decay(length, 0.004)
        return np.asarray(ring) * decay(length, 0.05) * np.float32(d.near(0.5, 0.2)) + tap

    return d.pulses(3, hit)


def _drum(d: Draw) -> Array:
    length = int(0.3 * SAMPLE_RATE)

    def beat(_: int) -> Array:
        tone = 95 * d.pitch
        curve = tone * (1 + 0.6 * decay(length, 0.03))
        skin = noise(d.rng, length, 200, 1400) * decay(length, 0.01)
        body = partials(curve, length, [1, 0.3, 0.1]) * decay(length, 0.11)
        return (body + 0.15 * skin) * np.float32(d.near(1, 0.25))

    return d.pulses(3.4, beat, jitter=0.04)


def _clock_tick(d: Draw) -> Array:
    length = int(0.04 * SAMPLE_RATE)
    tone = 2600 * d.pitch

    def tick(number: int) -> Array:
        pitch = tone * (1 if number % 2 else 0.86)
        ring = partials(pitch, length, [1, 0.3]) * decay(length, 0.005)
        return ring + 0.4 * noise(d.rng, length, 1500, 7000) * decay(length, 0.0015)

    return d.pulses(4, tick, jitter=0.01)


def _water_drops(d: Draw) -> Array:
    length = int(0.14 * SAMPLE_RATE)

    def drop(_: int) -> Array:
        tone = d.near(950, 0.12) * d.pitch
        curve = glide([tone * 0.75, tone, tone * 1.5], length)
        return partials(curve, length, [1, 0.1]) * decay(length, 0.03) * np.float32(d.near(1, 0.4))

    return d.pulses(3.4, drop, jitter=0.3)


def _crackling_fire(d: Draw) -> Array:
    count = max(6, int(d.near(38) * d.samples / SAMPLE_RATE))
    places = np.sort(d.rng.integers(0, d.samples, count))
    length = 240
    snap = noise(d.rng, length * 8, 1200, 7000).reshape(8, length) * decay(length, 0.0025)
    sizes = d.rng.exponential(1, count).astype(np.float32)
    crackle = train(places, d.samples, lambda i: sizes[i] * snap[i % 8])
    return crackle + 0.12 * noise(d.rng, d.samples, 80, 700, -0.4) * bump(d.samples, 0.1, 0.1)


IMPULSIVE: dict[str, Synthesizer] = {
    "door_wood_knock": _knock,
    "clapping": _clapping,
    "footsteps": _footsteps,
    "hammer": _hammer,
    "drum": _drum,
    "clock_tick": _clock_tick,
    "water_drops": _water_drops,
    "crackling_fire": _crackling_fire,
}
