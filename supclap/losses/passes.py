"""One forward or backward pass over the row blocks of all pairs (see `supclap.losses.pairs`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from supclap.exchange import exchange
from supclap.losses import fused
from supclap.losses.fused import BlockGradients, BlockLosses
from supclap.losses.products import Products
from supclap.losses.small import SMALL

Partition = Literal["softmax", "sigmoid"]

# Elements of a block that is processed at once: on a CPU 1 MB of float32, about a core's L2 cache;
# on a GPU so many that its work hides what starting it takes.
CACHE_ELEMENTS, GPU_ELEMENTS = 1 << 18, 1 << 26


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


class Inputs(NamedTuple):
    """The tensors that have gradients."""

    text_rows: Tensor  # (n, d)
    audio_rows: Tensor  # (n, d)
    text: Tensor  # (N, d)
    audio: Tensor  # (N, d)
    scale: Tensor  # ()
    bias: Tensor  # ()
    rho_text: Tensor | None  # (n,)
    rho_audio: Tensor | None  # (N,)


@dataclass
class Block:
    """Rows ``first`` to ``last`` (within this call's rows) of the three products.

    x: T A'. y, w: the steps (A - T) A' and T (T - A)' from it to A A' and T T'; None where that
        side has no SVR term.
    same: (b, N) bool, pairs of one clip; without the diagonal for "mask". None: no clip ids.
    target: (b, N), soft targets of same-clip positives. None: the identity.
    """

    first: int
    last: int
    x: Tensor  # (b, N)
    y: Tensor | None  # (b, N)
    w: Tensor | None  # (b, N)
    same: Tensor | None
    target: Tensor | None


# Phi of the rows and of the columns, of the base logits and of the support vectors'.
Statistics = tuple[Tensor, Tensor, Tensor, Tensor]


class Pass:
    """One forward or backward pass over the blocks."""

    def __init__(
        self, inputs: Inputs, kept: tuple[Tensor | None, ...], layout: Layout, terms: Terms
    ) -> None:
        self.text_rows, self.audio_rows, self.text, self.audio = inputs[:4]
        self.scale, self.bias = inputs.scale, inputs.bias
        self.rho_text, self.rho_audio = inputs.rho_text, inputs.rho_audio
        self.kept, self.layout, self.terms = kept, layout, terms
        # What every tile multiplies by: (N, d), once for all of them.
        tiled = kept[0] is None and inputs.rho_audio is not None
        self.push = inputs.text - inputs.audio if tiled else None
        self.softmax = terms.partition == "softmax"
        # On a GPU; where clips repeat, as on a CPU. Compiling is not worth it for small batches.
        self.fused = terms.clips is None and fused.wanted(inputs.text.device)
        self.fused &= layout.tile is not None or layout.pairs > SMALL

    # ---- blocks -----------------------------------------------------------------------------

    def blocks(self) -> list[tuple[int, int]]:
        n, columns = len(self.text_rows), len(self.text)
        most = CACHE_ELEMENTS if self.text.device.type == "cpu" else GPU_ELEMENTS
        step = self.layout.tile or max(16, most // max(columns, 1))
        return [(first, min(first + step, n)) for first in range(0, n, step)]

    def block(self, first: int, last: int) -> Block:
        x, y, w = (None if m is None else m[first:last] for m in self.kept)
        t, a = self.text_rows[first:last], self.audio_rows[first:last]
        if x is None:
            x = t @ self.audio.T
            y = None if self.rho_text is None else (a - t) @ self.audio.T
            w = None if self.push is None else t @ self.push.T
        same = self.same_clip(first, last)
        return Block(first, last, x, y, w, same, self.targets(same))

    def logits(self, cosines: Tensor, block: Block) -> Tensor:
        """Logits of a block, -inf where a pair is masked: (b, N)."""
        logits = cosines * self.scale
        if not self.softmax:
            logits += self.bias
        if block.same is not None and self.terms.same_clip == "mask":
            logits.masked_fill_(block.same, -torch.inf)
        return logits

    def text_side(self, block: Block) -> Tensor:
        """Cosines of the text support vectors with all audios: (b, N)."""
        assert self.rho_text is not None
        assert block.y is not None
        rho = self.rho_text[block.first : block.last, None]
        return torch.addcmul(block.x, rho, block.y)

    def audio_side(self, block: Block) -> Tensor:
        """Cosines of the texts with all audio support vectors: (b, N)."""
        assert self.rho_audio is not None
        assert block.w is not None
        return torch.addcmul(block.x, self.rho_audio[None, :], block.w)

    def same_clip(self, first: int, last: int) -> Tensor | None:
        """`Block.same` of some rows."""
        if self.terms.row_clips is None or self.terms.clips is None:
            return None
        same = self.terms.row_clips[first:last, None] == self.terms.clips[None, :]
        if self.terms.same_clip == "mask":
            same.diagonal(self.layout.offset + first)[: last - first].fill_(False)
        return same

    def diagonal(self, matrix: Tensor, block: Block) -> Tensor:
        """The positives of a block: (b,), a view."""
        return matrix.diagonal(self.layout.offset + block.first)[: block.last - block.first]

    def targets(self, same: Tensor | None) -> Tensor | None:
        """`Block.target` of some rows."""
        if same is None or self.terms.same_clip == "mask":
            return None
        target = same.to(self.text.dtype)
        return target / target.sum(1, keepdim=True) if self.softmax else target

    # ---- values -----------------------------------------------------------------------------

    def losses(self) -> tuple[Tensor, Tensor, Statistics]:
        """Base loss, SVR term (), and the log-partitions that the gradients need."""
        n, columns = len(self.text_rows), len(self.text)
        new = self.text.new_full
        rows, sup_rows = new((n,), 0.0), new((n,), 0.0)
        cols, sup_cols = new((columns,), -torch.inf), new((columns,), -torch.inf)
        # Positives are subtracted anchor by anchor: late in training Phi and <Q, L> are nearly
        # equal, and as two large sums they would cancel to noise in float32.
        matched, sup_matched = new((n,), 0.0), new((n,), 0.0)
        svr = new((), 0.0)
        for first, last in self.blocks():
            block, here = self.block(first, last), slice(first, last)
            found = self.block_losses(block)
            rows[here], matched[here] = found.rows, found.matched
            if found.cols is not None:
                cols = torch.logaddexp(cols, found.cols)
            if found.text is not None:
                sup_rows[here] = found.text
                assert found.text_matched is not None
                svr += (found.text - found.text_matched).sum()
            if found.audio is not None:
                assert found.audio_matched is not None
                sup_matched[here] = found.audio_matched
                if self.softmax:
                    sup_cols = torch.logaddexp(sup_cols, found.audio)
                else:
                    svr += (found.audio - found.audio_matched).sum()
        base = (rows - matched).sum()
        if self.softmax:
            if self.layout.distributed:
                cols, sup_cols = self.over_workers(cols, sup_cols)
            mine = slice(self.layout.offset, self.layout.offset + n)
            base += (cols[mine] - matched).sum()
            if self.rho_audio is not None:
                svr += (sup_cols[mine] - sup_matched).sum()
        statistics = (rows, cols, sup_rows, sup_cols)
        return base / self.layout.pairs, svr / self.layout.pairs, statistics

    def block_losses(self, block: Block) -> BlockLosses:
        """Phi and <Q, L> of a block, of the base and of each side's SVR term."""
        if self.fused:
            fused_losses: BlockLosses = fused.compiled(fused.losses)(*self.fused_inputs(block))
            return fused_losses
        logits = self.logits(block.x, block)
        found = BlockLosses(
            self.partition(logits),
            self.matched(logits, block),
            logits.logsumexp(0) if self.softmax else None,
        )
        if self.rho_text is not None:
            logits = self.logits(self.text_side(block), block)
            matched = self.matched(logits, block)
            found = found._replace(text=self.partition(logits), text_matched=matched)
        if self.rho_audio is not None:
            logits = self.logits(self.audio_side(block), block)
            columns = logits.logsumexp(0) if self.softmax else self.partition(logits)
            found = found._replace(audio=columns, audio_matched=self.matched(logits, block))
        return found

    def fused_inputs(self, block: Block) -> tuple[bool | Tensor | None, ...]:
        """What the functions of `supclap.losses.fused` begin with."""
        rho_text = None if self.rho_text is None else self.rho_text[block.first : block.last]
        first, last = (self.layout.offset + row for row in (block.first, block.last))
        positives = torch.arange(first, last, device=block.x.device)
        rho = (rho_text, self.rho_audio)
        return (self.softmax, block.x, block.y, block.w, *rho, positives, self.scale, self.bias)

    def partition(self, logits: Tensor) -> Tensor:
        """Phi of each row: (b,)."""
        return logits.logsumexp(1) if self.softmax else F.softplus(logits).sum(1)

    def matched(self, logits: Tensor, block: Block) -> Tensor:
        """<Q, L> of each row: (b,)."""
        if block.target is None:
            return self.diagonal(logits, block)
        return (block.target * logits).sum(1)

    def over_workers(self, *partial: Tensor) -> list[Tensor]:
        """The columns' log-sum-exp over the rows of all workers: (N,) each."""
        stacked = torch.stack(partial)
        parts = [torch.empty_like(stacked) for _ in range(dist.get_world_size(self.layout.group))]
        group = self.layout.group
        exchange(
            lambda: dist.all_gather(parts, stacked, group=group, async_op=True),
            "the sums over a column",
            group,
        )
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
        products = Products(
            self.text_rows,
            self.audio_rows,
            self.text,
            self.audio,
            whole=merged and self.layout.tile is None,
            merged=merged,
        )
        g_scale, g_bias = torch.zeros_like(self.scale), torch.zeros_like(self.bias)
        g_rho_text = None if self.rho_text is None else torch.empty_like(self.rho_text)
        g_rho_audio = None if self.rho_audio is None else torch.zeros_like(self.rho_audio)
        for first, last in self.blocks():
            block = self.block(first, last)
            if self.fused:
                mine = (rows[first:last], cols, sup_rows[first:last], sup_cols)
                found: BlockGradients = fused.compiled(fused.gradients)(
                    *self.fused_inputs(block), mine, (w0, w1)
                )
                g_scale += found.scale
                g_bias += found.bias
                if g_rho_text is not None and found.rho_text is not None:
                    g_rho_text[first:last] = found.rho_text
                if g_rho_audio is not None and found.rho_audio is not None:
                    g_rho_audio += found.rho_audio
                products.add(first, last, found.x, found.y, found.w)
                continue
            logits = self.logits(block.x, block)
            if self.softmax:
                d = (logits - rows[first:last, None]).exp_()
                d += logits.sub_(cols[None, :]).exp_()
                d = self.less_targets(d, block, 2.0)
            else:
                d = self.less_targets(logits.sigmoid_(), block, 1.0)
            d *= w0
            g_scale += _dot(d, block.x)
            g_bias += d.sum()
            dx, dy, dw = d, None, None
            if self.rho_text is not None:
                assert g_rho_text is not None
                assert block.y is not None
                cosines, partition = self.text_side(block), sup_rows[first:last, None]
                d = self.support_side(block, cosines, partition, w1, (g_scale, g_bias))
                g_rho_text[first:last] = (block.y * d).sum(1)
                dy = d * self.rho_text[first:last, None]
                dx += d.sub_(dy)
            if self.rho_audio is not None:
                assert g_rho_audio is not None
                assert block.w is not None
                cosines, partition = self.audio_side(block), sup_cols[None, :]
                d = self.support_side(block, cosines, partition, w1, (g_scale, g_bias))
                g_rho_audio += (block.w * d).sum(0)
                dw = d * self.rho_audio[None, :]
                dx += d.sub_(dw)
            products.add(first, last, dx, dy, dw)
        embeddings = products.gradients(self.scale)
        return [
            *embeddings,
            g_scale,
            g_bias,
            None if g_rho_text is None else g_rho_text * self.scale,
            None if g_rho_audio is None else g_rho_audio * self.scale,
        ]

    def support_side(
        self,
        block: Block,
        cosines: Tensor,
        partition: Tensor,
        weight: Tensor,
        sums: tuple[Tensor, Tensor],
    ) -> Tensor:
        """The gradient of a side's SVR term at its logits, weight * (P - Q): (b, N).

        Args:
            cosines: (b, N), of the side's support vectors.
            partition: Phi where the side's softmax runs, (b, 1) of rows or (1, N) of columns.
            sums: the gradients of scale and bias: (), added to.
        """
        d = self.logits(cosines, block)
        d = d.sub_(partition).exp_() if self.softmax else d.sigmoid_()
        d = self.less_targets(d, block, 1.0).mul_(weight)
        scale, bias = sums
        scale += _dot(d, cosines)
        bias += d.sum()
        return d

    def less_targets(self, d: Tensor, block: Block, times: float) -> Tensor:
        """P - times * Q, in place: (b, N)."""
        if block.target is None:
            self.diagonal(d, block).sub_(times)
            return d
        return d.sub_(block.target, alpha=times)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the element-wise product: ()."""
    return torch.dot(a.reshape(-1), b.reshape(-1))
