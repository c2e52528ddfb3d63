"""The losses of a small batch, by autograd.

Up to some 64 pairs (the paper's batch is 24) the time goes into calls, not into numbers, and
PyTorch's fused cross-entropy needs the fewest: `supclap.losses.pairs` would take 1.5 times as long.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL = 64


def fits_small(pairs: int, partition: str, special: bool) -> bool:
    """Whether `small_losses` serves. ``special``: tiles, workers or clip ids."""
    return pairs <= SMALL and partition == "softmax" and not special


def small_losses(
    text: Tensor,
    audio: Tensor,
    pull: Tensor | None,
    scale: Tensor,
    rho_text: Tensor | None,
    rho_audio: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """InfoNCE and the unweighted SVR term: two scalars.

    Args:
        text, audio: (N, d), L2-normalised.
        pull: (N, d), audio - text; needed with an SVR term.
        scale: (), 1 / temperature.
        rho_text, rho_audio: (N,), R / delta of each side that has an SVR term.
    """
    positives = torch.arange(len(text), device=text.device)
    x = text @ audio.T
    logits = x * scale
    base = F.cross_entropy(logits, positives) + F.cross_entropy(logits.T, positives)
    svr = torch.zeros_like(base)
    if rho_text is not None:
        assert pull is not None
        mixed = torch.addcmul(x, rho_text[:, None], pull @ audio.T)
        svr = svr + F.cross_entropy(mixed * scale, positives)
    if rho_audio is not None:
        assert pull is not None
        mixed = torch.addcmul(x, rho_audio[None, :], text @ pull.T, value=-1)
        svr = svr + F.cross_entropy((mixed * scale).T, positives)
    return base, svr
