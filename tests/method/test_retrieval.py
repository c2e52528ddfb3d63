"""Retrieval against literal loops, hand-computed cases and scikit-learn."""

import sys
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import label_ranking_average_precision_score

from supclap.errors import InputError
from supclap.evaluation import mean_rank_variance, retrieval, retrieval_by_language
from supclap.evaluation.chance import retrieval_chance

# The package exports the function under the module's own name.
module = sys.modules["supclap.evaluation.retrieval"]


def brute_force(
    audio: np.ndarray, texts: np.ndarray, owner: Sequence[int]
) -> tuple[dict[str, float], list[int], list[int]]:
    """The protocol, word for word: sort, look where the right answer stands."""
    scores = texts.astype(np.float64) @ audio.T.astype(np.float64)
    captions, clips = scores.shape
    t2a = []
    for q in range(captions):
        # Wrong answers first among equals: ties count against the model.
        order = sorted(range(clips), key=lambda m: (-scores[q, m], m == owner[q]))
        t2a.append(order.index(owner[q]))
    a2t, precisions = [], []
    for m in range(clips):
        mine = [q for q in range(captions) if owner[q] == m]
        if not mine:
            a2t.append(-1)
            continue
        order = sorted(range(captions), key=lambda q: (-scores[q, m], owner[q] == m))
        places = sorted(order.index(q) for q in mine)
        a2t.append(places[0])
        gains = [(i + 1) / (place + 1) for i, place in enumerate(places) if place < 10]
        precisions.append(sum(gains) / len(mine))
    asked = [rank for rank in a2t if rank >= 0]
    expected = {}
    for way, ranks in (("t2a", t2a), ("a2t", asked)):
        for k in (1, 5, 10, 50):
            expected[f"{way}.R@{k}"] = 100 * sum(rank < k for rank in ranks) / len(ranks)
        expected[f"{way}.medR"] = sorted(r + 1 for r in ranks)[len(ranks) // 2]
        if len(ranks) % 2 == 0:
            middle = sorted(r + 1 for r in ranks)[len(ranks) // 2 - 1 : len(ranks) // 2 + 1]
            expected[f"{way}.medR"] = sum(middle) / 2
        expected[f"{way}.meanR"] = sum(r + 1 for r in ranks) / len(ranks)
    found = [1 / (rank + 1) if rank < 10 else 0 for rank in t2a]
    expected["t2a.mAP10"] = 100 * sum(found) / len(found)
    expected["a2t.mAP10"] = 100 * sum(precisions) / len(precisions)
    return expected, t2a, a2t


@pytest.mark.heavy
@pytest.mark.parametrize("block", [1, 3, 7, 2048])
def test_equals_the_literal_protocol_with_many_ties_and_any_number_of_captions(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    rng = np.random.default_rng(block)
    for _ in range(15):
        clips, captions = rng.integers(1, 25), rng.integers(1, 70)
        audio = rng.integers(-2, 3, (clips, 4)).astype(np.float32)
        texts = rng.integers(-2, 3, (captions, 4)).astype(np.float32)
        owner = rng.integers(0, clips, captions)
        expected, t2a, a2t = brute_force(audio, texts, owner)
        result = retrieval(audio, texts, owner)
        assert result.t2a_ranks.tolist() == t2a
        assert result.a2t_ranks.tolist() == a2t
        assert result.metrics == pytest.approx(expected, abs=1e-9)


def test_hand_computed_case() -> None:
    # Similarities (captions x clips): captions 0, 1 belong to clip 0, caption 2 to clip 1.
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    result = retrieval(np.eye(2), scores, [0, 0, 1])
    assert result.t2a_ranks.tolist() == [0, 1, 1]
    # Clip 0 orders the captions 0, 2, 1: own ones at places 0 and 2. Clip 1 orders 1, 2, 0.
    assert result.a2t_ranks.tolist() == [0, 1]
    assert result.metrics["t2a.R@1"] == pytest.approx(100 / 3)
    assert result.metrics["t2a.mAP10"] == pytest.approx(100 * (1 + 1 / 2 + 1 / 2) / 3)
    assert result.metrics["a2t.mAP10"] == pytest.approx(100 * ((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert result.metrics["t2a.medR"] == 2
    assert result.metrics["a2t.meanR"] == 1.5


def test_average_precision_stops_at_ten_and_divides_by_all_captions() -> None:
    # One clip's two captions stand at places 0 and 10: the second counts nothing, the divisor is 2.
    scores = np.array([1.0, 0.1] + [0.5] * 9)[:, None]
    texts = np.hstack([scores, -scores])
    result = retrieval(np.eye(2), texts, [0, 0] + [1] * 9)
    clip_0, clip_1 = 1 / 2, None
    order = np.argsort(-texts[:, 1], kind="stable").tolist()  # clip 1: caption 1, nine, caption 0
    assert order[0] == 1
    clip_1 = sum((i + 1) / (i + 2) for i in range(9)) / 9
    assert result.metrics["a2t.mAP10"] == pytest.approx(100 * (clip_0 + clip_1) / 2)


def test_within_ten_captions_it_is_average_precision_as_scikit_learn_has_it() -> None:
    rng = np.random.default_rng(0)
    audio, texts = rng.normal(size=(5, 8)), rng.normal(size=(10, 8))
    owner = np.repeat(np.arange(5), 2)
    result = retrieval(audio, texts, owner)
    relevant = (owner[None] == np.arange(5)[:, None]).astype(int)
    a2t = label_ranking_average_precision_score(relevant, audio @ texts.T)
    t2a = label_ranking_average_precision_score(relevant.T, texts @ audio.T)
    assert result.metrics["a2t.mAP10"] == pytest.approx(100 * a2t)
    assert result.metrics["t2a.mAP10"] == pytest.approx(100 * t2a)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_collapsed_model_ranks_last(dtype: type[np.floating]) -> None:
    # 1/sqrt(3) is no exact number: rounding differs with the order of summation, ties must not.
    vector = np.full((1, 192), 192**-0.5, dtype=dtype)
    result = retrieval(vector.repeat(40, 0), vector.repeat(200, 0), np.arange(200) // 5)
    assert (result.t2a_ranks == 39).all()
    assert (result.a2t_ranks == 195).all()
    assert result.metrics["t2a.R@1"] == result.metrics["a2t.mAP10"] == 0


@pytest.mark.parametrize(("below", "rank"), [(7e-10, 0), (1e-11, 0), (1e-13, 1), (0.0, 1)])
def test_only_what_rounding_can_make_is_a_tie(below: float, rank: int) -> None:
    """Of 1e8 pairs of float32 embeddings the nearest rival lay 7e-10 below: it is no tie."""
    cosine = 1 - below
    audio = np.array([[1.0, 0.0], [cosine, (1 - cosine**2) ** 0.5]])
    assert retrieval(audio, audio[:1], [0]).t2a_ranks.tolist() == [rank]


@pytest.mark.parametrize("width", [64, 768, 4000])
def test_the_order_of_summation_makes_ties_not_ranks(width: int) -> None:
    """One clip many times: whatever way its product is added up, no copy beats another."""
    rng = np.random.default_rng(width)
    vectors = rng.normal(size=(2, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sound, text = vectors.astype(np.float64)
    scores = []
    for _ in range(50):
        order = rng.permutation(width)
        scores.append(np.cumsum(sound[order] * text[order])[-1])
    assert np.ptp(scores) < module.TIE
    result = retrieval(vectors[:1].repeat(7, 0), vectors[1:], [3])
    assert result.t2a_ranks.tolist() == [6]


def test_the_median_of_an_even_number_of_queries_lies_between_ranks() -> None:
    """12.5 of the ranks 12 and 13, where WavCaps' code has floor(median) + 1 of 0-based ranks."""
    scores = np.linspace(1, 0, 20)
    texts = np.stack([np.roll(scores, -11), np.roll(scores, -12)])
    result = retrieval(np.eye(20), texts, [0, 0])
    assert result.t2a_ranks.tolist() == [11, 12]
    assert result.metrics["t2a.medR"] == 12.5
    assert np.floor(np.median(result.t2a_ranks)) + 1 == 12


def test_a_perfect_model() -> None:
    result = retrieval(np.eye(60), np.eye(60).repeat(5, 0), np.arange(300) // 5)
    for name, value in result.metrics.items():
        assert value == (1 if name.endswith(("medR", "meanR")) else 100)


def test_clips_without_a_caption_are_candidates_that_ask_nothing() -> None:
    audio = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    result = retrieval(audio, np.array([[0.0, 2.0], [0.5, 0.5]]), [2, 0])
    assert result.a2t_ranks.tolist() == [0, -1, 0]
    assert result.t2a_ranks.tolist() == [0, 2]
    assert result.metrics["a2t.R@1"] == 100


def test_tensors_arrays_and_block_sizes_agree() -> None:
    rng = np.random.default_rng(1)
    audio = rng.normal(size=(33, 6)).astype(np.float32)
    texts = rng.normal(size=(80, 6)).astype(np.float32)
    owner = rng.integers(0, 33, 80)
    one = retrieval(audio, texts, owner)
    other = retrieval(
        torch.tensor(audio, requires_grad=True), torch.tensor(texts), torch.tensor(owner)
    )
    assert one.metrics == other.metrics


@pytest.mark.heavy
def test_memory_does_not_grow_with_clips_times_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 128)
    largest = 0
    real = torch.Tensor.__matmul__

    def watched(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        product = real(left, right)
        largest = max(largest, product.numel())
        return product

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    rng = np.random.default_rng(0)
    tracemalloc.start()
    retrieval(rng.normal(size=(3000, 4)), rng.normal(size=(3000, 4)), np.arange(3000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert largest == 128 * 128
    assert peak < 3000 * 3000  # bytes; the matrix alone would take eight times that


def test_each_language_is_measured_on_its_own_and_then_averaged() -> None:
    rng = np.random.default_rng(3)
    audio = rng.normal(size=(12, 5))
    texts = rng.normal(size=(36, 5))
    owner = np.tile(np.arange(12), 3)
    languages = ["eng"] * 12 + ["fra"] * 12 + ["jpn"] * 12
    result = retrieval_by_language(audio, texts, owner, languages)
    separate = [retrieval(audio, texts[i : i + 12], np.arange(12)) for i in (0, 12, 24)]
    for language, one in zip(("eng", "fra", "jpn"), separate, strict=True):
        assert result.by_language[language].metrics == one.metrics
        assert result.metrics[f"{language}.t2a.R@5"] == one.metrics["t2a.R@5"]
    assert result.metrics["a2t.mAP10"] == pytest.approx(
        np.mean([one.metrics["a2t.mAP10"] for one in separate])
    )
    ranks = np.stack([one.t2a_ranks for one in separate])
    by_hand = np.mean([sum((r - c.mean()) ** 2 for r in c) / 3 for c in ranks.T])
    assert result.metrics["MRV"] == pytest.approx(by_hand)


def test_one_language_has_neither_its_own_names_nor_a_variance() -> None:
    result = retrieval_by_language(np.eye(3), np.eye(3), [0, 1, 2], ["deu"] * 3)
    assert result.metrics == retrieval(np.eye(3), np.eye(3), [0, 1, 2]).metrics


def test_rank_variance_pairs_the_captions_of_a_clip_whatever_their_order() -> None:
    rng = np.random.default_rng(5)
    audio, texts = rng.normal(size=(6, 4)), rng.normal(size=(24, 4))
    owner = np.tile(np.repeat(np.arange(6), 2), 2)
    languages = np.array(["eng"] * 12 + ["fra"] * 12)
    result = retrieval_by_language(audio, texts, owner, languages)
    english, french = (result.by_language[one].t2a_ranks for one in ("eng", "fra"))
    assert result.metrics["MRV"] == pytest.approx(np.mean((english - french) ** 2 / 4))
    # The same captions, languages interleaved and clips backwards.
    order = np.arange(24).reshape(2, 6, 2).transpose(1, 0, 2)[::-1].reshape(-1)
    again = retrieval_by_language(audio, texts[order], owner[order], languages[order])
    assert again.metrics["MRV"] == pytest.approx(result.metrics["MRV"])


def test_rank_variance_leaves_out_what_a_language_lacks() -> None:
    # Clip 1 has no French caption, clip 0 a second English one.
    owner = [0, 0, 1, 0]
    texts = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    result = retrieval_by_language(np.eye(2), texts, owner, ["eng", "eng", "eng", "fra"])
    assert result.metrics["MRV"] == pytest.approx(0.25)  # ranks 0 and 1 of clip 0's first captions
    assert mean_rank_variance(np.array([0, 4]), np.array([2, -1])) == 1


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        ([1] * 7, {"t2a.R@1": 100 / 7, "t2a.R@10": 100, "t2a.medR": 4, "a2t.meanR": 4}),
        ([5] * 1000, {"t2a.R@10": 1, "a2t.meanR": 5001 / 6}),
    ],
)
def test_chance_by_formula(captions: list[int], expected: dict[str, Any]) -> None:
    chance = retrieval_chance(captions)
    assert {name: chance[name] for name in expected} == pytest.approx(expected)


@pytest.mark.heavy
def test_chance_is_what_random_orders_score_on_average() -> None:
    rng = np.random.default_rng(0)
    amounts = [1, 2, 5, 0, 3, 3, 7]
    owner = np.repeat(np.arange(7), amounts)
    runs = [
        retrieval(rng.normal(size=(7, 64)), rng.normal(size=(21, 64)), owner).metrics
        for _ in range(1500)
    ]
    chance = retrieval_chance(amounts)
    assert set(chance) == set(runs[0])
    for name, value in chance.items():
        if name.endswith("medR"):
            continue  # the mean of medians is not the median
        scores = [run[name] for run in runs]
        error = np.std(scores) / len(scores) ** 0.5
        assert abs(np.mean(scores) - value) < 4.5 * error + 1e-9, name


def test_chance_of_the_median_rank() -> None:
    # Two of three captions are the clip's own: the best is first with chance 2/3.
    assert retrieval_chance([2, 1])["a2t.medR"] == 1
    assert retrieval_chance([1, 1, 1, 1, 1])["a2t.medR"] == 3


@pytest.mark.parametrize(
    ("audio", "texts", "owner", "message"),
    [
        (np.array([[1.0], [np.nan]]), np.ones((1, 1)), [0], "1 of 2 audio .* first in row 1"),
        (np.ones((1, 1)), np.array([[np.inf]]), [0], "1 of 1 text"),
        (np.ones((2, 3)), np.ones((2, 4)), [0, 1], "do not fit"),
        (np.ones((2, 3)), np.ones((2, 3)), [0], "do not fit"),
        (np.ones((2, 3)), np.ones((2, 3)), [0, 2], r"0 \.\.\. 1"),
        (np.ones((2, 3)), np.ones((0, 3)), [], "expected text embeddings"),
        (np.ones(3), np.ones((1, 3)), [0], "expected audio embeddings"),
    ],
)
def test_unusable_input_is_one_line(
    audio: np.ndarray, texts: np.ndarray, owner: list[int], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        retrieval(audio, texts, owner)
    assert "\n" not in str(caught.value)
