"""The engine of every loss here: values and gradients over all pairs, in passes over row blocks.

A loss term over logits L (N x N) is ``(Phi(L) - <Q, L>) / N`` and has the gradient ``(P - Q) / N``:

    softmax   Phi = sum of the rows' (or columns') log-sum-exp    P = softmax of the rows (columns)
    sigmoid   Phi = sum of softplus(L)                            P = sigmoid(L)

with Q the identity, or the soft targets of same-clip pairs. SVR adds terms over the logits of the
support vectors, which are mixtures of three products (METHOD.md, "SVR from similarities"):

    X = T A'    Y = A A'    W = T T'
    text side   T_sup A' = (1 - rho_t) X + rho_t Y      row-wise rho, softmax of rows
    audio side  T A_sup' = (1 - rho_a) X + rho_a W      column-wise rho, softmax of columns

so that no support vector is ever built, and everything is computed in blocks of rows of T: a block
fits the processor's cache, and the chain of element-wise operations costs one pass over memory
instead of a dozen. The same engine serves three uses, which differ in the block's origin alone:

    kept        X, Y, W are computed once and kept for the backward pass: the fastest
    tiled       each pass computes its block anew: memory grows with N, not with N x N
    distributed the rows are this worker's, the columns the whole batch's; column sums are reduced

Written as one autograd function, since autograd would keep every intermediate N x N matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

if TYPE_CHECKING:
    from supclap.losses.contrastive import ContrastiveLoss

Partition = Literal["softmax", "sigmoid"]

# Elements of a block that is processed at once: 1 MB of float32, about a core's L2 cache.
CACHE_ELEMENTS = 1 << 18
# Rows per panel of a symmetric product; below it, a saved product is not worth the smaller panels.
PANEL = 256


@dataclass(frozen=True)
class Layout:
    """Which rows of the batch this call holds, and how they are worked through."""

    pairs: int  # N, of the whole batch
    offset: int = 0  # the first row's number in the batch
    tile: int | None = None  # rows per tile; None: the products are kept
    group: dist.ProcessGroup | None = None
    distributed: bool = False


@dataclass(frozen=True)
class Terms:
    """What is summed: the base loss's partition, and the same-clip rule."""

    partition: Partition
    same_clip: str
    row_clips: Tensor | None = None  # (n,)
    clips: Tensor | None = None  # (N,)


@dataclass
class Block:
    """Rows ``first`` to ``last`` (within this call's rows) of the three products."""

    first: int
    last: int
    x: Tensor  # (b, N)
    y: Tensor | None  # (b, N)
    w: Tensor | None  # (b, N)


def row_losses(
    base: ContrastiveLoss,
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
) -> tuple[Tensor, Tensor]:
    """This worker's rows of the whole batch's losses; summed over the workers they are the loss.

    Args:
        text_rows, audio_rows: (n, d), this worker's pairs.
        text, audio: (N, d), those of all workers.
        rho_text: (n,) of this worker's rows.
        rho_audio: (N,) of the whole batch, as the audio side's anchors are columns.
        row_clips, clips: (n,) and (N,) clip ids.
        similarities: (n, N), text_rows audio', where the caller has it already; no gradient.
    """
    terms = Terms(base.partition, base.same_clip, row_clips, clips)
    scale, bias = base.scale().to(text.dtype), base.bias().to(text.dtype)
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


def gram(x: Tensor) -> Tensor:
    """x x': (N, N). Computes the upper panels only and mirrors them: about half the products."""
    n = len(x)
    if n < 2 * PANEL:
        return x @ x.T
    out = x.new_empty(n, n)
    for first in range(0, n, PANEL):
        last = min(first + PANEL, n)
        out[first:last, first:] = x[first:last] @ x[first:].T
        out[last:, first:last] = out[first:last, last:].T
    return out


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
            alone = text_rows is text
            x = text_rows @ audio.T if similarities is None else similarities
            y = w = None
            if rho_text is not None:
                y = gram(audio) if alone else audio_rows @ audio.T
            if rho_audio is not None:
                w = gram(text) if alone else text_rows @ text.T
            kept = (x, y, w)
        work = _Work(
            text_rows,
            audio_rows,
            text,
            audio,
            scale,
            bias,
            rho_text,
            rho_audio,
            kept,
            layout,
            terms,
        )
        base_loss, svr_loss, statistics = work.losses()
        # All inputs and results that backward needs, None where a side or a product is absent.
        saved = (
            text_rows,
            audio_rows,
            text,
            audio,
            scale,
            bias,
            rho_text,
            rho_audio,
            *kept,
            *statistics,
        )
        ctx.save_for_backward(*saved)
        ctx.layout, ctx.terms, ctx.alone = layout, terms, text_rows is text
        return base_loss, svr_loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, base_weight: Tensor, svr_weight: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, kept, statistics = saved[:8], saved[8:11], saved[11:]
        work = _Work(*inputs, kept=kept, layout=ctx.layout, terms=ctx.terms)
        gradients = work.gradients(base_weight, svr_weight, statistics, merged=ctx.alone)
        return (*gradients, None, None, None)


