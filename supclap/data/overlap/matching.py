"""Pairs of clips whose fingerprints agree over a stretch of time.

Frames with the same 32 bits are where two clips may agree; at the shift in time that most of them
have, all frames that both clips have are then compared bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from supclap.data.clips import SAMPLE_RATE
from supclap.data.overlap.fingerprint import HOP, bit_errors

SECOND = SAMPLE_RATE / HOP  # frames
SHORTEST = round(SECOND)  # frames that two clips must share; of shorter clips all
ALIKE = 0.25  # of the bits, at most so many may differ: of unrelated sounds half of them do
COMMON = 64  # frames with the same bits: more say nothing of a clip, such as those of a mains hum
_ROWS = 2**16  # frames that are looked up at once
_SHIFTS = 2**23  # frames in a day, and more

Prints = Sequence[tuple[np.ndarray, np.ndarray]]  # (F,) uint32 and (F,) bool of each clip


@dataclass(frozen=True)
class Near:
    """Two clips that agree: rows of both, the second of ``one`` at which ``other`` begins, the
    share of bits that differ, and the seconds that were compared."""

    one: int
    other: int
    shift: float
    errors: float
    seconds: float


def near_pairs(ones: Prints, others: Prints, same: bool = False) -> list[Near]:
    """All pairs of a clip of ``ones`` and a clip of ``others`` that agree, by their rows.

    Args:
        same: both are the same clips: each pair is found once, and none with itself.
    """
    index, frames = _Index(others), _Frames(ones)
    hits = np.zeros((0, 2), np.int64)  # keys and how often
    for start in range(0, len(frames.words), _ROWS):
        part = slice(start, start + _ROWS)
        keys = index.hits(frames.words[part], frames.clips[part], frames.places[part])
        hits = _counted(hits, keys)
    best: dict[tuple[int, int], tuple[int, int]] = {}  # pair -> hits and shift
    for key, count in hits.tolist():
        pair, shift = divmod(key, _SHIFTS)
        one, other = divmod(pair, max(1, len(others)))
        if not same or one < other:
            found_at = (count, shift - _SHIFTS // 2)
            best[one, other] = max(best.get((one, other), (0, 0)), found_at)
    found = []
    for (one, other), (_, shift) in best.items():
        near = _compared(one, other, shift, ones[one], others[other])
        if near is not None:
            found.append(near)
    return sorted(found, key=lambda near: (near.one, near.other))


class _Frames:
    """The frames that say something of many clips, one behind the other."""

    def __init__(self, prints: Prints) -> None:
        kept = [np.flatnonzero(says) for _, says in prints]
        sizes = [len(rows) for rows in kept]
        self.words = _joined([w[rows] for (w, _), rows in zip(prints, kept, strict=True)], "u4")
        self.clips = np.repeat(np.arange(len(prints), dtype=np.int32), sizes)
        self.places = _joined([rows.astype(np.int32) for rows in kept], "i4")


class _Index:
    """The frames of many clips by their bits."""

    def __init__(self, prints: Prints) -> None:
        self.size = max(1, len(prints))
        frames = _Frames(prints)
        order = np.argsort(frames.words, kind="stable")
        self.words, self.clips = frames.words[order], frames.clips[order]
        self.places = frames.places[order]

    def hits(self, words: np.ndarray, clips: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(hits,) int64: for each frame of the index with the bits of a given one, a key of the
        given clip, the index's clip, and the frames by which the first is ahead."""
        first = np.searchsorted(self.words, words, "left")
        counts = np.searchsorted(self.words, words, "right") - first
        counts[counts > COMMON] = 0
        given = np.repeat(np.arange(len(words)), counts)
        inside = np.arange(len(given)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = first[given] + inside
        pairs = clips[given].astype(np.int64) * self.size + self.clips[rows]
        shifts = places[given].astype(np.int64) - self.places[rows] + _SHIFTS // 2
        return pairs * _SHIFTS + shifts


def _counted(before: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(keys, 2) int64, each key once with how often it came."""
    new, counts = np.unique(keys, return_counts=True)
    both = np.concatenate([before, np.stack([new, counts], 1)])
    kept, inverse = np.unique(both[:, 0], return_inverse=True)
    sums = np.bincount(inverse, weights=both[:, 1], minlength=len(kept)).astype(np.int64)
    return np.stack([kept, sums], 1)


def _compared(
    one: int,
    other: int,
    shift: int,
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
) -> Near | None:
    """What two clips have in common where the second begins at a frame of the first."""
    (words, says), (others, speak) = first, second
    begin, end = max(0, shift), min(len(words), len(others) + shift)
    both = says[begin:end] & speak[begin - shift : end - shift]
    count = int(both.sum())
    if count < min(SHORTEST, len(words), len(others)) or count == 0:
        return None
    errors = bit_errors(words[begin:end][both], others[begin - shift : end - shift][both])
    if errors > ALIKE:
        return None
    return Near(one, other, shift * HOP / SAMPLE_RATE, errors, count * HOP / SAMPLE_RATE)


def _joined(parts: list[np.ndarray], dtype: str) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.dtype(dtype)), *parts]).astype(np.dtype(dtype))
