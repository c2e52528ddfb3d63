"""A mistake in a loss of one's own is one line of its source, before anything starts or later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import make_collection, tiny_config

from supclap import registry
from supclap.config import parse_config
from supclap.divergence import TrainingError
from supclap.errors import SettingError
from supclap.feasibility import check_run
from supclap.parts import BaseLoss, LossTerm, Pairs, Place, Radius, register
from supclap.storage import Folder
from supclap.training import fit

CALLS: list[str] = []


class Bad(LossTerm):
    """Does what its key names."""

    way: str

    def setup(self, place: Place) -> None:
        if self.way == "set up":
            raise KeyError("no such file")

    def forward(self, pairs: Pairs) -> torch.Tensor:
        CALLS.append(self.way)
        if self.way == "shape":
            return pairs.similarities.mean(1)
        if self.way == "not a number":
            return pairs.similarities.mean() / 0 * 0
        if self.way == "late":
            return pairs.similarities.mean() / (0 if pairs.progress > 0.5 else 1)
        if self.way == "gradient":
            return (pairs.similarities - pairs.similarities.detach()).abs().sqrt().sum()
        if self.way == "same clips" and pairs.clip_ids is not None:
            return pairs.audio.sum() @ pairs.clip_ids
        if self.way == "trains":  # with a gradient that is none at one step of the run
            away = (pairs.audio - pairs.audio.detach()).square().sum(1)
            return (away + (pairs.progress < 0.5)).sqrt().mean()
        return pairs.similarities.mean()


class Ratio(BaseLoss):
    share: float = 1.0

    def forward(self, pairs: Pairs) -> torch.Tensor:
        return (pairs.similarities.mean() * 0 + 1) / self.share


class Wide(Radius):
    def forward(self, similarities: torch.Tensor, offset: int = 0) -> torch.Tensor:
        return similarities


@pytest.fixture(autouse=True)
def own_parts() -> Iterator[None]:
    with registry.forgotten():
        for name, made in (("bad", Bad), ("ratio", Ratio), ("wide", Wide)):
            register(name)(made)
        yield


@pytest.mark.parametrize(
    ("loss", "key", "told"),
    [
        ({"terms": {"x": {"name": "bad", "way": "shape"}}}, "loss.terms.x", r"shape \(16,\)"),
        ({"terms": {"bad": {"way": "not a number"}}}, "loss.terms.bad", "train.bad is nan for"),
        ({"terms": {"bad": {"way": "late"}}}, "loss.terms.bad", "train.bad is -?inf for random"),
        ({"terms": {"bad": {"way": "gradient"}}}, "loss.terms.bad", "gradient is not finite"),
        ({"terms": {"bad": {"way": "same clips"}}}, "loss.terms.bad", "RuntimeError: "),
        ({"terms": {"bad": {"way": "set up"}}}, "loss.terms.bad", "KeyError: 'no such file'"),
        (
            {"name": "ratio", "share": {"from": 1, "to": 0, "until": 0.5}},
            "loss.name",
            "train.base is inf",
        ),
        ({"svr": {"radius": "wide"}}, "loss.svr.radius", r"gave \(16, 16\), expected R of \(16,\)"),
    ],
)
def test_a_loss_is_tried_before_anything_starts(loss: dict[str, Any], key: str, told: str) -> None:
    before = torch.get_rng_state()
    with pytest.raises(
        SettingError, match=rf"^tests/method/{Path(__file__).name}:\d+: .*{told}"
    ) as e:
        check_run(parse_config({"loss": loss, "batch_size": 16}))
    assert e.value.key == key
    assert torch.equal(before, torch.get_rng_state())


def test_each_configuration_of_a_loss_is_tried_once_and_each_class_anew() -> None:
    values = {"loss": {"terms": {"bad": {"way": "well"}}}, "batch_size": 16}
    CALLS.clear()
    for seed in range(3):
        check_run(parse_config({**values, "seed": seed}))
    assert len(CALLS) == 2  # at the start and at the end of a run
    for size in (2, 3, 4_000):
        check_run(parse_config({**values, "batch_size": size}))
    with registry.forgotten():
        registry.forget(registry.own("loss term", "bad"))

        @register("bad")
        class Other(Bad):  # the file has been edited
            def forward(self, pairs: Pairs) -> torch.Tensor:
                raise RuntimeError("edited")

        with pytest.raises(SettingError, match="RuntimeError: edited"):
            check_run(parse_config(values))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("late", r"train\.bad is -?inf"),
        ("trains", r"the gradient of train\.bad is not finite"),
    ],
)
@pytest.mark.parametrize("multilingual", [None, "kcl"])
def test_a_part_that_is_no_number_in_a_step_ends_the_run_with_its_name(
    way: str, told: str, multilingual: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supclap.feasibility.rehearse_loss", lambda config: None)
    config = tiny_config(
        make_collection(tmp_path / "data"),
        loss={"svr": None, "terms": {"bad": {"way": way, "weight": 0.1}}},
        loss__multilingual=multilingual,
        data__languages=["eng", "deu"],
    )
    # Progress 0, 1/6, ... 5/6: the fourth step is the first at 0.5, the fifth beyond it.
    step = 5 if way == "late" else 4
    with pytest.raises(TrainingError, match=rf"^step {step}: .*:\d+: loss term 'bad': {told}; the"):
        list(fit(config, Folder.at(tmp_path / "run")))
