"""SpecAugment (Park et al. 2019, section 2): stretches of time and of frequency are hidden.

Without the paper's time warping, which it found to matter least.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from supclap.parts import Augmentation, register

Share = Annotated[float, Field(ge=0, le=0.9)]


@register("spec-augment")
class SpecAugment(Augmentation):
    """Each mask covers a stretch of random width and place with the log-mel's mean."""

    bands: Share = 0.2  # the widest mask, as a share of the frequency bands
    time: Share = 0.2  # and of the frames
    masks: Annotated[int, Field(ge=1, le=20)] = 2  # of each kind

    def features(self, features: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        mean = features.mean()
        for axis, share in ((0, self.bands), (1, self.time)):
            length = features.shape[axis]
            for _ in range(self.masks):
                width = generator.integers(0, int(share * length) + 1)
                start = generator.integers(0, length - width + 1)
                features[(slice(None),) * axis + (slice(start, start + width),)] = mean
        return features
