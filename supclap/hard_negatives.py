"""Batches with hard negatives: a pair meets those whose captions read most like its own.

For the paper's Figure 7, where K of a batch's pairs are hard negatives. Near is what has a high
cosine of TF-IDF vectors: no model is needed, so that the batches are the same for all variants.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from supclap.parts.order import BatchOrder, TrainingPairs

# Words; Japanese and Chinese put no spaces between them, so their signs count one by one.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_DIGITS = 6  # of a cosine: what is nearer by less is as near


class Nearness:
    """How alike the captions of M clips are.

    A clip's vector has, for each word of all its captions together, how often it stands there times
    ``ln((1 + M) / (1 + clips with the word)) + 1``, and length 1. Only words that stand somewhere
    are stored, once by clip and once by word: memory grows with the captions, not with M^2.

    Args:
        texts: the captions of each clip.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self._texts = texts
        self._bearers: dict[str, list[int]] = {}
        numbers: dict[str, int] = {}
        clips, words, counts = [], [], []
        for clip, captions in enumerate(texts):
            for text in dict.fromkeys(captions):
                self._bearers.setdefault(text, []).append(clip)
            for word, count in Counter(_WORD.findall(" ".join(captions).lower())).items():
                clips.append(clip)
                words.append(numbers.setdefault(word, len(numbers)))
                counts.append(count)
        clip_of, word_of = np.array(clips, dtype=np.int64), np.array(words, dtype=np.int64)
        rarity = np.log((1 + len(texts)) / (1 + np.bincount(word_of, minlength=len(numbers)))) + 1
        weights = np.array(counts, dtype=np.float64) * rarity[word_of]
        weights /= np.sqrt(np.bincount(clip_of, weights**2, minlength=len(texts)))[clip_of]
        ends = np.cumsum(np.bincount(clip_of, minlength=len(texts)))[:-1]
        self._words, self._weights = np.split(word_of, ends), np.split(weights, ends)
        by_word = np.argsort(word_of, kind="stable")
        ends = np.cumsum(np.bincount(word_of, minlength=len(numbers)))[:-1]
        self._clips_with = np.split(clip_of[by_word], ends)
        self._weights_of = np.split(weights[by_word], ends)

    def __len__(self) -> int:
        return len(self._texts)

    def to(self, clip: int) -> np.ndarray:
        """Cosines of a clip with all: (M,) float64 from 0 to 1, to six decimals."""
        found = np.zeros(len(self))
        for word, weight in zip(self._words[clip], self._weights[clip], strict=True):
            found[self._clips_with[word]] += weight * self._weights_of[word]
        return np.round(found, _DIGITS)

    def same(self, clip: int) -> np.ndarray:
        """The clips, itself included, that share a caption with it word for word: (n,) int64."""
        found = {other for text in self._texts[clip] for other in self._bearers[text]}
        return np.array(sorted(found | {clip}), dtype=np.int64)


def with_hard_negatives(
    order: np.ndarray, clip_of: np.ndarray, nearness: Nearness, count: int, batch_size: int
) -> np.ndarray:
    """An epoch's order of pairs, changed so that each batch has hard negatives of its first pair.

    Batch by batch: the next unused pair of ``order``; then one unused pair of each of the ``count``
    clips nearest to its clip; then the next unused pairs, until the batch is full. Of clips that
    are equally near, the one that stands earlier in ``order`` is taken. No hard negatives are clips
    that share a caption word for word with the first one's, itself included (the caption fits
    both), and clips without a word in common. So every pair still stands there once. Towards the
    end of an epoch the nearest unused clips are ever less near, and where fewer than ``count`` are
    left, the next unused pairs take their places.

    Args:
        order: (P,) a permutation of the pairs.
        clip_of: (P,) the clip of each pair, an index for ``nearness``.

    Returns:
        (P,) a permutation; what does not fill a batch stands at its end, as in ``order``.
    """
    waiting: list[list[int]] = [[] for _ in range(len(nearness))]  # the next one last
    for pair in order[::-1]:
        waiting[clip_of[pair]].append(int(pair))
    left = np.array([len(pairs) for pairs in waiting])
    place = np.full(len(nearness), len(order))
    np.minimum.at(place, clip_of[order], np.arange(len(order)))
    used = np.zeros(len(order), dtype=bool)
    result: list[int] = []

    def take(pair: int) -> None:
        used[pair] = True
        waiting[clip_of[pair]].remove(pair)
        left[clip_of[pair]] -= 1
        result.append(pair)

    upcoming = (int(pair) for pair in order if not used[pair])
    for batch in range(1, len(order) // batch_size + 1):
        first = next(upcoming)
        take(first)
        near = nearness.to(clip_of[first])
        near[nearness.same(clip_of[first])] = 0
        near[left == 0] = 0
        clips = np.flatnonzero(near)
        if len(clips) > count:  # the least near of them all need no sorting
            least = np.partition(near[clips], -count)[-count]
            clips = clips[near[clips] >= least]
        for clip in clips[np.lexsort((place[clips], -near[clips]))][:count]:
            take(waiting[clip][-1])
        while len(result) < batch * batch_size:
            take(next(upcoming))
    return np.array([*result, *upcoming], dtype=order.dtype)


class HardNegatives(BatchOrder):
    """The order of ``data.hard_negatives``: a permutation, changed as `with_hard_negatives` says.

    Attributes:
        count: hard negatives in each batch.
    """

    count: int
    _nearness: Nearness | None = None

    def order(
        self, pairs: TrainingPairs, epoch: int, generator: np.random.Generator
    ) -> Sequence[int] | np.ndarray:
        if self._nearness is None:  # the pairs of a run are the same in every epoch
            said: list[list[str]] = [[] for _ in range(int(pairs.clips.max()) + 1)]
            for clip, captions in zip(pairs.clips, pairs.captions, strict=True):
                said[clip] += [caption.text for caption in captions]
            self._nearness = Nearness(said)
        order = generator.permutation(len(pairs))
        return with_hard_negatives(order, pairs.clips, self._nearness, self.count, pairs.batch_size)
