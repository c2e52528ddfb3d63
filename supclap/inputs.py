"""A split as a model is fed it: what its encoders take, for any rows, without repeated work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from supclap.data.clips import Clips
from supclap.errors import InputError
from supclap.model.clap import CLAP, Level
from supclap.model.frozen import frozen_outputs
from supclap.model.tokens import Tokens

# Features of a split that fit into this are kept in memory after their first use; beyond it they
# are computed in every epoch.
KEPT_BYTES = 2**30


class Inputs:
    """Inputs of the encoders for a split's clips and for its captions in ``languages``.

    Audio is given as features, text as tokens; where an encoder is frozen, as its outputs, which
    are computed once per data set. A clip's features are computed on their own, never with others
    in a batch: a matrix product may round a row otherwise in other company, and a resumed run meets
    clips in other company.

    Attributes:
        level: what `audio` returns, as `CLAP.forward` calls it.
        caption_rows: (Q,) which clip each caption describes; a caption's *place* is its index here.
        caption_languages: Q language codes.

    Raises:
        InputError: the split has no clips, or no caption in these languages.
    """

    def __init__(self, name: str, clips: Clips, model: CLAP, languages: Sequence[str]) -> None:
        chosen = [
            (row, number, caption)
            for row, captions in enumerate(clips.captions)
            for number, caption in enumerate(captions)
            if caption.language in languages
        ]
        if not chosen:
            raise InputError(f"split '{name}': no clip has a caption in {', '.join(languages)}")
        self.clips = clips
        self.caption_rows = np.array([row for row, _, _ in chosen], dtype=np.int64)
        self.caption_languages = [caption.language for _, _, caption in chosen]
        self._place = {(row, number): place for place, (row, number, _) in enumerate(chosen)}
        self._model = model
        self._tokens = model.text.tokenize([c.text for _, _, c in chosen], self.caption_languages)
        self._text_outputs = self._frozen_text(languages) if model.text.frozen else None
        self.level: Level = "outputs" if model.audio.frozen else "features"
        self._kept = self._frozen_audio() if model.audio.frozen else self._room()
        self._known = np.full(len(clips), model.audio.frozen)

    def audio(self, rows: np.ndarray) -> Tensor:
        """The clips in ``rows`` (n,) as `level` says: (n, ...), on the model's device."""
        if self._kept is None:
            return torch.stack([self._features(int(row)) for row in rows]).to(self._model.device)
        for row in rows[~self._known[rows]]:
            self._kept[row] = self._features(int(row)).numpy()
        self._known[rows] = True
        return torch.from_numpy(self._kept[rows]).to(self._model.device)

    def text(self, places: np.ndarray) -> Tokens | Tensor:
        """Captions by their place: tokens (n, L), or outputs (n, width) of a frozen encoder, on the
        model's device."""
        if self._text_outputs is not None:
            return torch.from_numpy(self._text_outputs[places]).to(self._model.device)
        return self._tokens[torch.from_numpy(places)].to(self._model.device)

    def pairs(self, rows: np.ndarray, captions: np.ndarray) -> tuple[Tensor, Tokens | Tensor]:
        """Inputs of n pairs: clip ``rows[i]`` with its own caption number ``captions[i]``."""
        keys = zip(rows.tolist(), captions.tolist(), strict=True)
        return self.audio(rows), self.text(np.array([self._place[key] for key in keys]))

    def _features(self, row: int) -> Tensor:
        return self._model.audio.features(self._waveforms([row]).to(self._model.device))[0].cpu()

    def _waveforms(self, rows: Sequence[int]) -> Tensor:
        """(n, samples) float32: the first seconds of each clip, padded with silence."""
        waveforms = np.zeros((len(rows), self._model.samples), np.float32)
        for waveform, row in zip(waveforms, rows, strict=True):
            samples = self.clips.audio(row)[: len(waveform)]
            np.multiply(samples, 1 / 32768, out=waveform[: len(samples)], dtype=np.float32)
        return torch.from_numpy(waveforms)

    def _room(self) -> np.ndarray | None:
        """Memory for the features of all clips, or None where that is too much."""
        example = self._features(0)
        small = len(self.clips) * example.nbytes <= KEPT_BYTES
        return np.empty((len(self.clips), *example.shape), np.float32) if small else None

    def _frozen_audio(self) -> np.ndarray:
        content = f"{self.clips.content_hash}-first-{self._model.samples}"
        return frozen_outputs(self._model.audio, content, len(self.clips), self._waveforms)

    def _frozen_text(self, languages: Sequence[str]) -> np.ndarray:
        content = f"{self.clips.content_hash}-{'-'.join(languages)}"
        tokens = self._tokens
        return frozen_outputs(
            self._model.text, content, len(tokens), lambda rows: tokens[list(rows)]
        )
