"""Cases: what the finished runs put forward on a claim, before it is judged among the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from supclap.wording import seed_list
from supclap_platform.experiment.claims import Claim, Greater, Trend, Within, asked_of
from supclap_platform.ledger.means import summarise
from supclap_platform.ledger.records import State
from supclap_platform.results.bootstrap import Queries, crossed_interval, queries_of
from supclap_platform.results.evidence import Reports
from supclap_platform.results.inference import (
    Equivalence,
    MeanTest,
    equivalence,
    has_spread,
    mean_test,
    negligible,
)
from supclap_platform.results.table import Run

LEAST = 2  # seeds: one has no spread
NO_SPREAD = "every seed gives the same value: no spread to judge by"
AGREE = 1e-6  # kept ranks must give the reported value this closely


@dataclass
class Case:
    """A claim, the values that speak to it, and the test of them.

    ``p`` is None where the claim cannot be judged: then ``reasons`` say why.
    """

    claim: Claim
    measured: str
    values: list[float]  # one for each seed that can be compared
    wanted: int
    seeds: list[int] = field(default_factory=list)  # of the values
    reasons: list[str] = field(default_factory=list)  # why it cannot be judged
    remarks: list[str] = field(default_factory=list)
    pairs: list[tuple[float, float]] = field(default_factory=list)
    scale: float = 0.0  # the largest number that the values were made from
    queries: int | None = None
    wide: tuple[float, float] | None = None
    test: MeanTest | Equivalence | None = None
    small: Equivalence | None = None  # of "smaller than what matters", where that is declared
    interval: tuple[float, float] | None = None  # of the mean of the values

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

    @property
    def null(self) -> float:
        """What the mean of the values is tested against; for `Within` the interval's middle."""
        return self.claim.margin if isinstance(self.claim, Greater) else 0.0

    @property
    def questions(self) -> list[float]:
        """The p of what is asked: the claim's own, then that of "negligible" where it can be."""
        own = 1.0 if self.p is None else self.p
        if not isinstance(self.claim, Greater) or self.claim.matters is None:
            return [own]
        return [own, 1.0 if self.p is None or self.small is None else self.small.inside]


def build_case(claim: Claim, evidence: Reports, over_queries: bool = True) -> Case:
    """The case of a claim: seeds compared or slopes taken, gaps named, the test made.

    Args:
        over_queries: also compute the interval over seeds and queries, which takes long.
    """
    if isinstance(claim, Trend):
        case = _slopes(claim, evidence)
    else:
        case = _differences(claim, evidence, over_queries)
    case.reasons[:0] = _gaps(claim, evidence)
    low = claim.measure.ranked and claim.measure.low
    if isinstance(claim, Greater) and low:
        case.remarks.append(
            f"a low {claim.metric} is the good one: the claim is that {claim.lesser} does better"
        )
    return _tested(case)


def build_difference(claim: Greater, evidence: Reports) -> Case:
    """The case of a difference from the seeds that both of its variants have finished."""
    return _tested(_differences(claim, evidence, True))


def _tested(case: Case) -> Case:
    """The case with its tests and its interval, where its values allow them."""
    claim = case.claim
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
        case.test = mean_test(case.values, case.null)
    if isinstance(claim, Greater) and claim.matters is not None and case.test is not None:
        case.small = negligible(case.values, claim.matters)
    if case.test is None:
        case.reasons.append(NO_SPREAD)
    elif has_spread(case.values, case.scale):
        spread = mean_test(case.values, case.null)
        case.interval = (spread.low, spread.high)
    return case


def _differences(claim: Greater | Within, evidence: Reports, over_queries: bool) -> Case:
    """A - B for each seed: the first variant less the second."""
    first, second = claim.variants
    ours, theirs = (_usable(evidence.asked(claim, name)) for name in claim.variants)
    seeds = [run.seed for run in evidence.runs(first) if run.seed in ours and run.seed in theirs]
    pairs = [(ours[seed], theirs[seed]) for seed in seeds]
    case = Case(
        claim,
        f"{first} − {second}",
        [a - b for a, b in pairs],
        wanted=len(evidence.runs(first)),
        seeds=seeds,
        pairs=pairs,
        scale=max((abs(value) for pair in pairs for value in pair), default=0.0),
    )
    _over_queries(case, claim, evidence, seeds, over_queries)
    return case


def _slopes(claim: Trend, evidence: Reports) -> Case:
    """The slope over the epochs for each seed, by least squares."""
    case = Case(
        claim,
        f"slope of {claim.variant} per epoch",
        [],
        wanted=len(evidence.runs(claim.variant)),
    )
    from scipy.stats import kendalltau  # here: its import takes long, and few claims are on trends

    taus, lacking, broken = [], [], []
    curves = evidence.curves(claim.variant, claim.metric)
    lost = [seed for seed in evidence.results(claim.variant) if seed not in curves]
    if lost:
        case.reasons.append(f"the epochs of {claim.variant} are damaged for {seed_list(lost)}")
    for seed, curve in curves.items():
        epochs, values = list(curve), list(curve.values())
        if len(epochs) < LEAST:
            lacking.append(seed)
        elif not all(isfinite(value) for value in values):
            broken.append(seed)
        else:
            case.values.append(float(np.polyfit(epochs, values, 1)[0]))
            case.seeds.append(seed)
            case.scale = max(case.scale, *(abs(value) / max(epochs) for value in values))
            taus.append(float(kendalltau(epochs, values).statistic))
    if lacking:
        at_end = claim.metric.startswith("test.")
        val = claim.metric.replace("test.", "val.", 1)
        case.reasons.append(
            f"{claim.metric} has no trend in {seed_list(lacking)}: fewer than two epochs report it"
            + (f"; the test split is measured at the end alone, each epoch has {val}" * at_end)
        )
    if broken:
        case.reasons.append(f"{claim.metric} is not a number in every epoch of {seed_list(broken)}")
    if taus and all(isfinite(tau) for tau in taus):
        case.remarks.append(
            f"Kendall's tau of value and epoch, mean over seeds {np.mean(taus):+.2f}"
        )
    return case


