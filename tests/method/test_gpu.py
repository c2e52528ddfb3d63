"""What must be equal on a card: `pytest -m gpu`, where there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_run import leave_at
from loss_forms import BASES, RADII, assert_same, build, embeddings, value_and_gradients
from tiny_run import everything, make_collection, tiny_config

from benchmarks import gpu
from supclap.feeding import Feed
from supclap.inputs import sent
from supclap.losses.literal import literal_loss
from supclap.storage import Folder
from supclap.training import fit

if not torch.cuda.is_available():
    pytest.skip("no card", allow_module_level=True)
pytestmark = [pytest.mark.gpu, pytest.mark.heavy]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("radius", [None, *RADII])
@pytest.mark.parametrize("tile", [None, 32])
def test_losses_are_those_of_the_literal_form_in_float64_on_the_cpu(
    base: str, radius: str | None, tile: int | None
) -> None:
    raw = embeddings(100)
    loss = build(base, radius, "both", 0.3, 100, tile=tile)
    expected = value_and_gradients(lambda a, t, c: literal_loss(loss, a, t, c), loss, raw)
    loss = loss.cuda()
    there = [side.detach().cuda().requires_grad_() for side in raw]
    output, gradients = value_and_gradients(loss, loss, there)
    here = replace(
        output,
        total=output.total.cpu(),
        parts={k: v.cpu() for k, v in output.parts.items()},
        radii={k: v.cpu() for k, v in output.radii.items()},
    )
    found = tuple(None if one is None else one.cpu() for one in gradients)
    assert_same((here, found), expected, 1e-9)


def test_numbers_in_float32_are_within_the_bounds_and_repeat() -> None:
    size = gpu.Size((100, 32), (24,), 256, 0.1, 32, False)
    assert gpu.equality(size, torch.device("cuda")) == []


def test_a_batch_is_whole_when_a_step_takes_it() -> None:
    """Made on a stream of its own, out of pinned memory, while the card is busy."""
    device = torch.device("cuda")
    busy = torch.randn(2000, 2000, device=device)

    def items() -> Any:
        for number in range(20):
            values = sent(torch.full((1000, 1000), float(number)), device)
            yield number, (values * 2, values + 1)

    number: Any
    for number, (double, more) in Feed(device).ahead(items()):
        assert isinstance(double, torch.Tensor)
        assert isinstance(more, torch.Tensor)
        busy = busy @ busy / 1000
        assert double.unique().tolist() == [2.0 * number]
        assert more.unique().tolist() == [number + 1.0]


def test_a_run_killed_within_an_epoch_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """As it is on the CPU; docs/training.md says what does not."""
    data = make_collection(tmp_path / "data")
    audio = {"name": "transformer", "width": 32, "layers": 1}
    config = tiny_config(data, checkpoint_steps=1, model__audio=audio)
    list(fit(config, Folder.at(tmp_path / "whole")))
    leave_at(config, Folder.at(tmp_path / "killed"), 4)
    list(fit(config, Folder.at(tmp_path / "killed")))
    assert everything(Folder.at(tmp_path / "killed")) == everything(Folder.at(tmp_path / "whole"))
