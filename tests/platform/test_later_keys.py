"""A key that came later: its default is no part of a run's identity while it means "as before"."""

from typing import Annotated, Any

import pytest
from pydantic import Field
from supclap_platform.experiment.identity import signature

from supclap.config import (
    AlsoConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    SVRConfig,
    parse_config,
    parse_stored,
)
from supclap.later_keys import AsBefore, as_written, identity_of


class LaterSVR(SVRConfig):
    fading: Annotated[float, AsBefore(0.0)] = 0.0


class LaterLoss(LossConfig):
    svr: LaterSVR | None = None


class LaterAlso(AlsoConfig):
    most: Annotated[int | None, AsBefore(None)] = None


class LaterRun(RunConfig):
    loss: LaterLoss = LaterLoss()
    also: dict[str, LaterAlso] = Field(default_factory=dict)  # type: ignore[assignment]
    mixup: Annotated[float, AsBefore(0.0)] = 0.0


class OtherDefault(RunConfig):
    """Still later: what a silent configuration means has changed."""

    mixup: Annotated[float, AsBefore(0.0)] = 0.2


SILENT: dict[str, Any] = {
    "loss": {"svr": {"radius": "static"}},
    "also": {"other": {"data": {"name": "soundscenes", "seed": 3}}},
}


def test_a_later_key_at_its_default_changes_no_signature() -> None:
    before = signature(RunConfig.model_validate(SILENT))
    assert signature(LaterRun.model_validate(SILENT)) == before
    said = {**SILENT, "mixup": 0.0, "loss": {"svr": {"radius": "static", "fading": 0.0}}}
    assert signature(LaterRun.model_validate(said)) == before


@pytest.mark.parametrize(
    "change",
    [
        {"mixup": 0.1},
        {"loss": {"svr": {"radius": "static", "fading": 0.5}}},
        {"also": {"other": {"data": {"name": "soundscenes", "seed": 3}, "most": 5}}},
    ],
)
def test_a_later_key_at_another_value_is_another_run(change: dict[str, Any]) -> None:
    before = signature(RunConfig.model_validate(SILENT))
    assert signature(LaterRun.model_validate({**SILENT, **change})) != before


def test_a_changed_default_is_another_run_and_the_old_value_the_old_one() -> None:
    before = signature(RunConfig.model_validate(SILENT))
    assert signature(OtherDefault.model_validate(SILENT)) != before
    assert signature(OtherDefault.model_validate({**SILENT, "mixup": 0.0})) == before


def test_without_later_keys_identity_is_all_that_is_configured() -> None:
    config = parse_config({"loss": {"svr": {}}, "also": {"a": {"split": "val"}}})
    later = {
        "order",
        "augment",
        "arrays",
        "head",
        "terms",
        "metrics",
        "lr_scale",
        "recompute",
        "lora",
        "compile",
        "on_oom",
    }  # at what they mean as before

    def without(values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        kept = {
            k: v for k, v in values.items() if k not in later or v not in (None, {}, False, "end")
        }
        return {key: without(value) for key, value in kept.items()}

    assert identity_of(config) == without(config.model_dump(mode="json"))


def test_a_stored_configuration_that_lacks_a_later_key_means_as_before() -> None:
    stored = RunConfig.model_validate(SILENT).model_dump(mode="json")
    assert OtherDefault.model_validate(as_written(OtherDefault, stored)).mixup == 0.0
    read = LaterRun.model_validate(as_written(LaterRun, stored))
    assert (read.mixup, read.also["other"].most) == (0.0, None)
    assert read.loss.svr is not None
    assert read.loss.svr.fading == 0.0


def test_stored_values_that_are_no_mapping_are_left_for_the_section_to_refuse() -> None:
    assert as_written(LaterRun, {"loss": 3, "also": {"a": 4}}) == {
        "loss": 3,
        "also": {"a": 4},
        "mixup": 0.0,
        "metrics": {},
        "compile": False,
        "on_oom": "end",
    }
    assert parse_stored({"epochs": 3}, "here").epochs == 3
    assert as_written(ModelConfig, {"audio": "cnn"}) == {"audio": "cnn"}
