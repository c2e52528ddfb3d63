"""A semantic radius that all anchors share (paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supclap.losses.checks import check_number
from supclap.parts.losses import Radius


class StaticRadius(Radius):
    """One learnable scalar for every anchor (StaticSVR, against global drift).

    Args:
        initial: R at the start, in units of the embedding space (two unit vectors are at most 2
            apart). The paper does not give it; 0.5 is our choice.
    """

    reads = False

    def __init__(self, initial: float = 0.5) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(check_number("initial", initial)))

    def forward(self, similarities: Tensor, offset: int = 0) -> Tensor:
        """R of every anchor: (n,), all equal.

        Args:
            similarities: (n, any): how many anchors there are.
        """
        return self.value.expand(len(similarities))
