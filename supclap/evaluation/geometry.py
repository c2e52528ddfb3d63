"""How embeddings lie in their space: a built-in metric of the kind that anyone may add."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from supclap.parts.metric import Embeddings, Metric

BLOCK = 2048  # rows whose distances are in memory at once (32 MiB)
SHARPNESS = 2.0  # t of the uniformity's Gaussian potential, as published


class Geometry(Metric):
    """Modality gap, alignment and uniformity.

    ``modality_gap``: distance between the mean of the clips' embeddings and that of the captions'
    (Liang et al. 2022, "Mind the Gap", section 4.1). ``alignment``: mean squared distance of a
    caption and its clip; ``uniformity.audio`` and ``.text``: logarithm of the mean of
    exp(-2 distance^2) over the pairs of a side, from -8 (opposite) to 0 (all in one place) (Wang
    and Isola 2020, section 4.1, alpha = 2 and t = 2). Of these three a low number is the good one.
    A side of one vector has no pairs, and 0.
    """

    names: ClassVar = ("modality_gap", "alignment", "uniformity.audio", "uniformity.text")
    lower: ClassVar = ("alignment", "uniformity.audio", "uniformity.text")

    def measure(self, embeddings: Embeddings) -> dict[str, float]:
        audio, text = embeddings.audio.double(), embeddings.text.double()
        apart = text - audio[embeddings.caption_clips]
        return {
            "modality_gap": float((audio.mean(0) - text.mean(0)).norm()),
            "alignment": float(apart.square().sum(1).mean()),
            "uniformity.audio": uniformity(audio),
            "uniformity.text": uniformity(text),
        }


def uniformity(vectors: Tensor) -> float:
    """Of (N, d) unit vectors, float64; memory is bounded whatever N."""
    total, count = 0.0, len(vectors)
    if count < 2:
        return 0.0
    for rows in vectors.split(BLOCK):
        for columns in vectors.split(BLOCK):
            distances = (2 - 2 * (rows @ columns.T)).clamp_(min=0)
            total += float(torch.exp(-SHARPNESS * distances).sum())
    # Each vector has met itself once, at distance 0 up to rounding.
    return math.log(max(total - count, 0.0) / (count * (count - 1)))
