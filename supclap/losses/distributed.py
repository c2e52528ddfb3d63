"""The loss of the global batch when every worker holds a part of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from supclap.losses.checks import check_clip_ids, check_embeddings
from supclap.losses.pairs import full_precision, widened
from supclap.losses.passes import Layout
from supclap.losses.svr import LossOutput, SupCLAPLoss


class GlobalBatchLoss(nn.Module):
    """``loss`` over the pairs of all workers: local rows against global columns.

    Every worker computes the logits of its own rows alone, with all columns; embeddings are
    gathered with gradient and the columns' log-sum-exps are reduced, N numbers. Returned are the
    *values* of the global batch, the same on every worker, with *gradients* such that the mean of
    the workers' parameter gradients, which DistributedDataParallel takes, is the gradient of the
    one-process run: of the encoders, the temperature, the static radius and the predictor alike.
    The gradient at a worker's own embeddings is therefore their true one times the number of
    workers. Batches may be of different size on each worker, and empty on some.

    Without an initialised process group it is ``loss`` itself.

    Args:
        loss: the loss; a radius predictor's length is the global batch.
        group: the workers; the default group where None.
    """

    def __init__(self, loss: SupCLAPLoss, group: dist.ProcessGroup | None = None) -> None:
        super().__init__()
        self.loss, self.group = loss, group

    def forward(self, audio: Tensor, text: Tensor, clip_ids: Tensor | None = None) -> LossOutput:
        """The loss of the global batch; radii are those of this worker's rows.

        Args:
            audio, text: (n, d), this worker's pairs, L2-normalised; n may differ per worker.
            clip_ids: (n,) integers; given on all workers or on none.

        Raises:
            ValueError: names the argument, what is expected and what was found. The other workers
                then wait at the next collective until their time is up.
        """
        if not (dist.is_available() and dist.is_initialized()):
            output: LossOutput = self.loss(audio, text, clip_ids)
            return output
        check_embeddings(audio, text, smallest=0)
        check_clip_ids(clip_ids, len(audio))
        rank, workers = dist.get_rank(self.group), dist.get_world_size(self.group)
        counts = _counts(len(audio), audio.device, self.group)
        if sum(counts) < 2:
            raise ValueError(
                "audio and text: expected at least 2 pairs over all workers, as a single pair has "
                f"no negative to contrast with, got {sum(counts)}"
            )

        def gather(rows: Tensor) -> Tensor:
            gathered: Tensor = _Gather.apply(rows, counts, self.group)
            return gathered

        layout = Layout(
            pairs=sum(counts),
            offset=sum(counts[:rank]),
            tile=self.loss.tile,
            group=self.group,
            distributed=True,
        )
        with full_precision(audio):
            audio, text = widened(audio), widened(text)
            clips = None if clip_ids is None else gather(clip_ids)
            share = self.loss.of_rows(
                layout, audio, text, gather(audio), gather(text), clip_ids, clips, gather
            )
            names = list(share.parts)
            mine = torch.stack([share.total, *share.parts.values()])
            everyone = mine.detach().clone()
            dist.all_reduce(everyone, group=self.group)
            # The value of the whole, and the gradient of workers times this worker's share: the
            # mean over the workers is then the sum of the shares.
            total, *parts = everyone + workers * (mine - mine.detach())
        return LossOutput(total, dict(zip(names, parts, strict=True)), share.radii)


def _counts(rows: int, device: torch.device, group: dist.ProcessGroup | None) -> list[int]:
    """Every worker's number of rows."""
    mine = torch.tensor([rows], device=device)
    all_counts = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(all_counts, mine, group=group)
    return [int(count) for count in torch.cat(all_counts)]


class _Gather(torch.autograd.Function):
    """(n, ...) of each worker to (N, ...); backward gives each its rows of the summed gradient."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, counts: list[int], group: dist.ProcessGroup | None
    ) -> Tensor:
        ctx.counts, ctx.group = counts, group
        longest = max(counts)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group=group)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        counts, rank = ctx.counts, dist.get_rank(ctx.group)
        longest = max(counts)
        padded = []
        for part in gradient.split(counts):
            rows = part.new_zeros(longest, *part.shape[1:])
            rows[: len(part)] = part
            padded.append(rows)
        mine = torch.empty_like(padded[0])
        dist.reduce_scatter(mine, padded, group=ctx.group)
        return mine[: counts[rank]], None, None
