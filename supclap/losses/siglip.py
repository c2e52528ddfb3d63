"""SigLIP over a batch of pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supclap.losses.checks import check_number
from supclap.losses.contrastive import ContrastiveLoss, SameClip


class SigLIP(ContrastiveLoss):
    """The sigmoid loss of every pair, summed over the N x N pairs and divided by N.

    Args:
        temperature: 1 / scale at the start; SigLIP's own 0.1.
        bias: additive constant at the start; SigLIP's own -10, as almost all pairs are negatives.
        learn_temperature: trains scale and bias (SigLIP's way); else both are fixed.
        same_clip: what ``clip_ids`` do: "mask" or "target".
    """

    partition = "sigmoid"

    def __init__(
        self,
        temperature: float = 0.1,
        bias: float = -10.0,
        learn_temperature: bool = True,
        same_clip: SameClip = "mask",
    ) -> None:
        super().__init__(temperature, learn_temperature, same_clip)
        offset = torch.tensor(check_number("bias", bias))
        self.offset: Tensor
        if learn_temperature:
            self.offset = nn.Parameter(offset)
        else:
            self.register_buffer("offset", offset)

    def set_bias(self, bias: float) -> None:
        """Another bias, where it is not learned."""
        with torch.no_grad():
            self.offset.fill_(bias)

    def bias(self) -> Tensor:
        return self.offset
