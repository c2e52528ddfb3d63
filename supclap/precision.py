"""How exactly a run computes: float32 throughout, or encoders in less, and the loss in float32.

float32   as on a CPU, so on a GPU: no TF32 anywhere
tf32      float32 whose products a GPU takes with 10 bits of fraction (a CPU with all)
bf16      encoders in bfloat16: the range of float32 with 7 bits of fraction
fp16      encoders in float16: 10 bits of fraction, and gradients that `Boost` keeps in its range
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from supclap.errors import InputError

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Within it encoders compute in what ``precision`` says."""
    kind = HALF.get(precision)
    return torch.autocast(device.type, kind or torch.bfloat16, enabled=kind is not None)


def check_precision(precision: str, device: torch.device) -> None:
    """Raises InputError where a device cannot compute in what is asked for."""
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError("precision: this GPU has no bf16; set precision: fp16, or float32")


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Within it a GPU's products and convolutions are TF32 where that is asked for, and nowhere
    else: PyTorch allows it in convolutions unasked."""
    places: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


class Boost:
    """Keeps gradients within float16's range while they pass through the encoders.

    Loss scaling (Micikevicius et al. 2018, "Mixed precision training") at the border between the
    loss, whose gradients are float32, and the encoders: what flows into an encoder is ``scale``
    times the gradient, and the gradients of its parameters are divided by it. Where that leaves
    the range, the scale is halved and the same step taken again, so that no batch is skipped;
    after `PATIENCE` steps without that it is doubled. The scale is a power of two: a division by
    it is exact.
    """

    MOST, PATIENCE = 2.0**16, 2000

    def __init__(self, precision: str) -> None:
        self.on = precision == "fp16"
        self.scale = self.MOST if self.on else 1.0
        self.good = 0  # steps since the scale has changed

    def into(self, embeddings: Tensor) -> Tensor:
        """The embeddings themselves, whose gradient flows on ``scale`` times as large."""
        if not self.on:
            return embeddings
        boosted: Tensor = _Boosted.apply(embeddings, self.scale)
        return boosted

    def undo(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divides the parameters' gradients by the scale."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.on and gradients:
            torch._foreach_mul_(gradients, 1 / self.scale)

    def lower(self) -> bool:
        """Halves the scale; False where there is nothing to halve."""
        if self.scale <= 1:
            return False
        self.scale, self.good = self.scale / 2, 0
        return True

    def passed(self) -> None:
        """Notes a step that stayed within the range."""
        self.good += 1
        if self.on and self.good >= self.PATIENCE:
            self.scale, self.good = min(2 * self.scale, self.MOST), 0


class _Boosted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None
