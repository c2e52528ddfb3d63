"""A split of precomputed features as a model is fed it: vectors, gathered from mapped arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from supclap.batches import Batch
from supclap.data.clips import Clips
from supclap.data.features import FeatureClips
from supclap.duplicates import first_alike_vectors
from supclap.errors import InputError
from supclap.evaluation.zero_shot import unit_means
from supclap.inputs import Fed, SplitInputs, sent
from supclap.model.clap import CLAP

if TYPE_CHECKING:
    from supclap.augmenting import Augmenter

AUDIO, TEXT = 0, 1  # of a pair of widths
ROWS = 128  # of one forward pass in evaluation


class FeatureInputs(SplitInputs):
    """Outputs of the encoders for a split's clips and captions, as the data give them.

    Args:
        augmenter: changes the audio vectors that `feed` gives.

    Raises:
        InputError: the split has no caption in these languages, or vectors of another width than
            the model takes.
    """

    clips: FeatureClips

    def __init__(
        self,
        name: str,
        clips: Clips,
        model: CLAP,
        languages: Sequence[str],
        augmenter: Augmenter | None = None,
    ) -> None:
        assert isinstance(clips, FeatureClips)
        check_widths(clips, model)
        super().__init__(name, clips, model, languages, augmenter)
        self.level = "outputs"
        self._sentences = clips.sentences(self.caption_rows, self._numbers)

    @cached_property
    def first_clips(self) -> np.ndarray:
        """(N,) for each clip the first of the same vector; rounding must not rank them."""
        return first_alike_vectors(self.clips.audio_vectors, np.arange(len(self.clips)))

    @cached_property
    def first_captions(self) -> np.ndarray:
        """(Q,) for each caption's place that of the first of the same vector."""
        return first_alike_vectors(self.clips.text_vectors, self._sentences)

    def audio(self, rows: np.ndarray, epoch: int = 0) -> Tensor:
        """(n,) clips -> their vectors (n, width), on the model's device."""
        return sent(self.clips.audio_vectors(rows), self._model.device)

    def text(self, places: np.ndarray) -> Tensor:
        """(n,) captions by their place -> their vectors (n, width), on the model's device."""
        return sent(self.clips.text_vectors(self._sentences[places]), self._model.device)

    def _augmented(self, augmenter: Augmenter, mine: Batch, places: np.ndarray) -> Fed:
        """A batch with its audio vectors changed, one by one."""
        vectors = self.clips.audio_vectors(mine.rows).numpy()
        rows = zip(mine.rows.tolist(), vectors, strict=True)
        changed = np.stack([augmenter.features(row, own, mine.epoch) for row, own in rows])
        return torch.from_numpy(changed).to(self._model.device), self.text(places)


def check_widths(clips: FeatureClips, model: CLAP) -> None:
    """Raises InputError where a model takes vectors of other widths."""
    taken = model.audio.encoder.width, model.text.encoder.width
    if clips.widths != taken:
        raise InputError(
            f"{clips.path}: audio vectors of {clips.widths[AUDIO]} numbers and text vectors of "
            f"{clips.widths[TEXT]}, and the model takes {taken[AUDIO]} and {taken[TEXT]}"
        )


def encode_features(
    model: CLAP, clips: Clips, languages: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of a split's clips (N, d) and of its captions in ``languages`` (Q, d), in their
    order there; equal vectors have one embedding.

    Raises:
        InputError: vectors of another width than the model takes.
    """
    inputs = FeatureInputs(clips.path.stem, clips, model, languages)
    audio = _encoded(model, len(clips), lambda rows: model.audio(inputs.audio(rows), inputs.level))
    text = _encoded(model, len(inputs.caption_rows), lambda rows: model.text(inputs.text(rows)))
    return audio[inputs.first_clips], text[inputs.first_captions]


def encode_vectors(model: CLAP, clips: Clips, rows: Sequence[int]) -> np.ndarray:
    """Embeddings (N, d) of some clips of features. Raises InputError as `encode_features`."""
    assert isinstance(clips, FeatureClips)
    check_widths(clips, model)
    chosen = np.asarray(rows, dtype=np.int64)

    def heard(places: np.ndarray) -> Tensor:
        return model.audio(clips.audio_vectors(chosen[places]).to(model.device), "outputs")

    return _encoded(model, len(chosen), heard)


def class_vectors(model: CLAP, clips: Clips, labels: Sequence[str]) -> np.ndarray:
    """One unit vector per class, (L, d): the mean of the embeddings of its label's sentences."""
    assert isinstance(clips, FeatureClips)
    check_widths(clips, model)
    of_labels = [clips.class_vectors(clips.classes[label]) for label in labels]
    vectors = torch.cat(of_labels).to(model.device)
    embedded = _encoded(model, len(vectors), lambda rows: model.text(vectors[rows]))
    ends = np.cumsum([len(own) for own in of_labels])[:-1]
    means = [own.astype(np.float64).mean(0) for own in np.split(embedded, ends)]
    return unit_means(np.stack(means))


@torch.inference_mode()
def _encoded(model: CLAP, count: int, encode: Callable[[np.ndarray], Tensor]) -> np.ndarray:
    """(count, d) embeddings without dropout, `ROWS` at a time; bounded memory however many."""
    training = model.training
    model.eval()
    try:
        blocks = [np.zeros((0, model.config.dim), np.float32)]
        for start in range(0, count, ROWS):
            rows = np.arange(start, min(start + ROWS, count))
            blocks.append(encode(rows).cpu().numpy())
    finally:
        model.train(training)
    return np.concatenate(blocks)
