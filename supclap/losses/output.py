"""What a loss gives for a batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossOutput:
    """A batch's loss.

    total: (), what to call ``backward`` on: base + alpha svr + beta constraint.
    parts: "base" and, with SVR, "svr" and "constraint", each () and unweighted.
    radii: with SVR, R of each anchor: (N,) under "text" and, for bi-SVR, "audio".
    """

    total: Tensor
    parts: dict[str, Tensor]
    radii: dict[str, Tensor]
