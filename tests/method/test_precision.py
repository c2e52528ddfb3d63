"""float16 with gradients kept in its range, and products in TF32 only where that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import everything, make_collection, tiny_config
from torch import nn

from supclap import precision
from supclap.checkpoint import Checkpoints
from supclap.config import RunConfig
from supclap.events import EpochEnded
from supclap.precision import Boost, products_in
from supclap.storage import Folder
from supclap.training import fit


def test_what_flows_into_an_encoder_is_boosted_and_its_parameters_get_the_gradient() -> None:
    layer, plain = nn.Linear(4, 3), nn.Linear(4, 3)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    boost, seen = Boost("fp16"), []
    output = layer(x)
    output.register_hook(lambda gradient: seen.append(gradient))
    boosted = boost.into(output)
    boosted.retain_grad()
    boosted.square().sum().backward()
    plain(x).square().sum().backward()
    assert boosted.grad is not None
    assert torch.equal(boosted.grad, 2 * boosted.detach())  # what the diagnostics read
    assert torch.equal(seen[0], boosted.grad * 65536)
    boost.undo(layer.parameters())
    for one, other in zip(layer.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)  # to the bit: it is a power of two


def test_the_scale_is_halved_down_to_one_and_doubled_after_many_good_steps() -> None:
    boost = Boost("fp16")
    for _ in range(1999):
        boost.passed()
    assert boost.lower()
    assert (boost.scale, boost.good) == (2.0**15, 0)
    for _ in range(1999):
        boost.passed()
    assert boost.scale == 2.0**15
    boost.passed()
    assert boost.scale == 2.0**16
    for _ in range(2000):
        boost.passed()
    assert boost.scale == 2.0**16  # the most
    assert [boost.lower() for _ in range(17)] == [True] * 16 + [False]
    assert Boost("bf16").scale == 1


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    transformer: dict[str, Any] = {"name": "transformer", "width": 32, "layers": 1}
    return tiny_config(make_collection(tmp_path / "data"), model__audio=transformer)


def losses(events: list[Any]) -> list[float]:
    return [one.metrics["train.loss"] for one in events if isinstance(one, EpochEnded)]


@pytest.mark.heavy
def test_fp16_trains_to_about_the_same(config: RunConfig, tmp_path: Path) -> None:
    fine = list(fit(config, Folder.at(tmp_path / "fine")))
    half = config.model_copy(update={"precision": "fp16"})
    rough = list(fit(half, Folder.at(tmp_path / "rough")))
    assert losses(rough) != losses(fine)
    assert losses(rough) == pytest.approx(losses(fine), rel=5e-3)


@pytest.mark.heavy
def test_a_gradient_out_of_range_costs_the_step_again_and_no_batch(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scale so large that the first step cannot pass ends as one that could from the start, and
    a run that is stopped goes on with the scale that it had come to."""
    half = config.model_copy(update={"precision": "fp16"})
    plain = list(fit(half, Folder.at(tmp_path / "plain")))
    monkeypatch.setattr(Boost, "MOST", 2.0**40)
    found = list(fit(half, Folder.at(tmp_path / "run")))
    assert losses(found) == pytest.approx(losses(plain), rel=2e-3)
    stream = fit(half, Folder.at(tmp_path / "stopped"))
    while not isinstance(next(stream), EpochEnded):
        pass
    stream.close()
    kept = Checkpoints(Folder.at(tmp_path / "stopped")).load_latest()
    assert kept is not None
    assert 1 < kept["progress"]["scale"] < 2.0**40
    assert kept["progress"]["good"] == 3  # each step counts once
    list(fit(half, Folder.at(tmp_path / "stopped")))
    assert everything(Folder.at(tmp_path / "stopped")) == everything(Folder.at(tmp_path / "run"))


def test_products_are_tf32_only_where_that_is_asked_for() -> None:
    places: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    for asked, expected in (("float32", False), ("tf32", True), ("bf16", False)):
        with products_in(asked):
            assert [place.allow_tf32 for place in places] == [expected, expected]
        assert [place.allow_tf32 for place in places] == before
    assert set(precision.HALF) == {"bf16", "fp16"}
