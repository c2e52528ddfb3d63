"""What takes a step, and how large a step is over the course of a run."""

from __future__ import annotations

from typing import Any

import torch

from supclap.parts.part import Part


class Optimizer(Part):
    """An optimizer of one's own: ``optimizer: {name: lion, lr: 1e-4, ...}``.

    Every setting of the section holds for it too (``lr``, ``weight_decay``, ``betas``,
    ``loss_lr``, ``warmup``, ``schedule``, ``clip_norm``); its own keys stand beside them. One that
    it declares as ``lr``, ``weight_decay`` or ``betas`` is that setting, with another default::

        @register("lion")
        class Lion(Optimizer):
            def build(self, groups):
                return SignMomentum(groups)  # a torch.optim.Optimizer

    Guaranteed: gradients are those of the global batch, clipped; each group's ``lr`` is set before
    every step; what `state_dict` gives is in every checkpoint, and `load_state_dict` gets it back.
    So whatever the optimizer remembers belongs into its ``state``, as tensors and numbers.
    """

    kind = "optimizer"

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer over the groups.

        Args:
            groups: each with ``params``, and with the ``lr``, ``weight_decay`` and ``betas`` that
                hold for them: weight matrices; biases and norms, which do not decay; what the loss
                itself learns, which does not decay either and has ``loss_lr``.
        """
        raise NotImplementedError


class Schedule(Part):
    """The learning rate over a run: ``optimizer: {schedule: {name: rsqrt, ...}}``.

    Linear warm-up is done before it (``optimizer.warmup``, in epochs; 0 where the schedule has one
    of its own)::

        @register("rsqrt")
        class Rsqrt(Schedule):
            def share(self, step, steps_per_epoch, epochs):
                return max(1, step - self.warmup) ** -0.5

    It is made anew for every step, so that a resumed run takes the steps that an undisturbed one
    takes. A share below zero, one that is not finite, and one that is no number is refused.

    Attributes:
        warmup: steps before `share` is first asked.
    """

    kind = "schedule"
    warmup: int = 0

    def share(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """What the learning rate of every group is multiplied by in a step.

        Args:
            step: counted from 0 at the start of the run, and at least `warmup`.
            steps_per_epoch, epochs: of the run, so the last step is their product less 1.
        """
        raise NotImplementedError