def _usable(values: Mapping[int, float | None]) -> dict[int, float]:
    return {seed: v for seed, v in values.items() if v is not None and isfinite(v)}


def _gaps(claim: Claim, evidence: Reports) -> list[str]:
    """Runs that a claim lacks, each named."""
    found = []
    for name in claim.variants:
        runs = evidence.runs(name)
        found += unfinished(name, runs)
        if isinstance(claim, Trend):
            continue
        values = evidence.asked(claim, name)
        lacking = [seed for seed, value in values.items() if value is None]
        broken = [s for s, v in values.items() if v is not None and not isfinite(v)]
        if lacking:
            found.append(f"{name} reports no {asked_of(claim)} for {seed_list(lacking)}")
        if broken:
            found.append(
                f"{name} reports a {asked_of(claim)} that is no number for {seed_list(broken)}"
            )
    return found


def unfinished(name: str, runs: Sequence[Run]) -> list[str]:
    """Lines on those of a row's runs that have no result."""
    failed = [run.seed for run in runs if run.state is State.FAILED]
    damaged = [run.seed for run in runs if run.state is State.DAMAGED]
    over = (State.FAILED, State.DONE, State.DAMAGED)
    open_ = [run.seed for run in runs if run.state not in over]
    lines = [f"{name} failed for {seed_list(failed)}"] if failed else []
    if damaged:
        lines.append(f"the result of {name} is damaged for {seed_list(damaged)}")
    if open_:
        lines.append(f"{name} is not finished for {seed_list(open_)}")
    return lines


def _over_queries(
    case: Case,
    claim: Greater | Within,
    evidence: Reports,
    seeds: Sequence[int],
    whole: bool,
) -> None:
    """The interval over seeds and queries, where the runs keep what it needs; without ``whole``
    only whether they answer the same queries, without which there is nothing to compare."""
    if not seeds or claim.epoch is not None:  # ranks are kept of the chosen epoch alone
        return
    found: list[list[Queries]] = []
    for name in claim.variants:
        ranks, values = evidence.ranks(name), evidence.values(name, claim.metric)
        lost = [seed for seed in seeds if seed not in ranks]
        if lost:
            case.remarks.append(
                f"the ranks of {name} are damaged for {seed_list(lost)}: no interval over queries"
            )
            return
        kept = [queries_of(claim.metric, ranks[seed]) for seed in seeds]
        usable = [queries for queries in kept if queries is not None]
        if len(usable) < len(kept):
            return  # not a mean over queries, or none are kept: seeds alone decide
        for seed, queries in zip(seeds, usable, strict=True):
            reported = values[seed]
            assert reported is not None
            if not agrees(queries, reported):
                case.remarks.append(
                    f"the ranks of {name}, seed {seed}, do not give its {claim.metric}: no "
                    "interval over queries"
                )
                return
        found.append(usable)
    ours, theirs = found
    reference = ours[0].clips
    if evidence.own_data:
        _over_own_queries(case, claim, evidence, seeds, (ours, theirs))
        return
    unequal = unequal_queries([*ours, *theirs])
    if unequal:
        case.reasons.append(unequal)
        return
    case.queries = len(reference)
    if not whole:
        return
    data = {evidence.results(name)[seed].data for name in claim.variants for seed in seeds}
    if len(data) > 1:
        case.remarks.append("the runs saw different data, so their queries cannot be paired")
        return
    differences = [a.values - b.values for a, b in zip(ours, theirs, strict=True)]
    case.wide = crossed_interval(np.stack(differences), reference)


def _over_own_queries(
    case: Case,
    claim: Greater | Within,
    evidence: Reports,
    seeds: Sequence[int],
    answered: tuple[Sequence[Queries], Sequence[Queries]],
) -> None:
    """Where each seed has queries of its own, the interval over seeds is one over queries too: what
    is left to see is whether the two runs of a seed answer the same ones."""
    for seed, ours, theirs in zip(seeds, *answered, strict=True):
        same = {evidence.results(name)[seed].data for name in claim.variants}
        if not np.array_equal(ours.clips, theirs.clips):
            counts = " and ".join(str(len(one.clips)) for one in (ours, theirs))
            what = f"the runs of seed {seed} answer unequal sets of queries ({counts})"
            case.reasons.append(what)
            return
        if len(same) > 1:
            case.remarks.append(f"the runs of seed {seed} saw different data")
            return
    case.queries = min(len(one.clips) for one in answered[0])


def agrees(queries: Queries, reported: float) -> bool:
    """Whether a mean over queries is what its run reports."""
    mean = queries.values.mean() if len(queries.values) else float("nan")
    return bool(abs(mean - reported) <= AGREE * max(1.0, abs(reported)))


def unequal_queries(every: Sequence[Queries]) -> str | None:
    """Why runs cannot be compared that answer unequal sets of queries; None where they can."""
    if all(np.array_equal(queries.clips, every[0].clips) for queries in every):
        return None
    sizes = sorted({len(queries.clips) for queries in every})
    counts = " and ".join(map(str, sizes)) if len(sizes) > 1 else f"{sizes[0]}, of other clips"
    return f"the runs answer unequal sets of queries ({counts})"
