"""Ranks of captions that a test chooses."""

from collections.abc import Sequence

import numpy as np


def t2a_ranks(hits: Sequence[Sequence[bool]]) -> dict[str, np.ndarray]:
    """Ranks of captions, clip by clip: 0 where a caption hits, else 20."""
    flat = [0 if hit else 20 for clip in hits for hit in clip]
    clips = [place for place, clip in enumerate(hits) for _ in clip]
    return {"t2a_ranks": np.array(flat), "t2a_clips": np.array(clips)}
