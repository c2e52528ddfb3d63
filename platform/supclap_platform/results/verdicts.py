"""Verdicts: what the finished runs say of the claims that an experiment declares.

The test is the t test over seeds; docs/statistics.md says why, and what is beside it. A claim that
cannot be judged is undecided, says why, and still counts in the correction for the others: their p
must not depend on which runs are finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite

import numpy as np
from scipy import stats

from supclap_platform.claims import Claim, Greater, Trend, Within
from supclap_platform.experiment import Experiment
from supclap_platform.ledger import Ledger, State
from supclap_platform.metrics import lower_is_better
from supclap_platform.results.bootstrap import Queries, crossed_interval, queries_of
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.inference import (
    Equivalence,
    MeanTest,
    equivalence,
    has_spread,
    mean_test,
    sign_flip,
)
from supclap_platform.results.power import contrast_of, contrasts_of, seeds_needed
from supclap_platform.results.statistics import holm, summarise
from supclap_platform.results.tables import Run

LEVEL = 0.05  # of all claims of a file together
LEAST = 2  # seeds: one has no spread
AGREE = 1e-6  # kept ranks must give the reported value this closely


class Outcome(StrEnum):
    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim. What could not be computed is None.

    ``effect`` is the mean over seeds of what ``measured`` names, ``interval`` its 95 %
    interval over seeds, ``wide`` that over seeds and queries. The claim says
    that it is above ``bound``, below it, or (a `Within`) at most so far from zero. ``p`` is None
    where the claim cannot be judged, for ``reasons``; ``remarks`` say what else a reader must know.
    """

    claim: Claim
    outcome: Outcome
    measured: str
    bound: float | None = None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    corrected: float | None = None
    permutation: float | None = None
    seeds: int = 0
    wanted: int = 0
    queries: int | None = None
    wide: tuple[float, float] | None = None
    undecided_until: int | None = None  # seeds that would decide it; None also: above power.MOST
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    runs: tuple[tuple[str, Run], ...] = ()  # variant, run


@dataclass
class _Case:
    """A claim on its way to a verdict."""

    claim: Claim
    measured: str
    values: list[float]  # one for each seed that can be compared
    wanted: int
    reasons: list[str] = field(default_factory=list)  # why it cannot be judged
    remarks: list[str] = field(default_factory=list)
    pairs: list[tuple[float, float]] = field(default_factory=list)
    scale: float = 0.0  # the largest number that the values were made from
    queries: int | None = None
    wide: tuple[float, float] | None = None
    test: MeanTest | Equivalence | None = None

    @property
    def bound(self) -> float | None:
        if isinstance(self.claim, Greater):
            return self.claim.margin
        if isinstance(self.claim, Trend):
            return 0.0
        if not self.pairs:
            return None
        return self.claim.percent / 100 * summarise([abs(b) for _, b in self.pairs]).mean

    @property
    def p(self) -> float | None:
        return None if self.reasons or self.test is None else self.test.p

    def leaning(self) -> Outcome:
        """What the estimate says, were it certain."""
        holds = False
        if isinstance(self.test, Equivalence):
            holds = self.test.inside <= self.test.outside
        elif self.test is not None:
            above = self.test.mean > self.test.null
            holds = above != (isinstance(self.claim, Trend) and self.claim.way == "falls")
        return Outcome.SUPPORTED if holds else Outcome.CONTRADICTED


def judge(experiment: Experiment, ledger: Ledger) -> tuple[Verdict, ...]:
    """A verdict on each claim of an experiment, in the file's order, from what the ledger holds.

    Whether the runs may be compared at all (one code version, one data content) is
    `tables.build_table`'s to refuse: call it first.
    """
    if not experiment.claims:
        return ()
    evidence = Evidence(experiment, ledger)
    cases = [_case(claim, evidence) for claim in experiment.claims]
    corrected = holm([1.0 if case.p is None else case.p for case in cases])
    return tuple(
        _verdict(case, None if case.p is None else p, evidence, len(cases))
        for case, p in zip(cases, corrected, strict=True)
    )


