"""Which clips, with which captions, make up which step: a pure function of seed and epoch.

Nothing here has a state, so a run that was killed finds its place again by the step's number
alone, and any number of workers agrees on the batches without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from supclap.config import RunConfig
from supclap.data.clips import SAMPLE_RATE, Caption, Clips
from supclap.errors import SettingError
from supclap.hard_negatives import HardNegatives
from supclap.noise import caption_givers
from supclap.parts.order import BatchOrder, TrainingPairs

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


def batches_of(config: RunConfig, train: Clips) -> Batches:
    """The batches of a run over the clips of its train split. Raises InputError as `Batches`."""
    data = config.data
    if data.hard_negatives and train.widths is not None:
        _check_words(train)
    return Batches(
        train.captions,
        data.languages,
        config.batch_size,
        config.seed,
        pairs=data.pairs,
        multilingual=config.loss.multilingual,
        limit=data.limit,
        noise=data.noise,
        hard_negatives=data.hard_negatives,
        order=order_of(config),
        labels=train.labels,
        seconds=train.lengths / SAMPLE_RATE,
        epochs=config.epochs,
        source=f"split '{data.train}'",
    )


def _check_words(train: Clips) -> None:
    """Raises SettingError where features say nothing of the words of a caption."""
    for clip_id, captions in zip(train.clip_ids, train.captions, strict=True):
        if not all(caption.text for caption in captions):
            key = "data.hard_negatives"
            raise SettingError(
                key,
                f"{key}: captions are near each other by their words, and those of clip "
                f"'{clip_id}' are not known; prepare the features with words (--words)",
            )


def order_of(config: RunConfig) -> BatchOrder | None:
    """The batch order of the user's that a run names, or None. Raises PartError."""
    order = config.data.order
    if order is None:
        return None
    from supclap.parts.making import make_part, place_of  # needs PyTorch

    place = place_of(config)
    made: BatchOrder = make_part("batch order", order.name, order.own_keys, place, config.seed)
    return made


class Batches:
    """The global batches of a run over the clips of one split.

    An epoch is a permutation of the pairs, cut into batches; or what ``order`` makes of them, a
    part that knows their ``labels`` and ``seconds`` (`supclap.parts.order`). ``pairs="one"``
    (ML-CLAP's way) gives every clip once an epoch, with one caption: a language drawn among those
    the clip has, then one of its captions in it. ``pairs="all"`` gives every caption once an epoch;
    a batch can then hold two captions of one clip.

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

    Attributes:
        clip_rows, clip_givers: (M,) rows of the clips that are trained on, and of those whose
            captions they bear.
        dropped: pairs that an epoch leaves out; of an ``order`` the first epoch.
        repeated: how often an epoch takes a pair again; of an ``order`` the first epoch.

    Raises:
        InputError: not enough pairs for a single batch, or clips for the noise; or a mistake in
            ``order``, which is tried on the first and the last epoch.
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
        order: BatchOrder | None = None,
        labels: Sequence[Sequence[str]] | None = None,
        seconds: np.ndarray | None = None,
        epochs: int = 1,
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
            choices = [[np.array([c])] for _, c in both]
        else:
            self._clips = np.arange(len(usable))
            choices = kinds_of
        rows = np.array([row for row, _ in usable], dtype=np.int64)
        self.clip_rows, self.clip_givers = rows, rows[givers]
        self._rows, self._givers = rows[self._clips], rows[givers][self._clips]
        self._order = HardNegatives(count=hard_negatives) if hard_negatives else order
        self._captions, self._labels, self._seconds = captions, labels, seconds
        self._epochs = epochs
        self._choices = _Choices(choices, multilingual)
        self._seed = seed
        self._batch_size = batch_size
        self.clips = len(usable)
        self.pairs = len(self._rows)
        self.steps_per_epoch, self.dropped = divmod(self.pairs, batch_size)
        self.repeated = 0
        if not self.steps_per_epoch:
            joined = (", " if multilingual is None else " and ").join(languages)
            raise SettingError(
                "batch_size" if self.pairs else "data.languages",
                f"{source}: batch_size is {batch_size}, but there are only {self.pairs} pairs with "
                f"a caption in {joined}; lower batch_size",
            )
        if order is not None:
            self._try(order)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``epoch`` (from 0), from its step ``start`` on."""
        order = self._ordered(epoch)
        # Drawn for every pair in its place, not in the epoch's order: a clip's caption depends on
        # seed, epoch and clip alone.
        draws = np.random.default_rng([self._seed, epoch, _CAPTION]).random((self.pairs, 2))
        for number in range(start, self.steps_per_epoch):
            chosen = order[number * self._batch_size : (number + 1) * self._batch_size]
            captions = self._choices.pick(chosen, draws[chosen])
            step = epoch * self.steps_per_epoch + number
            yield Batch(step, epoch, self._rows[chosen], captions, self._givers[chosen])

    def _ordered(self, epoch: int) -> np.ndarray:
        """The pairs of an epoch in their order: (n,), of which the last ones may fill no batch."""
        generator = np.random.default_rng([self._seed, epoch, _ORDER])
        if self._order is None:
            return generator.permutation(self.pairs)
        from supclap.ordering import ordered  # needs PyTorch

        return ordered(self._order, self._known, epoch, generator, self.steps_per_epoch)

    def _try(self, order: BatchOrder) -> None:
        """Counts what an order of one's own leaves out, and finds mistakes before training."""
        self.steps_per_epoch = 0  # not known yet
        first = self._ordered(0)
        self.steps_per_epoch = len(first) // self._batch_size
        self._ordered(self._epochs - 1)
        if not np.array_equal(first, self._ordered(0)):
            from supclap.parts.calling import wrong

            raise wrong(
                order,
                "order",
                "epoch 1: another order when it is asked for again; it must depend on pairs, epoch "
                "and generator alone",
            )
        used = first[: self.steps_per_epoch * self._batch_size]
        different = len(np.unique(used))
        self.dropped, self.repeated = self.pairs - different, len(used) - different

    @cached_property
    def _known(self) -> TrainingPairs:
        """What an order is given."""
        said = [
            tuple(self._captions[giver][c] for c in self._choices.of(pair))
            for pair, giver in enumerate(self._givers)
        ]
        labels, seconds = self._labels, self._seconds
        return TrainingPairs(
            captions=said,
            labels=[() if labels is None else tuple(labels[row]) for row in self._rows],
            clips=self._clips,
            seconds=np.zeros(self.pairs) if seconds is None else seconds[self._rows],
            batch_size=self._batch_size,
            epochs=self._epochs,
        )


