"""The optimizer and its learning rate. Neither keeps a state beyond what Adam itself keeps."""

from __future__ import annotations

import math

import torch
from torch import nn

from supclap.config import OptimizerConfig


def build_optimizer(
    config: OptimizerConfig, model: nn.Module, loss: nn.Module
) -> torch.optim.Optimizer:
    """Adam or AdamW over what is learnable in the encoders and in the loss.

    Weight decay holds for weight matrices only: a bias, a norm's scale or the loss's own scalars
    and radius predictor have nothing to gain from being pulled to zero.
    """
    encoders = [p for p in model.parameters() if p.requires_grad]
    own = [p for p in loss.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in encoders if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in encoders if p.ndim <= 1], "weight_decay": 0.0},
        {"params": own, "weight_decay": 0.0, "lr": config.loss_lr or config.lr},
    ]
    groups = [{"lr": config.lr, **group} for group in groups if group["params"]]
    for group in groups:
        group["base_lr"] = group["lr"]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    # Fused: one pass over memory instead of one per operation, which on small models shows.
    return kind(groups, betas=config.betas, fused=True)


def learning_rate(config: OptimizerConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Share of the base learning rate at ``step`` (from 0): linear warm-up, then the schedule.

    A function of the step alone, so that a resumed run has no scheduler to restore. The cosine
    would reach zero one step after the last.
    """
    warmup = round(config.warmup * steps_per_epoch)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (epochs * steps_per_epoch - warmup)))


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
