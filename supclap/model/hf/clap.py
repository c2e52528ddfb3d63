"""The audio tower of CLAP (Wu et al., 2023), an HTS-AT, as transformers has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supclap.model.hf.family import Piece


class CLAPAudio:
    """The output is the tower's own, below CLAP's projection: the head here learns another."""

    kinds = ("clap", "clap_audio_model")
    extractors = ("ClapFeatureExtractor",)

    def opens(self, config: Any) -> str:
        """The one that opens any; of a tower alone its own."""
        alone = config.model_type == "clap_audio_model"  # and unknown to AutoModel
        return "ClapAudioModel" if alone else "AutoModel"

    def encoder(self, model: Any) -> nn.Module:
        """The audio tower."""
        encoder: nn.Module = getattr(model, "audio_model", model)
        return encoder

    def longest(self, config: Any, extractor: Any) -> int:
        """Samples of the extractor's longest clip."""
        return int(extractor.nb_max_samples)

    def width(self, config: Any) -> int:
        """Of the tower's output: the tokens' width doubles from stage to stage."""
        audio = getattr(config, "audio_config", config)
        return int(audio.patch_embeds_hidden_size * 2 ** (len(audio.depths) - 1))

    def extract(self, extractor: Any, pieces: list[np.ndarray], rate: int) -> np.ndarray:
        """M pieces (samples,) -> (M, 1 or 4, frames, bands); a shorter one is repeated."""
        # Without a long clip the extractor marks one at random as long (see `outputs`).
        before = np.random.get_state()
        try:
            found: np.ndarray = extractor(
                pieces, sampling_rate=rate, return_tensors="np"
            ).input_features
        finally:
            np.random.set_state(before)
        return found

    def outputs(self, encoder: Any, features: Tensor, piece: Piece) -> Tensor:
        """(M, 1 or 4, frames, bands) -> (M, width). No piece is longer than the model takes, so
        none is fused of parts."""
        longer = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)
        found: Tensor = encoder(features, is_longer=longer).pooler_output
        return found.flatten(1)