def _verdict(case: _Case, corrected: float | None, evidence: Evidence, claims: int) -> Verdict:
    decided = corrected is not None and corrected <= LEVEL
    verdict = Verdict(
        claim=case.claim,
        outcome=case.leaning() if decided else Outcome.UNDECIDED,
        measured=case.measured,
        bound=case.bound,
        p=case.p,
        corrected=corrected,
        seeds=len(case.values),
        wanted=case.wanted,
        queries=case.queries,
        wide=case.wide,
        reasons=tuple(case.reasons),
        remarks=tuple(case.remarks),
        runs=tuple((name, run) for name in case.claim.variants for run in evidence.runs(name)),
    )
    if case.values:
        verdict = replace(verdict, effect=summarise(case.values).mean)
    if case.test is None:
        return verdict
    null = case.claim.margin if isinstance(case.claim, Greater) else 0.0
    spread = mean_test(case.values, null) if has_spread(case.values, case.scale) else None
    if spread is not None:
        verdict = replace(verdict, interval=(spread.low, spread.high))
    if isinstance(case.test, MeanTest):
        verdict = replace(verdict, permutation=sign_flip(case.values, null))
    if case.p is not None and not decided:
        found = case.test
        needs = contrasts_of(found) if isinstance(found, Equivalence) else contrast_of(found)
        verdict = replace(verdict, undecided_until=seeds_needed(needs, LEVEL / claims))
    return verdict


def _case(claim: Claim, evidence: Evidence) -> _Case:
    case = _slopes(claim, evidence) if isinstance(claim, Trend) else _differences(claim, evidence)
    case.reasons[:0] = _gaps(claim, evidence)
    if isinstance(claim, Greater) and lower_is_better(claim.metric):
        case.remarks.append(
            f"a low {claim.metric} is the good one: the claim is that {claim.lesser} does better"
        )
    if len(case.values) < LEAST:
        found = "one seed has no spread" if case.values else "no seed to judge by"
        case.reasons.append(f"{found}; {LEAST} are the least")
        return case
    if isinstance(claim, Within):
        share = claim.percent / 100
        ends = [[a - b + sign * share * abs(b) for a, b in case.pairs] for sign in (-1, 1)]
        if all(has_spread(end, case.scale) for end in ends):
            ours, theirs = [a for a, _ in case.pairs], [b for _, b in case.pairs]
            case.test = equivalence(ours, theirs, share)
    elif has_spread(case.values, case.scale):
        case.test = mean_test(case.values, claim.margin if isinstance(claim, Greater) else 0.0)
    if case.test is None:
        case.reasons.append("every seed gives the same value: no spread to judge by")
    return case


def _differences(claim: Greater | Within, evidence: Evidence) -> _Case:
    """A - B for each seed: the first variant less the second."""
    first, second = claim.variants
    ours, theirs = (_usable(evidence.values(name, claim.metric)) for name in claim.variants)
    seeds = [run.seed for run in evidence.runs(first) if run.seed in ours and run.seed in theirs]
    pairs = [(ours[seed], theirs[seed]) for seed in seeds]
    case = _Case(
        claim,
        f"{first} − {second}",
        [a - b for a, b in pairs],
        wanted=len(evidence.runs(first)),
        pairs=pairs,
        scale=max((abs(value) for pair in pairs for value in pair), default=0.0),
    )
    _over_queries(case, claim, evidence, seeds)
    return case


