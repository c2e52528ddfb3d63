"""What a t test over seeds cannot know, said beside the verdict that rests on it: a run that has
collapsed, one seed that decides alone, a test without normality that does not agree."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from statistics import median

from supclap.wording import seed_list
from supclap_platform.experiment.claims import Greater, Trend
from supclap_platform.results.cases import Case
from supclap_platform.results.evidence import Reports
from supclap_platform.results.inference import (
    LEVEL,
    Equivalence,
    equivalence,
    has_spread,
    mean_test,
    negligible,
    sign_flip,
)
from supclap_platform.results.sequential import Design, equivalence_at, mean_test_at

SIBLINGS = 3  # runs of a row, from which on one can be compared with the others
COLLAPSED = 0.25  # of the way from chance to the row's median, at most
ENOUGH = 4  # seeds, so that one can be left out
NAMED = 4  # seeds; more are counted
SYMMETRIC = 6  # seeds from which on flips of signs can give a p below 0.05


def collapses(case: Case, evidence: Reports) -> Iterator[str]:
    """A line for each row with a run that is near chance where its siblings are not.

    Only of metrics of which the runs report what guessing scores.
    """
    claim = case.claim
    if isinstance(claim, Trend):
        return
    guess = f"chance.{claim.metric.removeprefix('test.')}"
    for name in claim.variants:
        values = {s: v for s, v in evidence.asked(claim, name).items() if v is not None}
        chances = [c for c in evidence.values(name, guess).values() if c is not None]
        if len(values) < SIBLINGS or not chances or not all(map(isfinite, values.values())):
            continue
        middle, chance = median(values.values()), median(chances)
        way = middle - chance
        lost = [seed for seed, v in values.items() if way and (v - chance) / way <= COLLAPSED]
        if lost:
            yield (
                f"{name} has collapsed for {seed_list(lost)}: near chance ({chance:.3g}) where the "
                f"row's median is {middle:.3g}; a t test over seeds is no judge of that"
            )


def fragile(case: Case, question: int, factor: float, design: Design, look: int) -> Iterator[str]:
    """Lines on a verdict that hangs on little.

    Args:
        question: the one that it answers (`Case.questions`).
        factor: by which its p was multiplied in the correction.
        design: and the ``look``, from 0, at which it was given.
    """
    if len(case.values) >= ENOUGH:
        alone = [
            place
            for place in range(len(case.values))
            if factor * _p_without(case, place, question, design, look) > LEVEL
        ]
        if alone:
            yield f"it would be undecided without {_one_of(alone, case.seeds)}"
    if question == 0 and len(case.values) >= SYMMETRIC and not isinstance(case.test, Equivalence):
        p = sign_flip(case.values, case.null)
        if p > LEVEL:
            yield f"the sign-flip test, which assumes symmetry alone, does not agree (p {p:.4f})"


def _one_of(places: list[int], seeds: list[int]) -> str:
    """Some of the seeds, each left out alone; many are counted."""
    if len(places) == 1:
        return f"seed {seeds[places[0]]}"
    if len(places) > NAMED:
        return f"any one of {len(places)} of its {len(seeds)} seeds"
    return f"any one of the seeds {', '.join(str(seeds[place]) for place in places)}"


def _p_without(case: Case, place: int, question: int, design: Design, look: int) -> float:
    """The p of a question at a look, if one seed had not been run."""
    values = [value for at, value in enumerate(case.values) if at != place]
    if not has_spread(values, case.scale):
        return 1.0
    claim = case.claim
    if question == 1:
        assert isinstance(claim, Greater)
        assert claim.matters is not None
        return equivalence_at(negligible(values, claim.matters), design.small, look).inside
    if isinstance(case.test, Equivalence):
        ours, theirs = zip(*(p for at, p in enumerate(case.pairs) if at != place), strict=True)
        assert not isinstance(claim, Greater | Trend)
        found = equivalence(list(ours), list(theirs), claim.percent / 100)
        return equivalence_at(found, design, look).p
    return mean_test_at(mean_test(values, case.null), design, look).p
