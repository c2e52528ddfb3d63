"""Support Vector Regularization: what it adds to a base loss (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from supclap.losses.checks import check_number
from supclap.losses.contrastive import ContrastiveLoss
from supclap.losses.dynamic_radius import DynamicRadius
from supclap.losses.output import LossOutput
from supclap.losses.pairs import DELTA_MIN, row_losses
from supclap.losses.passes import Layout
from supclap.losses.static_radius import StaticRadius

Radius = StaticRadius | DynamicRadius
Sides = Literal["text", "both"]


class SupportVectorRegularization(nn.Module):
    """What SVR adds to a contrastive loss (paper, section 3.2): sides, weights and radius.

    Args:
        radius: `StaticRadius` or `DynamicRadius`; with both sides, one radius serves both.
        sides: "text" (uni-SVR: text support vectors against all audios) or "both" (bi-SVR: audio
            support vectors against all texts as well; the two sides' terms are summed, as L_orig
            sums its directions).
        alpha: weight of the SVR term.
        beta: weight of the constraint ReLU(R - delta) + ReLU(-R), which keeps R within [0, delta].
            By default 0.01 for a dynamic radius and 0 for a static one, as in the paper.
    """

    def __init__(
        self,
        radius: Radius,
        sides: Sides = "both",
        alpha: float = 1.0,
        beta: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(radius, StaticRadius | DynamicRadius):
            raise ValueError(
                f"radius: expected a StaticRadius or DynamicRadius, got {type(radius).__name__}"
            )
        if sides not in ("text", "both"):
            raise ValueError(f"sides: expected 'text' or 'both', got {sides!r}")
        if beta is None:
            beta = 0.01 if isinstance(radius, DynamicRadius) else 0.0
        self.radius: Radius = radius
        self.sides: Sides = sides
        self.alpha = check_number("alpha", alpha, at_least=0.0)
        self.beta = check_number("beta", beta, at_least=0.0)

    def of_rows(
        self,
        base: ContrastiveLoss,
        own: Tensor | None,
        layout: Layout,
        audio_rows: Tensor,
        text_rows: Tensor,
        audio: Tensor,
        text: Tensor,
        row_clips: Tensor | None,
        clips: Tensor | None,
        gather: Callable[[Tensor], Tensor],
    ) -> LossOutput:
        """The share of some rows in the whole batch's regularized loss; see `SupCLAPLoss.of_rows`.

        Args:
            own: (), the share of a base that computes its value by itself; None for one that
                shares its similarities with this term.
        """
        scale = base.scale().to(text.dtype)
        products = None
        if isinstance(self.radius, DynamicRadius):
            self.radius.check_batch(layout.pairs)
            if layout.tile is None:
                with torch.set_grad_enabled(torch.is_grad_enabled() and not self.radius.detach):
                    products = text_rows @ audio.T
        pull = audio_rows - text_rows
        delta = torch.linalg.vector_norm(pull, dim=1)
        inverse = 1 / delta.clamp(min=DELTA_MIN)
        radii = {"text": self._radius(layout, text_rows, audio, scale, products)}
        if self.sides == "both":
            alone = audio is audio_rows
            transposed = products.T if alone and products is not None else None
            radii["audio"] = self._radius(layout, audio_rows, text, scale, transposed)
        rho = {side: radius.to(delta.dtype) * inverse for side, radius in radii.items()}
        base_value, term = row_losses(
            base,
            layout,
            text_rows,
            audio_rows,
            text,
            audio,
            rho["text"],
            gather(rho["audio"]) if "audio" in rho else None,
            row_clips,
            clips,
            None if products is None else products.detach(),
            pull,
        )
        value = base_value if own is None else own
        total = value + self.alpha * term
        parts = {"base": value, "svr": term}
        if self.beta:
            outside = [(F.relu(r - delta) + F.relu(-r)).sum() for r in radii.values()]
            parts["constraint"] = torch.stack(outside).sum() / layout.pairs
            total = total + self.beta * parts["constraint"]
        return LossOutput(total, parts, radii)

    def _radius(
        self,
        layout: Layout,
        anchors: Tensor,
        candidates: Tensor,
        scale: Tensor,
        products: Tensor | None,
    ) -> Tensor:
        """R of this call's anchors: (n,)."""
        radius = self.radius
        if isinstance(radius, StaticRadius):
            return radius(len(anchors))
        graph = torch.is_grad_enabled() and not radius.detach

        def predict(rows: Tensor, offset: int, cosines: Tensor | None = None) -> Tensor:
            with torch.set_grad_enabled(graph):
                similarities = (rows @ candidates.T if cosines is None else cosines) * scale
            return radius(similarities, offset)

        if layout.tile is None:
            return predict(anchors, layout.offset, products)
        # The predictor's first layer would keep its N x N input for the gradient of its weights:
        # each tile is predicted again in the backward pass instead.
        starts = range(0, max(1, len(anchors)), layout.tile)
        tiles = [
            checkpoint(
                predict,
                anchors[start : start + layout.tile],
                layout.offset + start,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for start in starts
        ]
        return torch.cat(tiles)

    def extra_repr(self) -> str:
        return f"sides={self.sides!r}, alpha={self.alpha:g}, beta={self.beta:g}"
