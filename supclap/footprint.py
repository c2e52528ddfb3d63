"""What a run takes of memory and disk, from one timed step.

Memory of a worker: what its process holds before, the weights, their gradients, the optimizer's
state, and what a step takes besides, measured over the rows that were timed and taken for linear in
rows. Not in it: N x N tables of a large batch beyond InfoNCE's, sounds that are read ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

MB = 1e6
CHECKPOINTS = 2  # that a run keeps: the latest, and that of its best epoch


@dataclass(frozen=True)
class Footprint:
    """In MB of a million bytes.

    Attributes:
        memory: of a worker while it trains, on its device.
        model: of a saved model.
        checkpoint: of a checkpoint; a run keeps `CHECKPOINTS`.
        kept: of what frozen encoders make of all sounds and captions, kept once for all runs.
        fixed: of the memory, weights, gradients and the optimizer's state: without any step.
    """

    memory: float = 0.0
    model: float = 0.0
    checkpoint: float = 0.0
    kept: float = 0.0
    fixed: float = 0.0


UNKNOWN = Footprint()


def footprint(
    model: nn.Module,
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    held: float,
    peak: float | None,
    times: float,
) -> Footprint:
    """What a run of these takes, after a step.

    Args:
        held: MB that the process holds on the device before the model is made.
        peak: MB that it held at most during a step; None where that is not known.
        times: how often the rows of that step go into those that a run takes at once.
    """
    weights = learned = 0
    for part in (model, loss):
        weights += sum(_bytes(buffer) for buffer in part.buffers())
        for parameter in part.parameters():
            weights += _bytes(parameter)
            learned += _bytes(parameter) if parameter.requires_grad else 0
    state = sum(
        _bytes(value)
        for values in optimizer.state.values()
        for value in values.values()
        if isinstance(value, Tensor)
    )
    fixed = held + (weights + learned + state) / MB
    return Footprint(
        memory=0.0 if peak is None else fixed + max(0.0, peak - fixed) * times,
        model=sum(_bytes(value) for value in model.state_dict().values()) / MB,
        checkpoint=(learned + state) / MB,
        fixed=(weights + learned + state) / MB,
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
