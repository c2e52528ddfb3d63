"""Events cut from recordings: a bank of decoded sounds, and the source that plays from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path

import numpy as np

from supclap.data.decode import decode
from supclap.data.faults import Unreadable
from supclap.data.soundscenes.processes import ordered_map
from supclap.data.soundscenes.recordings import Recording
from supclap.data.soundscenes.scenes import Event
from supclap.data.soundscenes.waves import Array, bump
from supclap.errors import InputError
from supclap.progress import activity, counting

_ROLES = {"train": "train", "pretrain": "train", "val": "val"}  # any other split: test
_PITCH = {"high": 1.4, "low": 1 / 1.4}  # by playing faster or slower
_HOP = 160  # samples: windows start at whole 10 ms
_NEARLY = 0.9  # windows of at least so much of the loudest one's energy are as good


@dataclass(frozen=True)
class Bank:
    """Decoded recordings in one file of int16 samples. Called, it is a source of events.

    ``places``: by role and kind, the start and length in samples of every recording.
    """

    path: str
    places: dict[tuple[str, str], tuple[tuple[int, int], ...]]

    def __call__(self, event: Event, samples: int, split: str, rng: np.random.Generator) -> Array:
        """The event from a recording that the split may use: at most (samples,) float32.

        A recording that is shorter than the event is played whole.
        """
        places = self.places[_ROLES.get(split, "test"), event.kind]
        start, length = places[rng.integers(len(places))]
        speed = rng.uniform(0.97, 1.03)
        for word in event.attributes:
            speed *= _PITCH.get(word, 1.0)
        recording = _samples(self.path)[start : start + length].astype(np.float32)
        window = _loud_window(recording, round(samples * speed), rng)
        sound = _played(window, speed)[:samples]
        return sound * bump(len(sound), 0.01, 0.01)


def decode_bank(recordings: Sequence[Recording], file: Path, workers: int) -> Bank:
    """Decodes all recordings into ``file``.

    Raises:
        InputError: a recording that cannot be read or is silent, with its row.
    """
    places: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    end = 0
    with open(file, "wb") as bank:
        sounds = ordered_map(_decode, recordings, workers)
        with activity("decoding the events", len(recordings), "recordings") as done:
            for recording, sound in zip(recordings, counting(sounds, done), strict=True):
                bank.write(sound.tobytes())
                places[recording.role, recording.kind].append((end, len(sound)))
                end += len(sound)
    return Bank(str(file), {key: tuple(found) for key, found in places.items()})


def _decode(recording: Recording) -> Array:
    try:
        return decode(recording.path)
    except Unreadable as error:
        raise InputError(
            f"{recording.where}: {recording.path.name}: {error}; mend the file or remove the row"
        ) from None


@remember
def _samples(path: str) -> Array:
    return np.memmap(path, np.int16, "r")


def _loud_window(recording: Array, samples: int, rng: np.random.Generator) -> Array:
    """A window of the recording that is nearly as loud as its loudest; silence is left behind."""
    if len(recording) <= samples:
        return recording
    energy = np.concatenate([[0.0], np.cumsum(recording.astype(np.float64) ** 2)])
    starts = np.arange(0, len(recording) - samples + 1, _HOP)
    loudness = energy[starts + samples] - energy[starts]
    good = starts[loudness >= _NEARLY * loudness.max()]
    start = int(good[rng.integers(len(good))])
    return recording[start : start + samples]


def _played(window: Array, speed: float) -> Array:
    """The window at another speed, pitch included, without aliases: (samples / speed,)."""
    # To and from lengths that the FFT likes; the rest of the window's end is silence.
    padded = -(-len(window) // 512) * 512
    target = max(2, round(padded / speed))
    target += target % 2
    spectrum = np.fft.rfft(window, padded)[: target // 2 + 1]
    sound: Array = np.fft.irfft(spectrum, target)[: max(1, round(len(window) / speed))]
    return (sound * (target / padded)).astype(np.float32)
