"""Base losses, terms and a radius of one's own, as somebody would write them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from supclap import registry
from supclap.parts import BaseLoss, LossTerm, Pairs, Place, Radius


class Angle(LossTerm):
    """Of the whole batch, with parameters of its own, and all that `Pairs` offers."""

    margin: float = 0.2
    way: Literal["sum", "mean"] = "mean"

    def setup(self, place: Place) -> None:
        self.direction = torch.nn.Parameter(torch.randn(place.dim))

    def forward(self, pairs: Pairs) -> tuple[Tensor, dict[str, Any]]:
        nearest = pairs.similarities.masked_fill(~pairs.negatives, -1.0).amax(1)
        gap = self.margin + nearest - pairs.similarities.diagonal()
        leaning = ((pairs.audio - pairs.text) @ self.direction).square().mean()
        value = F.softplus(gap * pairs.scale).mean() + pairs.progress + leaning
        return value, {"hard": (gap > 0).float().mean(), "margin-now": self.margin}


class Rows(LossTerm):
    """A row-wise form alone."""

    margin: float = 0.2

    def setup(self, place: Place) -> None:
        self.sharpness = torch.nn.Parameter(torch.tensor(2.0))

    def rows(self, pairs: Pairs) -> tuple[Tensor, dict[str, Any]]:
        others, sharpness = pairs.negatives, self.sharpness
        logits = (pairs.similarities * sharpness).masked_fill(~others, -torch.inf)
        back = (pairs.audio_similarities * sharpness).masked_fill(~others, -torch.inf)
        share = (logits.logsumexp(1) + 0.5 * back.logsumexp(1) + self.margin).sum() / len(pairs)
        return share, {"near": logits.amax(1).sum() / len(pairs)}


class Drawn(LossTerm):
    """With random numbers."""

    def forward(self, pairs: Pairs) -> Tensor:
        kept = torch.rand(len(pairs), generator=pairs.generator) < 0.5
        return ((pairs.audio - pairs.text).square().sum(1) * kept).mean()


class Triplet(BaseLoss):
    """A base loss of one's own, of the whole batch."""

    margin: float = 0.3

    def forward(self, pairs: Pairs) -> tuple[Tensor, dict[str, Any]]:
        nearest = pairs.similarities.masked_fill(~pairs.negatives, -1.0).amax(1)
        gap = self.margin + nearest - pairs.similarities.diagonal()
        return F.softplus(gap * pairs.scale).mean(), {"gap": gap.mean()}


class Pairwise(BaseLoss):
    """A base loss of one's own, row by row, beside a sigmoid."""

    partition = "sigmoid"
    slope: float = 1.0

    def rows(self, pairs: Pairs) -> Tensor:
        logits = pairs.similarities * pairs.scale + pairs.bias
        signs = torch.where(pairs.negatives, -1.0, 1.0).to(logits.dtype)
        return -F.logsigmoid(self.slope * signs * logits).sum() / len(pairs)


class Near(Radius):
    """A radius of one's own, with a parameter."""

    reach: float = 0.4

    def setup(self, place: Place) -> None:
        self.gain = torch.nn.Parameter(torch.tensor(self.initial))

    def forward(self, similarities: Tensor, offset: int = 0) -> Tensor:
        return self.gain + self.reach * similarities.softmax(1).diagonal(offset)


NAMES = {
    "angle": Angle,
    "rows": Rows,
    "drawn": Drawn,
    "triplet": Triplet,
    "pairwise": Pairwise,
    "near": Near,
}


def register_all() -> None:
    """Makes them known under their names."""
    for name, made in NAMES.items():
        registry.register(name)(made)
