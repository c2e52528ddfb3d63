"""Means and deviations over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, isfinite, sqrt


@dataclass(frozen=True)
class SeedSummary:
    """Mean and sample standard deviation of ``n`` values; ``std`` is None where n is 1."""

    mean: float
    std: float | None
    n: int


def summarise(values: Sequence[float]) -> SeedSummary:
    """Mean and sample standard deviation (n - 1 below the line) of one value for each seed.

    The sums are exact before rounding, so the order of the seeds changes no digit. A value that is
    not finite makes both NaN. Raises ValueError where there are no values.
    """
    if not values:
        raise ValueError("summarise: expected at least one value, got none")
    n = len(values)
    if not all(isfinite(value) for value in values):
        return SeedSummary(float("nan"), float("nan") if n > 1 else None, n)
    mean = fsum(values) / n
    if n == 1:
        return SeedSummary(mean, None, 1)
    return SeedSummary(mean, sqrt(fsum((value - mean) ** 2 for value in values) / (n - 1)), n)
