"""How often the verdicts' statistics err: false positives, coverage and power, by simulation.

python -m benchmarks.verdicts                # docs/statistics.md's tables; about a minute
python -m benchmarks.verdicts --trials 100   # in seconds
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import exp, sqrt

import numpy as np
from supclap_platform.results.bootstrap import crossed_interval
from supclap_platform.results.inference import equivalence, has_spread, mean_test
from supclap_platform.results.power import Contrast, power
from supclap_platform.results.statistics import holm

SEEDS = (2, 3, 5, 10)
TRIALS = 2_000
CLIPS, CAPTIONS = 60, 2
LEVEL, CLAIMS = 0.05, 7
SHAPE_TRIALS = 50_000
HITS, QUERIES = 0.3, 1_000  # of R@1, whose values are tenths of a percent
COLLAPSE = 1 / 20  # of the runs of one variant end at 0 instead of about 40

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def t_tests(n: int, trials: int, chance: np.random.Generator) -> tuple[float, float]:
    """Share of false positives, and of intervals that hold the truth, without an effect."""
    tests = [mean_test(row) for row in chance.normal(0, 1, (trials, n)).tolist()]
    false = np.mean([test.p <= LEVEL for test in tests])
    return float(false), float(np.mean([test.low <= 0 <= test.high for test in tests]))


def files(n: int, trials: int, chance: np.random.Generator) -> tuple[float, float]:
    """Share of files of null claims with any false verdict: with Holm's correction, and without."""
    corrected = alone = 0
    for _ in range(trials // 2):
        runs = chance.normal(40, 1, (CLAIMS + 1, n))
        ps = [mean_test((row - runs[0]).tolist()).p for row in runs[1:]]
        corrected += min(holm(ps)) <= LEVEL
        alone += min(ps) <= LEVEL
    return corrected / (trials // 2), alone / (trials // 2)


def queries(n: int, trials: int, chance: np.random.Generator) -> tuple[float, float]:
    """Coverage over seeds and queries of hit rates: the crossed interval, and seeds alone."""
    crossed = alone = judged = 0
    clips = np.arange(CLIPS).repeat(CAPTIONS)
    trials = trials // 4
    for _ in range(trials):
        easier = chance.normal(0, 0.15, CLIPS).repeat(CAPTIONS)  # a clip suits one variant
        better = chance.normal(0, 0.03, (n, 1))  # so does a seed
        ours = chance.random((n, len(clips))) < 0.5 + easier + better
        theirs = chance.random((n, len(clips))) < 0.5
        differences = 100.0 * ours - 100.0 * theirs
        low, high = crossed_interval(differences, clips, draws=400)
        crossed += low <= 0 <= high
        by_seed = differences.mean(1).tolist()
        if has_spread(by_seed, scale=100):  # else the claim would not be judged
            judged += 1
            test = mean_test(by_seed)
            alone += test.low <= 0 <= test.high
    return crossed / trials, alone / judged


def _recall(chance: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    ours, theirs = chance.binomial(QUERIES, HITS, (2, *shape))
    return (ours - theirs) * 100 / QUERIES


def _collapsing(chance: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    ours, theirs = chance.normal(40, 1, (2, *shape))
    ours[chance.random(shape) < COLLAPSE] = 0
    return ours - theirs + 40 * COLLAPSE


# How the differences of seeds may be distributed. Each has mean 0: whatever is decided is false.
SHAPES: dict[str, Draw] = {
    "normal": lambda chance, shape: chance.normal(0, 1, shape),
    "t, 3 degrees of freedom": lambda chance, shape: chance.standard_t(3, shape),
    "R@1 of 1,000 queries": _recall,
    "uniform": lambda chance, shape: chance.uniform(-1, 1, shape),
    "exponential": lambda chance, shape: chance.exponential(1, shape) - 1,
    "lognormal": lambda chance, shape: chance.lognormal(0, 1, shape) - exp(0.5),
    "one variant collapses in 1 of 20 runs": _collapsing,
}


def shape_error(name: str, n: int, trials: int = SHAPE_TRIALS) -> float:
    """Share of false verdicts on "mean above 0", of ``n`` seeds whose differences have a shape.

    Seeds that all differ alike are judged by nobody, and left out.
    """
    rows = SHAPES[name](np.random.default_rng(n), (trials, n)).tolist()
    tests = [mean_test(row) for row in rows if has_spread(row)]
    return float(np.mean([test.p <= LEVEL for test in tests]))


def decided_at_the_bound(n: int, trials: int = SHAPE_TRIALS) -> tuple[float, float]:
    """Share of "within 2 %" that are supported, and that are contradicted, where the truth is
    exactly 2 %."""
    chance = np.random.default_rng(n)
    inside = outside = 0
    for _ in range(trials):
        theirs = chance.normal(40, 1, n)
        ours = 1.02 * theirs + chance.normal(0, 0.2, n)
        found = equivalence(ours.tolist(), theirs.tolist(), 0.02)
        inside += found.inside <= LEVEL
        outside += found.outside <= LEVEL
    return inside / trials, outside / trials


def simulated_power(n: int, trials: int, chance: np.random.Generator) -> tuple[float, float]:
    """Chance to find an effect of two standard deviations: by formula, and by trial."""
    tests = [mean_test(row) for row in chance.normal(2, 1, (trials, n)).tolist()]
    found = np.mean([test.p <= LEVEL and test.mean > 0 for test in tests])
    return power(Contrast(2, 1), n, LEVEL), float(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each figure but the shapes'")
    parser.add_argument("--shape-trials", type=int, help="default: 25 times --trials")
    given = parser.parse_args()
    trials, of_shapes = given.trials, given.shape_trials or 25 * given.trials
    print(f"standard error of a share of 0.05: {sqrt(0.05 * 0.95 / trials):.4f}")
    print("seeds  false  covers  any of 7, Holm  uncorrected  within at bound  ", end="")
    print("crossed covers  seeds alone  power  simulated")
    for n in SEEDS:
        chance = np.random.default_rng(n)
        cells = [*t_tests(n, trials, chance), *files(n, trials, chance)]
        cells += [decided_at_the_bound(n, trials)[0], *queries(n, trials, chance)]
        cells += simulated_power(n, trials, chance)
        widths = (5, 6, 14, 11, 15, 14, 11, 5, 9)
        shown = [f"{cell:{width}.3f}" for cell, width in zip(cells, widths, strict=True)]
        print(f"{n:5d}", *shown, sep="  ")
    print(f"\nfalse verdicts by shape of the differences; 3 seeds, 5 seeds; {of_shapes} trials")
    for name in SHAPES:
        print(f"{name:40}", *(f"{shape_error(name, n, of_shapes):.3f}" for n in (3, 5)), sep="  ")
    for n in (3, 5):
        inside, outside = decided_at_the_bound(n, of_shapes)
        print(f"within at its bound, {n} seeds: supported {inside:.3f}, contradicted {outside:.3f}")


if __name__ == "__main__":
    main()
