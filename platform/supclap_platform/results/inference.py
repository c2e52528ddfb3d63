"""Tests on one value for each seed: is their mean above, below or near what a claim says?

Seeds are the replicates. Two variants share each seed's data order and first weights, so what is
tested of a pair of variants is always the difference seed by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # not scipy.stats, whose import takes longer than all tests

from supclap_platform.results.statistics import summarise

CONFIDENCE = 0.95
LEVEL = 0.05  # of all claims of a file together
EXACT = 14  # seeds up to which all 2^n flips of sign are counted
FLIPS = 9_999  # drawn where there are more
NOISE = 1e-9  # a spread below this share of the values is rounding, not a spread


@dataclass(frozen=True)
class MeanTest:
    """A t test of a mean of ``n`` values against ``null``, and the mean's interval.

    ``p`` is two-sided. ``above`` and ``below`` are one-sided: small where the mean is above, or
    below, the null.
    """

    mean: float
    std: float
    n: int
    null: float
    low: float
    high: float
    p: float
    above: float
    below: float


def has_spread(values: Sequence[float], scale: float = 0.0) -> bool:
    """Whether values differ by more than rounding; ``scale``: size of what they were made from.

    Where they don't, a t test would be infinitely sure. That is no evidence: a coarse metric
    (median rank, R@k of few queries) often gives two seeds the same difference.
    """
    largest = max(scale, *(abs(value) for value in values))
    std = summarise(values).std
    return std is not None and std > NOISE * largest


def mean_test(values: Sequence[float], null: float = 0.0) -> MeanTest:
    """The t test of values with a spread, n - 1 degrees of freedom (n >= 2).

    Raises ValueError where they are fewer or all the same.
    """
    summary = summarise(values)
    if summary.std is None or not summary.std > 0:
        raise ValueError("mean_test: expected two values or more that are not all the same")
    n = summary.n
    error = summary.std / n**0.5
    reach = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    t = (summary.mean - null) / error
    above, below = float(special.stdtr(n - 1, -t)), float(special.stdtr(n - 1, t))
    return MeanTest(
        mean=summary.mean,
        std=summary.std,
        n=n,
        null=null,
        low=summary.mean - reach,
        high=summary.mean + reach,
        p=min(1.0, 2 * min(above, below)),
        above=above,
        below=below,
    )


def sign_flip(values: Sequence[float], null: float = 0.0) -> float:
    """Two-sided p of the permutation test that flips signs about the null; exact up to 14 seeds.

    It assumes only symmetry. Of n seeds there are 2^n flips, so p is never below 2 / 2^n.
    """
    shifted = np.asarray(values, dtype=float) - null
    n = len(shifted)
    if n <= EXACT:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)  # (flips, seeds)
    else:  # what was seen is one of the flips: p is never 0 (Phipson and Smyth, 2010)
        drawn = np.random.default_rng(0).choice([-1.0, 1.0], size=(FLIPS, n))
        signs = np.concatenate([np.ones((1, n)), drawn])
    sums, seen = signs @ shifted, float(shifted.sum())
    slack = NOISE * float(np.abs(shifted).sum())  # the same sum, added up in another order
    above, below = np.mean(sums >= seen - slack), np.mean(sums <= seen + slack)
    return min(1.0, 2.0 * float(min(above, below)))


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests (TOST) of A against bounds around B.

    ``upper`` tests A - B - x |B| and ``lower`` A - B + x |B|, seed by seed, against 0: the bounds
    are measured too, and so is their spread.
    """

    upper: MeanTest
    lower: MeanTest

    @property
    def inside(self) -> float:
        """Small where A is certainly within the bounds: the larger of the two one-sided p."""
        return max(self.upper.below, self.lower.above)

    @property
    def outside(self) -> float:
        """Small where A is certainly beyond a bound, whichever: twice the smaller one-sided p."""
        return min(1.0, 2 * min(self.upper.above, self.lower.below))

    @property
    def p(self) -> float:
        """Of the answer that the data lean to."""
        return min(self.inside, self.outside)


def negligible(values: Sequence[float], matters: float) -> Equivalence:
    """Whether the mean is certainly nearer to 0 than ``matters``."""
    return Equivalence(
        upper=mean_test([value - matters for value in values]),
        lower=mean_test([value + matters for value in values]),
    )


def equivalence(values: Sequence[float], others: Sequence[float], share: float) -> Equivalence:
    """Whether values are within ``share`` (0.02 for 2 %) of the others, seed by seed."""
    pairs = list(zip(values, others, strict=True))
    return Equivalence(
        upper=mean_test([a - b - share * abs(b) for a, b in pairs]),
        lower=mean_test([a - b + share * abs(b) for a, b in pairs]),
    )
