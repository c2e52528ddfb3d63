"""An additive angular margin (Deng et al. 2019, ArcFace, eq. 3), as a term beside any base loss.

The positive's angle is made larger by ``margin`` before the softmax, so that a pair is only learned
when it is nearer than all others by that angle.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from supclap.parts import LossTerm, Pairs, register


@register("angle")
class Angle(LossTerm):
    """Cross-entropy of text -> audio and audio -> text with the positive at theta + margin."""

    margin: Annotated[float, Field(ge=0, le=1.5)] = 0.1  # radians

    def rows(self, pairs: Pairs) -> tuple[Tensor, dict[str, Tensor]]:
        total, within = pairs.text.new_zeros(()), pairs.text.new_zeros(())
        for cosines in (pairs.similarities, pairs.audio_similarities):
            # Just below 1, where the arc cosine's slope would be infinite.
            positive = cosines.diagonal(pairs.offset).clamp(-1 + 1e-6, 1 - 1e-6)
            angle = (positive.acos() + self.margin).clamp(max=torch.pi)
            away = cosines.masked_fill(~pairs.negatives, -float("inf"))
            logits = torch.cat([angle.cos()[:, None], away], 1) * pairs.scale
            total = total + (logits.logsumexp(1) - logits[:, 0]).sum()
            within = within + (away.amax(1) > angle.cos()).sum()
        return total / len(pairs), {"within": within / (2 * len(pairs))}
