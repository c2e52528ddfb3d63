"""What experiments/when needs beside the built-in parts: a radius that is held inside delta, steps
of several batches, and noise on the gradient."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from supclap.parts import Optimizer, Radius, register


@register("held")
class Held(Radius):
    """One learnable share of delta = |a+ - t+|: R never lies beyond delta, nor below zero.

    The static radius is one number for all anchors, so that it lies beyond the delta of pairs that
    are close already, where it turns the perpendicular part round (METHOD: R above delta).
    """

    reads = True
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5  # at the start
    temperature: Annotated[float, Field(gt=0)] = 0.07  # the loss's, which similarities are over

    def setup(self, place: Any) -> None:
        self.logit = nn.Parameter(torch.logit(torch.tensor(self.share)))

    def forward(self, similarities: Tensor, offset: int = 0) -> Tensor:
        cosines = self.temperature * similarities.diagonal(offset)
        delta = (2 - 2 * cosines).clamp_min(0).sqrt()
        return delta.detach() * torch.sigmoid(self.logit)


class _Adam(torch.optim.Adam):
    """Adam that takes a step by another gradient than the one that it is given."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        weights = [w for group in self.param_groups for w in group["params"] if w.grad is not None]
        for weight in weights:
            state = self.state[weight]
            if not state:  # as Adam does at its first step, which would overlook ours
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(weight)
                state["exp_avg_sq"] = torch.zeros_like(weight)
        if self.change(weights):
            super().step(closure)

    def change(self, weights: list[nn.Parameter]) -> bool:
        """Changes the gradients; whether a step follows."""
        raise NotImplementedError


class _Accumulated(_Adam):
    every = 1

    def change(self, weights: list[nn.Parameter]) -> bool:
        last = False
        for weight in weights:
            state = self.state[weight]
            total = state.setdefault("total", torch.zeros_like(weight))
            total += weight.grad
            state["batches"] = state.get("batches", 0) + 1
            last = state["batches"] == self.every
            if last:
                weight.grad.copy_(total / self.every)
                total.zero_()
                state["batches"] = 0
        return last


class _Noisy(_Adam):
    scale = 0.0

    def change(self, weights: list[nn.Parameter]) -> bool:
        for weight in weights:
            if not weight.ndim:
                continue  # the loss's own scalars: a radius is one number, and no network
            # Of the gradients as they come: Adam's own second moment would count the noise itself.
            square = weight.grad.square()
            state = self.state[weight]
            mean = state.setdefault("square", square.clone())
            mean.lerp_(square, 0.01)
            # Each run draws its own, as the weights that it starts from are its own; a number that
            # counts up is all that a checkpoint needs to hold for it.
            state["draw"] = state.get("draw", int(1e6 * float(weight.abs().sum()))) + 1
            generator = torch.Generator(weight.device).manual_seed(state["draw"])
            noise = torch.empty_like(weight).normal_(generator=generator)
            weight.grad += self.scale * mean.sqrt() * noise
        return True


@register("accumulated")
class Accumulated(Optimizer):
    """Adam that takes one step for several batches, by the mean of their gradients: the noise of a
    large batch, with the negatives of a small one."""

    every: Annotated[int, Field(ge=1)] = 5

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        made = _Accumulated(groups, fused=True)
        made.every = self.every
        return made


@register("noisy")
class Noisy(Optimizer):
    """Adam whose gradients bear noise, in units of their root mean square over some 100 steps: the
    noise of a small batch, with the negatives of a large one."""

    scale: Annotated[float, Field(ge=0)] = 1.0

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        made = _Noisy(groups, fused=True)
        made.scale = self.scale
        return made