def _slopes(claim: Trend, evidence: Evidence) -> _Case:
    """The slope over the epochs for each seed, by least squares."""
    case = _Case(
        claim,
        f"slope of {claim.variant} per epoch",
        [],
        wanted=len(evidence.runs(claim.variant)),
    )
    taus, lacking, broken = [], [], []
    for seed, curve in evidence.curves(claim.variant, claim.metric).items():
        epochs, values = list(curve), list(curve.values())
        if len(epochs) < LEAST:
            lacking.append(seed)
        elif not all(isfinite(value) for value in values):
            broken.append(seed)
        else:
            case.values.append(float(np.polyfit(epochs, values, 1)[0]))
            case.scale = max(case.scale, *(abs(value) / max(epochs) for value in values))
            taus.append(float(stats.kendalltau(epochs, values).statistic))
    if lacking:
        at_end = claim.metric.startswith("test.")
        val = claim.metric.replace("test.", "val.", 1)
        case.reasons.append(
            f"{claim.metric} has no trend in {_seeds(lacking)}: fewer than two epochs report it"
            + (f"; the test split is measured at the end alone, each epoch has {val}" * at_end)
        )
    if broken:
        case.reasons.append(f"{claim.metric} is not a number in every epoch of {_seeds(broken)}")
    if taus and all(isfinite(tau) for tau in taus):
        case.remarks.append(
            f"Kendall's tau of value and epoch, mean over seeds {np.mean(taus):+.2f}"
        )
    return case


def _usable(values: Mapping[int, float | None]) -> dict[int, float]:
    return {seed: v for seed, v in values.items() if v is not None and isfinite(v)}


def _gaps(claim: Claim, evidence: Evidence) -> list[str]:
    """Runs that a claim lacks, each named."""
    found = []
    for name in claim.variants:
        runs = evidence.runs(name)
        failed = [run.seed for run in runs if run.state is State.FAILED]
        open_ = [run.seed for run in runs if run.state not in (State.FAILED, State.DONE)]
        if failed:
            found.append(f"{name} failed for {_seeds(failed)}")
        if open_:
            found.append(f"{name} is not finished for {_seeds(open_)}")
        if isinstance(claim, Trend):
            continue
        values = evidence.values(name, claim.metric)
        lacking = [seed for seed, value in values.items() if value is None]
        broken = [s for s, v in values.items() if v is not None and not isfinite(v)]
        if lacking:
            found.append(f"{name} reports no {claim.metric} for {_seeds(lacking)}")
        if broken:
            found.append(f"{name} reports a {claim.metric} that is no number for {_seeds(broken)}")
    return found


def _over_queries(
    case: _Case, claim: Greater | Within, evidence: Evidence, seeds: Sequence[int]
) -> None:
    """The interval over seeds and queries, where the runs keep what it needs."""
    if not seeds:
        return
    found: list[list[Queries]] = []
    for name in claim.variants:
        ranks, values = evidence.ranks(name), evidence.values(name, claim.metric)
        kept = [queries_of(claim.metric, ranks[seed]) for seed in seeds]
        usable = [queries for queries in kept if queries is not None]
        if len(usable) < len(kept):
            return  # not a mean over queries, or none are kept: seeds alone decide
        for seed, queries in zip(seeds, usable, strict=True):
            reported = values[seed]
            assert reported is not None
            mean = queries.values.mean() if len(queries.values) else float("nan")
            if not abs(mean - reported) <= AGREE * max(1.0, abs(reported)):
                case.remarks.append(
                    f"the ranks of {name}, seed {seed}, do not give its {claim.metric}: no "
                    "interval over queries"
                )
                return
        found.append(usable)
    ours, theirs = found
    reference = ours[0].clips
    sizes = sorted({len(queries.clips) for queries in (*ours, *theirs)})
    if any(not np.array_equal(queries.clips, reference) for queries in (*ours, *theirs)):
        told = " and ".join(map(str, sizes)) if len(sizes) > 1 else f"{sizes[0]}, of other clips"
        case.reasons.append(f"the runs answer unequal sets of queries ({told})")
        return
    case.queries = len(reference)
    data = {evidence.results(name)[seed].data for name in claim.variants for seed in seeds}
    if len(data) > 1:
        case.remarks.append("the runs saw different data, so their queries cannot be paired")
        return
    differences = [a.values - b.values for a, b in zip(ours, theirs, strict=True)]
    case.wide = crossed_interval(np.stack(differences), reference)


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
