"""A small audio encoder, trained from scratch: a transformer on log-mels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supclap.bounds import BANDS, check_transformer
from supclap.config import AudioConfig
from supclap.errors import InputError
from supclap.model.blocks import SPREAD, Block
from supclap.model.features import SILENCE, LogMel
from supclap.model.registry import Source

PATCH_BANDS, PATCH_FRAMES = 16, 8


class AudioTransformer(nn.Module):
    """A transformer over patches of the log-mel, with separate position embeddings for time and
    frequency, as CED has them, and the mean over the patches as its output.

    A clip longer than the one the model was made for has no position embedding; it is an error.
    `config.width` is the size of a token, `config.layers` the number of blocks.
    """

    def __init__(self, config: AudioConfig, source: Source) -> None:
        super().__init__()
        check_transformer("audio", config.width)
        self.log_mel = LogMel(hop=320)
        self.width = config.width
        self.longest = -(-self.log_mel.frames(source.seconds) // PATCH_FRAMES)  # patches in time
        patch = (PATCH_BANDS, PATCH_FRAMES)
        self.patches = nn.Conv2d(1, self.width, patch, stride=patch)
        self.time = nn.Parameter(torch.randn(1, self.width, 1, self.longest) * SPREAD)
        rows = BANDS // PATCH_BANDS
        self.frequency = nn.Parameter(torch.randn(1, self.width, rows, 1) * SPREAD)
        self.drop = nn.Dropout(source.dropout)
        self.blocks = nn.ModuleList(Block(self.width, source.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(self.width)

    def features(self, waveforms: Tensor) -> Tensor:
        """(N, samples) -> (N, 64, frames) float32."""
        spectrograms: Tensor = self.log_mel(waveforms)
        return spectrograms

    def forward(self, features: Tensor) -> Tensor:
        """(N, 64, frames) -> (N, width). Raises InputError for a clip longer than the model's."""
        short = -features.shape[-1] % PATCH_FRAMES
        if short:
            features = F.pad(features, (0, short), value=SILENCE)
        tokens = self.patches(features.unsqueeze(1))
        if tokens.shape[-1] > self.longest:
            raise InputError(
                f"audio of {features.shape[-1]} frames: this transformer was made for at most "
                f"{self.longest * PATCH_FRAMES}; crop the clips to the model's seconds"
            )
        tokens = tokens + self.time[..., : tokens.shape[-1]] + self.frequency
        tokens = self.drop(tokens.flatten(2).transpose(1, 2))
        for block in self.blocks:
            tokens = block(tokens)
        outputs: Tensor = self.norm(tokens).mean(1)
        return outputs
