"""Voices and wings of animals."""

from __future__ import annotations

import numpy as np

from supclap.data.clips import SAMPLE_RATE
from supclap.data.soundscenes.synthesis.draw import Draw, Synthesizer
from supclap.data.soundscenes.waves import Array, bump, glide, noise, partials, seconds


def _dog(d: Draw) -> Array:
    length = d.call(0.16)
    voice, rough = d.strengths(12, 0.55), d.near(0.35, 0.4)

    def bark(_: int) -> Array:
        tone = d.near(430, 0.06) * d.pitch
        curve = glide([tone * 0.8, tone * 1.25, tone * 1.05, tone * 0.65], length)
        throat = noise(d.rng, length, 400 * d.pitch, 2600 * d.pitch)
        return (partials(curve, length, voice) + rough * throat) * bump(length, 0.012, 0.09)

    return d.pulses(2.8, bark, jitter=0.12)


def _cat(d: Draw) -> Array:
    tone = d.near(620, 0.06) * d.pitch
    curve = glide([tone * 0.8, tone * 1.15, tone * 1.2, tone, tone * 0.75], d.samples)
    curve *= 1 + 0.01 * np.sin(d.near(40) * seconds(d.samples))
    open_mouth = glide([0.1, 0.9, 1, 0.6, 0.2], d.samples)
    soft = partials(curve, d.samples, [1, 0.5, 0.2])
    bright = partials(curve, d.samples, [0, 0.2, *d.strengths(6, 0.4)])
    return (soft + bright * open_mouth * 0.8) * bump(d.samples, 0.08, 0.2)


def _chirping_birds(d: Draw) -> Array:
    rising = d.rng.random() < 0.5

    def chirp(_: int) -> Array:
        length = int(d.near(0.075, 0.3) * SAMPLE_RATE)
        tone = d.near(3000, 0.1) * d.pitch
        ends = (0.8, 1.25) if rising else (1.3, 0.8)
        curve = glide([tone * ends[0], tone * d.near(1, 0.1), tone * ends[1]], length)
        return partials(curve, length, [1, 0.05]) * bump(length, 0.015, 0.03)

    return d.pulses(5, chirp, jitter=0.2)


def _crickets(d: Draw) -> Array:
    tone = 3900 * d.pitch * 0.9
    wings = d.near(34, 0.1)
    length = d.call(0.13)
    beat = 0.5 - 0.5 * np.cos(2 * np.pi * wings * seconds(length))
    chirp = partials(tone, length, [1]) * beat * bump(length, 0.02, 0.03)
    return d.pulses(4, lambda _: chirp, jitter=0.03)


def _frog(d: Draw) -> Array:
    length = d.call(0.2)
    rattle = d.near(52, 0.15)

    def croak(_: int) -> Array:
        tone = d.near(260, 0.05) * d.pitch
        pulse = np.clip(np.sin(2 * np.pi * rattle * seconds(length)), 0, 1) ** 2
        voice = partials(glide([tone, tone * 1.2], length), length, [0.5, 0.6, 1, 0.9, 0.5, 0.2])
        return voice * pulse * bump(length, 0.03, 0.05)

    return d.pulses(2.4, croak)


def _crow(d: Draw) -> Array:
    length = d.call(0.28)

    def caw(_: int) -> Array:
        tone = d.near(640, 0.05) * d.pitch
        curve = glide([tone * 0.9, tone * 1.1, tone, tone * 0.8], length)
        curve *= 1 + 0.06 * noise(d.rng, length, 20, 150)
        breath = noise(d.rng, length, 1000 * d.pitch, 2800 * d.pitch)
        return (partials(curve, length, d.strengths(8, 0.25)) + breath) * bump(length, 0.03, 0.1)

    return d.pulses(2.2, caw)


def _insects(d: Draw) -> Array:
    tone = d.near(210, 0.04) * d.pitch
    wobble = glide(tone * d.rng.uniform(0.92, 1.08, 8), d.samples)
    flight = glide(d.rng.uniform(0.45, 1, 6), d.samples)
    return partials(wobble, d.samples, d.strengths(12, 0.7)) * flight * bump(d.samples, 0.1, 0.1)


def _cow(d: Draw) -> Array:
    tone = d.near(165, 0.05) * d.pitch
    curve = glide([tone * 0.8, tone, tone * 1.05, tone * 1.05, tone * 0.75], d.samples)
    opening = glide([0.1, 0.5, 1, 0.8, 0.2], d.samples)
    closed = partials(curve, d.samples, [1, 0.7, 0.3, 0.15])
    wide = partials(curve, d.samples, [0, 0, 0, *d.strengths(9, 0.4)])
    return (closed + wide * opening * 0.8) * bump(d.samples, 0.12, 0.2)


ANIMALS: dict[str, Synthesizer] = {
    "dog": _dog,
    "cat": _cat,
    "chirping_birds": _chirping_birds,
    "crickets": _crickets,
    "frog": _frog,
    "crow": _crow,
    "insects": _insects,
    "cow": _cow,
}
