"""Tests on one value for each seed: is their mean above, below or near what a claim says?

Seeds are the replicates. Two variants share each seed's data order and first weights, so what is
tested of a pair of variants is always the difference seed by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # not scipy.stats, whose import takes longer than all tests

from supclap_platform.ledger.means import summarise

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
    error = summary.std / summary.n**0.5
    return _t_test(summary.mean, error, summary.n - 1, summary.std, summary.n, null)


def unpaired_test(values: Sequence[float], others: Sequence[float], null: float = 0.0) -> MeanTest:
    """Welch's t test of the difference of two means whose values do not come in pairs (two or more
    on each side, one side of a spread); ``n`` is how many there are of both.

    The spreads may differ; degrees of freedom by Welch and Satterthwaite (Welch 1947).
    """
    one, two = summarise(values), summarise(others)
    if one.std is None or two.std is None or not one.std + two.std > 0:
        raise ValueError("unpaired_test: expected two values or more a side, not all the same")
    first, second = one.std**2 / one.n, two.std**2 / two.n
    error = (first + second) ** 0.5
    freedom = (first + second) ** 2 / (first**2 / (one.n - 1) + second**2 / (two.n - 1))
    mean = one.mean - two.mean
    return _t_test(mean, error, freedom, error * (one.n + two.n) ** 0.5, one.n + two.n, null)


def _t_test(mean: float, error: float, freedom: float, std: float, n: int, null: float) -> MeanTest:
    reach = float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    t = (mean - null) / error
    above, below = float(special.stdtr(freedom, -t)), float(special.stdtr(freedom, t))
    return MeanTest(
        mean=mean,
        std=std,
        n=n,
        null=null,
        low=mean - reach,
        high=mean + reach,
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


def unpaired_negligible(
    values: Sequence[float], others: Sequence[float], matters: float
) -> Equivalence:
    """Whether two means whose values do not come in pairs are certainly nearer than ``matters``."""
    return Equivalence(
        upper=unpaired_test(values, others, matters),
        lower=unpaired_test(values, others, -matters),
    )


def equivalence(values: Sequence[float], others: Sequence[float], share: float) -> Equivalence:
    """Whether values are within ``share`` (0.02 for 2 %) of the others, seed by seed."""
    pairs = list(zip(values, others, strict=True))
    return Equivalence(
        upper=mean_test([a - b - share * abs(b) for a, b in pairs]),
        lower=mean_test([a - b + share * abs(b) for a, b in pairs]),
    )
