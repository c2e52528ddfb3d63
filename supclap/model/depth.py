"""The depth of an encoder: its layers one after the other, of which some may be frozen, or computed
again in the backward pass."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from supclap.bounds import check_frozen_layers, nothing_to_recompute


def layers_of(encoder: nn.Module) -> list[nn.Module]:
    """An encoder's layers, from its input on.

    They are what its attribute ``blocks`` holds (modules, in order); without one, of its lists of
    layers (`torch.nn.ModuleList`) the one with the most weights, which in every transformer is that
    of its blocks. Empty where there is none.
    """
    own = getattr(encoder, "blocks", None)
    if own is not None:
        return list(own)
    lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    # Of lists within each other the outer one has no fewer weights, and comes first.
    return list(max(lists, key=_weights, default=()))


def freeze_first(encoder: nn.Module, count: int, key: str) -> list[nn.Module]:
    """Stops the learning of an encoder's first ``count`` layers, and of all that lies before them.

    What lies before is what the encoder has registered before: embeddings, patches, convolutions.

    Args:
        key: of the configuration, such as "model.text.freeze".

    Returns:
        The modules that have weights, and none that learns: they stay in evaluation mode, as the
        statistics of a BatchNorm are learned too, and what is frozen has no use for dropout.

    Raises:
        SettingError: the encoder has fewer layers.
    """
    layers = layers_of(encoder)
    check_frozen_layers(count, len(layers), key)
    last = [id(p) for layer in layers[:count] for p in layer.parameters()][-1]
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
        if id(parameter) == last:
            break
    return [module for module in encoder.modules() if _is_frozen(module)]


def recompute(encoder: nn.Module, key: str) -> None:
    """Keeps of each layer its input alone, and computes the rest again in the backward pass (Chen
    et al. 2016, "Training deep nets with sublinear memory cost"). Results are the same to the bit,
    dropout too.

    Raises:
        SettingError: the encoder has no list of layers that it calls one by one.
    """
    called = {id(module) for module in encoder.modules()}
    layers = [layer for layer in layers_of(encoder) if id(layer) in called]
    if not layers:
        raise nothing_to_recompute(key)
    for layer in layers:
        layer.forward = partial(_forward, layer.forward)


def _forward(forward: Any, *given: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*given, **named)
    return checkpoint(forward, *given, use_reentrant=False, **named)


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(one.requires_grad for one in parameters)
