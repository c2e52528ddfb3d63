"""How often the verdicts' statistics err: false positives, coverage and power, by simulation.

python -m benchmarks.verdicts        prints docs/statistics.md's table; under a minute
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from supclap_platform.results.bootstrap import crossed_interval
from supclap_platform.results.inference import equivalence, has_spread, mean_test
from supclap_platform.results.power import Contrast, power
from supclap_platform.results.statistics import holm

SEEDS = (2, 3, 5, 10)
TRIALS = 2_000
CLIPS, CAPTIONS = 60, 2
LEVEL, CLAIMS = 0.05, 7


def t_tests(n: int, chance: np.random.Generator) -> tuple[float, float]:
    """Share of false positives, and of intervals that hold the truth, without an effect."""
    tests = [mean_test(row) for row in chance.normal(0, 1, (TRIALS, n)).tolist()]
    false = np.mean([test.p <= LEVEL for test in tests])
    return float(false), float(np.mean([test.low <= 0 <= test.high for test in tests]))


def files(n: int, chance: np.random.Generator) -> tuple[float, float]:
    """Share of files of null claims with any false verdict: with Holm's correction, and without."""
    corrected = alone = 0
    for _ in range(TRIALS // 2):
        runs = chance.normal(40, 1, (CLAIMS + 1, n))
        ps = [mean_test((row - runs[0]).tolist()).p for row in runs[1:]]
        corrected += min(holm(ps)) <= LEVEL
        alone += min(ps) <= LEVEL
    return corrected / (TRIALS // 2), alone / (TRIALS // 2)


def bounds(n: int, chance: np.random.Generator) -> float:
    """Share of "within 2 %" supported where the truth is exactly 2 %."""
    false = 0
    for _ in range(TRIALS):
        theirs = chance.normal(40, 1, n)
        ours = 1.02 * theirs + chance.normal(0, 0.2, n)
        false += equivalence(ours.tolist(), theirs.tolist(), 0.02).inside <= LEVEL
    return false / TRIALS


def queries(n: int, chance: np.random.Generator) -> tuple[float, float]:
    """Coverage over seeds and queries of hit rates: the crossed interval, and seeds alone."""
    crossed = alone = judged = 0
    clips = np.arange(CLIPS).repeat(CAPTIONS)
    trials = TRIALS // 4
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


def simulated_power(n: int, chance: np.random.Generator) -> tuple[float, float]:
    """Chance to find an effect of two standard deviations: by formula, and by trial."""
    tests = [mean_test(row) for row in chance.normal(2, 1, (TRIALS, n)).tolist()]
    found = np.mean([test.p <= LEVEL and test.mean > 0 for test in tests])
    return power(Contrast(2, 1), n, LEVEL), float(found)


def main() -> None:
    print(f"standard error of a share of 0.05: {sqrt(0.05 * 0.95 / TRIALS):.4f}")
    print("seeds  false  covers  any of 7, Holm  uncorrected  within at bound  ", end="")
    print("crossed covers  seeds alone  power  simulated")
    for n in SEEDS:
        chance = np.random.default_rng(n)
        cells = [*t_tests(n, chance), *files(n, chance), bounds(n, chance)]
        cells += [*queries(n, chance), *simulated_power(n, chance)]
        widths = (5, 6, 14, 11, 15, 14, 11, 5, 9)
        shown = [f"{cell:{width}.3f}" for cell, width in zip(cells, widths, strict=True)]
        print(f"{n:5d}", *shown, sep="  ")


if __name__ == "__main__":
    main()
