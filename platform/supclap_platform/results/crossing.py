"""When a paired t statistic first crosses a bound, look by look, under no effect: exactly.

Values are independent and normal about the null; their variance is unknown. Let t_k be the t
statistic of the first n_k of them, and T_k = t_k / sqrt(n_k - 1), the cotangent of the angle
between the values and the vector of ones. Under the null the direction of the values is uniform on
the sphere, so the joint distribution of T_1, T_2, ... has no parameter. It is a Markov chain, and
backwards, with n = n_k values of N = n_{k+1} and m = N - n,

    T_k = (T_{k+1} sqrt(n / N) + sqrt(m / N) sin w) / (cos w cos f)

where the angles w and f are independent of each other and of T_{k+1}, with densities proportional
to cos(w)^(N-3) and cos(f)^(n-2) sin(f)^(m-2) (f = 0 where m = 1). So q_k(T), the chance that no
bound before look k was crossed, given T_k = T, follows from q_{k-1} by a double integral of a
smooth function: the region T_{k-1} < bound has ends in w that are known in closed form. No normal
approximation is made anywhere; what is left is the error of quadrature, in the usual looks below
1e-6 of the level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import atan, cos, exp, lgamma, pi, sin, sqrt, tan
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.polynomial.legendre import leggauss
from scipy import special

NODES = 40  # of the polynomial that q is, at each look
OUTER, INNER = 24, 24  # points of the two integrals; of the outer one more, where n is large
FEW = 200  # points for which cosines are faster than a recursion
REACH = 7.5  # standard deviations beyond which nothing is left

Array = np.ndarray[Any, np.dtype[np.float64]]


def upper_bounds(looks: Sequence[int], spent: Sequence[float]) -> list[float]:
    """Bounds c_k such that t_k >= c_k comes first at look k with chance ``spent[k]``.

    Args:
        looks: numbers of values, rising, the first at least 2.
        spent: chances above 0 that add up to at most 0.5.
    """
    bounds = [float(-special.stdtrit(looks[0] - 1, spent[0]))]
    alive = _START
    for n, more, chance in zip(looks[:-1], looks[1:], spent[1:], strict=True):
        alive = _step(alive, n, more, bounds[-1] / sqrt(n - 1))
        bounds.append(_bound(alive, more, chance))
    return bounds


def alive_before(looks: Sequence[int], bounds: Sequence[float]) -> list[Alive | None]:
    """For each look the chance that no bound before it was crossed, given t there; None: 1."""
    found: list[Alive | None] = [None]
    alive = _START
    for n, more, bound in zip(looks[:-1], looks[1:], bounds[:-1], strict=True):
        alive = _step(alive, n, more, bound / sqrt(n - 1))
        found.append(alive)
    return found


@dataclass(frozen=True)
class Alive:
    """q of one look: a polynomial in u, the angle being ``top - (top - low) u^2``.

    Above ``top`` nothing is alive; below ``low`` everything is. The square makes smooth what ends
    at ``top`` as a half power.
    """

    top: float
    low: float
    coefficients: Array

    def at(self, angles: Array) -> Array:
        u = np.sqrt(np.clip((self.top - angles) / (self.top - self.low), 0.0, 1.0))
        if u.size > FEW:
            return chebyshev.chebval(2 * u - 1, self.coefficients)
        turns = np.arange(len(self.coefficients))
        return np.cos(np.arccos(2 * u - 1)[..., None] * turns) @ self.coefficients


_START = Alive(pi / 2, pi / 2 - 1e-9, np.ones(1))


def _step(alive: Alive, n: int, more: int, bound: float) -> Alive:
    """q at ``more`` values from q at ``n``, where T >= ``bound`` has ended the test."""
    extra = more - n
    top = atan(sqrt((bound**2 + extra / more) * more / n))  # beyond, T_k was above the bound
    low = _low(alive, n, more, bound)
    place = chebyshev.chebpts1(NODES)
    angles = top - (top - low) * ((place + 1) / 2) ** 2
    shift = (np.tan(angles) * sqrt(n / more))[:, None]  # (nodes, 1)
    slope = sqrt(extra / more)
    f, of_f = _outer(shift, n, extra, bound)  # (nodes, outer)
    size = np.sqrt((bound * np.cos(f)) ** 2 + slope**2)
    lean = np.arctan2(slope, bound * np.cos(f))
    half = np.arccos(np.clip(shift / size, -1.0, 1.0))
    wide = _wide(more)
    start = np.where(shift < slope, -wide, np.clip(-lean - half, -wide, wide))
    end = np.clip(half - lean, -wide, wide)
    points, weights = gauss(INNER)
    length = np.maximum(end - start, 0.0)[..., None] / 2
    w = start[..., None] + length * (points + 1)  # (nodes, outer, inner)
    before = np.arctan2(shift[..., None] + slope * np.sin(w), np.cos(w) * np.cos(f)[..., None])
    density = np.cos(w) ** (more - 3) / _beta_angle(more - 3)
    inner = np.sum(weights * length * density * alive.at(before), axis=-1)
    q = np.sum(of_f * inner, axis=-1)
    return Alive(top, low, _polynomial(q))


def _low(alive: Alive, n: int, more: int, bound: float) -> float:
    """An angle at ``more`` values below which no bound can have been crossed, or hardly any."""
    wide = _wide(more)
    before = min(bound, tan(alive.low))
    if before > 0:
        before *= cos(wide) * cos(_around(n, more - n)[1])
    low = atan(sqrt(more / n) * (before - sqrt((more - n) / more) * sin(wide)))
    return max(low, -min(pi / 2, REACH / sqrt(max(more - 2, 1))))


def _wide(more: int) -> float:
    """How far w reaches to either side."""
    return min(pi / 2, REACH / sqrt(max(more - 3, 1)))


def _around(n: int, extra: int) -> tuple[float, float]:
    """The ends of f."""
    if extra == 1:
        return 0.0, 0.0
    centre, wide = atan(sqrt((extra - 1) / (n - 1))), REACH / sqrt(max(n + extra - 3, 1))
    return max(0.0, centre - wide), min(pi / 2, centre + wide)


def _outer(shift: Array, n: int, extra: int, bound: float) -> tuple[Array, Array]:
    """Points f and weights (density included) over which some w keeps T below the bound."""
    if extra == 1:
        return np.zeros_like(shift), np.ones_like(shift)
    lowest, highest = _around(n, extra)
    beyond = np.sqrt(np.maximum(shift**2 - extra / (n + extra), 0.0)) / bound
    above = (shift > 0) & (shift**2 > extra / (n + extra))
    most = np.where(above, np.arccos(np.clip(beyond, 0.0, 1.0)), highest)
    most = np.clip(most, lowest, highest)
    points, weights = gauss(OUTER + min(OUTER, (n + extra) // 6))
    left = (1 - points) / 2  # of the way: a square makes the half power at the end smooth
    f = most - (most - lowest) * left**2
    density = np.cos(f) ** (n - 2) * np.sin(f) ** (extra - 2)
    scale = 2 * exp(lgamma((n + extra - 2) / 2) - lgamma((n - 1) / 2) - lgamma((extra - 1) / 2))
    return f, weights * (most - lowest) * left * density * scale


@lru_cache(maxsize=64)
def gauss(count: int) -> tuple[Array, Array]:
    """Points and weights of an integral from -1 to 1."""
    points, weights = leggauss(count)
    return points, weights


def _beta_angle(power: int) -> float:
    """The integral of cos^power from -pi/2 to pi/2."""
    return sqrt(pi) * exp(lgamma((power + 1) / 2) - lgamma(power / 2 + 1))


def _polynomial(values: Array) -> Array:
    """Chebyshev coefficients of the polynomial through values at `chebpts1`."""
    count = len(values)
    place = (np.arange(count) + 0.5) * pi / count  # of falling points; chebpts1 rises
    matrix = np.cos(np.outer(np.arange(count), place))
    found: Array = 2 / count * (matrix @ values[::-1])
    found[0] /= 2
    return found


def _bound(alive: Alive, n: int, chance: float) -> float:
    """The t of n values above which a share ``chance`` comes that was alive before."""
    points, weights = gauss(INNER)
    span = alive.top - alive.low
    scale = _beta_angle(n - 2)

    def beyond(u: float) -> float:
        at = u * (points + 1) / 2
        angles = alive.top - span * at**2
        share = np.cos(angles) ** (n - 2) / scale * alive.at(angles)
        return float(np.sum(weights * u / 2 * 2 * span * at * share)) - chance

    rest = -beyond(1.0)
    if rest > 0:  # below the polynomial's end, where everything is alive
        tail = float(special.stdtr(n - 1, -sqrt(n - 1) * tan(alive.low)))
        return float(-special.stdtrit(n - 1, tail + rest))
    from scipy.optimize import brentq  # here: a fixed design has no bounds to compute

    u = float(brentq(beyond, 0.0, 1.0, xtol=1e-14, rtol=1e-12))
    return sqrt(n - 1) * tan(alive.top - span * u**2)
