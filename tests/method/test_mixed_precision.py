"""Under bf16 autocast the loss stays a float32 loss: its error against float64 is bounded."""

from collections.abc import Callable
from typing import Any

import pytest
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

BASES: dict[str, Callable[..., Any]] = {"infonce": lambda: InfoNCE(0.07), "siglip": SigLIP}
RADII: dict[str, Callable[..., Any]] = {
    "static": lambda n: StaticRadius(0.4),
    "sorted": lambda n: DynamicRadius(n),
    "pooled": lambda n: DynamicRadius(8, "pooled", detach=False),
}


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("pairs", [24, 96])
@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("base", BASES)
def test_autocast_changes_nothing_but_the_embeddings(
    base: str, radius: str, pairs: int, tile: int | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(2, pairs, 64, generator=generator)
    raw[1] += raw[0]
    svr = SupportVectorRegularization(RADII[radius](pairs), beta=0.1)
    loss = SupCLAPLoss(BASES[base](), svr, tile=tile)
    rounded = [F.normalize(x, dim=1).bfloat16().requires_grad_() for x in raw]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = loss(*rounded)
    output.total.backward()
    assert output.total.dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in output.parts.values())
    assert all(x.grad.dtype == torch.bfloat16 for x in rounded)

    exact = [x.detach().double().requires_grad_() for x in rounded]
    expected = loss.double()(*exact)
    expected.total.backward()
    # bf16 products would be off by 2^-8 of a logit of 14, a few percent; float32 ones are not.
    torch.testing.assert_close(output.total.double(), expected.total, rtol=2e-5, atol=2e-5)
    for got, want in zip(rounded, exact, strict=True):
        # the gradient itself is rounded to bfloat16, 8 bits, when it reaches its tensor
        bound = 2**-8 * want.grad.abs() + 1e-5 * want.grad.abs().max()
        assert ((got.grad.double() - want.grad).abs() <= bound).all()
