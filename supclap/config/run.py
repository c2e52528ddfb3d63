"""The whole configuration of a run, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from supclap.config.data import DataConfig
from supclap.config.loss import LossConfig
from supclap.config.measured import AlsoConfig, MetricConfig, SelectConfig
from supclap.config.model import ModelConfig
from supclap.config.optimizer import OptimizerConfig
from supclap.config.values import FEATURES, by_label, by_name
from supclap.document import read_document
from supclap.errors import InputError
from supclap.explaining import explain
from supclap.later_keys import AsBefore, as_written
from supclap.metric_names import own_names
from supclap.section import Section, Seed, fault_of
from supclap.wording import shown

# Settings that change how a run gets to its result: another value is no other run.
NO_PART_OF_A_RESULT = frozenset({"checkpoint_steps", "on_oom"})

# What may stand in the name of a metric that a run reports.
_LABEL = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"
_LABEL_SAID = "1 to 40 letters, digits, '-' and '_'"


class RunConfig(Section):
    """One training run."""

    data: Annotated[DataConfig, BeforeValidator(by_name)] = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: Annotated[LossConfig, BeforeValidator(by_name)] = LossConfig()
    optimizer: Annotated[OptimizerConfig, BeforeValidator(by_name)] = OptimizerConfig()
    select: SelectConfig = SelectConfig()
    also: dict[str, AlsoConfig] = Field(default={})
    metrics: Annotated[dict[str, MetricConfig], BeforeValidator(by_label), AsBefore({})] = Field(
        default={}
    )
    epochs: PositiveInt = 10
    batch_size: Annotated[int, Field(ge=2, validate_default=True)] = 128  # global: over all workers
    chunk: PositiveInt | None = None  # clips per forward pass: exact accumulation (GradCache)
    # Where memory ends: the run ends, or goes on with half the clips per forward pass. Results note
    # it, and are the same up to rounding (and, with dropout, other masks)
    on_oom: Annotated[Literal["end", "chunk"], AsBefore("end")] = "end"
    # What a GPU's products are taken in (tf32), and encoders (bf16, fp16); losses are in float32
    precision: Literal["float32", "tf32", "bf16", "fp16"] = "float32"
    compile: Annotated[bool, AsBefore(False)] = False  # encoders in training, by torch.compile
    seed: Seed = 0
    checkpoint_steps: PositiveInt | None = None  # besides the one at the end of every epoch

    @model_validator(mode="before")
    @classmethod
    def _encoders_of_features(cls, values: Any) -> Any:
        """Names the encoders where the data are features: there is but one of each side."""
        if not isinstance(values, Mapping):
            return values
        data = by_name(values.get("data"))
        name = data.get("name") if isinstance(data, Mapping) else getattr(data, "name", None)
        model = values.get("model") or {}
        if name != FEATURES or not isinstance(model, Mapping):
            return values
        sides = {side: by_name(model.get(side) or {}) for side in ("audio", "text")}
        named = {
            side: {"name": FEATURES, **section} if isinstance(section, Mapping) else section
            for side, section in sides.items()
        }
        return {**values, "model": {**model, **named}}

    @field_validator("model")
    @classmethod
    def _encoders_for_it(cls, model: ModelConfig, info: ValidationInfo) -> ModelConfig:
        data = info.data.get("data")  # absent where it is wrong itself
        for side in ("audio", "text"):
            name = getattr(model, side).name
            if data is not None and (data.name == FEATURES) != (name == FEATURES):
                should = (
                    f"is '{name}', but the data are features, which are outputs of encoders; "
                    f"leave model.{side}.name out"
                    if data.name == FEATURES
                    else f"'{FEATURES}' goes with data: {{name: {FEATURES}}}, found '{data.name}'"
                )
                raise fault_of(side, should, name)
        return model

    @field_validator("loss")
    @classmethod
    def _languages_for_it(cls, loss: LossConfig, info: ValidationInfo) -> LossConfig:
        data = info.data.get("data")  # absent where it is wrong itself
        if data is None or loss.multilingual is None:
            return loss
        if len(data.languages) < 2:
            raise fault_of(
                "multilingual",
                f"should go with at least two data.languages, found {data.languages[0]} alone",
                loss.multilingual,
            )
        if data.pairs == "all":
            raise fault_of(
                "multilingual",
                "should go with data.pairs: one (a step takes a clip with several captions at "
                "once, while with pairs: all every caption is a pair of its own)",
                loss.multilingual,
            )
        return loss

    @field_validator("optimizer")
    @classmethod
    def _what_learns(cls, optimizer: OptimizerConfig, info: ValidationInfo) -> OptimizerConfig:
        model = info.data.get("model")  # absent where it is wrong itself
        for side in ("audio", "text"):
            frozen = model is not None and getattr(model, side).freeze is True
            if frozen and side in optimizer.lr_scale:
                wrong = f"has a share for {side}, whose encoder is frozen (model.{side}.freeze)"
                raise fault_of("lr_scale", wrong, optimizer.lr_scale)
        return optimizer

    @field_validator("metrics")
    @classmethod
    def _reported(cls, metrics: dict[str, MetricConfig]) -> dict[str, MetricConfig]:
        for label, section in metrics.items():
            if label != section.name and not re.fullmatch(_LABEL, label):
                raise ValueError(f"the name {shown(label)} is not {_LABEL_SAID}")
        if metrics:  # what they report is known once their classes are
            own_names(metrics)
        return metrics

    @field_validator("also")
    @classmethod
    def _names(cls, also: dict[str, AlsoConfig], info: ValidationInfo) -> dict[str, AlsoConfig]:
        for name in also:
            if not re.fullmatch(_LABEL, name):
                raise ValueError(f"the name {shown(name)} is not {_LABEL_SAID}")
        data = info.data.get("data")  # absent where it is wrong itself
        for name, further in also.items():
            if data is None or further.data is None:
                continue
            if (data.name == FEATURES) != (further.data.name == FEATURES):
                raise fault_of(
                    name, "features and sounds cannot be tested by one model", further.data.name
                )
        return also

    @field_validator("batch_size")
    @classmethod
    def _room_for_neighbours(cls, size: int, info: ValidationInfo) -> int:
        data = info.data.get("data")  # absent where it is wrong itself
        if data is not None and data.hard_negatives >= size:
            raise ValueError(f"should be more than data.hard_negatives, {data.hard_negatives}")
        return size


def parse_config(values: Mapping[str, Any], source: str = "configuration") -> RunConfig:
    """A RunConfig from plain values.

    Raises:
        InputError: one line that names ``source``, the dotted key, what is wrong with it and, for
            an unknown key, the nearest valid one.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, RunConfig)}") from None


def parse_stored(values: Any, source: str) -> RunConfig:
    """The RunConfig that an earlier version, or this one, has stored. Raises InputError."""
    return parse_config(as_written(RunConfig, values), source)


def load_config(path: Path) -> RunConfig:
    """A RunConfig from a YAML file.

    Raises:
        InputError: one line with file, line, key and what is wrong, as `parse_config` says it.
    """
    document = read_document(path, empty=True)
    try:
        return RunConfig.model_validate(document.values)
    except ValidationError as error:
        location = [str(part) for part in error.errors()[0]["loc"]]
        raise document.error(location, explain(error, RunConfig)) from None
