"""Which clips, with which captions, make up which step: a pure function of seed and epoch.

Nothing here has a state, so a run that was killed finds its place again by the step's number
alone, and any number of workers agrees on the batches without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from supclap.data.clips import Caption
from supclap.errors import SettingError
from supclap.hard_negatives import Nearness, with_hard_negatives
from supclap.noise import caption_givers

# Separate streams of numbers of one seed: the order of an epoch, and the captions it draws. The
# third, 2, is that of `supclap.noise`.
_ORDER, _CAPTION = 0, 1


@dataclass(frozen=True)
class Batch:
    """A global batch: ``rows`` (N,) of the split, and ``captions`` of each clip.

    captions: (N,), one of each clip; (N, K), several, in the order of `Batches.epoch`, where the
    loss is a multilingual one.
    givers: (N,), the rows whose captions these are: the clips' own, but for noisy ones.
    """

    step: int  # counted over the whole run
    epoch: int  # from 0
    rows: np.ndarray
    captions: np.ndarray
    givers: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Batch:
        return Batch(self.step, self.epoch, self.rows[part], self.captions[part], self.givers[part])


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

    ``multilingual`` gives each clip a caption in every language ("kcl"), or in the first and in
    one other drawn at random ("cacl"; the first is English where present). One number per clip
    and epoch chooses the caption in all of them, so that where a clip has equally many in each,
    which are translations of each other, it meets translations. Clips that lack a language are
    left out and counted by both, which then train on the same clips.

    Of the clips, ``noise`` is the share that bears another clip's captions (`supclap.noise`;
    ``noisy`` counts them), and ``hard_negatives`` the number of pairs in each batch that are chosen
    to be hard to distinguish from its first one (`supclap.hard_negatives`).

    Raises:
        InputError: not enough pairs for a single batch, or clips for the noise.
    """

    def __init__(
        self,
        captions: Sequence[Sequence[Caption]],
        languages: Sequence[str],
        batch_size: int,
        seed: int,
        *,
        pairs: str = "one",
        multilingual: str | None = None,
        limit: int | None = None,
        noise: float = 0.0,
        hard_negatives: int = 0,
        source: str = "train split",
    ) -> None:
        if multilingual == "cacl":
            languages = sorted(languages, key=lambda language: language != "eng")
        least = 1 if multilingual is None else len(languages)
        usable = [
            (row, by_language)
            for row, clip in enumerate(captions)
            if len(by_language := _by_language(clip, languages)) >= least
        ]
        self.left_out = len(captions) - len(usable)
        usable = usable[:limit]
        own = np.arange(len(usable), dtype=np.int64)
        givers = caption_givers(len(usable), noise, seed) if noise else own
        self.noisy = int((givers != own).sum())
        kinds_of = [usable[giver][1] for giver in givers]
        if pairs == "all":
            both = [(clip, c) for clip, kinds in enumerate(kinds_of) for c in _sorted(kinds)]
            self._clips = np.array([clip for clip, _ in both], dtype=np.int64)
            self._choices = [[np.array([c])] for _, c in both]
        else:
            self._clips = np.arange(len(usable))
            self._choices = kinds_of
        rows = np.array([row for row, _ in usable], dtype=np.int64)
        self._rows, self._givers = rows[self._clips], rows[givers][self._clips]
        self._hard_negatives = hard_negatives
        self._nearness = None
        if hard_negatives:
            self._nearness = Nearness(
                [
                    [captions[rows[giver]][c].text for c in _sorted(usable[giver][1])]
                    for giver in givers
                ]
            )
        self._pick = _PICK[multilingual]
        self._seed = seed
        self._batch_size = batch_size
        self.clips = len(usable)
        self.pairs = len(self._rows)
        self.steps_per_epoch, self.dropped = divmod(self.pairs, batch_size)
        if not self.steps_per_epoch:
            joined = (", " if multilingual is None else " and ").join(languages)
            raise SettingError(
                "batch_size" if self.pairs else "data.languages",
                f"{source}: batch_size is {batch_size}, but there are only {self.pairs} pairs with "
                f"a caption in {joined}; lower batch_size",
            )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``epoch`` (from 0), from its step ``start`` on."""
        order = np.random.default_rng([self._seed, epoch, _ORDER]).permutation(self.pairs)
        if self._nearness is not None:
            order = with_hard_negatives(
                order, self._clips, self._nearness, self._hard_negatives, self._batch_size
            )
        # Drawn for every pair in its place, not in the epoch's order: a clip's caption depends on
        # seed, epoch and clip alone.
        draws = np.random.default_rng([self._seed, epoch, _CAPTION]).random((self.pairs, 2))
        for number in range(start, self.steps_per_epoch):
            chosen = order[number * self._batch_size : (number + 1) * self._batch_size]
            captions = np.array([self._pick(self._choices[pair], *draws[pair]) for pair in chosen])
            step = epoch * self.steps_per_epoch + number
            yield Batch(step, epoch, self._rows[chosen], captions, self._givers[chosen])


def _by_language(clip: Sequence[Caption], languages: Sequence[str]) -> list[np.ndarray]:
    """Indices of a clip's captions, one array for each of ``languages`` it has."""
    kinds = [[i for i, c in enumerate(clip) if c.language == language] for language in languages]
    return [np.array(kind) for kind in kinds if kind]


def _sorted(kinds: list[np.ndarray]) -> np.ndarray:
    return np.sort(np.concatenate(kinds))


def _one(kinds: list[np.ndarray], language: float, caption: float) -> int:
    """One caption's index, by two numbers in [0, 1)."""
    kind = kinds[int(language * len(kinds))]
    return int(kind[int(caption * len(kind))])


def _each(kinds: list[np.ndarray], _: float, caption: float) -> list[int]:
    """A caption's index in every language."""
    return [_one([kind], 0.0, caption) for kind in kinds]


def _first_and_other(kinds: list[np.ndarray], language: float, caption: float) -> list[int]:
    """A caption's index in the first language, and in one of the others."""
    first, *others = kinds
    return [_one([first], 0.0, caption), _one(others, language, caption)]


# By the loss's ``multilingual``: how a clip's captions are chosen.
_PICK: dict[str | None, Callable[[list[np.ndarray], float, float], int | list[int]]] = {
    None: _one,
    "kcl": _each,
    "cacl": _first_and_other,
}
