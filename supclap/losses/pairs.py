"""The engine of every loss here: values and gradients over all pairs, in passes over row blocks.

A loss term over logits L (N x N) is ``(Phi(L) - <Q, L>) / N`` and has the gradient ``(P - Q) / N``:

    softmax   Phi = sum of the rows' (or columns') log-sum-exp    P = softmax of the rows (columns)
    sigmoid   Phi = sum of softplus(L)                            P = sigmoid(L)

with Q the identity, or the soft targets of same-clip pairs. SVR adds terms over the logits of the
support vectors, which are mixtures of three products (METHOD.md, "SVR from similarities"):

    X = T A'    Y = A A'    W = T T'
    text side   T_sup A' = (1 - rho_t) X + rho_t Y      row-wise rho, softmax of rows
    audio side  T A_sup' = (1 - rho_a) X + rho_a W      column-wise rho, softmax of columns

of which the passes take X and the steps Y - X and W - X, each as one product: (A - T) A' and
T (T - A)'. As a difference of two cosines near 1 a step would have few digits left in float32 where
a pair is close, and R / delta then magnifies what is wrong with it.

Thus no support vector is ever built, and everything is computed in blocks of rows of T: a block
fits the processor's cache, and the chain of element-wise operations costs one pass over memory
instead of a dozen. The same engine serves three uses, which differ in the block's origin alone:

    kept        X, Y, W are computed once and kept for the backward pass: the fastest
    tiled       each pass computes its block anew: memory grows with N, not with N x N
    distributed the rows are this worker's, the columns the whole batch's; column sums are reduced

Written as one autograd function, since autograd would keep every intermediate N x N matrix.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from supclap.losses.passes import Inputs, Layout, Partition, Pass, Terms
from supclap.losses.small import fits_small, small_losses

# Below this distance of a pair the pulling direction u = (a - t) / delta is numerically nothing.
# Its denominator is held here, so that the step R u vanishes smoothly where a pair coincides, in
# value and gradient, in both forms. It means a cosine above 0.9999995: training never gets there.
DELTA_MIN = 1e-3


class Base(Protocol):
    """What a base loss (`supclap.losses.contrastive`) says of its logits."""

    partition: Partition
    same_clip: Literal["mask", "target"]

    def scale(self) -> Tensor: ...

    def bias(self) -> Tensor: ...


def row_losses(
    base: Base,
    layout: Layout,
    text_rows: Tensor,
    audio_rows: Tensor,
    text: Tensor,
    audio: Tensor,
    rho_text: Tensor | None,
    rho_audio: Tensor | None,
    row_clips: Tensor | None = None,
    clips: Tensor | None = None,
    similarities: Tensor | None = None,
    pull: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """This worker's rows of the whole batch's losses; summed over the workers they are the loss.

    Args:
        text_rows, audio_rows: (n, d), this worker's pairs.
        text, audio: (N, d), those of all workers.
        rho_text: (n,) of this worker's rows.
        rho_audio: (N,) of the whole batch, as the audio side's anchors are columns.
        row_clips, clips: (n,) and (N,) clip ids.
        similarities: (n, N), text_rows audio', where the caller has it already; no gradient.
        pull: (n, d), audio_rows - text_rows, with an SVR term.
    """
    scale = base.scale().to(text.dtype)
    special = layout.tile is not None or layout.distributed or clips is not None
    if fits_small(layout.pairs, base.partition, special):
        return small_losses(text, audio, pull, scale, rho_text, rho_audio)
    bias = base.bias().to(text.dtype)
    terms = Terms(base.partition, base.same_clip, row_clips, clips)
    base_loss, svr_loss = _PairLoss.apply(
        text_rows,
        audio_rows,
        text,
        audio,
        scale,
        bias,
        rho_text,
        rho_audio,
        similarities,
        layout,
        terms,
    )
    return base_loss, svr_loss


def full_precision(x: Tensor) -> torch.autocast:
    """Switches autocast off: softmax, distances and products stay in float32.

    An error of 2^-8 in a cosine is one of 0.06 in a logit at temperature 0.07.
    """
    return torch.autocast(x.device.type, enabled=False)


def widened(x: Tensor) -> Tensor:
    """``x`` in float32, or as it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


class _PairLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        text_rows: Tensor,
        audio_rows: Tensor,
        text: Tensor,
        audio: Tensor,
        scale: Tensor,
        bias: Tensor,
        rho_text: Tensor | None,
        rho_audio: Tensor | None,
        similarities: Tensor | None,
        layout: Layout,
        terms: Terms,
    ) -> tuple[Tensor, Tensor]:
        kept: tuple[Tensor | None, ...] = (None, None, None)
        if layout.tile is None:
            x = text_rows @ audio.T if similarities is None else similarities
            y = w = None
            if rho_text is not None:
                y = (audio_rows - text_rows) @ audio.T
            if rho_audio is not None:
                w = text_rows @ (text - audio).T
            kept = (x, y, w)
        inputs = Inputs(text_rows, audio_rows, text, audio, scale, bias, rho_text, rho_audio)
        base_loss, svr_loss, statistics = Pass(inputs, kept, layout, terms).losses()
        ctx.save_for_backward(*inputs, *kept, *statistics)
        ctx.layout, ctx.terms, ctx.alone = layout, terms, text_rows is text
        return base_loss, svr_loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, base_weight: Tensor, svr_weight: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        work = Pass(Inputs(*saved[:8]), saved[8:11], ctx.layout, ctx.terms)
        gradients = work.gradients(base_weight, svr_weight, saved[11:], merged=ctx.alone)
        return (*gradients, None, None, None)
