"""Which clips, with which captions, make up which step: a pure function of seed and epoch.

Nothing here has a state, so a run that was killed finds its place again by the step's number
alone, and any number of workers agrees on the batches without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from supclap.data.clips import Caption
from supclap.errors import InputError

# Separate streams of numbers of one seed: the order of an epoch, and the captions it draws.
_ORDER, _CAPTION = 0, 1


@dataclass(frozen=True)
class Batch:
    """A global batch: ``rows`` (N,) of the split, and ``captions`` (N,), one of each clip's own."""

    step: int  # counted over the whole run
    epoch: int  # from 0
    rows: np.ndarray
    captions: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Batch:
        return Batch(self.step, self.epoch, self.rows[part], self.captions[part])


def part_of(length: int, rank: int, size: int) -> slice:
    """Contiguous parts of ``length`` rows that cover it once, as equal as can be."""
    whole, more = divmod(length, size)
    start = rank * whole + min(rank, more)
    return slice(start, start + whole + (rank < more))


class Batches:
    """The global batches of a run over the clips of one split.

    An epoch is a permutation of the pairs, cut into batches. ``pairs="one"`` (ML-CLAP's way) gives
    every clip once an epoch, with one caption: a language drawn among those the clip has, then one
    of its captions in it. ``pairs="all"`` gives every caption once an epoch; a batch can then hold
    two captions of one clip.

    Every batch is full: the pairs that are left at the end of an epoch wait for another epoch's
    order, ``dropped`` of them each time. So all losses of a comparison take the same steps (a
    radius predictor with a fixed length of input could not take a shorter batch), and every step
    has equally many negatives. Clips without a caption in ``languages`` are left out and counted
    in ``left_out``.

    Raises:
        InputError: not enough pairs for a single batch.
    """

    def __init__(
        self,
        captions: Sequence[Sequence[Caption]],
        languages: Sequence[str],
        batch_size: int,
        seed: int,
        *,
        pairs: str = "one",
        limit: int | None = None,
        source: str = "train split",
    ) -> None:
        usable = [
            (row, by_language)
            for row, clip in enumerate(captions)
            if (by_language := _by_language(clip, languages))
        ]
        self.left_out = len(captions) - len(usable)
        usable = usable[:limit]
        if pairs == "all":
            both = [(row, c) for row, kinds in usable for c in np.sort(np.concatenate(kinds))]
            self._rows = np.array([row for row, _ in both], dtype=np.int64)
            self._choices = [[np.array([c])] for _, c in both]
        else:
            self._rows = np.array([row for row, _ in usable], dtype=np.int64)
            self._choices = [kinds for _, kinds in usable]
        self._seed = seed
        self._batch_size = batch_size
        self.clips = len(usable)
        self.pairs = len(self._rows)
        self.steps_per_epoch, self.dropped = divmod(self.pairs, batch_size)
        if not self.steps_per_epoch:
            raise InputError(
                f"{source}: batch_size is {batch_size}, but there are only {self.pairs} pairs with "
                f"a caption in {', '.join(languages)}; lower batch_size"
            )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``epoch`` (from 0), from its step ``start`` on."""
        order = np.random.default_rng([self._seed, epoch, _ORDER]).permutation(self.pairs)
        # Drawn for every pair in its place, not in the epoch's order: a clip's caption depends on
        # seed, epoch and clip alone.
        draws = np.random.default_rng([self._seed, epoch, _CAPTION]).random((self.pairs, 2))
        for number in range(start, self.steps_per_epoch):
            chosen = order[number * self._batch_size : (number + 1) * self._batch_size]
            captions = np.array([_pick(self._choices[pair], *draws[pair]) for pair in chosen])
            step = epoch * self.steps_per_epoch + number
            yield Batch(step, epoch, self._rows[chosen], captions)


def _by_language(clip: Sequence[Caption], languages: Sequence[str]) -> list[np.ndarray]:
    """Indices of a clip's captions, one array for each of ``languages`` it has."""
    kinds = [[i for i, c in enumerate(clip) if c.language == language] for language in languages]
    return [np.array(kind) for kind in kinds if kind]


def _pick(kinds: list[np.ndarray], language: float, caption: float) -> int:
    """One caption's index, by two numbers in [0, 1)."""
    kind = kinds[int(language * len(kinds))]
    return int(kind[int(caption * len(kind))])
