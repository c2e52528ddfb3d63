"""The section `model`: two encoders, their heads, adapters, and what of them is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, PositiveFloat, model_validator

from supclap.config.pretrained import check_folder, placed
from supclap.config.values import FEATURES, Place, Share, Size, by_name, one_or_more
from supclap.later_keys import AsBefore
from supclap.open_section import OpenSection
from supclap.section import Section, fault_of


def _head(value: object) -> object:
    """The built-in head is null, as it was before there were others."""
    named = by_name(value)
    return None if named == {"name": "mlp"} else named


class HeadConfig(OpenSection):
    """What projects an encoder's output into the embedding space: a part of one's own."""

    names_part = ("name", "head")

    name: str


class LoRAConfig(Section):
    """Low-rank adapters beside the weights of an encoder, which stand still themselves (Hu et al.
    2022; `supclap.model.lora`)."""

    rank: Size = 8  # columns of B, rows of A
    alpha: PositiveFloat = 16.0  # what the adapters give is multiplied by alpha / rank
    dropout: Share = 0.0  # of what the adapters are given
    # Last parts of the names of linear layers; null: all of the encoder's layers
    targets: Annotated[tuple[str, ...] | None, BeforeValidator(one_or_more)] = Field(
        default=None, min_length=1
    )


def _all_or_some(value: object) -> object:
    if not isinstance(value, bool) and not (isinstance(value, int) and 0 < value < 2**31):
        raise ValueError("should be true, false or the number of the first layers")
    return value


# All of an encoder, or its first layers alone, with all that lies before them
Frozen = Annotated[bool | int, PlainValidator(_all_or_some)]
# Gradient checkpointing: of each layer the input is kept, the rest is computed again
Recompute = Annotated[bool, AsBefore(False)]
LoRA = Annotated[LoRAConfig | None, AsBefore(None)]  # null: the encoder's own weights learn
Head = Annotated[HeadConfig | None, BeforeValidator(_head), AsBefore(None)]


def _check_encoder(section: AudioConfig | TextConfig) -> None:
    """Raises ValueError where the keys that both sides have do not go together."""
    name, freeze = section.name, section.freeze
    check_folder(section.names_part[1], name, section.folder)
    if name == FEATURES and freeze is not True:
        raise fault_of("freeze", "should be true: features have no weights to train", freeze)
    if section.recompute and freeze is True:
        wrong = "is of no use: nothing of a frozen encoder is kept for a backward pass"
        raise fault_of("recompute", wrong, section.recompute)
    if section.lora is not None and freeze is True:
        wrong = "adapts an encoder that learns, and this one is frozen; leave out one of the two"
        wrong = "has nothing to adapt: features have no weights" if name == FEATURES else wrong
        raise fault_of("lora", wrong, section.lora.model_dump(exclude_unset=True))


class AudioConfig(OpenSection):
    """The audio encoder."""

    names_part = ("name", "audio encoder")
    for_the_part = frozenset({"width", "layers", "folder"})

    name: str = "cnn"
    # Channels of the first stage (cnn, default 32) or size of a token (transformer, default 128).
    width: Size = 32
    layers: Size = 4
    folder: Place | None = None  # of a pretrained model; its sizes are the folder's
    freeze: Frozen = False
    recompute: Recompute = False
    lora: LoRA = None
    head: Head = None  # null or "mlp": Linear-ReLU-Linear, as the paper has it

    @model_validator(mode="before")
    @classmethod
    def _width_of_its_kind(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("name") == "transformer":
            return {"width": 128, **values}
        return placed("audio encoder", values)

    @model_validator(mode="after")
    def _folder_of_its_kind(self) -> AudioConfig:
        _check_encoder(self)
        return self


class TextConfig(OpenSection):
    """The text encoder."""

    names_part = ("name", "text encoder")
    for_the_part = frozenset({"width", "layers", "vocabulary", "folder"})

    name: str = "transformer"
    width: Size = 128
    layers: Size = 2
    vocabulary: Size = 2000  # of the tokenizer trained on the captions
    folder: Place | None = None  # of a pretrained model; its sizes are the folder's
    freeze: Frozen = False
    recompute: Recompute = False
    lora: LoRA = None
    head: Head = None  # null or "mlp": Linear-ReLU-Linear, as the paper has it

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_its_kind(cls, values: Any) -> Any:
        return placed("text encoder", values)

    @model_validator(mode="after")
    def _folder_of_its_kind(self) -> TextConfig:
        _check_encoder(self)
        return self


class ModelConfig(Section):
    """The dual encoder: two encoders, each under a Linear-ReLU-Linear head to ``dim``."""

    audio: Annotated[AudioConfig, BeforeValidator(by_name)] = AudioConfig()
    text: Annotated[TextConfig, BeforeValidator(by_name)] = TextConfig()
    dim: Size = 256
    dropout: Share = 0.0  # with any, runs of one and of two workers differ as two seeds do
    start: Place | None = None  # a model folder whose weights the run starts from
