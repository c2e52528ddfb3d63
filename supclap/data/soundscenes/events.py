"""The sound of every synthetic kind, drawn anew each time.

A synthesizer takes a `Draw` and returns (samples,) float32 of any level: pitch and pace are in
it, level and distance are added by the mixer. What varies besides (timbre, rhythm, the base
frequency by some percent) is nature, and no caption tells it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from supclap.data.clips import SAMPLE_RATE
from supclap.data.soundscenes.scenes import Event
from supclap.data.soundscenes.waves import (
    Array,
    bump,
    decay,
    glide,
    noise,
    onsets,
    partials,
    seconds,
    train,
)

_PITCH = {"high": 1.5, "low": 1 / 1.5}
_PACE = {"fast": 2.0, "slow": 0.5}


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


def synthesize(event: Event, samples: int, rng: np.random.Generator) -> Array:
    """The event's sound, (samples,) float32, at no particular level."""
    pitch = pace = 1.0
    for word in event.attributes:
        pitch *= _PITCH.get(word, 1.0)
        pace *= _PACE.get(word, 1.0)
    draw = Draw(rng, samples, pitch * rng.uniform(0.92, 1.08), pace * rng.uniform(0.88, 1.12))
    return SYNTHESIZERS[event.kind](draw)


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


SYNTHESIZERS: dict[str, Callable[[Draw], Array]] = {
    "beep": _beep,
    "whistle": _whistle,
    "church_bells": _church_bells,
    "siren": _siren,
    "car_horn": _car_horn,
    "flute": _flute,
    "guitar": _guitar,
    "rain": _rain,
    "wind": _wind,
    "sea_waves": _sea_waves,
    "steam": _steam,
    "thunderstorm": _thunderstorm,
    "door_wood_knock": _knock,
    "clapping": _clapping,
    "footsteps": _footsteps,
    "hammer": _hammer,
    "drum": _drum,
    "clock_tick": _clock_tick,
    "water_drops": _water_drops,
    "crackling_fire": _crackling_fire,
    "dog": _dog,
    "cat": _cat,
    "chirping_birds": _chirping_birds,
    "crickets": _crickets,
    "frog": _frog,
    "crow": _crow,
    "insects": _insects,
    "cow": _cow,
    "engine": _engine,
    "helicopter": _helicopter,
    "chainsaw": _chainsaw,
    "jackhammer": _jackhammer,
    "vacuum_cleaner": _vacuum_cleaner,
    "drilling": _drilling,
}
