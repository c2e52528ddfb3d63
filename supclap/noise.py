"""Caption noise: a share of the training clips bears the captions of other clips.

The paper's noisy setting. Which clips, and whose captions they get, follows from the run's seed and
the number of clips alone: all variants of one seed meet the same noise, in every epoch.
"""

from __future__ import annotations

import numpy as np

from supclap.bounds import noisy_clips

# The noise's stream of numbers of a seed. Those of `supclap.batches` are [seed, epoch, 0] and
# [seed, epoch, 1], so its third number keeps it apart from every epoch's. It must be given as the
# third: numpy fills up with zeros, and [seed, 2] would be the order of epoch 2.
_NOISE = 2


def caption_givers(clips: int, share: float, seed: int) -> np.ndarray:
    """Whose captions each clip bears: (clips,) int64, its own index or, for noisy ones, another's.

    Exactly ``round(share * clips)`` clips are noisy, drawn without preference. Among themselves
    they pass their captions on in one random ring, so none keeps its own and every caption is still
    used as often as before. What one gets may by chance read like its own; it counts as noisy.

    Args:
        share: from 0 to 1 (exclusive).

    Raises:
        InputError: there is a share, but it is of fewer than two clips.
    """
    givers = np.arange(clips, dtype=np.int64)
    if not share:
        return givers
    noisy = noisy_clips(clips, share)
    ring = np.random.default_rng([seed, 0, _NOISE]).permutation(clips)[:noisy]
    givers[ring] = np.roll(ring, 1)
    return givers
