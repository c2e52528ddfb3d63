"""The section `optimizer`, with the schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat

from supclap.config.values import Share, by_name
from supclap.later_keys import AsBefore
from supclap.open_section import OpenSection


class ScheduleConfig(OpenSection):
    """A learning rate's schedule of one's own, with its keys."""

    names_part = ("name", "schedule")

    name: str


def _schedule(value: object) -> object:
    """A built-in schedule is its name alone, as it was before there were others."""
    if isinstance(value, Mapping) and value.keys() == {"name"}:
        value = value["name"]
    if isinstance(value, str | Mapping) and value not in ("constant", "cosine"):
        return ScheduleConfig.model_validate(by_name(value))
    return value


ModelPart = Literal["audio", "text", "head"]  # the two encoders, and both heads


class OptimizerConfig(OpenSection):
    """Adam, AdamW or one of one's own; linear warm-up, then constant, cosine or one's own.

    ``weight_decay`` is what the two differ in: adam adds it to the gradient (L2 regularization,
    which Adam then scales as it scales gradients), adamw shrinks the weights by it apart from the
    gradient (decoupled).
    """

    names_part = ("name", "optimizer")
    for_the_part = frozenset({"lr", "betas", "weight_decay"})

    name: str = "adam"
    lr: PositiveFloat = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    schedule: Annotated[
        Literal["constant", "cosine"] | ScheduleConfig, BeforeValidator(_schedule)
    ] = "cosine"
    warmup: NonNegativeFloat = 0.5  # epochs
    clip_norm: PositiveFloat | None = 1.0
    # The learnable scalars (temperature, SigLIP's bias, radius) and the radius predictor.
    loss_lr: PositiveFloat | None = None  # default: lr
    # Shares of lr for parts of the model: an encoder, or both heads; 1 where none is given
    lr_scale: Annotated[dict[ModelPart, PositiveFloat], AsBefore({})] = Field(default={})
