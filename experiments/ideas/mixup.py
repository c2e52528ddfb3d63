"""Mixup of sounds with joined captions (Zhang et al. 2018; for audio and text Xu et al. 2023).

A clip is sometimes heard together with another one, and its caption is followed by the other's, so
that the pair still says what is heard.
"""

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from supclap.parts import Augmentation, Example, register


@register("mixup")
class Mixup(Augmentation):
    """Two sounds at equal power with a gain of random ratio, and both captions."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.5  # of the clips that are mixed
    joint: str = " and "

    def mix(self, own: Example, other: Example, generator: np.random.Generator) -> Example:
        if generator.random() >= self.share:
            return own
        gain = generator.uniform(0.3, 0.7)
        both = np.sqrt(1 - gain) * own.waveform + np.sqrt(gain) * other.waveform
        words = zip(own.captions, other.captions, strict=True)
        captions = tuple(f"{mine}{self.joint}{theirs}" for mine, theirs in words)
        return replace(own, waveform=both.astype(np.float32), captions=captions)
