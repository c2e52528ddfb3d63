"""Hard negatives: nearness against scikit-learn, batches against a brute-force choice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from tiny_run import everything, make_collection, tiny_config

from supclap.batches import Batches
from supclap.data.clips import Caption
from supclap.errors import InputError
from supclap.hard_negatives import Nearness, with_hard_negatives
from supclap.storage import Folder
from supclap.training import fit

WORDS = ["a", "dog", "cat", "bird", "barks", "sings", "loudly", "then", "while", "rain", "falls"]


def random_texts(clips: int, captions: int, seed: int) -> list[list[str]]:
    numbers = np.random.default_rng(seed)
    return [
        [" ".join(numbers.choice(WORDS, numbers.integers(2, 9))) for _ in range(captions)]
        for _ in range(clips)
    ]


def cosines(texts: list[list[str]]) -> np.ndarray:
    """By another library: scikit-learn's defaults, with words of a single letter too."""
    vectors = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform(map(" ".join, texts))
    return np.round((vectors @ vectors.T).toarray(), 6)


def test_nearness_is_the_cosine_of_tf_idf_vectors() -> None:
    texts = random_texts(60, 3, seed=0)
    texts[7] = []
    texts[8] = ["!?"]
    nearness = Nearness(texts)
    expected = cosines(texts)
    for clip in range(60):
        np.testing.assert_allclose(nearness.to(clip), expected[clip], atol=2e-6)
    assert not nearness.to(7).any()


def test_nearness_by_hand() -> None:
    # Idf of a word in two of three clips: ln(4 / 3) + 1; in one: ln(4 / 2) + 1.
    nearness = Nearness([["dog barks"], ["Dog, sings"], ["rain"]])
    common, rare = np.log(4 / 3) + 1, np.log(2) + 1
    expected = common**2 / (common**2 + rare**2)
    assert nearness.to(0).tolist() == pytest.approx([1, expected, 0], abs=1e-6)


def test_signs_without_spaces_between_them_are_compared_one_by_one() -> None:
    nearness = Nearness([["狗在叫"], ["猫在叫"], ["下雨"], ["犬が吠える"]])
    assert nearness.to(0)[1] > 0.3
    assert nearness.to(0)[2] == 0


def brute_force(
    order: list[int],
    clip_of: list[int],
    texts: list[list[str]],
    count: int,
    batch_size: int,
) -> list[int]:
    """The rule written out once more, with a full sort of every clip at every batch."""
    near = cosines(texts)
    place = {clip: min(i for i, p in enumerate(order) if clip_of[p] == clip) for clip in clip_of}
    unused, result = list(order), []
    while len(unused) >= batch_size:
        first = unused.pop(0)
        batch = [first]
        own = clip_of[first]
        others = [c for c in dict.fromkeys(clip_of) if not set(texts[c]) & set(texts[own])]
        for clip in sorted(others, key=lambda c: (-near[own][c], place[c])):
            mine = [p for p in unused if clip_of[p] == clip]
            if mine and near[own][clip] > 0 and len(batch) <= count:
                unused.remove(mine[0])
                batch.append(mine[0])
        while len(batch) < batch_size:
            batch.append(unused.pop(0))
        result += batch
    return result + unused


@pytest.mark.parametrize(("clips", "each", "count", "size"), [(53, 1, 3, 8), (20, 3, 5, 6)])
def test_the_batches_are_those_of_a_brute_force_choice(
    clips: int, each: int, count: int, size: int
) -> None:
    for seed in range(4):
        texts = random_texts(clips, each, seed)
        texts[1] = texts[0]  # captions that fit both
        clip_of = np.repeat(np.arange(clips), each)
        order = np.random.default_rng(seed).permutation(clips * each)
        found = with_hard_negatives(order, clip_of, Nearness(texts), count, size)
        expected = brute_force(order.tolist(), clip_of.tolist(), texts, count, size)
        assert found.tolist() == expected


def captions_of(texts: list[list[str]]) -> list[tuple[Caption, ...]]:
    return [tuple(Caption(text) for text in said) for said in texts]


