"""Support Vector Regularization: its terms, and the composite loss that holds everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from supclap.losses.checks import check_clip_ids, check_embeddings, check_number
from supclap.losses.contrastive import ContrastiveLoss
from supclap.losses.pairs import full_precision, row_losses, widened
from supclap.losses.passes import Layout
from supclap.losses.radius import DynamicRadius, Radius, StaticRadius

Sides = Literal["text", "both"]

# Below this distance of a pair the pulling direction u = (a - t) / delta is numerically nothing.
# Its denominator is held here, so that the step R u vanishes smoothly where a pair coincides, in
# value and gradient, in both forms. It means a cosine above 0.9999995: training never gets there.
DELTA_MIN = 1e-3


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

    def extra_repr(self) -> str:
        return f"sides={self.sides!r}, alpha={self.alpha:g}, beta={self.beta:g}"


def overrides(module: nn.Module, base: type[nn.Module], name: str) -> bool:
    """Whether ``module`` has a method of its own where ``base`` has one of that name."""
    return name in vars(module) or getattr(type(module), name) is not getattr(base, name)


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


class SupCLAPLoss(nn.Module):
    """A base loss and its regularization: ``loss(audio, text).total.backward()``.

    Args:
        base: `InfoNCE`, `SigLIP` or a subclass (see `ContrastiveLoss` for one's own ``forward``).
        svr: `SupportVectorRegularization`; None gives the base loss alone.
        tile: rows per tile. None is the fast form, which keeps up to three N x N products; a
            number (256, say) recomputes them tile by tile, and memory grows with N alone. Both are
            equal to the literal form (`supclap.losses.literal`) in value and gradient.
    """

    def __init__(
        self,
        base: ContrastiveLoss,
        svr: SupportVectorRegularization | None = None,
        tile: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(base, ContrastiveLoss):
            raise ValueError(f"base: expected InfoNCE or SigLIP, got {type(base).__name__}")
        if svr is not None and not isinstance(svr, SupportVectorRegularization):
            raise ValueError(
                f"svr: expected a SupportVectorRegularization, got {type(svr).__name__}"
            )
        if svr is not None and overrides(svr, nn.Module, "forward"):
            raise ValueError(
                f"svr: {type(svr).__name__} has a forward, which nothing would call; a term of "
                "one's own goes into the base's forward or a subclass of SupCLAPLoss"
            )
        if tile is not None and tile < 1:
            raise ValueError(f"tile: expected at least 1 row, got {tile}")
        self.base, self.svr, self.tile = base, svr, tile

    def forward(self, audio: Tensor, text: Tensor, clip_ids: Tensor | None = None) -> LossOutput:
        """The loss of a batch.

        Args:
            audio, text: (N, d), L2-normalised; row i of one belongs to row i of the other.
            clip_ids: (N,) integers; pairs of one clip are no negatives of each other (see
                `InfoNCE`). The radius predictor still reads all N similarities.

        Raises:
            ValueError: names the argument, what is expected and what was found.
        """
        check_embeddings(audio, text)
        check_clip_ids(clip_ids, len(audio))
        with full_precision(audio):
            audio, text = widened(audio), widened(text)
            layout = Layout(len(audio), tile=self.tile)
            return self.of_rows(layout, audio, text, audio, text, clip_ids, clip_ids)

    def of_rows(
        self,
        layout: Layout,
        audio_rows: Tensor,
        text_rows: Tensor,
        audio: Tensor,
        text: Tensor,
        row_clips: Tensor | None,
        clips: Tensor | None,
        gather: Callable[[Tensor], Tensor] = lambda rows: rows,
    ) -> LossOutput:
        """The share of some rows in the whole batch's loss; the shares of all rows sum to it.

        Args:
            layout: which rows of the batch these are.
            audio_rows, text_rows: (n, d), the rows.
            audio, text: (N, d), the whole batch.
            row_clips, clips: (n,) and (N,) clip ids.
            gather: (n,) -> (N,), the rows' values to those of the whole batch, with gradient.
        """
        own = self._own_base(layout, audio, text, clips)
        if self.svr is None:
            base = own
            if base is None:
                base, _ = row_losses(
                    self.base,
                    layout,
                    text_rows,
                    audio_rows,
                    text,
                    audio,
                    None,
                    None,
                    row_clips,
                    clips,
                )
            return LossOutput(base, {"base": base}, {})
        svr = self.svr
        scale = self.base.scale().to(text.dtype)
        products = None
        if isinstance(svr.radius, DynamicRadius):
            svr.radius.check_batch(layout.pairs)
            if layout.tile is None:
                with torch.set_grad_enabled(torch.is_grad_enabled() and not svr.radius.detach):
                    products = text_rows @ audio.T
        delta = torch.linalg.vector_norm(audio_rows - text_rows, dim=1)
        inverse = 1 / delta.clamp(min=DELTA_MIN)
        radii = {"text": self._radius(layout, text_rows, audio, scale, products)}
        if svr.sides == "both":
            alone = audio is audio_rows
            transposed = products.T if alone and products is not None else None
            radii["audio"] = self._radius(layout, audio_rows, text, scale, transposed)
        rho = {side: radius.to(delta.dtype) * inverse for side, radius in radii.items()}
        base, term = row_losses(
            self.base,
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
        )
        base = base if own is None else own
        total = base + svr.alpha * term
        parts = {"base": base, "svr": term}
        if svr.beta:
            outside = [(F.relu(r - delta) + F.relu(-r)).sum() for r in radii.values()]
            parts["constraint"] = torch.stack(outside).sum() / layout.pairs
            total = total + svr.beta * parts["constraint"]
        return LossOutput(total, parts, radii)

    def _own_base(
        self, layout: Layout, audio: Tensor, text: Tensor, clips: Tensor | None
    ) -> Tensor | None:
        """The share of a base with a ``forward`` of its own: (); None where it has none.

        Nothing is known of it but its value for the whole batch, so every worker computes that,
        and has an equal share in it.
        """
        if not overrides(self.base, ContrastiveLoss, "forward"):
            return None
        value: Tensor = self.base(audio, text, clips)
        if value.shape != ():
            raise ValueError(
                f"base: {type(self.base).__name__}.forward: expected a loss of shape (), got "
                f"{tuple(value.shape)}"
            )
        return value / dist.get_world_size(layout.group) if layout.distributed else value

    def _radius(
        self,
        layout: Layout,
        anchors: Tensor,
        candidates: Tensor,
        scale: Tensor,
        products: Tensor | None,
    ) -> Tensor:
        """R of this call's anchors: (n,)."""
        assert self.svr is not None
        radius = self.svr.radius
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
