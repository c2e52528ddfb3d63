"""The seeds of a part's random numbers: a function of what is named, and of nothing else."""

from __future__ import annotations

import hashlib

# The streams of numbers that parts draw from; each has one of its own.
SETUP, TERM = 10, 11
WAVEFORM, FEATURES, CAPTION, MIX, PARTNER = 20, 21, 22, 23, 24  # of augmentations


def seed_of(*numbers: int, label: str) -> int:
    """A seed of 64 bits.

    Args:
        numbers: the run's seed, an epoch or step where there is one, and the stream.
        label: of the part.
    """
    text = "/".join([*map(str, numbers), label])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
