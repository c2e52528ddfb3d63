"""What is known of a run before any step of it: its steps, and what it takes in any case.

Pretrained encoders are made on PyTorch's meta device, which has shapes and no numbers, so that
neither memory nor a GPU is needed. Weights and data that are not here have stand-ins
(`supclap.standing_in`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from supclap.config import FEATURES, RunConfig
from supclap.errors import InputError
from supclap.footprint import UNKNOWN, Footprint, footprint
from supclap.losses import build_loss
from supclap.model.clap import CLAP
from supclap.optimization import build_optimizer
from supclap.standing_in import build
from supclap.timing import Sizes, kept_MB, sizes_or_published
from supclap.wording import gist


@dataclass(frozen=True)
class Preview:
    """Attributes:
    steps: of an epoch; None: not known.
    parameters: of the model; 0: not known.
    learned: those of them that training changes.
    footprint: without what a step takes; `Footprint.memory` is 0.
    assumed: what stands in for weights and data that are not here, in words.
    unknown: what is not known, and why, in words.
    """

    steps: int | None = None
    parameters: int = 0
    learned: int = 0
    footprint: Footprint = UNKNOWN
    assumed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def preview(config: RunConfig) -> Preview:
    """What is known of a run. Raises nothing: what cannot be known stands in the answer."""
    sizes: Sizes | None = None
    assumed: list[str] = []
    unknown: list[str] = []
    steps = None
    try:
        sizes, words = sizes_or_published(config)
        assumed += words
        steps = sizes.pairs // config.batch_size
    except InputError as error:
        unknown.append(f"steps of an epoch ({gist(error, 200)})")
    if sizes is None and config.data.name == FEATURES:
        unknown.append("sizes of the model (the features say how wide they are)")
        return Preview(steps, unknown=tuple(unknown))
    try:
        model, stands = build(config, None if sizes is None else sizes.widths, shapes=True)
        loss = build_loss(config.loss, config.batch_size)
    except (InputError, NotImplementedError, RuntimeError) as error:
        unknown.append(f"sizes of the model ({gist(error, 200)})")
        return Preview(steps, assumed=tuple(assumed), unknown=tuple(unknown))
    assumed = [*stands, *assumed]
    found = _takes(config, model, loss)
    if found is None:
        unknown.append(f"the state of the optimizer {config.optimizer.name}")
        found = UNKNOWN
    elif sizes is not None:
        found = replace(found, kept=kept_MB(model, config, sizes))
    weights = list(model.parameters())
    learned = sum(parameter.numel() for parameter in weights if parameter.requires_grad)
    every = sum(parameter.numel() for parameter in weights)
    return Preview(steps, every, learned, found, tuple(assumed), tuple(unknown))


def _takes(config: RunConfig, model: CLAP, loss: nn.Module) -> Footprint | None:
    """What a run takes but for its steps; None where the optimizer's state is not known."""
    try:
        optimizer = build_optimizer(config.optimizer, model, loss)
        for group in optimizer.param_groups:
            # Kernels that look at true devices; the state that is kept is the same.
            group.update({name: False for name in ("fused", "foreach") if name in group})
            for parameter in group["params"]:
                parameter.grad = torch.empty_like(parameter)
        optimizer.step()
    except (InputError, NotImplementedError, RuntimeError):
        return None
    return footprint(model, loss, optimizer, 0.0, None, 1.0)
