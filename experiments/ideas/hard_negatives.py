"""Hard-negative noise contrastive estimation (Radenovic et al. 2023, eq. 4 and 5).

A negative weighs more the nearer it is: w_ij = (N - 1) exp(beta s_ij / tau), over the sum of
exp(beta s_ik / tau) of all negatives k. With beta = 0 and alpha = 1 it is InfoNCE.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from supclap.parts import BaseLoss, Pairs, register


@register("hard-negatives")
class HardNegatives(BaseLoss):
    """Both directions; ``alpha`` is the positive's own weight in the denominator."""

    alpha: Annotated[float, Field(gt=0, le=1)] = 1.0
    beta: Annotated[float, Field(ge=0)] = 0.25

    def rows(self, pairs: Pairs) -> Tensor:
        total, others = pairs.text.new_zeros(()), pairs.negatives
        for cosines in (pairs.similarities, pairs.audio_similarities):
            logits = pairs.scale * cosines
            positive = logits.diagonal(pairs.offset)
            shares = (self.beta * logits).masked_fill(~others, -torch.inf).log_softmax(1)
            weighted = shares + others.sum(1, keepdim=True).log() + logits
            both = torch.cat([(positive + math.log(self.alpha))[:, None], weighted], 1)
            total = total + (both.logsumexp(1) - positive).sum()
        return total / len(pairs)
