"""The head of the paper."""

from __future__ import annotations

from torch import nn

from supclap.parts.head import Head


class MLP(Head, nn.Sequential):
    """Linear-ReLU-Linear, ``dim`` wide (paper, section 4.1; CLAP's, Wu et al. 2023)."""

    def setup(self, width: int, dim: int) -> None:
        self.extend([nn.Linear(width, dim), nn.ReLU(), nn.Linear(dim, dim)])

    forward = nn.Sequential.forward
