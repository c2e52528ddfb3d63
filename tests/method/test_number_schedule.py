"""Numbers of a loss that change over a run: a function of progress alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from killed_run import leave_at
from own_losses import register_all
from pydantic import Field
from tiny_run import everything, make_collection, tiny_config
from torch.nn import functional as F

from supclap import registry
from supclap.config import RunConfig, parse_config, parse_stored
from supclap.errors import InputError
from supclap.events import EpochEnded
from supclap.feasibility import check_run
from supclap.later_keys import identity_of
from supclap.losses import SupCLAPLoss, build_loss
from supclap.number_schedule import NumberSchedule
from supclap.overrides import override
from supclap.parts import LossTerm, Pairs, Place, register
from supclap.storage import Folder
from supclap.training import fit


@pytest.fixture(autouse=True)
def own_parts() -> Any:
    with registry.forgotten():
        register_all()
        yield


LINE = {"from": 1, "to": 0, "until": 0.5}


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        # progress: 0, 0.25, 0.5, 0.75, 1
        (LINE, (1, 0.5, 0, 0, 0)),
        ({"from": 1, "to": 3}, (1, 1.5, 2, 2.5, 3)),
        ({"from": 0, "to": 4, "since": 0.25, "until": 0.75}, (0, 0, 2, 4, 4)),
        (
            {"from": 1, "to": 0, "shape": "cosine"},
            [(1 + math.cos(math.pi * p)) / 2 for p in (0, 0.25, 0.5, 0.75, 1)],
        ),
        ({"from": 2, "to": 5, "shape": "step", "until": 0.5}, (2, 2, 5, 5, 5)),
    ],
)
def test_values_at_a_progress(keys: dict[str, Any], values: tuple[float, ...]) -> None:
    schedule = NumberSchedule.model_validate(keys)
    got = [schedule.at(progress) for progress in (0, 0.25, 0.5, 0.75, 1)]
    assert got == pytest.approx(list(values), abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ({"svr": {"alpha": {"from": 1, "to": -1}}}, "loss.svr.alpha.to: input should be greater"),
        ({"svr": {"alpha": {"from": 1}}}, "loss.svr.alpha.to: field required"),
        ({"svr": {"alpha": {"from": 1, "til": 1, "to": 2}}}, "unknown key 'loss.svr.alpha.til'"),
        ({"svr": {"alpha": {**LINE, "since": 0.5}}}, "alpha.until: should be more than since, 0.5"),
        ({"svr": {"alpha": {**LINE, "until": 1.5}}}, "alpha.until: input should be less than or"),
        (
            {"svr": {"alpha": {**LINE, "shape": "step", "since": 0.1}}},
            "loss.svr.alpha.since: has no meaning for shape: step",
        ),
        ({"svr": {"alpha": {**LINE, "shape": "sine"}}}, "alpha.shape: input should be 'linear'"),
        (
            {"svr": {"alpha": {**LINE, "to": True}}},
            "svr.alpha.to: expected a number, got True",
        ),
        ({"svr": {"alpha": -1}}, "loss.svr.alpha: input should be greater than or equal to 0"),
        ({"svr": {"alpha": "high"}}, "loss.svr.alpha: input should be a valid number"),
        ({"svr": {"alpha": True}}, "loss.svr.alpha: expected a number, got True"),
        ({"svr": {"width": LINE}}, "loss.svr.width: input should be a valid integer"),
        ({"temperature": {"from": 0.1, "to": 0}}, "loss.temperature.to: input should be greater"),
        (
            {"terms": {"bounded": {"share": {"from": 0.5, "to": 1.5}}}},
            "loss.terms.bounded.share.to: input should be less than or equal to 1",
        ),
        ({"terms": {"bounded": {"count": LINE}}}, "loss.terms.bounded.count: input should be a va"),
    ],
)
def test_what_no_schedule_can_be_is_one_line(loss: dict[str, Any], told: str) -> None:
    @register("bounded")
    class Bounded(LossTerm):
        share: Annotated[float, Field(ge=0, le=1)] = 0.5
        count: int = 1

        def forward(self, pairs: Pairs) -> torch.Tensor:
            return pairs.text.sum()

    with pytest.raises(InputError) as caught:
        parse_config({"loss": loss})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ({"name": "siglip", "temperature": LINE | {"to": 2}}, "loss.temperature: what is learned"),
        ({"name": "siglip", "bias": LINE}, "loss.bias: what is learned has no schedule"),
        ({"temperature": LINE | {"to": 2}, "learn_temperature": True}, "loss.temperature: what is"),
        (
            {"name": "pairwise", "temperature": LINE | {"to": 2}},
            "loss.temperature: what is learned",
        ),
    ],
)
def test_what_is_learned_has_no_schedule(loss: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_run(parse_config({"loss": loss}))


def test_a_plain_number_keeps_its_identity_and_a_schedule_comes_back_from_storage() -> None:
    plain = RunConfig().model_copy()
    assert identity_of(plain) == identity_of(parse_config({"loss": {"bias": "-10"}}))
    assert identity_of(parse_config({"loss": {"svr": {"alpha": 1}}}))["loss"]["svr"]["alpha"] == 1.0
    config = parse_config({"loss": {"svr": {"alpha": LINE}}})
    assert identity_of(config)["loss"]["svr"]["alpha"] == {
        **LINE,
        "since": 0.0,
        "shape": "linear",
    }
    assert parse_stored(config.model_dump(mode="json"), "here") == config
    assert (config.loss.has_schedule, plain.loss.has_schedule) == (True, False)


def test_a_dotted_key_sets_one_end_as_a_grid_and_a_search_do() -> None:
    base = {"loss": {"svr": {"alpha": LINE}}}
    changed = parse_config(override(base, {"loss.svr.alpha.to": 0.25}))
    assert changed.loss.svr is not None
    assert changed.loss.svr.alpha.at(1.0) == 0.25
    plain = parse_config(override(base, {"loss.svr.alpha": 0.5}))
    assert plain.loss.svr is not None
    assert plain.loss.svr.alpha == 0.5


def test_a_scheduled_loss_is_at_each_step_the_loss_of_those_numbers() -> None:
    """Of all that may have one, and the fused form as well as terms."""
    up = {"from": 0.5, "to": 1.5}
    bases: list[dict[str, Any]] = [
        {"name": "siglip", "learn_temperature": False, "temperature": up, "bias": up},
        {"name": "triplet", "margin": up, "temperature": up},
    ]
    shared = {
        "svr": {"radius": "near", "reach": up, "alpha": up, "constraint": {"from": 0, "to": 1}},
        "terms": {"angle": {"weight": up, "margin": up}},
    }
    numbers = torch.Generator().manual_seed(0)
    audio, text = (F.normalize(torch.randn(6, 4, generator=numbers), dim=1) for _ in range(2))
    for base in bases:
        loss = _built({**base, **shared})
        for step in (0, 3, 9, 3):  # back as well: nothing but the step counts
            loss.begin_step(step, 10)
            fixed = _built(_fixed({**base, **shared}, step / 10))
            fixed.begin_step(step, 10)
            found, want = loss(audio, text), fixed(audio, text)
            torch.testing.assert_close(found.total, want.total)
            assert "constraint" in found.parts  # also where its weight is 0
            for name, value in want.parts.items():
                torch.testing.assert_close(found.parts[name], value)
        expected = {"svr.alpha", "svr.constraint", "svr.reach", "angle.weight", "angle.margin"}
        expected |= {"temperature", "bias" if base["name"] == "siglip" else "base.margin"}
        assert loss.scheduled().keys() == expected
        assert loss.scheduled()["svr.alpha"] == pytest.approx(0.8)


def _built(loss: dict[str, Any]) -> SupCLAPLoss:
    return build_loss(parse_config({"loss": loss}).loss, 6, Place(6, 4))


def _fixed(values: dict[str, Any], progress: float) -> dict[str, Any]:
    """A configuration with the numbers that its schedules have at a progress."""
    if values.keys() == {"from", "to"}:
        return values["from"] + progress * (values["to"] - values["from"])
    return {k: _fixed(v, progress) if isinstance(v, dict) else v for k, v in values.items()}


@pytest.mark.heavy
def test_a_run_logs_its_numbers_and_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Own base, term, radius and schedules at once; left in the middle of an epoch, twice."""
    config = tiny_config(
        make_collection(tmp_path / "data"),
        checkpoint_steps=1,
        loss={
            "name": "triplet",
            "margin": {"from": 0.3, "to": 0.1},
            "svr": {"radius": "near", "alpha": {"from": 1, "to": 0, "until": 0.5}},
            "terms": {
                "angle": {"weight": {"from": 0, "to": 1, "shape": "step", "until": 0.5}},
                "drawn": {"weight": 0.5},
            },
        },
    )
    events = list(fit(config, Folder.at(tmp_path / "whole")))
    first, second = (e.metrics for e in events if isinstance(e, EpochEnded))
    # Two epochs of three steps: progress 0, 1/6, 2/6 and 3/6, 4/6, 5/6.
    assert first["train.svr.alpha"] == pytest.approx((1 + 2 / 3 + 1 / 3) / 3)
    assert second["train.svr.alpha"] == 0
    assert (first["train.angle.weight"], second["train.angle.weight"]) == (0, 1)
    assert second["train.base.margin"] == pytest.approx(0.3 - 0.2 * 4 / 6)
    logged = {"train.base.gap", "train.angle.hard", "train.drawn", "radius.text.mean"}
    assert logged <= first.keys()

    leave_at(config, Folder.at(tmp_path / "left"), 3, 6)
    list(fit(config, Folder.at(tmp_path / "left")))
    whole, left = (everything(Folder.at(tmp_path / name)) for name in ("whole", "left"))
    assert left == whole
