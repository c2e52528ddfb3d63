"""How many seeds the claims of an experiment with looks are still to be expected to take.

What is to come is drawn from what is known: of each open claim the mean and the spread of its
values so far, both as uncertain as so few values make them (Student's predictive distribution: the
true mean and spread are drawn first, then the values). Each drawn course is judged as runs are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from supclap_platform.experiment.claims import Greater, Within
from supclap_platform.results.cases import Case
from supclap_platform.results.inference import LEVEL, Equivalence, MeanTest
from supclap_platform.results.looks import Course, Standing
from supclap_platform.results.sequential import Design, design_of
from supclap_platform.results.statistics import step_down

DRAWS = 200

Array = np.ndarray


def foreseen(course: Course, draws: int = DRAWS, seed: int = 0) -> Array | None:
    """(draws, claims) seeds at which each claim ends, in as many drawn courses.

    A claim whose values are all alike so far is taken to need all that there can be. None where
    nothing is known yet of an open claim, or nothing is open.
    """
    open_ = [standing for standing in course.standings if standing.open]
    if course.over or not open_ or any(one.case is None for one in open_):
        return None
    chance = np.random.default_rng(seed)
    design = design_of(course.looks)
    ways = [_way(one, course, draws, chance) if one.open else None for one in course.standings]
    questions = [list(one.questions) for one in course.standings]
    ends = np.array([[course.seeds_for(at, True) for at in range(len(ways))]] * draws)
    done = np.array([[not one.open for one in course.standings]] * draws)
    for look in range(course.look, len(course.looks.seeds)):
        asked = [
            np.tile(known, (draws, 1)) if way is None else way.asked(design, look)
            for known, way in zip(questions, ways, strict=True)
        ]
        hopeful = np.min([one.min(1) for one in asked], 0) <= LEVEL
        for draw in np.flatnonzero(hopeful & ~done.all(1)):
            corrected = step_down([one[draw].tolist() for one in asked])
            for claim, own in enumerate(corrected):
                if not done[draw, claim] and min(own) <= LEVEL:
                    done[draw, claim] = True
                    ends[draw, claim] = course.looks.seeds[look]
        for claim, way in enumerate(ways):
            if way is not None:
                way.ended = done[:, claim].copy()
    return ends


@dataclass
class _Way:
    """The values of a claim, as they may go on, and the p of its questions so far."""

    case: Case
    values: Array  # (draws, seeds)
    nulls: list[float]
    own: int  # how many of them are the claim's own question's: the rest are "negligible"
    above: Array  # (nulls, draws): the least levels so far
    below: Array
    last: Array | None = None  # (draws, questions) at the look before
    ended: Array | None = None  # (draws,) the courses in which it has ended

    def asked(self, design: Design, look: int) -> Array:
        """(draws, questions) p at a look; of a claim that has ended, what they were then."""
        n = design.looks.seeds[look]
        first = self.values[:, :n]
        mean, error = first.mean(1), first.std(1, ddof=1) / n**0.5
        for place, null in enumerate(self.nulls):
            t = (mean - null) / error
            for least, tails in ((self.above, -t), (self.below, t)):
                of = design if place < self.own else design.small
                own = of.levels(look, special.stdtr(n - 1, tails))
                least[place] = np.minimum(least[place], own)
        inside = np.maximum(self.below[-2], self.above[-1]) if len(self.nulls) > 1 else None
        if isinstance(self.case.claim, Within):
            assert inside is not None
            outside = np.minimum(1.0, 2 * np.minimum(self.above[-2], self.below[-1]))
            found = [np.minimum(inside, outside)]
        else:
            found = [np.minimum(1.0, 2 * np.minimum(self.above[0], self.below[0]))]
            found += [] if inside is None else [inside]
        now = np.stack(found, 1)
        if self.last is not None and self.ended is not None:
            now = np.where(self.ended[:, None], self.last, now)
        self.last = now
        return now


def _way(
    standing: Standing, course: Course, draws: int, chance: np.random.Generator
) -> _Way | None:
    """How an open claim may go on; None where its values have no spread."""
    case = standing.case
    if case is None or standing.test is None:
        return None
    known = np.array(case.values)
    n, more = len(known), course.looks.at_most - len(known)
    free = n - 1
    spread = known.std(ddof=1) * np.sqrt(free / chance.chisquare(free, draws))
    mean = known.mean() + spread / n**0.5 * chance.normal(0, 1, draws)
    coming = chance.normal(0, 1, (draws, more)) * spread[:, None] + mean[:, None]
    tests: list[MeanTest] = []
    if isinstance(standing.test, Equivalence):
        tests += [standing.test.upper, standing.test.lower]
        share = case.bound or 0.0
        nulls = [share, -share]
    else:
        tests.append(standing.test)
        nulls = [case.null]
    claim, own = case.claim, len(nulls)
    if isinstance(claim, Greater) and claim.matters is not None and standing.small is not None:
        tests += [standing.small.upper, standing.small.lower]
        nulls += [claim.matters, -claim.matters]
    return _Way(
        case,
        np.concatenate([np.tile(known, (draws, 1)), coming], 1),
        nulls,
        own,
        np.stack([np.full(draws, test.above) for test in tests]),
        np.stack([np.full(draws, test.below) for test in tests]),
    )
