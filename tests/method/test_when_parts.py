"""The parts of experiments/when do what its questions rely on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from supclap.config import OptimizerConfig
from supclap.optimization import build_optimizer
from supclap.registry import class_of
from supclap.user_code import load_given

PARTS = Path(__file__).parents[2] / "experiments/when/own_parts.py"


@pytest.fixture(autouse=True)
def own_parts() -> None:
    load_given([PARTS])


def walk(gradients: torch.Tensor, **keys: Any) -> torch.Tensor:
    """Where Adam takes a (4,) weight under (steps, 4) gradients: (steps, 4)."""
    model = torch.nn.Linear(4, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    optimizer = build_optimizer(OptimizerConfig(lr=0.1, **keys), model, torch.nn.Identity())
    found = []
    for gradient in gradients:
        model.weight.grad = gradient[None].clone()
        optimizer.step()
        found.append(model.weight.detach()[0].clone())
    return torch.stack(found)


def test_accumulated_steps_are_those_of_the_mean_gradient() -> None:
    gradients = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    few = walk(gradients, name="accumulated", every=3)
    whole = walk(gradients.view(4, 3, 4).mean(1), name="adam")
    torch.testing.assert_close(few[2::3], whole)
    assert torch.equal(few[0], torch.ones(4))
    assert torch.equal(few[3], few[2])


def test_noise_is_of_the_declared_size() -> None:
    gradients = torch.tensor([[0.5, -0.5, 2.0, 0.0]]).repeat(2000, 1)
    assert torch.equal(walk(gradients, name="noisy", scale=0.0), walk(gradients, name="adam"))
    seen: list[torch.Tensor] = []
    step = torch.optim.Adam.step

    def spy(optimizer: torch.optim.Adam, closure: Any = None) -> None:
        seen.append(optimizer.param_groups[0]["params"][0].grad[0].clone())
        step(optimizer, closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", spy)
        walk(gradients, name="noisy", scale=2.0)
    found = torch.stack(seen)
    torch.testing.assert_close(found.std(0), torch.tensor([1.0, 1.0, 4.0, 0.0]), rtol=0.1, atol=0)
    torch.testing.assert_close(found.mean(0), gradients[0], rtol=0, atol=0.3)


def test_a_held_radius_lies_inside_delta() -> None:
    held = class_of("radius", "held")(temperature=0.1, share=0.9)
    held.setup(None)
    cosines = torch.tensor([[1.0, 0.0], [0.3, -0.8]])  # of a pair that is together, and one apart
    radius = held(cosines / 0.1)
    delta = torch.tensor([0.0, (2 + 1.6) ** 0.5])
    torch.testing.assert_close(radius, 0.9 * delta)
    held(cosines.flip(1) / 0.1, offset=0).sum().backward()
    assert held.logit.grad is not None
    assert held.logit.grad > 0
