"""What a loss gives for a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class LossOutput:
    """A batch's loss.

    total: (), what to call ``backward`` on: base + alpha svr + beta constraint + the terms, each
        with its weight.
    parts: "base", with SVR "svr" and "constraint", and each term by its label; () and unweighted.
    radii: with SVR, R of each anchor: (N,) under "text" and, for bi-SVR, "audio".
    numbers: what a base or terms of one's own want to be logged, () each, as "base.NAME" and
        "LABEL.NAME"; without gradient.
    """

    total: Tensor
    parts: dict[str, Tensor]
    radii: dict[str, Tensor]
    numbers: dict[str, Tensor] = field(default_factory=dict, kw_only=True)
