"""A semantic radius that all anchors share (paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supclap.losses.checks import check_number


class StaticRadius(nn.Module):
    """One learnable scalar for every anchor (StaticSVR, against global drift).

    Args:
        initial: R at the start, in units of the embedding space (two unit vectors are at most 2
            apart). The paper does not give it; 0.5 is our choice.
    """

    def __init__(self, initial: float = 0.5) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(check_number("initial", initial)))

    def forward(self, anchors: int) -> Tensor:
        """R of every anchor: (anchors,), all equal."""
        return self.value.expand(anchors)
