"""Any audio model of transformers whose family is known here, at its own sampling rate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supclap.audio_library import torchaudio
from supclap.config import AudioConfig
from supclap.data.clips import SAMPLE_RATE
from supclap.errors import InputError
from supclap.hub import located
from supclap.model.hf.ast import AST
from supclap.model.hf.clap import CLAPAudio
from supclap.model.hf.family import Family, Piece
from supclap.model.hf.opening import description, kept, library, made, quiet, still_norms
from supclap.model.hf.wav2vec2 import Wav2Vec2
from supclap.model.hf.whisper import Whisper
from supclap.model.pretrained import CONFIG, check_folder
from supclap.model.registry import Source
from supclap.wording import gist, shown

KEY = "model.audio.folder"
EXTRACTOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
FAMILIES: tuple[Family, ...] = (AST(), CLAPAudio(), Whisper(), Wav2Vec2())
KINDS = tuple(kind for family in FAMILIES for kind in family.kinds)


class Hearing(nn.Module):
    """An audio model behind its own feature extractor; a base, which a subclass opens.

    Clips come at 16 kHz and are resampled to the extractor's rate. One that is longer than the
    model takes is heard in pieces (`longer: windows`): side by side, the last one ending where the
    clip ends, and the output is the mean of theirs; or only its beginning is heard (`longer: cut`).
    BatchNorm keeps to the statistics of the weights, in training too.

    Attributes:
        width: numbers per clip.
    """

    def __init__(
        self,
        family: Family,
        encoder: Callable[[Any], nn.Module],
        config: Any,
        extractor: Any,
        longer: str,
        seconds: float,
    ) -> None:
        """
        Args:
            encoder: makes the network of ``config``.
            seconds: of a clip.
        """
        super().__init__()
        self.family, self.extractor, self.longer = family, extractor, longer
        rate = int(extractor.sampling_rate)
        samples = -(-round(seconds * SAMPLE_RATE) * rate // SAMPLE_RATE)
        longest = family.longest(config, extractor)
        self.piece = Piece(rate, samples if longest is None else min(samples, longest))
        self.width = family.width(config)
        self.encoder = encoder(config)
        still_norms(self)

    def train(self, mode: bool = True) -> Hearing:
        super().train(mode)
        still_norms(self)
        return self

    def features(self, waveforms: Tensor) -> Tensor:
        """(N, samples) in [-1, 1] at 16 kHz -> (N, pieces, ...) float32."""
        heard = waveforms.detach().float().cpu()
        if self.piece.rate != SAMPLE_RATE:
            heard = torchaudio.functional.resample(heard, SAMPLE_RATE, self.piece.rate)
        starts = self._starts(heard.shape[1])
        pieces = [
            row[start : start + self.piece.samples] for row in heard.numpy() for start in starts
        ]
        found = self.family.extract(self.extractor, pieces, self.piece.rate)
        shaped = found.astype(np.float32, copy=False).reshape(
            len(heard), len(starts), *found.shape[1:]
        )
        return torch.from_numpy(shaped).to(waveforms.device)

    def forward(self, features: Tensor) -> Tensor:
        """(N, pieces, ...) -> (N, width)."""
        rows, count = features.shape[:2]
        found = self.family.outputs(self.encoder, features.flatten(0, 1), self.piece)
        return found.view(rows, count, self.width).mean(1)

    def _starts(self, samples: int) -> list[int]:
        """Where the pieces of a clip of so many samples begin."""
        over = samples - self.piece.samples
        if over <= 0 or self.longer == "cut":
            return [0]
        return [*range(0, over, self.piece.samples), over]


class HuggingFaceAudio(Hearing):
    """An audio model of transformers with its pretrained weights and its own feature extractor.

    Raises:
        InputError: no such folder, a model of a family that is not known here, weights that are
            missing, damaged or of another shape, an extractor of another family.
    """

    def __init__(self, config: AudioConfig, source: Source) -> None:
        folder = None if source.files else located(str(config.folder), KEY)
        if folder is not None:
            check_folder(folder, config.name, KEY)
        content = kept(source, folder, CONFIG)
        where = CONFIG if folder is None else str(folder / CONFIG)
        library()
        values = description(content, where, KINDS)
        (family,) = [one for one in FAMILIES if values["model_type"] in one.kinds]
        extractor = _extractor_of(source, folder)
        super().__init__(
            family,
            lambda described: made(described, folder, family.encoder, family.opens(described)),
            quiet(values, source.dropout, where),
            opened_extractor(extractor, family, EXTRACTOR if folder is None else str(folder)),
            config.own_keys["longer"],
            source.seconds,
        )
        self._files = {CONFIG: content, EXTRACTOR: json.dumps(extractor).encode()}

    def files(self) -> dict[str, bytes]:
        """What the model folder must hold besides weights."""
        return self._files


def opened_extractor(values: dict[str, Any], family: Family, where: str) -> Any:
    """The feature extractor of a preprocessor_config.json. Raises InputError."""
    name = values.get("feature_extractor_type", family.extractors[0])
    if name not in family.extractors:
        expected = " or ".join(family.extractors)
        raise InputError(f"{where}: has the feature extractor {shown(name)}, expected {expected}")
    try:
        return getattr(library(), name).from_dict(values)
    except Exception as error:  # which ones, changes with the versions of transformers
        fault = gist(error)
    raise InputError(f"{where}: is no description of a {name}: {fault}")


def _extractor_of(source: Source, folder: Path | None) -> dict[str, Any]:
    """What the description of the feature extractor says; transformers 5 may keep it with that of
    the tokenizer."""
    nested = folder is not None and not (folder / EXTRACTOR).is_file()
    nested = nested and folder is not None and (folder / PROCESSOR).is_file()
    name = PROCESSOR if nested else EXTRACTOR
    content = kept(source, folder, name)
    try:
        values = json.loads(content)
        found = values["feature_extractor"] if nested else values
        return dict(found)
    except (ValueError, KeyError, TypeError, RecursionError):
        place = name if folder is None else folder / name
        raise InputError(f"{place}: describes no feature extractor (truncated?)") from None