Statistics = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class _Work:
    """One forward or backward pass over the blocks."""

    def __init__(
        self,
        text_rows: Tensor,
        audio_rows: Tensor,
        text: Tensor,
        audio: Tensor,
        scale: Tensor,
        bias: Tensor,
        rho_text: Tensor | None,
        rho_audio: Tensor | None,
        kept: tuple[Tensor | None, ...],
        layout: Layout,
        terms: Terms,
    ) -> None:
        self.text_rows, self.audio_rows, self.text, self.audio = text_rows, audio_rows, text, audio
        self.scale, self.bias = scale, bias
        self.rho_text, self.rho_audio = rho_text, rho_audio
        self.kept, self.layout, self.terms = kept, layout, terms
        self.softmax = terms.partition == "softmax"

    # ---- blocks -----------------------------------------------------------------------------

    def blocks(self) -> list[tuple[int, int]]:
        n, columns = len(self.text_rows), len(self.text)
        step = self.layout.tile or max(16, CACHE_ELEMENTS // max(columns, 1))
        return [(first, min(first + step, n)) for first in range(0, n, step)]

    def block(self, first: int, last: int) -> Block:
        x, y, w = self.kept
        if x is not None:
            rows = [None if m is None else m[first:last] for m in (x, y, w)]
            return Block(first, last, x[first:last], rows[1], rows[2])
        t, a = self.text_rows[first:last], self.audio_rows[first:last]
        return Block(
            first,
            last,
            t @ self.audio.T,
            None if self.rho_text is None else a @ self.audio.T,
            None if self.rho_audio is None else t @ self.text.T,
        )

    def logits(self, cosines: Tensor, same: Tensor | None) -> Tensor:
        """Logits of a block, -inf where a pair is masked: (b, N)."""
        logits = cosines * self.scale
        if not self.softmax:
            logits += self.bias
        if same is not None and self.terms.same_clip == "mask":
            logits.masked_fill_(same, -torch.inf)
        return logits

    def text_side(self, block: Block) -> Tensor:
        """Cosines of the text support vectors with all audios: (b, N)."""
        assert self.rho_text is not None
        assert block.y is not None
        rho = self.rho_text[block.first : block.last, None]
        return torch.addcmul(block.x, rho, block.y - block.x)

    def audio_side(self, block: Block) -> Tensor:
        """Cosines of the texts with all audio support vectors: (b, N)."""
        assert self.rho_audio is not None
        assert block.w is not None
        return torch.addcmul(block.x, self.rho_audio[None, :], block.w - block.x)

    def same_clip(self, block: Block) -> Tensor | None:
        """Pairs of the same clip: (b, N) bool; without the diagonal for "mask"."""
        if self.terms.row_clips is None or self.terms.clips is None:
            return None
        rows = self.terms.row_clips[block.first : block.last]
        same = rows[:, None] == self.terms.clips[None, :]
        if self.terms.same_clip == "mask":
            self.diagonal(same, block).fill_(False)
        return same

    def diagonal(self, matrix: Tensor, block: Block) -> Tensor:
        """The positives of a block: (b,), a view."""
        return matrix.diagonal(self.layout.offset + block.first)[: block.last - block.first]

    def targets(self, same: Tensor | None) -> Tensor | None:
        """Soft targets of same-clip positives: (b, N); None: the identity."""
        if same is None or self.terms.same_clip == "mask":
            return None
        target = same.to(self.text.dtype)
        return target / target.sum(1, keepdim=True) if self.softmax else target

    # ---- values -----------------------------------------------------------------------------

    def losses(self) -> tuple[Tensor, Tensor, Statistics]:
        """Base loss, SVR term (), and the log-partitions that the gradients need."""
        n, columns = len(self.text_rows), len(self.text)
        new = self.text.new_full
        rows = new((n,), 0.0)
        sup_rows = new((n,), 0.0)
        cols = new((columns,), -torch.inf)
        sup_cols = new((columns,), -torch.inf)
        base, svr = new((), 0.0), new((), 0.0)
        for first, last in self.blocks():
            block = self.block(first, last)
            same = self.same_clip(block)
            target = self.targets(same)
            logits = self.logits(block.x, same)
            matched = self.matched(logits, target, block)
            if self.softmax:
                rows[first:last] = logits.logsumexp(1)
                cols = torch.logaddexp(cols, logits.logsumexp(0))
                base += rows[first:last].sum() - 2 * matched
            else:
                base += F.softplus(logits).sum() - matched
            if self.rho_text is not None:
                logits = self.logits(self.text_side(block), same)
                matched = self.matched(logits, target, block)
                if self.softmax:
                    sup_rows[first:last] = logits.logsumexp(1)
                    svr += sup_rows[first:last].sum() - matched
                else:
                    svr += F.softplus(logits).sum() - matched
            if self.rho_audio is not None:
                logits = self.logits(self.audio_side(block), same)
                matched = self.matched(logits, target, block)
                if self.softmax:
                    sup_cols = torch.logaddexp(sup_cols, logits.logsumexp(0))
                    svr -= matched
                else:
                    svr += F.softplus(logits).sum() - matched
        if not self.softmax:
            return base / self.layout.pairs, svr / self.layout.pairs, (None, None, None, None)
        has_sup = self.rho_audio is not None
        if self.layout.distributed:
            cols, sup_cols = self.over_workers(cols, sup_cols)
        mine = slice(self.layout.offset, self.layout.offset + n)
        base += cols[mine].sum()
        if has_sup:
            svr += sup_cols[mine].sum()
        statistics = (rows, cols, sup_rows, sup_cols)
        return base / self.layout.pairs, svr / self.layout.pairs, statistics

    def matched(self, logits: Tensor, target: Tensor | None, block: Block) -> Tensor:
        """<Q, L> of a block: ()."""
        if target is None:
            return self.diagonal(logits, block).sum()
        return (target * logits).sum()

    def over_workers(self, *partial: Tensor) -> list[Tensor]:
        """The columns' log-sum-exp over the rows of all workers: (N,) each."""
        stacked = torch.stack(partial)
        parts = [torch.empty_like(stacked) for _ in range(dist.get_world_size(self.layout.group))]
        dist.all_gather(parts, stacked, group=self.layout.group)
        return list(torch.stack(parts).logsumexp(0))

    # ---- gradients --------------------------------------------------------------------------

    def gradients(
        self, base_weight: Tensor, svr_weight: Tensor, statistics: Statistics, merged: bool
    ) -> list[Tensor | None]:
        """Gradients of (text_rows, audio_rows, text, audio, scale, bias, rho_text, rho_audio).

        ``merged``: rows and columns are the same tensors, so one gradient serves both.
        """
        rows, cols, sup_rows, sup_cols = statistics
        w0, w1 = base_weight / self.layout.pairs, svr_weight / self.layout.pairs
        collect = _Collect(self, merged)
        g_scale, g_bias = torch.zeros_like(self.scale), torch.zeros_like(self.bias)
        g_rho_text = None if self.rho_text is None else torch.empty_like(self.rho_text)
        g_rho_audio = None if self.rho_audio is None else torch.zeros_like(self.rho_audio)
        for first, last in self.blocks():
            block = self.block(first, last)
            same = self.same_clip(block)
            target = self.targets(same)
            logits = self.logits(block.x, same)
            if self.softmax:
                assert rows is not None
                assert cols is not None
                d = (logits - rows[first:last, None]).exp_()
                d += logits.sub_(cols[None, :]).exp_()
                d = self.less_targets(d, target, block, 2.0)
            else:
                d = self.less_targets(logits.sigmoid_(), target, block, 1.0)
            d *= w0
            g_scale += _dot(d, block.x)
            g_bias += d.sum()
            dx, dy, dw = d, None, None
            if self.rho_text is not None:
                assert g_rho_text is not None
                assert block.y is not None
                cosines = self.text_side(block)
                d = self.logits(cosines, same)
                if self.softmax:
                    assert sup_rows is not None
                    d.sub_(sup_rows[first:last, None]).exp_()
                else:
                    d.sigmoid_()
                d = self.less_targets(d, target, block, 1.0).mul_(w1)
                g_scale += _dot(d, cosines)
                g_bias += d.sum()
                step = block.y - block.x
                g_rho_text[first:last] = step.mul_(d).sum(1)
                dy = d * self.rho_text[first:last, None]
                dx += d.sub_(dy)
            if self.rho_audio is not None:
                assert g_rho_audio is not None
                assert block.w is not None
                cosines = self.audio_side(block)
                d = self.logits(cosines, same)
                if self.softmax:
                    assert sup_cols is not None
                    d.sub_(sup_cols[None, :]).exp_()
                else:
                    d.sigmoid_()
                d = self.less_targets(d, target, block, 1.0).mul_(w1)
                g_scale += _dot(d, cosines)
                g_bias += d.sum()
                step = block.w - block.x
                g_rho_audio += step.mul_(d).sum(0)
                dw = d * self.rho_audio[None, :]
                dx += d.sub_(dw)
            collect.add(block, dx, dy, dw)
        embeddings = collect.gradients(self.scale)
        return [
            *embeddings,
            g_scale,
            g_bias,
            None if g_rho_text is None else g_rho_text * self.scale,
            None if g_rho_audio is None else g_rho_audio * self.scale,
        ]

    def less_targets(self, d: Tensor, target: Tensor | None, block: Block, times: float) -> Tensor:
        """P - times * Q, in place: (b, N)."""
        if target is None:
            self.diagonal(d, block).sub_(times)
            return d
        return d.sub_(target, alpha=times)


class _Collect:
    """Turns the blocks' gradients of X, Y and W into gradients of the embeddings.

    Kept and alone: whole gradient matrices, then four products (Y and W are symmetric, so their
    gradients are added to their transposes first). Otherwise six products per block.
    """

    def __init__(self, work: _Work, merged: bool) -> None:
        self.work, self.merged = work, merged
        self.whole = merged and work.layout.tile is None
        self.blocks: list[tuple[Tensor, Tensor | None, Tensor | None]] = []
        if not self.whole:
            self.g_text, self.g_audio = torch.zeros_like(work.text), torch.zeros_like(work.audio)
            self.g_text_rows = self.g_text if merged else torch.zeros_like(work.text_rows)
            self.g_audio_rows = self.g_audio if merged else torch.zeros_like(work.audio_rows)

    def add(self, block: Block, dx: Tensor, dy: Tensor | None, dw: Tensor | None) -> None:
        if self.whole:
            self.blocks.append((dx, dy, dw))
            return
        work, rows = self.work, slice(block.first, block.last)
        t, a = work.text_rows[rows], work.audio_rows[rows]
        self.g_text_rows[rows].addmm_(dx, work.audio)
        self.g_audio.addmm_(dx.T, t)
        if dy is not None:
            self.g_audio_rows[rows].addmm_(dy, work.audio)
            self.g_audio.addmm_(dy.T, a)
        if dw is not None:
            self.g_text_rows[rows].addmm_(dw, work.text)
            self.g_text.addmm_(dw.T, t)

    def gradients(self, scale: Tensor) -> list[Tensor | None]:
        """Of text rows, audio rows, text and audio; None for the columns where merged."""
        if self.whole:
            work = self.work
            dx, dy, dw = (_joined(parts) for parts in zip(*self.blocks, strict=True))
            assert dx is not None
            g_text, g_audio = dx @ work.audio, dx.T @ work.text
            if dy is not None:
                g_audio.addmm_(_symmetric_sum(dy), work.audio)
            if dw is not None:
                g_text.addmm_(_symmetric_sum(dw), work.text)
            return [g_text.mul_(scale), g_audio.mul_(scale), None, None]
        if self.merged:
            return [self.g_text.mul_(scale), self.g_audio.mul_(scale), None, None]
        parts = (self.g_text_rows, self.g_audio_rows, self.g_text, self.g_audio)
        return [part.mul_(scale) for part in parts]


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    if not present:
        return None
    return present[0] if len(present) == 1 else torch.cat(present)


def _symmetric_sum(m: Tensor) -> Tensor:
    """m + m': (N, N). By panels: a plain transposed addition strides through all of memory."""
    n = len(m)
    if n < 2 * PANEL:
        return m + m.T
    out = torch.empty_like(m)
    for i in range(0, n, PANEL):
        for j in range(i, n, PANEL):
            upper = m[i : i + PANEL, j : j + PANEL] + m[j : j + PANEL, i : i + PANEL].T
            out[i : i + PANEL, j : j + PANEL] = upper
            if j > i:
                out[j : j + PANEL, i : i + PANEL] = upper.T
    return out


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the element-wise product: ()."""
    return torch.dot(a.reshape(-1), b.reshape(-1))
