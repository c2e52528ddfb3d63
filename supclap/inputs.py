"""A split as a model is fed it: what its encoders take, for any rows, without repeated work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from supclap.batches import Batch, part_of
from supclap.data.clips import Clips
from supclap.data.reading import RandomCrop, read_batch
from supclap.duplicates import first_alike_clips, first_alike_texts
from supclap.model.clap import CLAP, Level
from supclap.model.frozen import first_alike_kept, frozen_outputs
from supclap.model.tokens import Tokens
from supclap.progress import activity
from supclap.sets import captions_in

if TYPE_CHECKING:  # only runs that have any import them
    from supclap.augmenting import Augmenter
    from supclap.parts.augmentation import Example

# Features of a split that fit into this are kept in memory after their first use; beyond it they
# are computed in every epoch.
KEPT_BYTES = 2**30

Fed = tuple[Tensor, Tokens | Tensor]  # audio and text of some pairs, on the model's device


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Numbers of the CPU on a device; to a GPU out of pinned memory, which it reads by itself."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def heard(clips: Clips, model: CLAP) -> str:
    """What of the clips a frozen encoder hears: a key of its kept outputs."""
    return f"{clips.content_hash}-first-{model.samples}"


class SplitInputs:
    """A split's clips and its captions in ``languages``, as the two sides of a model are fed them.

    Attributes:
        level: what `audio` returns, as `CLAP.forward` calls it.
        caption_rows: (Q,) which clip each caption describes; a caption's *place* is its index here.
        caption_languages: Q language codes.

    Raises:
        InputError: the split has no caption in these languages.
    """

    level: Level

    def __init__(
        self,
        name: str,
        clips: Clips,
        model: CLAP,
        languages: Sequence[str],
        augmenter: Augmenter | None = None,
    ) -> None:
        chosen = captions_in(name, clips, languages)
        self.clips = clips
        self.caption_rows = np.array([row for row, _, _ in chosen], dtype=np.int64)
        self.caption_languages = [caption.language for _, _, caption in chosen]
        self._texts = [caption.text for _, _, caption in chosen]
        # Which caption of its clip each is; and by the clip's first caption and that number the
        # place, as a dictionary of a large split would take more memory than its captions.
        self._numbers = np.array([number for _, number, _ in chosen], dtype=np.int64)
        amounts = np.array([len(said) for said in clips.captions], dtype=np.int64)
        self._first = np.cumsum(amounts) - amounts
        self._places = np.full(int(amounts.sum()), -1)
        self._places[self._first[self.caption_rows] + self._numbers] = np.arange(len(chosen))
        self._model = model
        self._augmenter = augmenter

    @property
    def first_clips(self) -> np.ndarray:
        """(N,) for each clip the first that sounds the same; rounding must not rank them."""
        raise NotImplementedError

    @property
    def first_captions(self) -> np.ndarray:
        """(Q,) for each caption's place that of the first that reads the same."""
        raise NotImplementedError

    def audio(self, rows: np.ndarray, epoch: int = 0) -> Tensor:
        """The clips in ``rows`` (n,) as `level` says: (n, ...), on the model's device."""
        raise NotImplementedError

    def text(self, places: np.ndarray) -> Tokens | Tensor:
        """Captions by their place: tokens (n, L), or outputs (n, width) of a frozen encoder, on the
        model's device."""
        raise NotImplementedError

    def feed(self, batches: Iterable[Batch], rank: int, size: int) -> Iterator[tuple[Batch, Fed]]:
        """Each global batch with what worker ``rank`` of ``size`` feeds the model of it.

        Of several captions per clip, (n, K), the texts are given clip after clip: (n K, ...).
        """
        for batch in batches:
            mine = batch[part_of(len(batch), rank, size)]
            givers = np.repeat(mine.givers, mine.captions[:1].size or 1)
            places = self._places[self._first[givers] + mine.captions.reshape(-1)]
            if self._augmenter is None:
                yield batch, (self.audio(mine.rows, mine.epoch), self.text(places))
            else:
                yield batch, self._augmented(self._augmenter, mine, places)

    def _augmented(self, augmenter: Augmenter, mine: Batch, places: np.ndarray) -> Fed:
        """What a worker is fed of a batch, changed."""
        raise NotImplementedError


