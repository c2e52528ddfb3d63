"""Sequential designs against a sphere cut up by hand, brute force, SciPy and the closed test."""

from __future__ import annotations

from itertools import product
from math import pi, sqrt

import numpy as np
import pytest
from scipy import stats
from supclap_platform.experiment.seeds import Looks, default_looks
from supclap_platform.results.crossing import upper_bounds
from supclap_platform.results.inference import mean_test, negligible
from supclap_platform.results.sequential import (
    Design,
    design_of,
    equivalence_at,
    mean_test_at,
    spent,
)
from supclap_platform.results.statistics import holm, step_down

USUAL = Looks(default_looks(40), "even")


def t_of(values: np.ndarray, looks: tuple[int, ...]) -> np.ndarray:
    """(rows, values) -> t of the first n of each row, for each n: (rows, looks)."""
    columns = []
    for n in looks:
        first = values[:, :n]
        columns.append(first.mean(1) / first.std(1, ddof=1) * sqrt(n))
    return np.stack(columns, axis=1)


def test_the_usual_looks() -> None:
    assert default_looks(40) == (3, 5, 8, 12, 18, 27, 40)
    assert default_looks(20) == (3, 5, 8, 12, 18, 20)
    assert default_looks(100) == (3, 5, 8, 12, 18, 27, 40, 60, 90, 100)
    assert default_looks(3) == (3,)


@pytest.mark.parametrize("spending", ["even", "linear", "pocock", "middle"])
def test_what_is_spent_adds_up(spending: str) -> None:
    shares = spent(Looks((3, 5, 8, 40), spending))
    assert sum(shares) == pytest.approx(1, abs=1e-12)
    first = {"even": 1 / 4, "linear": 3 / 40, "pocock": np.log(1 + (np.e - 1) * 3 / 40)}
    first["middle"] = stats.beta(4, 3).cdf(1 / 4)
    assert shares[0] == pytest.approx(first[spending])
    many = spent(Looks(tuple(range(2, 52)), spending))  # none is too small to have a bound
    assert min(many) > 1e-4
    assert sum(many) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("n", [2, 5, 40])
@pytest.mark.parametrize("level", [1e-8, 0.025, 0.4])
def test_one_look_is_the_t_test(n: int, level: float) -> None:
    design = Design(Looks((n,), "linear"))
    (bound,) = design.bounds(level)
    assert bound == pytest.approx(stats.t.isf(level, n - 1), rel=1e-6)
    assert design.level(0, 0.0371) == 0.0371
    values = np.random.default_rng(n).normal(0.4, 1, n).tolist()
    alone, within = mean_test(values), mean_test_at(mean_test(values), design, 0)
    assert (within.p, within.above) == (alone.p, alone.above)
    assert (within.low, within.high) == pytest.approx((alone.low, alone.high), rel=1e-9)


@pytest.mark.heavy
def test_two_and_three_values_are_areas_of_a_sphere() -> None:
    """The direction of three normal values is uniform on a sphere: cut it up into a million pieces
    and count those where the bound at two values is kept, and that at three crossed."""
    bounds = upper_bounds((2, 3), [0.03, 0.05])
    heights = (np.arange(500) + 0.5) / 250 - 1
    angles = (np.arange(2_000) + 0.5) * 2 * pi / 2_000
    area, count = np.zeros(2), 0
    for height in heights:
        ring = sqrt(1 - height**2)
        places = np.stack([ring * np.cos(angles), np.full(2_000, height), ring * np.sin(angles)], 1)
        crossed = t_of(places, (2, 3)) >= bounds
        area += [crossed[:, 0].sum(), (~crossed[:, 0] & crossed[:, 1]).sum()]
        count += len(places)
    assert area / count == pytest.approx([0.03, 0.05], abs=1e-4)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "looks",
    [
        Looks((3, 4, 8, 12), "linear"),
        Looks((2, 3, 5, 12), "pocock"),
        Looks((5, 12), "even"),
        Design(Looks((3, 5, 8, 12), "even")).small.looks,
    ],
)
def test_bounds_are_crossed_as_often_as_is_spent(looks: Looks) -> None:
    """By brute force: a million draws of twelve values."""
    level = 0.2
    bounds = Design(looks).bounds(level)
    chance = np.random.default_rng(looks.seeds[0])
    first = np.zeros(len(bounds))
    for _ in range(10):
        crossed = t_of(chance.normal(0, 7, (100_000, 12)), looks.seeds)
        crossed = crossed >= bounds
        any_ = crossed.any(1)
        first += np.bincount(crossed.argmax(1)[any_], minlength=len(bounds))
    for found, share in zip(first / 1e6, spent(looks), strict=True):
        assert found == pytest.approx(level * share, abs=4 * sqrt(level * share / 1e6))


