"""The transformer block that both transformers of this package are made of."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from supclap.bounds import HEAD_WIDTH

# Standard deviation of embeddings at the start. A pre-norm block adds its output to its input:
# beside embeddings of the usual 0.02 the first block's random output, ten times as large, would
# hide which token it was, and a model of this size takes twice the epochs to undo that.
SPREAD = 0.5


class Block(nn.Module):
    """Pre-norm self-attention and a two-layer perceptron, each with a residual connection.

    Written out rather than taken from `nn.TransformerEncoderLayer`, whose inference fast path
    computes other values than its training path.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.norm_perceptron = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, L, width) -> (N, L, width). ``mask``: (N, L) bool, True where a token is real."""
        tokens = tokens + self.drop(self._attend(self.norm_attention(tokens), mask))
        return tokens + self.drop(self.perceptron(self.norm_perceptron(tokens)))

    def _attend(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        rows, length, width = tokens.shape
        projected = self.query_key_value(tokens).view(rows, length, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=None if mask is None else mask[:, None, None, :]
        )
        output: Tensor = self.output(attended.transpose(1, 2).reshape(rows, length, width))
        return output
