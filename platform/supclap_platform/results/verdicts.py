"""Verdicts: what the finished runs say of the claims that an experiment declares.

The test is the t test over seeds; docs/statistics.md says why, and what is beside it. A claim that
cannot be judged is undecided, says why, and still counts in the correction for the others: their p
must not depend on which runs are finished.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from supclap_platform.experiment.claims import Claim, Trend
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.seeds import Looks
from supclap_platform.ledger.declared import late
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.means import summarise
from supclap_platform.results.adjusted import adjusted
from supclap_platform.results.cases import Case, build_case
from supclap_platform.results.doubts import collapses, fragile
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.inference import LEVEL, Equivalence, MeanTest, sign_flip
from supclap_platform.results.looks import Step, walk, with_looks
from supclap_platform.results.power import contrast_of, contrasts_of, seeds_needed
from supclap_platform.results.scope import scope_of
from supclap_platform.results.sequential import design_of
from supclap_platform.results.soonest import Rival, rivals
from supclap_platform.results.statistics import step_down
from supclap_platform.results.table import Run


class Outcome(StrEnum):
    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NEGLIGIBLE = "negligible"  # certainly smaller than what matters, either way
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Look:
    """Where in a sequential design a verdict was given."""

    number: int | None  # from 1: that decided the claim, or the last complete one; None: none yet
    seeds: tuple[int, ...]  # of all looks
    path: tuple[Step, ...]  # the looks so far
    waiting: bool  # another look is to come


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
    look: Look | None = None  # where seeds are added until the claims are decided
    adjusted: float | None = None  # the effect, where a look has decided it (`results.adjusted`)
    rivals: tuple[Rival, ...] = ()  # metrics, by the seeds that they would take
    scope: str = ""  # what each seed has of its own, and what it speaks of
    late: tuple[str, ...] = ()  # what of it was declared after results; among the remarks too


def judge(
    experiment: Experiment, ledger: Ledger, evidence: Evidence | None = None
) -> tuple[Verdict, ...]:
    """A verdict on each claim of an experiment, in the file's order, from what the ledger holds.

    Where seeds are added until the claims are decided, a claim is judged at the look that decided
    it, or at the last one that is complete. Whether the runs may be compared at all (one code
    version, one data content) is `tables.build_table`'s to refuse: call it first.
    """
    if not experiment.claims:
        return ()
    if experiment.looks is not None and (evidence is None or experiment.reach is None):
        experiment = with_looks(experiment, ledger)
        evidence = None
    evidence = evidence or Evidence(experiment, ledger)
    found = _sequential if experiment.looks is not None else _fixed
    unasked = late(experiment, evidence.cells, evidence.finished, ledger)
    return tuple(
        replace(
            one,
            remarks=(*one.remarks, *words),
            late=tuple(words),
            scope=scope_of(experiment, one.claim.variants),
        )
        for one, words in ((v, unasked.of(v.claim)) for v in found(experiment, evidence))
    )


def _fixed(experiment: Experiment, evidence: Evidence) -> tuple[Verdict, ...]:
    """Each claim from all its seeds."""
    cases = [build_case(claim, evidence) for claim in experiment.claims]
    corrected = step_down([case.questions for case in cases])
    return tuple(
        _verdict(case, own, evidence, len(cases))
        for case, own in zip(cases, corrected, strict=True)
    )


def _sequential(experiment: Experiment, evidence: Evidence) -> tuple[Verdict, ...]:
    """Each claim as it stands at its look."""
    course = walk(experiment, evidence)
    evidence.stale  # noqa: B018  (computed once, before parts of the evidence are made)
    found = []
    for standing in course.standings:
        seeds = course.looks.seeds[standing.look or 0]
        own = evidence.first(seeds)
        case = build_case(standing.claim, own)  # with the interval over queries
        if standing.case is not None:  # all that is tested is the design's
            case.test, case.small = standing.case.test, standing.case.small
            case.interval = standing.case.interval
        else:
            case.interval = None
        verdict = _verdict(case, standing.corrected, own, len(course.standings), course.over)
        look = Look(
            None if standing.look is None else standing.look + 1,
            course.looks.seeds,
            standing.path,
            waiting=standing.open and not course.over,
        )
        remarks = verdict.remarks
        if verdict.outcome is not Outcome.UNDECIDED and verdict.p and standing.look is not None:
            question = int(verdict.outcome is Outcome.NEGLIGIBLE)
            factor = standing.corrected[question] / verdict.p
            design = design_of(course.looks)
            remarks = (*remarks, *fragile(case, question, factor, design, standing.look))
        verdict = replace(verdict, look=look, remarks=remarks)
        found.append(
            replace(
                verdict,
                adjusted=_adjusted(verdict, case, course.looks),
                rivals=rivals(standing.claim, own, experiment.method, len(course.standings)),
            )
        )
    return tuple(found)


def _adjusted(verdict: Verdict, case: Case, looks: Looks) -> float | None:
    """The effect, adjusted for its being decided at a look. None where there is one look alone, and
    for what two tests at once decide: "negligible", "within"."""
    look, test = verdict.look, case.test
    if look is None or len(look.seeds) < 2 or not isinstance(test, MeanTest):
        return None
    if verdict.outcome not in (Outcome.SUPPORTED, Outcome.CONTRADICTED):
        return None
    bounds = [step.bound for step in look.path if step.bound is not None]
    level = look.path[-1].level
    if len(bounds) < len(look.path) or level is None:  # at an earlier look all values were alike
        return None
    bounds += design_of(looks).bounds(level)[len(bounds) :]  # of the looks that did not come
    way = 1 if test.mean > test.null else -1
    away = way * (test.mean - test.null)
    return test.null + way * adjusted(looks.seeds, bounds, away, test.std)


def _verdict(
    case: Case, corrected: list[float], evidence: Evidence, claims: int, over: bool = True
) -> Verdict:
    outcome, answered = _outcome(case, corrected)
    runs = tuple((name, run) for name in case.claim.variants for run in evidence.runs(name))
    old = len({run.signature for _, run in runs} & evidence.stale)
    remarks = [*case.remarks, *collapses(case, evidence)]
    remarks += [f"{old} of its runs are of earlier code (stale)"] if old else []
    verdict = Verdict(
        claim=case.claim,
        outcome=outcome,
        measured=case.measured,
        bound=case.bound,
        p=None if case.p is None else case.questions[answered],
        corrected=None if case.p is None or not corrected else corrected[answered],
        seeds=len(case.values),
        wanted=case.wanted,
        queries=case.queries,
        wide=case.wide,
        interval=case.interval,
        reasons=tuple(case.reasons),
        remarks=tuple(remarks),
        runs=runs,
    )
    if case.values:
        verdict = replace(verdict, effect=summarise(case.values).mean)
    if isinstance(case.test, MeanTest):
        verdict = replace(verdict, permutation=sign_flip(case.values, case.null))
    if case.p is not None and outcome is Outcome.UNDECIDED and over:
        verdict = replace(verdict, undecided_until=_seeds_needed(case, claims))
    return verdict


def _outcome(case: Case, corrected: list[float]) -> tuple[Outcome, int]:
    """The verdict, and the number of the question that it answers.

    What is certainly smaller than what matters is negligible, also where it is certainly not zero.
    """
    decided = [case.p is not None and p <= LEVEL for p in corrected]
    if decided[1:] == [True]:
        return Outcome.NEGLIGIBLE, 1
    if decided[:1] == [True]:
        return _leaning(case), 0
    return Outcome.UNDECIDED, 0


def _seeds_needed(case: Case, claims: int) -> int | None:
    """The fewest seeds that would answer one of a claim's questions."""
    tests = [case.test, case.small]
    needs = [
        contrasts_of(test) if isinstance(test, Equivalence) else contrast_of(test)
        for test in tests
        if test is not None
    ]
    found = [seeds_needed(need, LEVEL / claims) for need in needs]
    return min((seeds for seeds in found if seeds is not None), default=None)


def _leaning(case: Case) -> Outcome:
    """What the estimate says, were it certain."""
    holds = False
    if isinstance(case.test, Equivalence):
        holds = case.test.inside <= case.test.outside
    elif case.test is not None:
        above = case.test.mean > case.test.null
        holds = above != (isinstance(case.claim, Trend) and case.claim.way == "falls")
    return Outcome.SUPPORTED if holds else Outcome.CONTRADICTED