@pytest.mark.parametrize("at_most", [6, 40])
@pytest.mark.parametrize("small", [False, True])
def test_the_level_of_a_bound_is_the_levels_own(at_most: int, small: bool) -> None:
    design = design_of(Looks(default_looks(at_most), "even"))
    design = design.small if small else design
    for level in (1e-5, 0.0036, 0.025, 0.2):
        for look, (n, bound) in enumerate(
            zip(design.looks.seeds, design.bounds(level), strict=True)
        ):
            assert design.level(look, stats.t.sf(bound, n - 1)) == pytest.approx(level, rel=3e-4)
    levels = [design.level(1, tail) for tail in np.geomspace(1e-12, 1, 200)]
    assert levels == sorted(levels)
    assert levels[-1] == 1


@pytest.mark.heavy
def test_a_sequential_p_is_as_often_small_as_it_says() -> None:
    """Whatever the level: 40,000 experiments without an effect, with all looks taken."""
    looks = Looks((3, 5, 8), "even")
    design = design_of(looks)
    ts = t_of(np.random.default_rng(0).normal(0, 1, (40_000, 8)), looks.seeds)
    least = np.ones(len(ts))
    for look, n in enumerate(looks.seeds):
        tails = stats.t.sf(ts[:, look], n - 1)
        least = np.minimum(least, [design.level(look, tail) for tail in tails])
    for level in (0.01, 0.05, 0.2):
        off = 4 * sqrt(level / len(ts))
        assert np.mean(least <= level) == pytest.approx(level, abs=off)


def test_intervals_are_the_repeated_ones_and_p_never_rises() -> None:
    design = design_of(USUAL)
    values = np.random.default_rng(3).normal(1.2, 1, 12).tolist()
    before = None
    for look, n in enumerate(USUAL.seeds[:4]):
        found = mean_test_at(mean_test(values[:n]), design, look, before)
        reach = design.bounds(0.025)[look] * np.std(values[:n], ddof=1) / sqrt(n)
        mean = np.mean(values[:n])
        assert (found.low, found.high) == pytest.approx((mean - reach, mean + reach))
        assert before is None or found.p <= before.p
        own = design.level(look, stats.ttest_1samp(values[:n], 0, alternative="greater").pvalue)
        least = own if before is None else min(own, before.above)
        assert found.above == pytest.approx(least)
        before = found


def test_negligible_is_two_one_sided_tests_at_their_own_looks() -> None:
    design = design_of(USUAL)
    values = np.random.default_rng(5).normal(0.1, 0.4, 8)
    found = None
    for look, n in enumerate((3, 5, 8)):
        found = equivalence_at(negligible(values[:n].tolist(), 1.0), design, look, found)
    assert found is not None
    ends = {"less": values - 1.0, "greater": values + 1.0}
    least = {
        way: min(
            design.level(look, stats.ttest_1samp(end[:n], 0, alternative=way).pvalue)
            for look, n in enumerate((3, 5, 8))
        )
        for way, end in ends.items()
    }
    assert found.inside == pytest.approx(max(least.values()))


def closed(questions: list[list[float]]) -> list[list[float]]:
    """The closed test written out: a question is answered at a level if every set of hypotheses
    that can be true together, at most one of each claim, is refused by Bonferroni at it."""
    corrected = [[0.0] * len(ps) for ps in questions]
    for chosen in product(*[[None, *range(len(ps))] for ps in questions]):
        some = [(claim, place) for claim, place in enumerate(chosen) if place is not None]
        if some:
            p = min(1.0, len(some) * min(questions[claim][place] for claim, place in some))
            for claim, place in some:
                corrected[claim][place] = max(corrected[claim][place], p)
    return corrected


def test_the_correction_is_the_closed_test_and_holms_where_each_claim_asks_one_question() -> None:
    chance = np.random.default_rng(0)
    for _ in range(200):
        kinds = chance.integers(1, 3, 4)
        questions = [(chance.random(kind) ** 3).tolist() for kind in kinds]
        for own, other in zip(step_down(questions), closed(questions), strict=True):
            assert own == pytest.approx(other)
        ps = chance.random(5).tolist()
        assert holm(ps) == [p for (p,) in step_down([[p] for p in ps])]
    assert step_down([[0.01, 0.3], [0.02]]) == [[0.02, 0.3], [0.04]]  # 0.3: the other is answered
