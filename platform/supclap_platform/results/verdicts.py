"""Verdicts: what the finished runs say of the claims that an experiment declares.

The test is the t test over seeds; docs/statistics.md says why, and what is beside it. A claim that
cannot be judged is undecided, says why, and still counts in the correction for the others: their p
must not depend on which runs are finished.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from supclap_platform.experiment.claims import Claim, Greater, Trend
from supclap_platform.experiment.reader import Experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.cases import Case, build_case
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.inference import (
    Equivalence,
    MeanTest,
    has_spread,
    mean_test,
    sign_flip,
)
from supclap_platform.results.power import contrast_of, contrasts_of, seeds_needed
from supclap_platform.results.statistics import holm, summarise
from supclap_platform.results.table import Run

LEVEL = 0.05  # of all claims of a file together


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


def judge(
    experiment: Experiment, ledger: Ledger, evidence: Evidence | None = None
) -> tuple[Verdict, ...]:
    """A verdict on each claim of an experiment, in the file's order, from what the ledger holds.

    Whether the runs may be compared at all (one code version, one data content) is
    `tables.build_table`'s to refuse: call it first.
    """
    if not experiment.claims:
        return ()
    evidence = evidence or Evidence(experiment, ledger)
    cases = [build_case(claim, evidence) for claim in experiment.claims]
    corrected = holm([1.0 if case.p is None else case.p for case in cases])
    return tuple(
        _verdict(case, None if case.p is None else p, evidence, len(cases))
        for case, p in zip(cases, corrected, strict=True)
    )


def _verdict(case: Case, corrected: float | None, evidence: Evidence, claims: int) -> Verdict:
    decided = corrected is not None and corrected <= LEVEL
    runs = tuple((name, run) for name in case.claim.variants for run in evidence.runs(name))
    old = len({run.signature for _, run in runs} & evidence.stale)
    remarks = [*case.remarks, *([f"{old} of its runs are of earlier code (stale)"] if old else [])]
    verdict = Verdict(
        claim=case.claim,
        outcome=_leaning(case) if decided else Outcome.UNDECIDED,
        measured=case.measured,
        bound=case.bound,
        p=case.p,
        corrected=corrected,
        seeds=len(case.values),
        wanted=case.wanted,
        queries=case.queries,
        wide=case.wide,
        reasons=tuple(case.reasons),
        remarks=tuple(remarks),
        runs=runs,
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


def _leaning(case: Case) -> Outcome:
    """What the estimate says, were it certain."""
    holds = False
    if isinstance(case.test, Equivalence):
        holds = case.test.inside <= case.test.outside
    elif case.test is not None:
        above = case.test.mean > case.test.null
        holds = above != (isinstance(case.claim, Trend) and case.claim.way == "falls")
    return Outcome.SUPPORTED if holds else Outcome.CONTRADICTED
