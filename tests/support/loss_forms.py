"""Losses of every kind, batches, and what a form gives of them: its values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from supclap.losses import (
    DynamicRadius,
    InfoNCE,
    SigLIP,
    StaticRadius,
    SupCLAPLoss,
    SupportVectorRegularization,
)
from supclap.losses.output import LossOutput

# What a form gives: its output, and the gradient of each leaf, None where it has no part in it.
Measured = tuple[LossOutput, Sequence[torch.Tensor | None]]

BASES: dict[str, Callable[..., Any]] = {
    "infonce": lambda same: InfoNCE(0.07, same_clip=same),
    "infonce-learned": lambda same: InfoNCE(0.07, learn_temperature=True, same_clip=same),
    "siglip": lambda same: SigLIP(same_clip=same),
    "siglip-fixed": lambda same: SigLIP(0.2, bias=-2.0, learn_temperature=False, same_clip=same),
}
RADII: dict[str, Callable[..., Any]] = {
    "static": lambda n: StaticRadius(0.4),
    "sorted": lambda n: DynamicRadius(n, width=8),
    "batch": lambda n: DynamicRadius(n, "batch", width=8),
    "pooled": lambda n: DynamicRadius(6, "pooled", width=8),
    "attached": lambda n: DynamicRadius(n, width=8, detach=False),
    "shallow": lambda n: DynamicRadius(n, width=8, depth=1),
    "deep": lambda n: DynamicRadius(n, width=8, depth=3),
}


def embeddings(
    pairs: int, width: int = 12, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw (N, d) audio and text: gradients are compared through the normalisation as well."""
    generator = torch.Generator().manual_seed(seed)
    audio, text = torch.randn(2, pairs, width, generator=generator, dtype=torch.float64)
    return (audio.to(dtype).requires_grad_(), (audio.detach() + text).to(dtype).requires_grad_())


def build(
    base: str,
    radius: str | None,
    sides: Any,
    beta: float | None,
    pairs: int,
    same: str = "mask",
    tile: int | None = None,
    dtype: torch.dtype = torch.float64,
) -> SupCLAPLoss:
    svr = None
    if radius is not None:
        svr = SupportVectorRegularization(RADII[radius](pairs), sides, alpha=0.7, beta=beta)
    loss = SupCLAPLoss(BASES[base](same), svr, tile=tile).to(dtype)
    generator = torch.Generator().manual_seed(1)
    for parameter in loss.parameters():
        if parameter.ndim > 0:  # a zero last layer would hide what reaches the others
            with torch.no_grad():
                parameter.normal_(0, 0.1, generator=generator)
    return loss


def value_and_gradients(
    function: Callable[..., LossOutput],
    loss: torch.nn.Module,
    raw: Sequence[torch.Tensor],
    clip_ids: torch.Tensor | None = None,
) -> Measured:
    normalised = [F.normalize(x, dim=1) for x in raw]
    output = function(*normalised, clip_ids)
    leaves = [*raw, *loss.parameters()]
    gradients = torch.autograd.grad(output.total, leaves, allow_unused=True)
    return output, gradients


def assert_same(ours: Measured, theirs: Measured, tolerance: float) -> None:
    (output, gradients), (expected, expected_gradients) = ours, theirs
    assert output.parts.keys() == expected.parts.keys()
    assert output.radii.keys() == expected.radii.keys()
    pairs: list[tuple[Any, Any]] = [(output.total, expected.total)]
    pairs += [(output.parts[k], expected.parts[k]) for k in expected.parts]
    pairs += [(output.radii[k], expected.radii[k]) for k in expected.radii]
    for got, want in zip(gradients, expected_gradients, strict=True):
        assert (got is None) == (want is None)
        pairs += [] if want is None else [(got, want)]
    for got, want in pairs:
        assert torch.isfinite(got).all()
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
