"""Log-mel features: what both audio encoders of this package see."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from supclap.audio_library import torchaudio
from supclap.bounds import BANDS
from supclap.data.clips import SAMPLE_RATE

FLOOR = 1e-6  # added to the power before the logarithm: about the noise of a 16-bit recording
# Log-mels of ordinary recordings lie between ln(FLOOR) and 8 or so. The fixed shift and scale bring
# them near zero mean and unit variance. Nothing is taken from the clip or the batch itself, so that
# loudness stays audible and a clip's features do not depend on its neighbours.
SHIFT, SCALE = 3.5, 3.5
SILENCE = (math.log(FLOOR) + SHIFT) / SCALE  # the feature of no sound at all


class LogMel(nn.Module):
    """Waveforms to log-mel spectrograms; it has no parameters and is computed in float32.

    Args:
        hop: samples between frames (160 = 10 ms).
        window: samples of a frame, also the size of the Fourier transform.
    """

    def __init__(self, hop: int = 320, window: int = 512) -> None:
        super().__init__()
        self.hop = hop
        self.mel = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE, n_fft=window, hop_length=hop, n_mels=BANDS, f_min=0.0, power=2.0
        )
        for buffer in ("spectrogram.window", "mel_scale.fb"):
            keep_out_of_state(self.mel, buffer)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(N, samples) in [-1, 1] at 16 kHz -> (N, 64, samples // hop + 1) float32.

        Mixed precision is switched off here: squares of small samples vanish in 16 bits.
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            power = self.mel(waveforms.float())
            return ((power + FLOOR).log() + SHIFT) / SCALE

    def frames(self, seconds: float) -> int:
        """Frames of a clip of so many seconds."""
        return round(seconds * SAMPLE_RATE) // self.hop + 1


def keep_out_of_state(module: nn.Module, name: str) -> None:
    """Makes a buffer non-persistent: a window and a filter bank are constants, not weights."""
    *path, last = name.split(".")
    owner = module.get_submodule(".".join(path))
    value = owner.get_buffer(last)
    delattr(owner, last)
    owner.register_buffer(last, value, persistent=False)
