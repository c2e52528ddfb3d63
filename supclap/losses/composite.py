"""The composite loss: a base loss and its regularization."""

from __future__ import annotations

from collections.abc import Callable

import torch.distributed as dist
from torch import Tensor, nn

from supclap.losses.checks import check_clip_ids, check_embeddings
from supclap.losses.contrastive import ContrastiveLoss
from supclap.losses.output import LossOutput
from supclap.losses.pairs import full_precision, row_losses, widened
from supclap.losses.passes import Layout
from supclap.losses.svr import SupportVectorRegularization


def overrides(module: nn.Module, base: type[nn.Module], name: str) -> bool:
    """Whether ``module`` has a method of its own where ``base`` has one of that name."""
    return name in vars(module) or getattr(type(module), name) is not getattr(base, name)


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
        return self.svr.of_rows(
            self.base,
            own,
            layout,
            audio_rows,
            text_rows,
            audio,
            text,
            row_clips,
            clips,
            gather,
        )

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
