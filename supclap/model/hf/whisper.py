"""Whisper's encoder (Radford et al., 2023), as transformers has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from supclap.model.hf.family import Piece

COVERED = 320  # samples at 16 kHz to a state, in every Whisper: two frames of the log-mels


class Whisper:
    """The output is the mean over the states that the piece covers: the extractor fills every piece
    up to half a minute, and the states of that silence are left out."""

    kinds = ("whisper",)
    extractors = ("WhisperFeatureExtractor",)

    def opens(self, config: Any) -> str:
        """The one that opens any."""
        return "AutoModel"

    def encoder(self, model: Any) -> nn.Module:
        """Without the decoder."""
        encoder: nn.Module = model.get_encoder()
        return encoder

    def longest(self, config: Any, extractor: Any) -> int:
        """Samples of half a minute."""
        return int(extractor.n_samples)

    def width(self, config: Any) -> int:
        """Of a state."""
        return int(config.d_model)

    def extract(self, extractor: Any, pieces: list[np.ndarray], rate: int) -> np.ndarray:
        """M pieces (samples,) -> (M, bands, frames), all of the longest length."""
        found: np.ndarray = extractor(
            pieces, sampling_rate=rate, return_tensors="np"
        ).input_features
        return found

    def outputs(self, encoder: Any, features: Tensor, piece: Piece) -> Tensor:
        """(M, bands, frames) -> (M, width)."""
        states = encoder(features).last_hidden_state
        found: Tensor = states[:, : -(-piece.samples // COVERED)].mean(1)
        return found
