"""The section `loss`: the base loss, Support Vector Regularization, and further terms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from supclap import registry
from supclap.config.values import Size, by_label
from supclap.labels import check_label
from supclap.later_keys import AsBefore
from supclap.number_schedule import NonNegative, Number, NumberSchedule, Positive
from supclap.open_section import OpenSection


class SVRConfig(OpenSection):
    """Support Vector Regularization (paper, section 3.2; METHOD in docs/method.md)."""

    names_part = ("radius", "radius")

    sides: Literal["text", "both"] = "both"
    radius: str = "dynamic"
    alpha: NonNegative = 1.0
    constraint: NonNegative = 0.01  # beta; not of the static radius
    initial: float = 0.5  # radius at the start; our choice
    width: Size = 128  # hidden width of the dynamic radius's predictor; our choice
    depth: Size = 2  # its hidden layers
    order: Literal["batch", "sorted", "pooled"] = (
        "sorted"  # of the negatives in its input; our choice
    )
    detach: bool = True  # similarities enter the predictor without gradient; our choice


class TermConfig(OpenSection):
    """A loss term that is added to the base loss: a part of one's own, with its keys."""

    names_part = ("name", "loss term")

    name: str
    weight: NonNegative = 1.0


class LossConfig(OpenSection):
    """The base loss, where ``svr`` is given its regularization, and terms of one's own.

    A number in it that is not learned may have a schedule (`supclap.number_schedule`) in its place.
    """

    names_part = ("name", "base loss")

    name: str = "infonce"
    # default: 0.07 (infonce), 0.1 (siglip, as published)
    temperature: Positive | None = None
    learn_temperature: bool | None = None  # default: no (infonce), yes (siglip)
    bias: Number = -10.0  # siglip's initial bias
    same_clip: Literal["mask", "target"] = "mask"  # captions of one clip in one batch; our choice
    svr: SVRConfig | None = None
    # How captions in several languages are learned from: every clip's in all of data.languages
    # (kcl), or in the first and another one (cacl); null: one caption in a language drawn at random
    multilingual: Literal["kcl", "cacl"] | None = None
    terms: Annotated[dict[str, TermConfig], BeforeValidator(by_label), AsBefore({})] = Field(
        default={}
    )

    @field_validator("terms")
    @classmethod
    def _labels(cls, terms: dict[str, TermConfig]) -> dict[str, TermConfig]:
        for label in terms:
            check_label(label)
        return terms

    @property
    def has_schedule(self) -> bool:
        """Whether a number of the loss changes over a run."""
        sections = [one for one in (self, self.svr, *self.terms.values()) if one is not None]
        return any(isinstance(value, NumberSchedule) for one in sections for _, value in one)

    @property
    def learns_temperature(self) -> bool:
        """Whether the temperature, and the bias beside a sigmoid, are learned."""
        if self.learn_temperature is not None:
            return self.learn_temperature
        own = registry.own("base loss", self.name)
        return (
            self.name == "siglip"
            if own is None
            else getattr(own.make, "partition", "") == "sigmoid"
        )
