"""Tests, intervals and power against SciPy, literal loops, published values and simulation."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from supclap_platform.results import bootstrap
from supclap_platform.results.bootstrap import crossed_interval, queries_of
from supclap_platform.results.inference import equivalence, has_spread, mean_test, sign_flip
from supclap_platform.results.power import (
    Contrast,
    contrast_of,
    contrasts_of,
    power,
    seeds_needed,
)
from supclap_platform.results.statistics import holm

from supclap.evaluation.retrieval import retrieval_by_language
from supclap.measurement import _ranks

RANKED = ("R@1", "R@5", "R@10", "meanR", "mAP10")


def test_holm_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04, times 4, 3, 2, 1: the last may not fall below the third
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.05]) == [0.05]
    assert holm([]) == []


def test_holm_is_the_step_down_procedure() -> None:
    """Corrected p <= level says what the procedure, followed step by step, rejects."""
    chance = np.random.default_rng(0)
    for _ in range(200):
        ps = (chance.random(6) ** 3).tolist()
        corrected = holm(ps)
        rejected = set()
        for step, place in enumerate(sorted(range(6), key=ps.__getitem__)):
            if ps[place] > 0.05 / (6 - step):
                break
            rejected.add(place)
        assert {i for i, p in enumerate(corrected) if p <= 0.05} == rejected


def test_a_t_test_by_hand() -> None:
    # 1, 2, 3 against 0: mean 2, deviation 1, t = 2 sqrt(3); for 2 degrees of freedom the
    # distribution is 1/2 + t / (2 sqrt(2 + t^2)), and its 97.5 % point 4.302653
    found = mean_test([1.0, 2.0, 3.0])
    t = 2 * math.sqrt(3)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert (found.low, found.high) == pytest.approx(
        (2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-6
    )
    assert found.above == pytest.approx(found.p / 2)
    assert found.below == pytest.approx(1 - found.p / 2)


def test_a_t_test_against_scipy() -> None:
    chance = np.random.default_rng(1)
    for n in range(2, 9):
        values = chance.normal(0.3, 1, n)
        for null in (0.0, 0.5):
            ours = mean_test(values.tolist(), null)
            theirs = stats.ttest_1samp(values, null)
            interval = theirs.confidence_interval(0.95)
            assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
            assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
            for side, p in (("greater", ours.above), ("less", ours.below)):
                assert p == pytest.approx(stats.ttest_1samp(values, null, alternative=side).pvalue)


def test_a_spread_of_rounding_is_none() -> None:
    differences = [42.2 - 40.1, 41.3 - 39.2, 4.3 - 2.2]
    assert len(set(differences)) > 1  # they differ in their last bits
    assert not has_spread(differences, scale=42.1)
    assert has_spread([2.0, 2.001], scale=42.1)
    assert not has_spread([0.0, 0.0])
    assert not has_spread([5.0])
    with pytest.raises(ValueError, match="not all the same"):
        mean_test([2.0, 2.0])


def test_the_sign_flip_test_against_all_flips() -> None:
    chance = np.random.default_rng(2)
    for n in range(2, 8):
        values = np.round(chance.normal(0.5, 1, n), 1)  # rounded, so that ties occur
        for null in (0.0, 0.25):
            shifted = values - null
            means = [np.mean(np.multiply(s, shifted)) for s in itertools.product((1, -1), repeat=n)]
            observed = shifted.mean()
            above = np.mean([mean >= observed - 1e-12 for mean in means])
            below = np.mean([mean <= observed + 1e-12 for mean in means])
            expected = min(1.0, 2 * min(above, below))
            assert sign_flip(values.tolist(), null) == pytest.approx(expected)
    assert sign_flip([1.0, 2.0, 3.0]) == 0.25  # never less with three seeds


def test_the_sign_flip_test_of_many_seeds_is_drawn_and_stays_the_same() -> None:
    values = np.random.default_rng(3).normal(0.4, 1, 30).tolist()
    assert sign_flip(values) == sign_flip(values)
    assert sign_flip(values) == pytest.approx(mean_test(values).p, abs=0.02)


def test_equivalence_against_scipy() -> None:
    chance = np.random.default_rng(4)
    for _ in range(20):
        theirs = chance.normal(40, 1, 5)
        ours = theirs + chance.normal(0.2, 0.5, 5)
        found = equivalence(ours.tolist(), theirs.tolist(), 0.02)
        upper, lower = ours - 1.02 * theirs, ours - 0.98 * theirs
        inside = max(
            stats.ttest_1samp(upper, 0, alternative="less").pvalue,
            stats.ttest_1samp(lower, 0, alternative="greater").pvalue,
        )
        outside = 2 * min(
            stats.ttest_1samp(upper, 0, alternative="greater").pvalue,
            stats.ttest_1samp(lower, 0, alternative="less").pvalue,
        )
        assert found.inside == pytest.approx(inside)
        assert found.outside == pytest.approx(min(1, outside))


def test_equivalence_around_a_negative_number_has_its_bounds_in_order() -> None:
    found = equivalence([-40.1, -39.8, -40.0], [-40.0, -40.1, -39.9], 0.05)
    assert found.upper.mean < 0 < found.lower.mean
    assert found.inside < 0.05


def test_false_positives_and_coverage_under_the_null() -> None:
    """Of 2,000 experiments without an effect: one in twenty has p <= 0.05 and misses zero."""
    chance = np.random.default_rng(5)
    for n in (2, 4):
        found = [mean_test(values) for values in chance.normal(0, 2, (2000, n)).tolist()]
        false = np.mean([one.p <= 0.05 for one in found])
        covered = np.mean([one.low <= 0 <= one.high for one in found])
        assert false == pytest.approx(0.05, abs=0.015), n  # three standard errors
        assert covered == pytest.approx(1 - false)


def test_a_file_of_seven_null_claims_errs_once_in_twenty() -> None:
    """Seven variants against one baseline, whose differences are correlated through it."""
    chance = np.random.default_rng(6)
    files, any_false, uncorrected = 500, 0, 0
    for _ in range(files):
        runs = chance.normal(40, 1, (8, 3))
        ps = [mean_test((runs[i] - runs[0]).tolist()).p for i in range(1, 8)]
        any_false += min(holm(ps)) <= 0.05
        uncorrected += min(ps) <= 0.05
    assert any_false / files <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / files)
    assert uncorrected / files > 0.12  # what the correction is for


def test_equivalence_errs_at_the_bound_no_more_often_than_it_may() -> None:
    chance = np.random.default_rng(7)
    inside = outside = 0
    for _ in range(2000):
        theirs = chance.normal(40, 1, 4)
        ours = 1.02 * theirs + chance.normal(0, 0.2, 4)  # exactly 2 % more, on average
        found = equivalence(ours.tolist(), theirs.tolist(), 0.02)
        inside += found.inside <= 0.05
        outside += found.outside <= 0.05
    most = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert 0.03 < inside / 2000 < most
    assert outside / 2000 < most


@pytest.mark.parametrize(
    ("effect", "seeds"),
    # Cohen's d of a paired t test at 0.05 and 80 %, as G*Power and Cohen's tables have it.
    [(0.2, 199), (0.5, 34), (0.8, 15)],
)
def test_seeds_needed_as_published(effect: float, seeds: int) -> None:
    assert seeds_needed([Contrast(effect, 1.0)], 0.05) == seeds


def test_power_against_simulation() -> None:
    chance = np.random.default_rng(8)
    level = 0.05 / 7
    needed = seeds_needed([Contrast(1.5, 1.0)], level)
    assert needed is not None
    for n in (3, needed - 1, needed):
        values = chance.normal(1.5, 1, (20_000, n))
        t = values.mean(1) / (values.std(1, ddof=1) / math.sqrt(n))
        simulated = np.mean(t > stats.t.ppf(1 - level / 2, n - 1))
        assert power(Contrast(1.5, 1.0), n, level) == pytest.approx(simulated, abs=0.012)
    assert (
        power(Contrast(1.5, 1.0), needed - 1, level)
        < 0.8
        <= power(Contrast(1.5, 1.0), needed, level)
    )


def test_power_of_equivalence_is_never_overstated() -> None:
    chance = np.random.default_rng(9)
    contrasts = [Contrast(1.0, 1.0, 1), Contrast(1.4, 1.0, 1)]  # upper and lower bound
    needed = seeds_needed(contrasts, 0.05)
    assert needed is not None
    values = chance.normal(0, 1, (20_000, needed))
    mean, error = values.mean(1), values.std(1, ddof=1) / math.sqrt(needed)
    edge = stats.t.ppf(0.95, needed - 1)
    found = np.mean(((mean - 1.0) / error < -edge) & ((mean + 1.4) / error > edge))
    assert 0.8 <= found + 0.01 < 0.9


def test_seeds_that_no_one_has_are_not_counted() -> None:
    assert seeds_needed([Contrast(0.0, 1.0)], 0.05) is None
    assert seeds_needed([Contrast(0.01, 1.0)], 0.05) is None
    assert seeds_needed([Contrast(1e6, 1.0)], 0.05) == 2
    lone = mean_test([1.0, 2.0, 4.0], 0.5)
    (contrast,) = contrast_of(lone)
    assert (contrast.shift, contrast.tails) == (pytest.approx(7 / 3 - 0.5), 2)
    near = contrasts_of(equivalence([40.1, 39.9, 40.3], [40.0, 40.1, 40.0], 0.05))
    assert [one.tails for one in near] == [1, 1]
    far = contrasts_of(equivalence([45.1, 44.9, 45.3], [40.0, 40.1, 40.0], 0.05))
    assert [one.tails for one in far] == [2]


def test_kept_ranks_give_the_metrics_that_evaluation_reports() -> None:
    """Two languages, three captions a clip in one and three in the other, a clip without any."""
    chance = np.random.default_rng(10)
    owner = np.repeat(np.arange(1, 40), 6)
    spoken = ["eng", "deu"] * (len(owner) // 2)
    audio = chance.normal(size=(40, 8))
    texts = audio[owner] + chance.normal(size=(len(owner), 8))
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    found = retrieval_by_language(audio, texts, owner, spoken)
    inputs = SimpleNamespace(caption_languages=spoken, caption_rows=owner, clips=range(40))
    ranks = _ranks(found, inputs)
    for name in (f"{way}.{last}" for way in ("t2a", "a2t") for last in RANKED):
        queries = queries_of(f"test.{name}", ranks)
        assert queries is not None
        assert queries.values.mean() == pytest.approx(found.metrics[name], rel=1e-12), name
    captions = queries_of("test.t2a.R@1", ranks)
    first = [place for place, language in enumerate(spoken) if language == "eng"]
    assert captions.clips.tolist()[: len(first)] == owner[first].tolist()
    assert queries_of("test.a2t.R@1", ranks).clips.tolist() == [*range(1, 40), *range(1, 40)]
    for other in ("test.t2a.medR", "val.t2a.R@1", "test.MRV", "test.eng.t2a.R@1", "seconds"):
        assert queries_of(other, ranks) is None
    assert queries_of("test.t2a.R@1", {"t2a_ranks": ranks["t2a_ranks"]}) is None


def test_the_bootstrap_against_a_literal_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed: clips are drawn whole, and the draws' percentiles are the interval."""
    chance = np.random.default_rng(11)
    clips = np.repeat([7, 3, 5, 9], [1, 3, 2, 4])
    differences = chance.normal(size=(1, 10))
    monkeypatch.setattr(bootstrap, "CELLS", 4 * 100)  # a few blocks
    low, high = crossed_interval(differences, clips, draws=250, seed=3)
    generator = np.random.default_rng(3)
    means = []
    for _ in range(250):
        times = generator.multinomial(4, [0.25] * 4)
        drawn = []
        for clip, n in zip([3, 5, 7, 9], times, strict=True):
            drawn += list(differences[0, clips == clip]) * n
        means.append(np.mean(drawn))
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_the_bootstrap_of_many_queries_has_the_known_standard_error() -> None:
    chance = np.random.default_rng(12)
    differences = chance.normal(1, 3, (1, 900))
    low, high = crossed_interval(differences, np.arange(900))
    error = differences.std() / 30
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.06)
    in_pairs = crossed_interval(differences.repeat(2, axis=1), np.arange(900).repeat(2))
    assert in_pairs == pytest.approx((low, high))  # a caption said twice is no second query


