"""A curriculum over the length of captions: short ones first (after Bengio et al. 2009).

Early epochs go from the shortest caption to the longest; from ``until`` of the run on, the order
is a free permutation. Every pair is taken once an epoch, so only the order differs.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from supclap.parts import BatchOrder, TrainingPairs, register


@register("short-captions-first")
class ShortCaptionsFirst(BatchOrder):
    """Ranks by length and by chance are mixed; the share of chance rises epoch by epoch."""

    until: Annotated[float, Field(gt=0, le=1)] = 0.5  # share of the epochs

    def order(self, pairs: TrainingPairs, epoch: int, generator: np.random.Generator) -> np.ndarray:
        words = [min(len(c.text.split()) for c in captions) for captions in pairs.captions]
        chance = generator.permutation(len(words))
        by_length = np.empty(len(words), np.int64)
        by_length[np.lexsort((chance, words))] = np.arange(len(words))
        share = min(1.0, epoch / (self.until * pairs.epochs))
        return np.argsort((1 - share) * by_length + share * chance, kind="stable")
