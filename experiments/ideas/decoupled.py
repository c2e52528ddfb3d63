"""Decoupled contrastive learning: the positive leaves the denominator (Yeh et al. 2022, eq. 6).

InfoNCE's gradient carries the factor 1 - p(positive), which is small where a pair is easy; without
the positive among the logits that are summed up, the factor is gone.
"""

from torch import Tensor

from supclap.parts import BaseLoss, Pairs, register


@register("decoupled")
class Decoupled(BaseLoss):
    """-s(positive) / tau + log of the sum over the negatives of exp(s / tau), both directions."""

    def rows(self, pairs: Pairs) -> Tensor:
        total = pairs.text.new_zeros(())
        for cosines in (pairs.similarities, pairs.audio_similarities):
            logits = pairs.scale * cosines
            positive = logits.diagonal(pairs.offset)
            negative = logits.masked_fill(~pairs.negatives, -float("inf")).logsumexp(1)
            total = total + (negative - positive).sum()
        return total / len(pairs)