def _by_language(clip: Sequence[Caption], languages: Sequence[str]) -> list[np.ndarray]:
    """Indices of a clip's captions, one array for each of ``languages`` it has."""
    kinds = [[i for i, c in enumerate(clip) if c.language == language] for language in languages]
    return [np.array(kind) for kind in kinds if kind]


def _sorted(kinds: list[np.ndarray]) -> np.ndarray:
    return np.sort(np.concatenate(kinds))


class _Choices:
    """Which captions M pairs may take, and the choice among them by two numbers in [0, 1).

    A pair has *kinds*, one for each language that its clip has, and of each kind some captions.

    Args:
        kinds: of each pair, the indices of the captions of each kind.
        multilingual: what a pair takes: None, one caption of one kind; "kcl", one of each kind;
            "cacl", one of the first kind and one of another.
    """

    def __init__(self, kinds: Sequence[Sequence[np.ndarray]], multilingual: str | None) -> None:
        self._multilingual = multilingual
        self._number = np.array([len(pair) for pair in kinds], dtype=np.int64)
        self._first = np.cumsum(self._number) - self._number  # kind of each pair
        every = [kind for pair in kinds for kind in pair]
        self._captions = np.concatenate([np.zeros(0, np.int64), *every])
        self._amount = np.array([len(kind) for kind in every], dtype=np.int64)
        self._start = np.cumsum(self._amount) - self._amount

    def of(self, pair: int) -> np.ndarray:
        """All captions that a pair may take, sorted."""
        first = self._first[pair]
        rows = range(first, first + self._number[pair])
        return _sorted(
            [self._captions[self._start[k] : self._start[k] + self._amount[k]] for k in rows]
        )

    def pick(self, pairs: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The captions of some pairs (N,), by draws (N, 2) for language and caption: (N,), or
        (N, K) where a pair takes several."""
        first, number, language = self._first[pairs], self._number[pairs], draws[:, 0]
        if self._multilingual is None:
            return self._one_of(first + (language * number).astype(np.int64), draws)
        if self._multilingual == "kcl":
            columns = [first + one for one in range(number[0])]
        else:
            columns = [first, first + 1 + (language * (number - 1)).astype(np.int64)]
        return np.stack([self._one_of(kind, draws) for kind in columns], axis=1)

    def _one_of(self, kind: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """A caption of each kind, by the second draw."""
        drawn = (draws[:, 1] * self._amount[kind]).astype(np.int64)
        found: np.ndarray = self._captions[self._start[kind] + drawn]
        return found
