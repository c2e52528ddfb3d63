"""A small text encoder, trained from scratch: a transformer with mean pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supclap.bounds import check_transformer
from supclap.config import TextConfig
from supclap.model.blocks import SPREAD, Block
from supclap.model.registry import Source
from supclap.model.tokenizer import MAX_TOKENS, CaptionTokenizer
from supclap.model.tokens import Tokens


class TextTransformer(nn.Module):
    """Token and position embeddings, `config.layers` blocks of `config.width`, mean pooling over
    the attention mask (as SONAR pools), on a tokenizer trained on the captions of the run."""

    def __init__(self, config: TextConfig, source: Source) -> None:
        super().__init__()
        check_transformer("text", config.width)
        self.width = config.width
        self.tokenizer = (
            CaptionTokenizer.from_json(source.files["tokenizer.json"])
            if source.files
            else CaptionTokenizer.train(source.captions, config.vocabulary)
        )
        self.words = nn.Embedding(self.tokenizer.vocabulary, self.width)
        self.positions = nn.Parameter(torch.randn(MAX_TOKENS, self.width) * SPREAD)
        nn.init.normal_(self.words.weight, std=SPREAD)
        self.drop = nn.Dropout(source.dropout)
        self.blocks = nn.ModuleList(Block(self.width, source.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(self.width)

    def tokenize(self, texts: list[str], languages: list[str]) -> Tokens:
        """N texts -> tokens of shape (N, L). One vocabulary serves all languages."""
        return self.tokenizer(texts)

    def files(self) -> dict[str, bytes]:
        """What the model folder must hold besides weights."""
        return {"tokenizer.json": self.tokenizer.to_json()}

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens of shape (N, L) -> (N, width)."""
        states = self.drop(self.words(tokens.ids) + self.positions[: tokens.ids.shape[1]])
        for block in self.blocks:
            states = block(states, tokens.mask)
        weights = tokens.mask.unsqueeze(-1).to(states.dtype)
        outputs: Tensor = (self.norm(states) * weights).sum(1) / weights.sum(1)
        return outputs
