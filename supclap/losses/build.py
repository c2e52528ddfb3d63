"""The loss that a configuration describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supclap.losses.composite import SupCLAPLoss
from supclap.losses.contrastive import ContrastiveLoss
from supclap.losses.dynamic_radius import DynamicRadius
from supclap.losses.infonce import InfoNCE
from supclap.losses.siglip import SigLIP
from supclap.losses.static_radius import StaticRadius
from supclap.losses.svr import SupportVectorRegularization

if TYPE_CHECKING:  # the losses themselves need no pydantic
    from supclap.config import LossConfig, SVRConfig

# Inputs of a pooled predictor: its positive and 63 bins of the sorted negatives.
POOLED_LENGTH = 64


def build_loss(config: LossConfig, batch_size: int) -> SupCLAPLoss:
    """The loss of a run whose global batch has ``batch_size`` pairs.

    Raises:
        ValueError: a setting out of its range, named.
    """
    base: ContrastiveLoss
    if config.name == "infonce":
        base = InfoNCE(config.temperature or 0.07, bool(config.learn_temperature), config.same_clip)
    else:
        learn = True if config.learn_temperature is None else config.learn_temperature
        base = SigLIP(config.temperature or 0.1, config.bias, learn, config.same_clip)
    return SupCLAPLoss(base, None if config.svr is None else _svr(config.svr, batch_size))


def _svr(config: SVRConfig, batch_size: int) -> SupportVectorRegularization:
    if config.radius == "static":
        return SupportVectorRegularization(
            StaticRadius(config.initial), config.sides, config.alpha, beta=0.0
        )
    length = POOLED_LENGTH if config.order == "pooled" else batch_size
    radius = DynamicRadius(
        length, config.order, config.initial, config.width, config.detach, config.depth
    )
    return SupportVectorRegularization(radius, config.sides, config.alpha, config.constraint)
