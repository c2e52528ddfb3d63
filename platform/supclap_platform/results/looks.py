"""Looks: where an experiment that adds seeds until its claims are decided stands, and what it needs
next. Both are functions of the file and the ledger alone, so that a run goes on after any stop, and
several drivers agree.

At each look the claims are judged together, as those of any file are; a claim that is decided keeps
its verdict, and gets no more seeds. One that more seeds cannot help (a run that failed, a metric
that is no number) waits where it is until that is mended, and holds up no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from supclap.wording import counted
from supclap_platform.experiment.claims import Claim
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.seeds import Looks
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.means import summarise
from supclap_platform.ledger.records import State
from supclap_platform.results.cases import NO_SPREAD, Case, build_case
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.inference import LEVEL, Equivalence, MeanTest, mean_test
from supclap_platform.results.sequential import Design, design_of, equivalence_at, mean_test_at
from supclap_platform.results.statistics import step_down


@dataclass(frozen=True)
class Step:
    """A claim at one look: the mean of its values, its repeated interval, and the corrected p.

    t: of its own question, tested at ``level`` after the correction (one-sided, of all looks), for
        which |t| has the ``bound``; ``edge``: how far that is from the null, in the metric's unit.
        None where two tests at once answer the question, or the values had no spread.
    """

    seeds: int
    effect: float
    interval: tuple[float, float] | None
    corrected: float
    t: float | None = None
    level: float | None = None
    bound: float | None = None
    edge: float | None = None


@dataclass
class Standing:
    """How far a claim is. ``look``: the last one that it was judged at, from 0; None before."""

    claim: Claim
    look: int | None = None
    case: Case | None = None
    test: MeanTest | Equivalence | None = None  # as a part of the design, over all looks so far
    small: Equivalence | None = None  # likewise, of "smaller than what matters"
    questions: list[float] = field(default_factory=list)
    corrected: list[float] = field(default_factory=list)
    path: tuple[Step, ...] = ()
    decided: bool = False
    stuck: bool = False  # more seeds cannot help it

    @property
    def open(self) -> bool:
        return not (self.decided or self.stuck)


@dataclass(frozen=True)
class Course:
    """Where an experiment stands.

    ``look`` is the one whose cells are to be run, or that was the last; from 0.
    """

    looks: Looks
    standings: tuple[Standing, ...]
    look: int
    over: bool  # no claim needs another look

    @property
    def decided(self) -> int:
        return sum(standing.decided for standing in self.standings)

    @property
    def text(self) -> str:
        """In words: "look 3 of 7: 2 of 7 claims decided"."""
        claims = len(self.standings)
        return (
            f"look {self.look + 1} of {len(self.looks.seeds)}: {self.decided} of "
            f"{counted(claims, 'claim')} decided"
        )

    def seeds_for(self, claim: int, at_worst: bool = False) -> int:
        """How many seeds a claim needs by now, or can come to need."""
        standing = self.standings[claim]
        if at_worst and standing.open and not self.over:
            return self.looks.at_most
        look = self.look if standing.open and not self.over else standing.look
        return self.looks.seeds[self.look if look is None else look]


def walk(experiment: Experiment, evidence: Evidence) -> Course:
    """The course of an experiment with looks, from all that is finished of its cells."""
    looks = experiment.looks
    assert looks is not None
    design = design_of(looks)
    standings = tuple(Standing(claim, questions=_unasked(claim)) for claim in experiment.claims)
    for look, seeds in enumerate(looks.seeds):
        open_ = [standing for standing in standings if standing.open]
        if not open_:
            return Course(looks, standings, max(0, look - 1), over=True)
        part = evidence.first(seeds)
        hopeful = (s for s in open_ if not part.hopeless(s.claim.variants))
        if any(_lacking(standing.claim, part, seeds) for standing in hopeful):
            return Course(looks, standings, look, over=False)
        for standing in open_:
            _judge(standing, build_case(standing.claim, part, over_queries=False), design, look)
        corrected = step_down([standing.questions for standing in standings])
        for standing, own in zip(standings, corrected, strict=True):
            if standing.look == look:
                _settle(standing, own, design, len(standings))
    return Course(looks, standings, len(looks.seeds) - 1, over=True)


def with_looks(experiment: Experiment, ledger: Ledger) -> Experiment:
    """The experiment with as many seeds of each row as its claims need by now.

    Where it has a fixed number of seeds, the experiment as it is. Raises InputError as `cells_of`.
    """
    return standing_of(experiment, ledger)[0]


def standing_of(experiment: Experiment, ledger: Ledger) -> tuple[Experiment, str]:
    """`with_looks`, and how far it is in words; empty where the number of seeds is fixed."""
    if experiment.parts:
        return _of_parts(experiment, ledger)
    if experiment.looks is None:
        return experiment, ""
    course = course_of(experiment, ledger)
    return replace(experiment, reach=_reach(experiment, course)), course.text


def _of_parts(experiment: Experiment, ledger: Ledger) -> tuple[Experiment, str]:
    parts, decided, claims = [], 0, 0
    for part in experiment.parts:
        if part.looks is None:
            parts.append(part)
            continue
        course = course_of(part, ledger)
        parts.append(replace(part, reach=_reach(part, course)))
        decided += course.decided
        claims += len(course.standings)
    text = f"{decided} of {counted(claims, 'claim')} decided" if claims else ""
    return replace(experiment, parts=tuple(parts)), text


def course_of(experiment: Experiment, ledger: Ledger) -> Course:
    """The course of one experiment with looks, read from the ledger."""
    return walk(experiment, Evidence(at_worst(experiment), ledger))


def at_worst(experiment: Experiment) -> Experiment:
    """The experiment with all seeds that it can come to need, if nothing is decided before."""
    if experiment.parts:
        return replace(experiment, parts=tuple(map(at_worst, experiment.parts)))
    if experiment.looks is None:
        return experiment
    named = {name for claim in experiment.claims for name in claim.variants}
    return replace(
        experiment, reach=_closed(experiment, dict.fromkeys(named, len(experiment.seeds)))
    )


def left_at_worst(experiment: Experiment, ledger: Ledger) -> Experiment:
    """The experiment with all seeds that it can come to need from now on."""
    if experiment.parts:
        return replace(experiment, parts=tuple(left_at_worst(p, ledger) for p in experiment.parts))
    if experiment.looks is None:
        return experiment
    return replace(experiment, reach=_reach(experiment, course_of(experiment, ledger), True))


def _reach(experiment: Experiment, course: Course, at_worst: bool = False) -> dict[str, int]:
    claims = range(len(experiment.claims))
    return reach_of(experiment, [course.seeds_for(claim, at_worst) for claim in claims])


def reach_of(experiment: Experiment, seeds: Sequence[int]) -> dict[str, int]:
    """Variant -> seeds that it is to have.

    Args:
        seeds: for each claim, how many it needs.
    """
    reach: dict[str, int] = {}
    for claim, needed in zip(experiment.claims, seeds, strict=True):
        for name in claim.variants:
            reach[name] = max(reach.get(name, 0), needed)
    return _closed(experiment, reach)


def _closed(experiment: Experiment, reach: dict[str, int]) -> dict[str, int]:
    """With the cells of a row that others start from, seed by seed."""
    stage = experiment.stage
    if stage is not None and stage.variant is not None and stage.per_seed:
        starts = [reach.get(v.name, 0) for v in experiment.variants if v.from_stage]
        reach[stage.variant] = max([reach.get(stage.variant, 0), *starts])
    assert experiment.looks is not None
    first = experiment.looks.seeds[0]
    return {name: max(first, seeds) for name, seeds in reach.items()}


def _lacking(claim: Claim, evidence: Evidence, seeds: int) -> bool:
    """Whether a claim's rows have not finished so many seeds each."""
    return any(
        sum(run.state is State.DONE for run in evidence.runs(name)) < seeds
        for name in claim.variants
    )


