"""CED, the paper's audio encoder: a small ViT on log-mels, pretrained for audio tagging.

Written from its description (Dinkel et al., "CED: Consistent ensemble distillation for audio
tagging", 2024) and the layout of the published checkpoints ``mispeech/ced-{tiny,mini,small,base}``.
Modules bear the checkpoints' names, so that their state is loaded name by name.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supclap.audio_library import torchaudio
from supclap.config import AudioConfig
from supclap.config.pretrained import original_checkpoint
from supclap.data.clips import SAMPLE_RATE
from supclap.errors import InputError
from supclap.hub import located
from supclap.model.features import keep_out_of_state
from supclap.model.pretrained import (
    CONFIG,
    WEIGHTS,
    check_folder,
    parse_description,
    pour,
    read_checkpoint,
    read_file,
    read_weights,
    whole_number,
    without_prefix,
)
from supclap.model.registry import Source

KEY = "model.audio.folder"
# Of the checkpoints on the hub; of the encoder alone, and of the original.
PREFIXES = ("encoder.", "")
# The original's BatchNorm stands between two rearrangements.
ORIGINAL_NORM, NORM = "init_bn.1.", "init_bn."
# Tables of the original's front end, and where this module has them.
FRONT_END = {
    "front_end.0.spectrogram.window": "spectrogram.window",
    "front_end.0.mel_scale.fb": "mel_scale.fb",
}
# What of a checkpoint is left out: the classifier over AudioSet's tags, and BatchNorm's counter.
LEFT_OUT = ("outputlayer.", "init_bn.num_batches_tracked")
HEAD = 64  # wide is each head of every published CED
LONGEST = 1012  # frames of every published CED
# What a description may say only so: another value would be another front end or another network.
FIXED = {
    "n_mels": 64,
    "n_fft": 512,
    "win_size": 512,
    "hop_size": 160,
    "f_min": 0,
    "center": True,
    "patch_size": 16,
    "patch_stride": 16,
    "qkv_bias": True,
}
BANDS, PATCH = FIXED["n_mels"], FIXED["patch_size"]
FLOOR, SILENCE = 1e-10, -100.0  # the least power, and that in decibels
RANGE = 120.0  # dB below a clip's loudest point at which what is fainter is cut off
EPSILON = 1e-6  # of the layer norms


class CED(nn.Module):
    """CED with its pretrained weights; the output is the mean over all patches, before the tagger.

    A clip longer than the model's own (1,012 frames: just under 10.12 s, as 161,920 samples have
    1,013) is cut into pieces of that length, the last one filled up with zeros after the
    normalisation, and its output is the mean over the pieces, as the published code does; unlike
    there, a last piece of full length counts too.

    The published model normalises every band by a BatchNorm over the log-mels. Here its statistics
    are always those of the checkpoint, in training too: a clip's embedding does not depend on its
    neighbours, and several workers compute what one computes.

    Raises:
        InputError: no such folder, another model, a file that is missing or damaged, weights that
            are missing, too many or of another shape.
    """

    def __init__(self, config: AudioConfig, source: Source) -> None:
        super().__init__()
        if source.files:
            self.description, where = source.files[CONFIG], CONFIG
        else:
            folder = located(str(config.folder), KEY)
            self.description, weights, place = _read(folder)
            described = (folder / CONFIG).is_file()
            where = str(folder / CONFIG if described else place)
        values = parse_description(self.description, "ced", where)
        _refuse_others(values, where)
        self.width = whole_number(values, "embed_dim", where)
        heads = whole_number(values, "num_heads", where)
        if self.width % heads:
            raise InputError(f"{where}: embed_dim {self.width} is no multiple of {heads} heads")
        self.longest = whole_number(values, "target_length", where, LONGEST)
        if self.longest < PATCH:
            raise InputError(
                f"{where}: target_length: expected at least a patch of {PATCH} frames, found "
                f"{self.longest}"
            )
        inner = int(self.width * _ratio(values, where))

        with torch.device("cpu"):  # computed, not learned: also where only shapes are looked at
            self.decibels = Decibels()
        self.init_bn = FixedNorm(BANDS)
        convolution = nn.Conv2d(1, self.width, PATCH, stride=PATCH)
        self.patch_embed = nn.Sequential(OrderedDict(proj=convolution))
        grid = BANDS // PATCH, self.longest // PATCH
        self.time_pos_embed = nn.Parameter(torch.zeros(1, self.width, 1, grid[1]))
        self.freq_pos_embed = nn.Parameter(torch.zeros(1, self.width, grid[0], 1))
        self.drop = nn.Dropout(source.dropout)
        self.blocks = nn.ModuleList(
            _Block(self.width, heads, inner, source.dropout)
            for _ in range(whole_number(values, "depth", where))
        )
        self.norm = nn.LayerNorm(self.width, eps=EPSILON)
        if not source.files:
            self.refuse_other_front_end(weights, place)
            kept = {n: v for n, v in weights.items() if not n.startswith((*LEFT_OUT, *FRONT_END))}
            pour(kept, self, place)

    def refuse_other_front_end(self, weights: dict[str, Tensor], place: Path) -> None:
        """An original checkpoint has the tables of its front end, and they must be these.

        Raises InputError.
        """
        for name, ours in FRONT_END.items():
            table = self.decibels.mel.get_buffer(ours)
            theirs = weights.get(name, table)
            if theirs.shape != table.shape or not theirs.float().allclose(table, rtol=0, atol=1e-4):
                raise InputError(f"{place}: {name}: is another front end than CED's here")

    def files(self) -> dict[str, bytes]:
        """What the model folder must hold besides weights."""
        return {CONFIG: self.description}

    def features(self, waveforms: Tensor) -> Tensor:
        """(N, samples) at 16 kHz -> (N, 64, samples // 160 + 1) float32, decibels."""
        decibels: Tensor = self.decibels(waveforms)
        return decibels

    def forward(self, features: Tensor) -> Tensor:
        """(N, 64, frames) in decibels -> (N, width)."""
        missing = PATCH - features.shape[-1]
        if missing > 0:
            features = F.pad(features, (0, missing), value=SILENCE)
        normed = self.init_bn(features).unsqueeze(1)
        count = -(-normed.shape[-1] // self.longest)
        if count == 1:
            return self._pooled(normed)
        normed = F.pad(normed, (0, count * self.longest - normed.shape[-1]))
        pieces = torch.cat(normed.split(self.longest, dim=-1))
        return self._pooled(pieces).view(count, len(features), self.width).mean(0)

    def _pooled(self, normed: Tensor) -> Tensor:
        """(M, 1, 64, frames), at most the model's own -> (M, width)."""
        patches = self.patch_embed(normed)
        patches = patches + self.time_pos_embed[..., : patches.shape[-1]] + self.freq_pos_embed
        tokens = self.drop(patches.flatten(2).transpose(1, 2))
        for block in self.blocks:
            tokens = block(tokens)
        outputs: Tensor = self.norm(tokens).mean(1)
        return outputs


class Decibels(nn.Module):
    """Waveforms to log-mels in decibels, each clip for itself; no parameters, float32 always."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE,
            n_fft=FIXED["n_fft"],
            hop_length=FIXED["hop_size"],
            n_mels=BANDS,
            f_min=0.0,
            f_max=SAMPLE_RATE / 2,
        )
        for buffer in ("spectrogram.window", "mel_scale.fb"):
            keep_out_of_state(self.mel, buffer)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(N, samples) in [-1, 1] at 16 kHz -> (N, 64, samples // 160 + 1) float32."""
        with torch.autocast(waveforms.device.type, enabled=False):
            decibels = 10 * self.mel(waveforms.float()).clamp_min(FLOOR).log10()
            # torchaudio's own AmplitudeToDB would measure the range from the batch's loudest clip.
            return decibels.maximum(decibels.amax((1, 2), keepdim=True) - RANGE)


class FixedNorm(nn.Module):
    """BatchNorm over the bands of (N, bands, frames) that keeps to the statistics it was given."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(bands))
        self.bias = nn.Parameter(torch.zeros(bands))
        self.register_buffer("running_mean", torch.zeros(bands))
        self.register_buffer("running_var", torch.ones(bands))

    def forward(self, given: Tensor) -> Tensor:
        """(N, bands, frames) -> (N, bands, frames)."""
        return F.batch_norm(given, self.running_mean, self.running_var, self.weight, self.bias)


class _Block(nn.Module):
    """Pre-norm attention and perceptron. Unlike `supclap.model.blocks.Block` it has CED's names."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(width, inner),
                act=nn.GELU(),
                drop=nn.Dropout(dropout),
                fc2=nn.Linear(inner, width),
            )
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(M, L, width) -> (M, L, width)."""
        tokens = tokens + self.drop(self.attn(self.norm1(tokens)))
        return tokens + self.drop(self.mlp(self.norm2(tokens)))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(M, L, width) -> (M, L, width)."""
        rows, length, width = tokens.shape
        projected = self.qkv(tokens).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        output: Tensor = self.proj(attended.transpose(1, 2).reshape(rows, length, width))
        return output


def _read(folder: Path) -> tuple[bytes, dict[str, Tensor], Path]:
    """Description and weights of a folder in either layout, and the file of the weights."""
    check_folder(folder, "ced", KEY)
    described = (folder / CONFIG).is_file()
    if described and (folder / WEIGHTS).is_file():
        place = folder / WEIGHTS
        weights = read_weights(place)
    else:
        original = original_checkpoint(folder)
        assert original is not None  # by `check_folder`
        place = original
        weights = read_checkpoint(place)
    weights = {
        NORM + name.removeprefix(ORIGINAL_NORM) if name.startswith(ORIGINAL_NORM) else name: value
        for name, value in without_prefix(weights, "time_pos_embed", PREFIXES).items()
    }
    description = read_file(folder / CONFIG) if described else described_by(weights, place)
    return description, weights, place


def described_by(weights: dict[str, Tensor], place: Path) -> bytes:
    """The description of an original checkpoint, which brings none: its sizes say all but the
    number of heads, and that follows from the width in every published one.

    Raises InputError: it is none of CED's.
    """
    try:
        width = len(weights["patch_embed.proj.weight"])
        inner = len(weights["blocks.0.mlp.fc1.weight"])
        columns = weights["time_pos_embed"].shape[-1]
        depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{place}: is not CED's checkpoint (lacks {error})") from None
    if width % HEAD:
        raise InputError(
            f"{place}: is {width} wide, no multiple of the {HEAD} of a head of the published CED; "
            f"give a {CONFIG} beside it that names num_heads (docs/models.md)"
        )
    longest = LONGEST if columns == LONGEST // PATCH else columns * PATCH
    values = {
        "model_type": "ced",
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // HEAD,
        "mlp_ratio": inner / width,
        "target_length": longest,
    }
    return (json.dumps(values, indent=1) + "\n").encode()


def _ratio(values: dict[str, Any], where: str) -> float:
    """Of a perceptron's inner width to a token's."""
    ratio = values.get("mlp_ratio", 4.0)
    if not isinstance(ratio, int | float) or not 0 < ratio < 100:
        raise InputError(f"{where}: mlp_ratio: expected a number above 0, found {ratio!r}")
    return float(ratio)


def _refuse_others(values: dict[str, Any], where: str) -> None:
    """A description of a front end or a network that this module does not compute."""
    for key, expected in FIXED.items():
        if values.get(key, expected) != expected:
            raise InputError(f"{where}: {key}: {values[key]!r}; CED here has {expected!r}")
    if values.get("f_max") not in (None, SAMPLE_RATE // 2):
        raise InputError(f"{where}: f_max: {values['f_max']!r}; CED here has {SAMPLE_RATE // 2}")
    if values.get("pooling", "mean") == "token":
        raise InputError(f"{where}: pooling: 'token'; CED here takes the mean over the patches")
