"""The optimizer and its learning rate. Neither keeps a state beyond what the optimizer keeps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from supclap import registry
from supclap.config import OptimizerConfig
from supclap.config.optimizer import ModelPart
from supclap.parts.calling import guarded, wrong
from supclap.parts.optimizer import Optimizer, Schedule
from supclap.wording import shown


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        # Fused: one pass over memory instead of one per operation, which on small models shows.
        return torch.optim.Adam(groups, fused=True)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, fused=True)


class Constant(Schedule):
    """The base learning rate throughout."""

    def share(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return 1.0


class Cosine(Schedule):
    """Half a cosine from 1 to 0, which it would reach one step after the last (Loshchilov and
    Hutter 2017, equation 5, without restarts)."""

    def share(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        steps = epochs * steps_per_epoch
        return 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / (steps - self.warmup)))


def optimizer_part(config: OptimizerConfig) -> Optimizer:
    """The part that ``optimizer`` names, with its own keys."""
    part: Optimizer = registry.class_of("optimizer", config.name)(**config.own_keys)
    return part


def build_optimizer(
    config: OptimizerConfig, model: nn.Module, loss: nn.Module
) -> torch.optim.Optimizer:
    """The named optimizer over what is learnable in the encoders and in the loss.

    Weight decay holds for weight matrices only: a bias, a norm's scale or the loss's own scalars
    and radius predictor have nothing to gain from being pulled to zero. Where ``lr_scale`` gives a
    part of the model another learning rate, its parameters are groups of their own.

    Raises:
        PartError: a part that fails, makes no optimizer, or leaves a parameter out.
    """
    alike: dict[float, list[nn.Parameter]] = {}  # learning rate -> parameters of the model
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = config.lr * config.lr_scale.get(part_of(name), 1.0)
            alike.setdefault(rate, []).append(parameter)
    groups: list[dict[str, Any]] = []
    for rate, parameters in alike.items():
        matrices = [p for p in parameters if p.ndim > 1]
        others = [p for p in parameters if p.ndim <= 1]
        groups.append({"params": matrices, "weight_decay": config.weight_decay, "lr": rate})
        groups.append({"params": others, "weight_decay": 0.0, "lr": rate})
    own = [p for p in loss.parameters() if p.requires_grad]
    groups.append({"params": own, "weight_decay": 0.0, "lr": config.loss_lr or config.lr})
    groups = [{"betas": config.betas, **group} for group in groups]
    part = optimizer_part(config)
    wanted = [id(p) for group in groups for p in group["params"]]
    with guarded(part, "build"):
        optimizer = part.build([group for group in groups if group["params"]])
    if not isinstance(optimizer, torch.optim.Optimizer):
        gave = type(optimizer).__name__
        raise wrong(part, "build", f"gave a {gave}, where a torch.optim.Optimizer is expected")
    found = [id(p) for group in optimizer.param_groups for p in group["params"]]
    if sorted(found) != sorted(wanted):
        raise wrong(
            part,
            "build",
            f"gave an optimizer of {len(found)} parameters, where the groups that it is given have "
            f"{len(wanted)}, each once",
        )
    for group in optimizer.param_groups:
        group["base_lr"] = group.get("lr", config.lr)
    return optimizer


def part_of(parameter: str) -> ModelPart:
    """The part of a CLAP model that a parameter is of, by its name: audio, text (the encoders) or
    head (both heads), as ``optimizer.lr_scale`` names them."""
    side, _, rest = parameter.partition(".")
    if rest.startswith("head."):
        return "head"
    return "audio" if side == "audio" else "text"


def state_of(config: OptimizerConfig, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What a checkpoint keeps of the optimizer.

    Raises:
        PartError: a part's optimizer remembers what a checkpoint does not hold.
    """
    state: dict[str, Any] = optimizer.state_dict()
    odd = _odd(state)
    if odd is not None:
        where, value = odd
        raise wrong(
            optimizer_part(config),
            "build",
            f"gave an optimizer whose state_dict() holds a {type(value).__name__} ({where}), where "
            "a checkpoint holds tensors, numbers, texts, lists and dicts of them",
        )
    return state


def learning_rate(config: OptimizerConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Share of the base learning rate at ``step`` (from 0): linear warm-up, then the schedule.

    A function of the step alone, so that a resumed run has no scheduler to restore.

    Raises:
        PartError: a schedule that fails, or gives what no learning rate can be multiplied by.
    """
    warmup = round(config.warmup * steps_per_epoch)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    named = config.schedule
    name, keys = (named, {}) if isinstance(named, str) else (named.name, named.own_keys)
    part: Schedule = registry.class_of("schedule", name)(**keys)
    part.warmup = warmup
    with guarded(part, "share"):
        share = part.share(step, steps_per_epoch, epochs)
    number = isinstance(share, int | float) and not isinstance(share, bool)
    if not number or not math.isfinite(share) or share < 0:
        raise wrong(
            part,
            "share",
            f"gave {shown(share)} at step {step + 1} of {epochs * steps_per_epoch}, where a finite "
            "number of 0 or more is expected",
        )
    return float(share)


def set_learning_rate(
    optimizer: torch.optim.Optimizer,
    config: OptimizerConfig,
    step: int,
    steps_per_epoch: int,
    epochs: int,
) -> None:
    """Every group's learning rate becomes `learning_rate`'s share of its own base."""
    share = learning_rate(config, step, steps_per_epoch, epochs)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share


def _odd(value: Any, where: str = "") -> tuple[str, Any] | None:
    """What in a state no checkpoint holds, and where it is; None where all is well."""
    if value is None or type(value) in (bool, int, float, str) or isinstance(value, Tensor):
        return None
    if isinstance(value, dict):
        below = value.items()
    elif type(value) in (list, tuple):
        below = dict(enumerate(value)).items()
    else:
        return where, value
    found = (_odd(one, f"{where}.{key}".lstrip(".")) for key, one in below)
    return next((one for one in found if one is not None), None)
