"""The effect of a claim that a look has decided, adjusted for that.

Seeds are added until a bound is crossed, and what crosses one early is more often too large than
too small. Whitehead's adjusted estimate (Biometrika 73, 1986) is the effect with which the mean
that is seen would be the one to expect: here among experiments that are decided this way, as only
of these it is shown. The spread is taken to be the one that is seen.

What is to be expected is computed, not drawn. Given the sum and the sum of squares of n values, the
way there has no parameter (they are sufficient). So the chance q_k(t) that no earlier bound was
crossed is, for any effect, that of `crossing`; and t = z / w, with z normal about effect x sqrt(n)
and w the observed spread, chi over sqrt(n - 1). Then

    E[mean; crossed first at look k] = E[q_k(t) w t / sqrt(n); t >= bound_k].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import atan, exp, lgamma, log, pi, sqrt

import numpy as np
from scipy import special

from supclap_platform.results.crossing import REACH, Alive, alive_before, gauss

POINTS = 48  # of each of the two integrals


def adjusted(looks: Sequence[int], bounds: Sequence[float], mean: float, std: float) -> float:
    """The adjusted estimate of a mean that was decided to be above 0.

    Args:
        looks: numbers of values at the looks.
        bounds: of t, that it had at each look.
        mean: at the look that decided it, above 0.
        std: sample standard deviation there.

    Returns:
        At most ``mean``. Where less was seen than is to be expected with any effect, the effect
        with which the least is.
    """
    from scipy.optimize import brentq, minimize_scalar  # here: few claims come to it

    seen = mean / std
    known = (tuple(looks), tuple(bounds))

    def beyond(effect: float) -> float:
        return expected(*known, effect) - seen

    least = float(minimize_scalar(beyond, bounds=(0.0, seen), method="bounded").x)
    if beyond(least) >= 0:
        return least * std
    if beyond(seen) <= 0:  # nothing is to be adjusted, but for rounding
        return mean
    return float(brentq(beyond, least, seen)) * std


def expected(looks: tuple[int, ...], bounds: tuple[float, ...], effect: float) -> float:
    """The mean to be expected among experiments that cross an upper bound, in spreads.

    Args:
        effect: the true mean, in spreads.
    """
    chances, means = zip(*crossings(looks, bounds, effect), strict=True)
    return sum(means) / max(sum(chances), 1e-300)


def crossings(
    looks: tuple[int, ...], bounds: tuple[float, ...], effect: float
) -> list[tuple[float, float]]:
    """For each look the chance of crossing its bound, and none before; and on that event the
    expectation of the mean of the values, in spreads."""
    ways = zip(looks, bounds, _alive(looks, bounds), strict=True)
    return [_crossing(n, bound, alive, effect) for n, bound, alive in ways]


@lru_cache(maxsize=64)
def _alive(looks: tuple[int, ...], bounds: tuple[float, ...]) -> tuple[Alive | None, ...]:
    return tuple(alive_before(looks, bounds))


def _crossing(n: int, bound: float, alive: Alive | None, effect: float) -> tuple[float, float]:
    spread, share = _spreads(n)
    middle = effect * sqrt(n)
    if alive is None:  # the first look: nothing was crossed before
        least = bound * spread - middle
        tail, density = special.ndtr(-least), np.exp(-(least**2) / 2) / sqrt(2 * pi)
        return float(share @ tail), float(share @ (middle * tail + density)) / sqrt(n)
    span = alive.top - alive.low
    most = sqrt(min(1.0, max(0.0, (alive.top - atan(bound / sqrt(n - 1))) / span)))
    points, weights = gauss(POINTS)
    at = most * (points + 1) / 2  # as in `crossing`: a square makes the half power smooth
    angles = alive.top - span * at**2
    t = sqrt(n - 1) * np.tan(angles)
    step = weights * most * span * at * sqrt(n - 1) / np.cos(angles) ** 2 * alive.at(angles)
    z = t[:, None] * spread  # (t, spread)
    density = np.exp(-((z - middle) ** 2) / 2) / sqrt(2 * pi) * spread * share
    return float(step @ density.sum(1)), float(step @ (density * z).sum(1)) / sqrt(n)


@lru_cache(maxsize=64)
def _spreads(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of the observed spread of n values, in true ones, and their shares."""
    free = n - 1
    wide = REACH / sqrt(2 * free)
    low, high = max(0.0, 1 - wide), 1 + wide
    points, weights = gauss(POINTS)
    spread = low + (high - low) * (points + 1) / 2
    scale = 2 * exp(free / 2 * log(free / 2) - lgamma(free / 2))
    density = scale * np.exp((free - 1) * np.log(spread) - free * spread**2 / 2)
    return spread, weights * (high - low) / 2 * density