def _unasked(claim: Claim) -> list[float]:
    return Case(claim, "", [], 0).questions


def _judge(standing: Standing, case: Case, design: Design, look: int) -> None:
    """Adds a look at a claim to what the looks before have shown."""
    standing.look, standing.case = look, case
    standing.stuck = any(reason != NO_SPREAD for reason in case.reasons)
    if standing.stuck:
        standing.questions = _unasked(standing.claim)
        return
    if isinstance(case.test, MeanTest):
        earlier = standing.test if isinstance(standing.test, MeanTest) else None
        case.test = standing.test = mean_test_at(case.test, design, look, earlier)
    elif isinstance(case.test, Equivalence):
        before = standing.test if isinstance(standing.test, Equivalence) else None
        case.test = standing.test = equivalence_at(case.test, design, look, before)
    if case.small is not None:
        case.small = standing.small = equivalence_at(case.small, design.small, look, standing.small)
    if case.interval is not None:
        spread = mean_test_at(mean_test(case.values), design, look)
        case.interval = (spread.low, spread.high)
    if case.test is not None:
        standing.questions = case.questions


def _settle(standing: Standing, corrected: list[float], design: Design, claims: int) -> None:
    """Ends a claim where one of its questions is answered."""
    case = standing.case
    assert case is not None
    standing.corrected = corrected
    standing.decided = case.p is not None and min(corrected) <= LEVEL
    if case.values:
        mean = summarise(case.values).mean
        step = Step(len(case.values), mean, case.interval, min(corrected))
        test = case.test
        if isinstance(test, MeanTest):
            assert standing.look is not None
            p, own = standing.questions[0], corrected[0]
            factor = own / p if p > 0 and own < 1 else claims  # in the correction
            level = LEVEL / factor / 2
            bound, error = design.bounds(level)[standing.look], test.std / test.n**0.5
            t = (test.mean - test.null) / error
            step = replace(step, t=t, level=level, bound=bound, edge=bound * error)
        standing.path = (*standing.path, step)
