"""How many seeds would decide what these did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from scipy import special

from supclap_platform.results.inference import Equivalence, MeanTest

POWER = 0.8
MOST = 1_000  # seeds: beyond, "more than 1,000" is all that is said


@dataclass(frozen=True)
class Contrast:
    """One t test: how far the mean is from its null, the spread, and the tails that count."""

    shift: float
    std: float
    tails: int = 2


def contrast_of(test: MeanTest) -> list[Contrast]:
    """What must be seen for a two-sided verdict."""
    return [Contrast(abs(test.mean - test.null), test.std)]


def contrasts_of(found: Equivalence) -> list[Contrast]:
    """What must be seen for a verdict on equivalence: both bounds kept, or the nearer one broken.

    Where the mean lies inside, both one-sided tests must succeed; outside, one two-sided test.
    """
    upper, lower = found.upper, found.lower
    if upper.mean < 0 < lower.mean:
        return [Contrast(-upper.mean, upper.std, 1), Contrast(lower.mean, lower.std, 1)]
    broken = upper if upper.mean >= 0 else lower
    return [Contrast(abs(broken.mean), broken.std)]


def power(contrast: Contrast, seeds: int, level: float) -> float:
    """Chance that a t test at ``level`` rejects in the right direction (noncentral t)."""
    df = seeds - 1
    edge = -special.stdtrit(df, level / contrast.tails)
    centre = contrast.shift / contrast.std * seeds**0.5
    found = 1 - float(special.nctdtr(df, centre, edge))
    if isnan(found):  # far out the noncentral t overflows; there only the sign matters
        return float(centre > edge)
    return found


def seeds_needed(contrasts: Sequence[Contrast], level: float, target: float = POWER) -> int | None:
    """The fewest seeds with which all tests succeed with chance ``target``, None above `MOST`.

    Of several tests the chances of failing are added up: never too few seeds.
    """

    def enough(seeds: int) -> bool:
        return 1 - sum(1 - power(one, seeds, level) for one in contrasts) >= target

    if not enough(MOST):
        return None
    low, high = 1, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
