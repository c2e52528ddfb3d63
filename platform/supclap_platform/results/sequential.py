"""Sequential designs: t tests at several looks, with a known chance of any error over all of them.

A design spends a level over its looks by a declared function. At each look a t test may decide, and
its bound is such that the chance of crossing any of them without an effect is the level: exactly,
for normal values of unknown variance (`crossing`). Bounds are one-sided; a two-sided test is two of
them at half the level each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import e, log

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.polynomial.chebyshev import chebpts1
from scipy import special

from supclap_platform.experiment.seeds import Looks
from supclap_platform.results.crossing import upper_bounds
from supclap_platform.results.inference import CONFIDENCE, Equivalence, MeanTest

LEAST, MOST = 1e-6, 0.5  # one-sided levels at which bounds are computed
MIDDLE = (4.0, 3.0)  # of the beta distribution over the looks by which "middle" spends
FLOOR = 0.01  # of an even share: what a look spends at least

LEVELS = 12  # at so many of them; between them a polynomial
FINE = 2_000  # points of the table in which a level is looked up


def spent(looks: Looks) -> list[float]:
    """The shares of the level that each look spends; they add up to 1."""
    count = len(looks.seeds)
    if looks.spending == "even":
        return [1 / count] * count
    if looks.spending == "middle":
        steps = np.diff(special.betainc(*MIDDLE, np.arange(count + 1) / count))
        steps = np.maximum(steps, FLOOR / count)
        return [float(step) for step in steps / steps.sum()]
    shares = [n / looks.at_most for n in looks.seeds]
    if looks.spending == "pocock":
        shares = [log(1 + (e - 1) * share) for share in shares]  # Lan and DeMets (1983)
    return [float(step) for step in np.diff([0.0, *shares])]


@dataclass(frozen=True)
class Design:
    """Looks, and what follows from them. Make it with `design_of`: it is costly, and kept."""

    looks: Looks

    @property
    def small(self) -> Design:
        """The design of the question "is it negligible?", at the same looks.

        What no few seeds can show needs no chance of an error there: a mean is certainly small only
        where its interval is, so most is spent in the middle of the looks.
        """
        return design_of(replace(self.looks, spending="middle"))

    def bounds(self, level: float) -> tuple[float, ...]:
        """One-sided bounds of t at each look, for a level of all looks together (0 to 0.5)."""
        return _bounds(self.looks, level)

    def level(self, look: int, tail: float) -> float:
        """The smallest level at which the test at a look crosses its bound: its p in this design.

        Args:
            look: which one, from 0.
            tail: the one-sided p that the t test has there by itself.

        Returns:
            The level; 1 where one of 0.5 is not enough.
        """
        return float(self.levels(look, np.array(tail)))

    def levels(self, look: int, tails: np.ndarray) -> np.ndarray:
        """`level` of many tails at once, of any shape."""
        if len(self.looks.seeds) == 1:
            return tails
        logs, levels = self._tables[look]
        at = np.log(np.maximum(tails, 1e-300))
        found = np.interp(at, logs, levels)
        found = np.where(at < logs[0], levels[0] + at - logs[0], found)  # far out both shrink alike
        return np.where(at <= logs[-1], np.exp(found), 1.0)

    @cached_property
    def _lines(self) -> tuple[Chebyshev, ...]:
        """For each look, the logarithm of the tail as a polynomial in that of the level."""
        ends = (log(LEAST), log(MOST))
        at = ends[0] + (ends[1] - ends[0]) * (chebpts1(LEVELS) + 1) / 2
        logs = []
        for level in np.exp(at):
            bounds = _bounds(self.looks, float(level))
            pairs = zip(self.looks.seeds, bounds, strict=True)
            logs.append([log(special.stdtr(n - 1, -bound)) for n, bound in pairs])
        columns = np.array(logs).T
        return tuple(Chebyshev.fit(at, column, LEVELS - 1, domain=ends) for column in columns)

    @cached_property
    def _tables(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """For each look, logarithms of tails and of the levels that they belong to, both rising."""
        levels = np.linspace(log(LEAST), log(MOST), FINE)
        return tuple((np.maximum.accumulate(line(levels)), levels) for line in self._lines)


@lru_cache(maxsize=256)
def _bounds(looks: Looks, level: float) -> tuple[float, ...]:
    return tuple(upper_bounds(looks.seeds, [level * share for share in spent(looks)]))


@lru_cache(maxsize=16)
def design_of(looks: Looks) -> Design:
    """The design of some looks; the same object for the same looks."""
    return Design(looks)


def mean_test_at(
    test: MeanTest, design: Design, look: int, before: MeanTest | None = None
) -> MeanTest:
    """A t test at a look as a part of a design.

    Its p are the smallest levels at which the design would have crossed a bound by now, its
    interval is the repeated one: the intervals of all looks hold the truth together with chance
    `CONFIDENCE`.

    Args:
        test: of the values up to this look, by itself.
        before: what this function gave at the look before.
    """
    above, below = design.level(look, test.above), design.level(look, test.below)
    if before is not None:
        above, below = min(above, before.above), min(below, before.below)
    reach = design.bounds((1 - CONFIDENCE) / 2)[look] * test.std / test.n**0.5
    return replace(
        test,
        low=test.mean - reach,
        high=test.mean + reach,
        p=min(1.0, 2 * min(above, below)),
        above=above,
        below=below,
    )


def equivalence_at(
    found: Equivalence, design: Design, look: int, before: Equivalence | None = None
) -> Equivalence:
    """Two one-sided tests at a look as a part of a design."""
    upper, lower = (None, None) if before is None else (before.upper, before.lower)
    return Equivalence(
        upper=mean_test_at(found.upper, design, look, upper),
        lower=mean_test_at(found.lower, design, look, lower),
    )
