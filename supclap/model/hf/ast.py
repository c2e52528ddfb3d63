"""AST, the Audio Spectrogram Transformer (Gong et al., 2021), as transformers has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from supclap.model.hf.family import Piece

WINDOW, HOP = 0.025, 0.010  # seconds, of the filter bank


class AST:
    """The output is the mean of its two marks, as its own classifier takes it."""

    kinds = ("audio-spectrogram-transformer",)
    extractors = ("ASTFeatureExtractor",)

    def opens(self, config: Any) -> str:
        """The one that opens any."""
        return "AutoModel"

    def encoder(self, model: Any) -> nn.Module:
        """All of it."""
        encoder: nn.Module = model
        return encoder

    def longest(self, config: Any, extractor: Any) -> int:
        """Samples of as many frames as the model has positions for."""
        rate = extractor.sampling_rate
        return int(WINDOW * rate) + (config.max_length - 1) * int(HOP * rate)

    def width(self, config: Any) -> int:
        """Of a token."""
        return int(config.hidden_size)

    def extract(self, extractor: Any, pieces: list[np.ndarray], rate: int) -> np.ndarray:
        """M pieces (samples,) -> (M, frames, bands); fewer frames are filled up."""
        found: np.ndarray = extractor(pieces, sampling_rate=rate, return_tensors="np").input_values
        return found

    def outputs(self, encoder: Any, features: Tensor, piece: Piece) -> Tensor:
        """(M, frames, bands) -> (M, width)."""
        found: Tensor = encoder(features).pooler_output
        return found