@pytest.mark.parametrize("pairs", ["one", "all"])
def test_an_epoch_still_holds_every_pair_once_and_follows_from_seed_and_epoch(pairs: str) -> None:
    captions = captions_of(random_texts(41, 2, seed=5))

    def epoch(number: int, seed: int = 0, start: int = 0) -> list[tuple[int, int]]:
        made = Batches(captions, ["eng"], 6, seed, pairs=pairs, hard_negatives=4)
        return [
            (int(row), int(caption))
            for batch in made.epoch(number, start)
            for row, caption in zip(batch.rows, batch.captions, strict=True)
        ]

    first = epoch(0)
    once = [row for row, _ in first] if pairs == "one" else first
    assert len(set(once)) == len(first) == (36 if pairs == "one" else 78)
    assert first == epoch(0)
    assert first[12:] == epoch(0, start=2)
    assert first != epoch(1)
    assert first != epoch(0, seed=1)


def test_all_pairs_never_take_a_caption_of_the_same_clip_for_a_negative() -> None:
    captions = captions_of(random_texts(40, 5, seed=6))
    made = Batches(captions, ["eng"], 10, seed=0, pairs="all", hard_negatives=9)
    for batch in list(made.epoch(0))[:10]:  # later on, captions of few clips are left
        assert len(set(batch.rows.tolist())) == 10


def test_more_hard_negatives_make_batches_more_alike() -> None:
    texts = random_texts(400, 1, seed=7)
    near = cosines(texts)

    def alike(count: int) -> float:
        made = Batches(captions_of(texts), ["eng"], 24, seed=0, hard_negatives=count)
        return float(np.mean([near[np.ix_(b.rows[:1], b.rows[1:])].mean() for b in made.epoch(0)]))

    found = [alike(count) for count in (0, 6, 12, 18)]
    assert found == sorted(found)
    assert found[3] > 1.5 * found[0]


def test_none_is_todays_order() -> None:
    captions = captions_of(random_texts(30, 1, seed=8))
    order = np.random.default_rng([3, 2, 0]).permutation(30)
    made = Batches(captions, ["eng"], 7, seed=3, hard_negatives=0)
    assert np.array_equal(np.concatenate([b.rows for b in made.epoch(2)]), order[:28])


def test_where_no_clip_has_a_word_in_common_the_order_stays() -> None:
    captions = captions_of([[f"word{clip}"] for clip in range(20)])
    plain = Batches(captions, ["eng"], 5, seed=0)
    hard = Batches(captions, ["eng"], 5, seed=0, hard_negatives=4)
    for one, other in zip(plain.epoch(0), hard.epoch(0), strict=True):
        assert np.array_equal(one.rows, other.rows)


def test_as_many_as_the_batch_is_refused() -> None:
    with pytest.raises(InputError, match=r"batch_size: .*data\.hard_negatives, 8, got 8"):
        tiny_config(Path("x"), data__hard_negatives=8)


@pytest.mark.heavy
@pytest.mark.parametrize("pairs", ["one", "all"])
def test_a_stopped_run_with_noise_and_hard_negatives_ends_as_an_undisturbed_one(
    tmp_path: Path, pairs: str
) -> None:
    data = make_collection(tmp_path / "data", captions=2)
    config = tiny_config(
        data,
        checkpoint_steps=1,
        data={"noise": 0.25, "hard_negatives": 5, "pairs": pairs, "limit": 20},
        data__languages=["eng", "deu"],
    )
    list(fit(config, Folder.at(tmp_path / "undisturbed")))
    write = Folder.write
    steps = Counter()

    def killed(self: Folder, name: str, content: bytes) -> None:
        write(self, name, content)
        if name == "latest.json":
            steps["written"] += 1
            if steps["written"] in (1, 4):
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "write", killed)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                list(fit(config, Folder.at(tmp_path / "run")))
        list(fit(config, Folder.at(tmp_path / "run")))
    assert everything(Folder.at(tmp_path / "run")) == everything(
        Folder.at(tmp_path / "undisturbed")
    )
