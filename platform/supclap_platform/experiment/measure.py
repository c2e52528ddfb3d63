"""Measure: one metric as a method declares it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """What tables, claims and searches know of a metric.

    low: a small value is the good one. ranked: more of it is better or worse at all. clear: which
    way is better follows from its name. held_out: it is measured on what the winner of a search is
    judged by, so that none may choose by it; ``instead`` is what it may choose by, if anything.
    """

    name: str  # as runs report it
    low: bool = False
    ranked: bool = True
    decimals: int = 4
    clear: bool = True
    held_out: bool = False
    instead: str = ""


# Of a run as a whole: what every method's runs have, by the platform's own clock and count.
WHOLE = {
    name: Measure(name, low=True, ranked=name not in ("best_epoch", "steps"), decimals=1)
    for name in ("seconds", "seconds_per_epoch", "best_epoch", "steps", "peak_MB")
}
