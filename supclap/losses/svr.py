"""Support Vector Regularization: what it adds to a base loss (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from supclap.losses.checks import check_number
from supclap.losses.output import LossOutput
from supclap.losses.pairs import DELTA_MIN, Base, row_losses
from supclap.losses.passes import Layout
from supclap.losses.static_radius import StaticRadius
from supclap.parts.calling import guarded, wrong
from supclap.parts.losses import LossTerm, Pairs, Radius

Sides = Literal["text", "both"]


class SupportVectorRegularization(LossTerm):
    """What SVR adds to a contrastive loss (paper, section 3.2): sides, weights and radius.

    A loss term like others, and the one that `SupCLAPLoss` computes together with its base where it
    is given as ``svr``: both need the same products.

    Args:
        radius: `StaticRadius`, `DynamicRadius` or one of one's own (`supclap.parts.Radius`); with
            both sides, one radius serves both.
        sides: "text" (uni-SVR: text support vectors against all audios) or "both" (bi-SVR: audio
            support vectors against all texts as well; the two sides' terms are summed, as L_orig
            sums its directions).
        alpha: weight of the SVR term.
        beta: weight of the constraint ReLU(R - delta) + ReLU(-R), which keeps R within [0, delta].
            By default 0 for a static radius and 0.01 for another, as in the paper.
    """

    # Whether there is a constraint though its weight may be 0 now: where beta has a schedule.
    constrained = False

    def __init__(
        self,
        radius: Radius,
        sides: Sides = "both",
        alpha: float = 1.0,
        beta: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(radius, Radius):
            raise ValueError(
                "radius: expected a StaticRadius, a DynamicRadius or one of one's own, got "
                f"{type(radius).__name__}"
            )
        if sides not in ("text", "both"):
            raise ValueError(f"sides: expected 'text' or 'both', got {sides!r}")
        if beta is None:
            beta = 0.0 if isinstance(radius, StaticRadius) else 0.01
        self.radius = radius
        self.sides: Sides = sides
        self.alpha = check_number("alpha", alpha, at_least=0.0)
        self.beta = check_number("beta", beta, at_least=0.0)

    def forward(self, pairs: Pairs) -> tuple[Tensor, dict[str, Tensor]]:
        """alpha L_svr + beta L_cons at the base's logits, and the two of them unweighted."""
        audio, text, clips = pairs.audio, pairs.text, pairs.clip_ids
        nothing = text.new_zeros(())
        layout = Layout(len(pairs))
        output = self.of_rows(
            _Logits(pairs),
            nothing,
            layout,
            audio,
            text,
            audio,
            text,
            clips,
            clips,
            lambda rows: rows,
        )
        return output.total, {k: v.detach() for k, v in output.parts.items() if k != "base"}

    def of_rows(
        self,
        base: Base,
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
        if self.radius.reads:
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
        if self.beta or self.constrained:
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
        if not radius.reads:
            return self._asked(anchors[:, :0], layout.offset)
        graph = torch.is_grad_enabled() and not radius.detach

        def predict(rows: Tensor, offset: int, cosines: Tensor | None = None) -> Tensor:
            with torch.set_grad_enabled(graph):
                similarities = (rows @ candidates.T if cosines is None else cosines) * scale
            return self._asked(similarities, offset)

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

    def _asked(self, similarities: Tensor, offset: int) -> Tensor:
        """What the radius gives, checked: (n,)."""
        with guarded(self.radius, "forward"):
            found = self.radius(similarities, offset)
        if not isinstance(found, Tensor) or found.shape != (len(similarities),):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise wrong(self.radius, "forward", f"gave {got}, expected R of ({len(similarities)},)")
        if not found.is_floating_point():
            raise wrong(self.radius, "forward", f"gave {found.dtype}, expected floating point")
        return found

    def extra_repr(self) -> str:
        return f"sides={self.sides!r}, alpha={self.alpha:g}, beta={self.beta:g}"


class _Logits:
    """The base of `Pairs`, as far as its logits go (`supclap.losses.pairs.Base`)."""

    def __init__(self, pairs: Pairs) -> None:
        self.partition, self.same_clip, self._pairs = pairs.partition, pairs.same_clip, pairs

    def scale(self) -> Tensor:
        return self._pairs.scale

    def bias(self) -> Tensor:
        return self._pairs.bias
