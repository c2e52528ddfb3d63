"""A semantic radius for each anchor (paper, section 3.3)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supclap.losses.checks import check_number
from supclap.parts.losses import Radius

Order = Literal["batch", "sorted", "pooled"]
# Numbers that take some milliseconds to sort. For fewer one thread is faster: PyTorch's own
# threads spin for a while after each of its operations, and keep the cores from others.
WORTH_THREADS = 1 << 21


class DynamicRadius(Radius):
    """R of each anchor, predicted from its similarities (DynamicSVR, against local drift).

    A 3-layer MLP on S_i = [s(positive), s(negative_1), ...], s = cosine / temperature. Our choices
    where the paper is silent: ReLU, one predictor for both sides, S without gradient, and a last
    layer that starts at zero weights and bias ``initial``, so that Static and Dynamic start alike.

    Args:
        length: number of similarities the predictor reads. For "batch" and "sorted" this is the
            batch size N (the global one when data-parallel); for "pooled" any number >= 2.
        order: "batch" keeps the negatives as they stand in the batch; "sorted" puts them in
            descending order, which makes the radius independent of the order of the batch;
            "pooled" averages the sorted negatives into ``length - 1`` bins: any batch size fits.
        initial: R at the start.
        width: neurons of each hidden layer.
        depth: hidden layers; the paper's MLP has two.
        detach: keeps the gradient of R from reaching embeddings and temperature through S.
    """

    def __init__(
        self,
        length: int,
        order: Order = "sorted",
        initial: float = 0.5,
        width: int = 128,
        detach: bool = True,
        depth: int = 2,
    ) -> None:
        super().__init__()
        if order not in ("batch", "sorted", "pooled"):
            raise ValueError(f"order: expected 'batch', 'sorted' or 'pooled', got {order!r}")
        if length < 2:
            raise ValueError(
                f"length: expected at least 2, a positive and a negative, got {length}"
            )
        if width < 1:
            raise ValueError(f"width: expected at least 1 neuron, got {width}")
        if depth < 1:
            raise ValueError(f"depth: expected at least 1 hidden layer, got {depth}")
        self.length, self.order, self.detach = length, order, detach
        hidden: list[nn.Module] = []
        for size in [length] + [width] * (depth - 1):
            hidden += [nn.Linear(size, width), nn.ReLU()]
        last = nn.Linear(width, 1)
        self.predictor = nn.Sequential(*hidden, last)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, check_number("initial", initial))

    def check_batch(self, pairs: int) -> None:
        """Raises ValueError where a batch of ``pairs`` does not fit the predictor's input."""
        if self.order != "pooled" and pairs != self.length:
            raise ValueError(
                f"DynamicRadius: built for a batch of {self.length} pairs (order='{self.order}' "
                f"reads every similarity), got {pairs}; drop the last uneven batch, build it with "
                f"length={pairs}, or use order='pooled', which takes any batch size"
            )

    def forward(self, similarities: Tensor, offset: int = 0) -> Tensor:
        """R of every anchor: (n,).

        Args:
            similarities: (n, N), anchor r against all N of the other side, divided by temperature.
            offset: anchor r's positive stands in column ``offset + r``.
        """
        self.check_batch(similarities.shape[1])
        weights = next(self.predictor.parameters())
        similarities = similarities.to(weights.dtype)
        if self.order == "batch":
            inputs = positive_first(similarities, offset)
        elif similarities.requires_grad or similarities.device.type != "cpu":
            inputs = positive_first(similarities, offset)
            negatives = inputs[:, 1:].sort(dim=1, descending=True).values
            inputs = torch.cat([inputs[:, :1], negatives], dim=1)
        else:
            inputs = _in_order(similarities, offset)
        if self.order == "pooled":
            negatives = F.adaptive_avg_pool1d(inputs[:, 1:], self.length - 1)
            inputs = torch.cat([inputs[:, :1], negatives], dim=1)
        radius: Tensor = self.predictor(inputs)
        return radius.squeeze(1)


def _in_order(similarities: Tensor, offset: int) -> Tensor:
    """Each row's positive, then its negatives in descending order: (n, N), without gradient.

    The values of PyTorch's sort, which on a CPU also keeps track of where each came from; numpy's
    sorts numbers alone, with the processor's vector instructions, in a tenth of the time.
    """
    found = torch.empty_like(similarities, memory_format=torch.contiguous_format)
    torch.neg(similarities, out=found)
    positives, first = found.diagonal(offset), found[:, 0]
    kept = positives.clone()
    # The negatives may stand in any order before they are sorted: that in the positive's place.
    positives.copy_(first.clone())
    first.copy_(kept)
    _sort_rows(found.numpy()[:, 1:])
    return found.neg_()


def _sort_rows(values: np.ndarray) -> None:
    """Each row in ascending order, in its place, by as many threads as PyTorch takes."""
    threads = torch.get_num_threads() if values.size >= WORTH_THREADS else 1
    if threads == 1:
        values.sort(axis=1)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda rows: rows.sort(axis=1), np.array_split(values, threads)))


def positive_first(similarities: Tensor, offset: int = 0) -> Tensor:
    """Each row's positive, then its negatives in their order: (n, N).

    Args:
        similarities: (n, N) with the positive of row r in column ``offset + r``.
    """
    n, columns = similarities.shape
    if not n:
        return similarities
    flat = similarities.reshape(-1)
    # Between two successive positives of the flattened matrix lie exactly N negatives, so the
    # diagonal is cut out with views alone: no index matrix of 8 bytes per similarity.
    first, last = offset, offset + (n - 1) * (columns + 1)
    between = flat[first + 1 : last + 1].view(n - 1, columns + 1)[:, :columns].reshape(-1)
    negatives = torch.cat([flat[:first], between, flat[last + 1 :]]).view(n, columns - 1)
    return torch.cat([similarities.diagonal(offset).unsqueeze(1), negatives], dim=1)