@pytest.mark.parametrize("n", [2, 3, 12])
def test_with_seeds_alone_to_vary_the_bootstrap_is_the_t_interval(n: int) -> None:
    by_seed = np.random.default_rng(13).normal(2, 1, n)
    low, high = crossed_interval(np.repeat(by_seed[:, None], 50, axis=1), np.arange(50))
    known = mean_test(by_seed.tolist())
    assert (low, high) == pytest.approx((known.low, known.high), rel=0.01, abs=0.01)


def test_noise_of_single_answers_counts_once() -> None:
    """No clip suits a variant and no seed does: the interval is about that over seeds alone."""
    chance = np.random.default_rng(15)
    ratios = []
    for _ in range(20):
        differences = chance.normal(0, 1, (6, 200))
        low, high = crossed_interval(differences, np.arange(200))
        alone = mean_test(differences.mean(1).tolist())
        ratios.append((high - low) / (alone.high - alone.low))
    assert 1 <= np.median(ratios) + 0.02 < 1.25  # counted thrice, it would be 1.7


@pytest.mark.heavy
def test_the_crossed_interval_covers_where_seeds_alone_do_not() -> None:
    """Truth 0 over seeds and clips; what clips have in common for all seeds counts."""
    chance = np.random.default_rng(14)
    trials, clips = 300, np.arange(40).repeat(2)
    for n in (3, 6):
        wide = narrow = 0
        for _ in range(trials):
            seeds = chance.normal(0, 0.3, (n, 1))
            shared = chance.normal(0, 2, 40).repeat(2)
            differences = seeds + shared + chance.normal(0, 1, (n, 80))
            low, high = crossed_interval(differences, clips, draws=300)
            wide += low <= 0 <= high
            alone = mean_test(differences.mean(1).tolist())
            narrow += alone.low <= 0 <= alone.high
        assert 0.92 <= wide / trials <= 0.99, n
        assert narrow / trials < 0.9, n
