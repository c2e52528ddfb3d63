"""The order of clips and captions: a function of seed and epoch, the same for any workers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supclap.batches import Batches, part_of
from supclap.data.clips import Caption
from supclap.errors import InputError


def captions(clips: int, *languages: str, each: int = 1) -> list[tuple[Caption, ...]]:
    return [
        tuple(Caption(f"{clip} {i}", language) for language in languages for i in range(each))
        for clip in range(clips)
    ]


def test_an_epoch_holds_every_clip_once_but_for_the_rest() -> None:
    batches = Batches(captions(23, "eng"), ["eng"], batch_size=5, seed=1)
    assert (batches.steps_per_epoch, batches.dropped, batches.clips) == (4, 3, 23)
    left = []
    for epoch in range(3):
        rows = np.concatenate([batch.rows for batch in batches.epoch(epoch)])
        assert all(len(batch) == 5 for batch in batches.epoch(epoch))
        assert len(set(rows)) == 20
        left.append(frozenset(range(23)) - set(rows.tolist()))
    assert len(set(left)) == 3, "the same clips wait in every epoch"


def test_seed_and_epoch_alone_decide() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        made = Batches(captions(40, "eng"), ["eng"], batch_size=8, seed=seed)
        return [batch.rows.tolist() for batch in made.epoch(epoch)]

    assert order(3, 2) == order(3, 2)
    assert order(3, 2) != order(3, 1)
    assert order(3, 2) != order(4, 2)


def test_an_epoch_goes_on_from_any_step() -> None:
    batches = Batches(captions(23, "eng", "deu"), ["eng", "deu"], batch_size=5, seed=1)
    whole = list(batches.epoch(2))
    rest = list(batches.epoch(2, start=2))
    assert [batch.step for batch in whole] == [8, 9, 10, 11]
    for mine, theirs in zip(rest, whole[2:], strict=True):
        assert mine.step == theirs.step
        assert np.array_equal(mine.rows, theirs.rows)
        assert np.array_equal(mine.captions, theirs.captions)


@given(st.integers(0, 200), st.integers(1, 9))
def test_parts_cover_a_batch_once_and_are_as_equal_as_can_be(length: int, size: int) -> None:
    parts = [list(range(length))[part_of(length, rank, size)] for rank in range(size)]
    assert [row for part in parts for row in part] == list(range(length))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_languages_are_drawn_equally_whatever_their_number_of_captions() -> None:
    clips = [
        (Caption("a", "eng"), Caption("b", "fra"), Caption("c", "fra"), Caption("d", "fra"))
    ] * 50
    batches = Batches(clips, ["fra", "eng"], batch_size=50, seed=0)
    drawn = Counter(
        int(number) for epoch in range(80) for b in batches.epoch(epoch) for number in b.captions
    )
    # 4,000 draws: half English, a sixth for each French one; five standard deviations are 160.
    assert abs(drawn[0] - 2000) < 160
    for french in (1, 2, 3):
        assert abs(drawn[french] - 4000 / 6) < 120


@pytest.mark.parametrize("multilingual", [None, "kcl", "cacl"])
def test_captions_are_those_that_two_numbers_choose(multilingual: str | None) -> None:
    """Pair by pair, as `Batches` says it: of n languages the one at n times the first number, of
    its m captions the one at m times the second."""
    numbers, languages = np.random.default_rng(3), ("eng", "fra", "deu")
    clips = []
    for _ in range(40):
        said = [Caption("x", spoken) for spoken in languages for _ in range(numbers.integers(1, 5))]
        clips.append([said[at] for at in numbers.permutation(len(said))])
    batches = Batches(clips, languages, 8, 5, multilingual=multilingual)
    for epoch in range(2):
        draws = np.random.default_rng([5, epoch, 1]).random((40, 2))
        for batch in batches.epoch(epoch):
            for row, chosen in zip(batch.rows, batch.captions, strict=True):
                own = [[i for i, c in enumerate(clips[row]) if c.language == s] for s in languages]
                first, second = draws[row]
                kinds = {
                    None: [own[int(first * 3)]],
                    "kcl": own,
                    "cacl": [own[0], own[1:][int(first * 2)]],
                }[multilingual]
                expected = [kind[int(second * len(kind))] for kind in kinds]
                assert np.ravel(chosen).tolist() == expected


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8])
def test_an_epoch_is_the_same_for_any_number_of_workers(size: int) -> None:
    order = np.random.default_rng([5, 1, 0]).permutation(60)  # of seed 5 and the second epoch
    batches = Batches(captions(60, "eng", each=3), ["eng"], batch_size=7, seed=5)
    read, said = [], []
    for batch in batches.epoch(1):
        for rank in range(size):
            mine = batch[part_of(len(batch), rank, size)]
            read += mine.rows.tolist()
            said += mine.captions.tolist()
    assert read == order[: 8 * 7].tolist()
    assert said == [c for batch in batches.epoch(1) for c in batch.captions]


def test_a_clips_caption_does_not_depend_on_the_batch_size() -> None:
    def drawn(batch_size: int) -> dict[int, int]:
        made = Batches(captions(24, "eng", each=5), ["eng"], batch_size=batch_size, seed=7)
        return {
            int(row): int(caption)
            for batch in made.epoch(3)
            for row, caption in zip(batch.rows, batch.captions, strict=True)
        }

    assert drawn(4) == drawn(12)
    assert len(set(drawn(4).values())) > 1


def test_pairs_all_gives_every_caption_once() -> None:
    batches = Batches(captions(6, "eng", "deu", each=2), ["deu"], 4, seed=0, pairs="all")
    seen = [
        (int(row), int(caption))
        for batch in batches.epoch(0)
        for row, caption in zip(batch.rows, batch.captions, strict=True)
    ]
    assert sorted(seen) == [(row, caption) for row in range(6) for caption in (2, 3)]


def test_clips_without_a_caption_are_counted_and_the_limit_takes_the_first_usable() -> None:
    clips = captions(10, "eng")
    clips[1] = (Caption("eins", "deu"),)
    clips[2] = ()
    batches = Batches(clips, ["eng"], batch_size=2, seed=0, limit=4)
    assert (batches.left_out, batches.clips) == (2, 4)
    rows = np.concatenate([batch.rows for batch in batches.epoch(0)])
    assert sorted(rows.tolist()) == [0, 3, 4, 5]


def test_too_few_clips_for_a_batch_is_an_error() -> None:
    with pytest.raises(InputError, match="batch_size is 8, but there are only 5 pairs"):
        Batches(captions(5, "eng"), ["eng"], batch_size=8, seed=0)
