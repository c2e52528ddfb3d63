"""A small audio encoder, trained from scratch: a CNN on log-mels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supclap.bounds import GRID, GROUP, check_cnn
from supclap.config import AudioConfig
from supclap.model.features import SILENCE, LogMel
from supclap.model.registry import Source


class AudioCNN(nn.Module):
    """Strided convolutions with GroupNorm, then a linear layer over a coarse grid of their output.

    Every stage halves time and frequency and doubles the channels. The last map is averaged into
    `GRID` x `GRID` cells of frequency x time instead of one mean: "a bell, then a dog" and "a dog,
    then a bell" must differ. `config.width` are the channels of the first stage, `config.layers`
    the stages.
    """

    GRID = GRID

    def __init__(self, config: AudioConfig, source: Source) -> None:
        super().__init__()
        check_cnn(config.width, config.layers)
        self.log_mel = LogMel(hop=320)
        self.shortest = self.GRID * 2**config.layers  # frames; so that no cell of the grid is empty
        stages: list[nn.Module] = []
        before, channels = 1, config.width
        for stage in range(config.layers):
            size = 5 if stage == 0 else 3
            stages += [
                nn.Conv2d(before, channels, size, stride=2, padding=size // 2, bias=False),
                nn.GroupNorm(channels // GROUP, channels),
                nn.ReLU(),
            ]
            before, channels = channels, 2 * channels
        self.stages = nn.Sequential(*stages)
        self.width = before
        self.gather = nn.Sequential(
            nn.Dropout(source.dropout), nn.Linear(before * self.GRID**2, self.width), nn.ReLU()
        )

    @property
    def blocks(self) -> list[nn.Module]:
        """The stages, from the input on: views of what `stages` holds, three modules each."""
        return [self.stages[first : first + 3] for first in range(0, len(self.stages), 3)]

    def features(self, waveforms: Tensor) -> Tensor:
        """(N, samples) -> (N, 64, frames) float32."""
        spectrograms: Tensor = self.log_mel(waveforms)
        return spectrograms

    def forward(self, features: Tensor) -> Tensor:
        """(N, 64, frames) -> (N, width)."""
        missing = self.shortest - features.shape[-1]
        if missing > 0:
            features = F.pad(features, (0, missing), value=SILENCE)
        # Channels last in memory: a third faster on a CPU, and the values of the plain layout.
        cells = self.stages(features.unsqueeze(-1).movedim(-1, 1))
        # Means of slices, not adaptive pooling: its backward pass on CUDA is not deterministic.
        for axis in (-2, -1):
            parts = cells.tensor_split(self.GRID, dim=axis)
            cells = torch.stack([part.mean(axis) for part in parts], dim=axis)
        outputs: Tensor = self.gather(cells.flatten(1))
        return outputs
