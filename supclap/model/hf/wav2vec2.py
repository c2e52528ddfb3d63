"""wav2vec 2.0 (Baevski et al., 2020) and what descends from it, as transformers has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from supclap.model.hf.family import Piece


class Wav2Vec2:
    """The output is the mean over all states of a clip, which may be of any length."""

    kinds = (
        "wav2vec2",
        "wav2vec2-bert",
        "wav2vec2-conformer",
        "hubert",
        "wavlm",
        "data2vec-audio",
        "unispeech",
        "unispeech-sat",
        "sew",
        "sew-d",
    )
    extractors = ("Wav2Vec2FeatureExtractor", "SeamlessM4TFeatureExtractor")

    def opens(self, config: Any) -> str:
        """The one that opens any."""
        return "AutoModel"

    def encoder(self, model: Any) -> nn.Module:
        """All of it."""
        encoder: nn.Module = model
        return encoder

    def longest(self, config: Any, extractor: Any) -> None:
        """None: it takes clips of any length."""

    def width(self, config: Any) -> int:
        """Of a state."""
        adapted = getattr(config, "add_adapter", False)
        return int(config.output_hidden_size if adapted else config.hidden_size)

    def extract(self, extractor: Any, pieces: list[np.ndarray], rate: int) -> np.ndarray:
        """M pieces (samples,), all of one length -> (M, samples), or (M, frames, bands)."""
        found = extractor(
            pieces, sampling_rate=rate, return_tensors="np", return_attention_mask=True
        )
        values: np.ndarray = found[extractor.model_input_names[0]]
        # Frames that were added to fill up a stride are no part of the clip.
        return values[:, : int(np.asarray(found["attention_mask"])[0].sum())]

    def outputs(self, encoder: Any, features: Tensor, piece: Piece) -> Tensor:
        """(M, samples) or (M, frames, bands) -> (M, width)."""
        found: Tensor = encoder(features).last_hidden_state.mean(1)
        return found
