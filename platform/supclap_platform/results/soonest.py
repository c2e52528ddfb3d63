"""Which of the metrics that the runs report anyway would decide a claim soonest: something to know
for the next experiment. To choose it for this one, after what was seen, would be to choose the
result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite

from supclap.errors import InputError
from supclap_platform.experiment.claims import Claim, Trend
from supclap_platform.experiment.measure import Measure
from supclap_platform.experiment.method import Method
from supclap_platform.ledger.means import summarise
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.inference import LEVEL, has_spread
from supclap_platform.results.power import MOST, Contrast, seeds_needed

FEWEST = 2  # seeds that give a spread


@dataclass(frozen=True)
class Rival:
    """A metric, and what the runs say of the difference that a claim is on.

    effect: mean over the seeds; spread: their standard deviation; seeds: so many there are.
    needed: seeds of a fixed design that would find it; None: more than `power.MOST`.
    """

    measure: Measure
    effect: float
    spread: float
    seeds: int
    needed: int | None

    @property
    def name(self) -> str:
        """As a column names it."""
        return self.measure.name.removeprefix("test.")

    @property
    def shown(self) -> str:
        """How many seeds it needs, in words."""
        return f"more than {MOST:,}" if self.needed is None else str(self.needed)


def rivals(claim: Claim, evidence: Evidence, method: Method, claims: int) -> tuple[Rival, ...]:
    """The metrics beside a claim's own, itself among them, that would find a difference between the
    same rows: those with the fewest seeds first.

    They are the ranked ones whose names differ from it in the last word alone, as ``t2a.R@10`` and
    ``t2a.mAP10`` from ``t2a.R@1``, where both rows report them for the same seeds.

    Args:
        claims: of the file, among which each is corrected.
    """
    if isinstance(claim, Trend):
        return ()
    found = []
    for measure in _kin(claim, evidence, method):
        asked = replace(claim, metric=measure.name)
        ours, theirs = (evidence.asked(asked, name) for name in claim.variants)
        pairs = [
            (a, b)
            for a, b in ((ours[seed], theirs.get(seed)) for seed in ours)
            if a is not None and b is not None and isfinite(a) and isfinite(b)
        ]
        values = [a - b for a, b in pairs]
        scale = max((abs(value) for pair in pairs for value in pair), default=0.0)
        if len(values) < FEWEST or not has_spread(values, scale):
            continue
        summary = summarise(values)
        assert summary.std is not None
        contrast = Contrast(abs(summary.mean), summary.std)
        needed = seeds_needed([contrast], LEVEL / claims)
        found.append(Rival(measure, summary.mean, summary.std, summary.n, needed))
    return tuple(sorted(found, key=lambda one: one.spread / max(abs(one.effect), 1e-300)))


def _kin(claim: Claim, evidence: Evidence, method: Method) -> Iterator[Measure]:
    """The metrics of a claim's kind that its first row reports."""
    head, dot, _ = claim.metric.rpartition(".")
    results = evidence.results(claim.variants[0])
    names = dict.fromkeys(name for result in results.values() for name in result.metrics)
    for name in names:
        if name.rpartition(".")[:2] != (head, dot):
            continue
        try:
            measure = method.measure(name)
        except InputError:  # of no column: seconds of an epoch's parts, say
            continue
        if measure.ranked:
            yield measure
