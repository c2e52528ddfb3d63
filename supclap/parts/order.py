"""Batch orders: in what order an epoch takes the pairs of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from supclap.data.clips import Caption
from supclap.parts.part import Part


@dataclass(frozen=True)
class TrainingPairs:
    """The P pairs that an epoch is made of, for a batch order to choose from; p counts from 0.

    Attributes:
        captions: of each pair the captions in ``data.languages`` one of which it is trained with:
            with ``data.pairs: all`` the pair's own one alone. Another clip's, where ``data.noise``
            has exchanged them.
        labels: of each pair those of its clip.
        clips: (P,) int64, which clip each pair is of, from 0; equal for pairs of one clip.
        seconds: (P,) float64, how long each pair's clip is.
        batch_size: pairs of a batch, over all workers.
        epochs: of the run.
    """

    captions: Sequence[tuple[Caption, ...]]
    labels: Sequence[tuple[str, ...]]
    clips: np.ndarray
    seconds: np.ndarray
    batch_size: int
    epochs: int

    def __len__(self) -> int:
        return len(self.captions)


class BatchOrder(Part):
    """In what order an epoch takes its pairs: ``data.order: {name: NAME, own keys}``.

    The order is cut into batches of ``batch_size``; what is left at its end is not trained on in
    that epoch. It must be a function of its arguments: then a run that was killed goes on with the
    same batches, and all workers agree on them. Every epoch takes as many steps as the first.

        @register("short-first")
        class ShortFirst(BatchOrder):
            def order(self, pairs, epoch, generator):
                words = [len(captions[0].text.split()) for captions in pairs.captions]
                return np.argsort(words, kind="stable")

    Attributes:
        repeats: an epoch may take a pair more than once, or not at all, which a run then counts and
            shows. Without it every order must hold every pair once.
    """

    kind = "batch order"
    repeats: ClassVar[bool] = False

    def order(
        self, pairs: TrainingPairs, epoch: int, generator: np.random.Generator
    ) -> Sequence[int] | np.ndarray:
        """The pairs of an epoch in their order: indices from 0 to P - 1.

        Args:
            epoch: from 0.
            generator: the source of all random numbers; its seed is that of the run, and the epoch.
        """
        raise NotImplementedError
