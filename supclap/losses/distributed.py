"""The loss of the global batch when every worker holds a part of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call

from supclap.exchange import exchange, meet
from supclap.losses.checks import check_clip_ids, check_embeddings
from supclap.losses.composite import SupCLAPLoss, overrides
from supclap.losses.output import LossOutput
from supclap.losses.pairs import full_precision, widened
from supclap.losses.passes import Layout


class GlobalBatchLoss(nn.Module):
    """``loss`` over the pairs of all workers: local rows against global columns.

    Every worker computes the logits of its own rows alone, with all columns; embeddings are
    gathered with gradient and the columns' log-sum-exps are reduced, N numbers. Returned are the
    *values* of the global batch, the same on every worker, with *gradients* such that the mean of
    the workers' parameter gradients, which DistributedDataParallel takes, is the gradient of the
    one-process run. The gradient at a worker's own embeddings is therefore their true one times the
    number of workers. Batches may be of different size on each worker, and empty on some.

    The loss's own parameters (temperature, static radius, predictor) lie outside the model that DDP
    wraps. So their gradients are averaged here, in the backward pass, and rank 0's values go to
    every worker before the first batch: they stay the same everywhere, and equal to those of one
    process. Where DDP averages them once more, that changes nothing.

    Without an initialised process group, and in a group of one, it is ``loss`` itself.

    Args:
        loss: the loss; a radius predictor's length is the global batch.
        group: the workers; the default group where None.

    Raises:
        ValueError: not a `SupCLAPLoss`, or one with a ``forward`` of its own, which the workers,
            who each hold some rows of the batch, could not call.
    """

    def __init__(self, loss: SupCLAPLoss, group: dist.ProcessGroup | None = None) -> None:
        super().__init__()
        if not isinstance(loss, SupCLAPLoss):
            raise ValueError(
                f"loss: expected a SupCLAPLoss, got {type(loss).__name__} (a MultilingualLoss "
                "wraps a GlobalBatchLoss, not the other way round)"
            )
        if overrides(loss, SupCLAPLoss, "forward") and not overrides(loss, SupCLAPLoss, "of_rows"):
            raise ValueError(
                f"loss: {type(loss).__name__} has a forward of its own, which would never be "
                "called, as each worker computes its own rows alone: override of_rows instead"
            )
        self.loss, self.group = loss, group
        self._alike = False  # whether every worker has rank 0's parameters

    def forward(self, audio: Tensor, text: Tensor, clip_ids: Tensor | None = None) -> LossOutput:
        """The loss of the global batch; radii are those of this worker's rows.

        Args:
            audio, text: (n, d), this worker's pairs, L2-normalised; n may differ per worker.
            clip_ids: (n,) integers; given on all workers or on none.

        Raises:
            ValueError: names the argument, what is expected and what was found. The other workers
                then wait at the next collective until their time is up.
        """
        if not parallel(self.group):
            output: LossOutput = self.loss(audio, text, clip_ids)
            return output
        check_embeddings(audio, text, smallest=0, by=self)
        check_clip_ids(clip_ids, len(audio))
        rank, workers = dist.get_rank(self.group), dist.get_world_size(self.group)
        counts = _counts(len(audio), audio.device, self.group)
        if sum(counts) < 2:
            raise ValueError(
                "audio and text: expected at least 2 pairs over all workers, as a single pair has "
                f"no negative to contrast with, got {sum(counts)}"
            )
        if not self._alike:
            for tensor in self.loss.state_dict().values():
                begin = partial(
                    dist.broadcast, tensor, group=self.group, group_src=0, async_op=True
                )
                exchange(begin, "the loss's parameters", self.group)
            self._alike = True
        self.loss.base.hold_temperature()  # of the parameters themselves, before they are replaced

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
            rows = (layout, audio, text, gather(audio), gather(text), clip_ids, clips, gather)
            module = _Rows(self.loss)
            share = functional_call(module, _averaged(module, self.group), rows)
            names = list(share.parts)
            numbers = [number.to(share.total.dtype) for number in share.numbers.values()]
            mine = torch.stack([share.total, *share.parts.values(), *numbers])
            everyone = mine.detach().clone()
            begin = partial(dist.all_reduce, everyone, group=self.group, async_op=True)
            exchange(begin, "the loss of the whole batch", self.group)
            # The value of the whole, and the gradient of workers times this worker's share: the
            # mean over the workers is then the sum of the shares.
            total, *parts = everyone + workers * (mine - mine.detach())
        logged = dict(zip(share.numbers, (n.detach() for n in parts[len(names) :]), strict=True))
        parts = parts[: len(names)]
        return LossOutput(total, dict(zip(names, parts, strict=True)), share.radii, numbers=logged)


def parallel(group: dist.ProcessGroup | None = None) -> bool:
    """Whether there are other workers: an initialised process group of more than one."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    return dist.get_world_size(group) > 1


class _Rows(nn.Module):
    """``loss.of_rows`` as a module's forward, which is what `functional_call` calls."""

    def __init__(self, loss: SupCLAPLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, *rows: Any) -> LossOutput:
        return self.loss.of_rows(*rows)


def _averaged(module: nn.Module, group: dist.ProcessGroup | None) -> dict[str, Tensor]:
    """The learnable parameters by name, as tensors whose gradient is the mean over the workers by
    the time it reaches the parameters."""
    learned = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not learned or not torch.is_grad_enabled():
        return {}
    same: tuple[Tensor, ...] = _Average.apply(group, *learned.values())
    return dict(zip(learned, same, strict=True))


def _counts(rows: int, device: torch.device, group: dist.ProcessGroup | None) -> list[int]:
    """Every worker's number of rows."""
    mine = torch.tensor([rows], device=device)
    all_counts = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    begin = partial(dist.all_gather, all_counts, mine, group=group, async_op=True)
    exchange(begin, "a step's batch", group)
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
        begin = partial(dist.all_gather, parts, padded, group=group, async_op=True)
        exchange(begin, "the embeddings of a step", group)
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
        meet("the gradients at the embeddings", ctx.group)
        # Over gloo its handle would never say that it is over.
        dist.reduce_scatter(mine, padded, group=ctx.group)
        return mine[: counts[rank]], None, None


class _Average(torch.autograd.Function):
    """Tensors as they are; backward gives each the mean of its gradient over the workers."""

    @staticmethod
    def forward(ctx: Any, group: dist.ProcessGroup | None, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.group = group
        return tuple(tensor.clone() for tensor in tensors)  # few numbers beside the N x N logits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        begin = partial(dist.all_reduce, flat, group=ctx.group, async_op=True)
        exchange(begin, "the gradients of the loss's parameters", ctx.group)
        flat /= dist.get_world_size(ctx.group)
        means = flat.split([gradient.numel() for gradient in gradients])
        pairs = zip(means, gradients, strict=True)
        return (None, *(mean.view_as(gradient) for mean, gradient in pairs))