class Inputs(SplitInputs):
    """Inputs of the encoders for a split's clips and for its captions in ``languages``.

    Audio is given as features, text as tokens; where an encoder is frozen, as its outputs, which
    are computed once per data set.

    Args:
        crops: a seed: training hears another part of a clip that is too long in every epoch.
            Without it, and with a frozen encoder, a clip is cut at its beginning.
        augmenter: changes what `feed` gives.

    Raises:
        InputError: the split has no caption in these languages.
    """

    def __init__(
        self,
        name: str,
        clips: Clips,
        model: CLAP,
        languages: Sequence[str],
        crops: int | None = None,
        augmenter: Augmenter | None = None,
    ) -> None:
        super().__init__(name, clips, model, languages, augmenter)
        self._name = name
        self._said = f"{clips.content_hash}-{'-'.join(languages)}"
        self._text_outputs: np.ndarray | None = None
        if model.text.frozen:  # tokens are made only where their outputs are not kept yet
            self._text_outputs = frozen_outputs(
                model.text, self._said, len(self._texts), lambda rows: self._tokens[list(rows)]
            )
        else:
            _ = self._tokens
        too_long = bool((clips.lengths > model.samples).any())
        self._crops = crops if too_long and not model.audio.frozen else None
        self.level = "outputs" if model.audio.frozen else "features"
        self._kept = self._frozen_audio() if model.audio.frozen else self._room()
        self._known = np.full(len(clips), model.audio.frozen)

    @cached_property
    def first_clips(self) -> np.ndarray:
        """(N,) for each clip the first that sounds the same; rounding must not rank them."""
        model, count = self._model, len(self.clips)

        def find() -> np.ndarray:
            return first_alike_clips(self.clips, model.samples)

        if not model.audio.frozen:
            return find()
        return first_alike_kept(model.audio, heard(self.clips, model), count, find)

    @cached_property
    def first_captions(self) -> np.ndarray:
        """(Q,) for each caption's place that of the first of the same tokens."""
        model, count = self._model, len(self._texts)

        def find() -> np.ndarray:
            return first_alike_texts(self._tokens)

        return (
            first_alike_kept(model.text, self._said, count, find) if model.text.frozen else find()
        )

    @cached_property
    def _tokens(self) -> Tokens:
        with activity(f"tokenizing the captions of '{self._name}'"):
            return self._model.text.tokenize(self._texts, self.caption_languages)

    def audio(self, rows: np.ndarray, epoch: int = 0) -> Tensor:
        """The clips in ``rows`` (n,) as `level` says: (n, ...), on the model's device."""
        if self._kept is None:
            return self._features(rows, epoch)
        # One by one, never with others in a batch: a product of matrices may round a row otherwise
        # in other company, and a resumed run meets clips for the first time in other company.
        for row in rows[~self._known[rows]]:
            self._kept[row] = self._features(row[None])[0].cpu().numpy()
        self._known[rows] = True
        return sent(torch.from_numpy(self._kept[rows]), self._model.device)

    def text(self, places: np.ndarray) -> Tokens | Tensor:
        """Captions by their place: tokens (n, L), or outputs (n, width) of a frozen encoder, on the
        model's device."""
        if self._text_outputs is not None:
            return sent(torch.from_numpy(self._text_outputs[places]), self._model.device)
        return self._tokens[torch.from_numpy(places)].to(self._model.device)

    def _augmented(self, augmenter: Augmenter, mine: Batch, places: np.ndarray) -> Fed:
        """What a worker is fed of a batch, changed: clip by clip, never with others in a batch, so
        that no number depends on the company that a clip is in."""
        by_clip = places.reshape(len(mine), -1)
        numbers = mine.captions.reshape(by_clip.shape).tolist()

        def hear(row: int) -> np.ndarray:
            heard: np.ndarray = self._waveforms(np.array([row]), mine.epoch)[0].numpy()
            return heard

        def changed(at: int, row: int) -> Example:
            said = by_clip[at].tolist()
            texts = tuple(self._texts[place] for place in said)
            spoken = tuple(self.caption_languages[place] for place in said)
            return augmenter.example(row, numbers[at], texts, spoken, mine.epoch, hear)

        def heard(at: int, row: int) -> Tensor:
            if augmenter.hears:
                waveform = torch.from_numpy(examples[at].waveform)[None]
                features = self._model.audio.features(waveform.to(self._model.device))[0]
            else:
                features = self.audio(mine.rows[at : at + 1], mine.epoch)[0]
            if augmenter.sees:
                own = features.cpu().numpy().copy()
                features = torch.from_numpy(augmenter.features(row, own, mine.epoch))
            return features

        rows = list(enumerate(mine.rows.tolist()))
        examples = []
        if augmenter.hears or augmenter.reads:
            examples = [changed(at, row) for at, row in rows]
        if augmenter.hears or augmenter.sees:
            audio = torch.stack([heard(at, row) for at, row in rows]).to(self._model.device)
        else:
            audio = self.audio(mine.rows, mine.epoch)
        if not augmenter.reads:
            return audio, self.text(places)
        texts = [text for example in examples for text in example.captions]
        spoken = [language for example in examples for language in example.languages]
        return audio, self._model.text.tokenize(texts, spoken).to(self._model.device)

    def _waveforms(self, rows: np.ndarray, epoch: int) -> Tensor:
        crop = None if self._crops is None else RandomCrop(self._crops, epoch)
        return read_batch(self.clips, rows, self._model.samples, crop)

    def _features(self, rows: np.ndarray, epoch: int = 0) -> Tensor:
        return self._model.audio.features(sent(self._waveforms(rows, epoch), self._model.device))

    def _room(self) -> np.ndarray | None:
        """Memory for the features of all clips; None where that is too much, or of no use."""
        if self._crops is not None or (self._augmenter is not None and self._augmenter.hears):
            return None
        example = self._features(np.array([0]))[0]
        small = len(self.clips) * example.nbytes <= KEPT_BYTES
        return np.empty((len(self.clips), *example.shape), np.float32) if small else None

    def _frozen_audio(self) -> np.ndarray:
        clips, samples = self.clips, self._model.samples
        return frozen_outputs(
            self._model.audio,
            heard(clips, self._model),
            len(clips),
            lambda rows: read_batch(clips, rows, samples),
        )
