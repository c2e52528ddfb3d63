"""What `supclap plan` says of an experiment that adds seeds until its claims are decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np
from rich.text import Text

from supclap.document import Key
from supclap.wording import counted, duration
from supclap_platform.commands.plan_own import own_of_seeds
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.claims import Greater
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.bill import mean_bill
from supclap_platform.ledger.forecast import Forecast, Times
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.inference import LEVEL
from supclap_platform.results.looks import (
    Course,
    at_worst,
    course_of,
    left_at_worst,
    reach_of,
    walk,
)
from supclap_platform.results.outlook import DRAWS, foreseen
from supclap_platform.results.power import MOST, Contrast, seeds_needed
from supclap_platform.results.sequential import design_of
from supclap_platform.results.soonest import rivals

HOPELESS = 0.05  # chance of one of the two tests: where it is no more, a margin is out of reach


def describe_looks(
    experiment: Experiment, ledger: Ledger, worst: Plan, times: Times, at_once: int
) -> Iterator[Text]:
    """Looks, bounds and where the claims stand; what is left at worst, and as it is to be expected.

    Args:
        worst: the plan of all cells that can come to be needed.
        times: how long each of them takes.
        at_once: cells side by side.
    """
    courses: dict[str, Course] = {}
    for part in experiment.parts or (experiment,):
        if part.looks is not None:
            evidence = Evidence(at_worst(part), ledger)
            courses[part.name] = walk(part, evidence)
            name = f"{part.name}: " if experiment.parts else ""
            yield from _of(part, name, courses[part.name], evidence)
    whole = times.forecast(worst.to_run, at_once)
    yield Text(
        f"at worst, if nothing more is decided before the last look: "
        f"{counted(whole.cells, 'cell')} left of {len(worst.statuses)}{_hours([whole])}"
    )
    if whole.cells and not all(course.over for course in courses.values()):
        yield Text(_expected(experiment, ledger, courses, worst, times, at_once))
    for name, counts in own_of_seeds(at_worst(experiment)):
        yield Text(f"{name}{': ' if name else ''}each seed's own, at worst: {counts}")


def _hours(courses: Sequence[Forecast]) -> str:
    """What is to come takes and costs, in the mean over its courses; empty where none is known."""
    if all(one.cells <= one.unknown for one in courses):
        return ""
    wall = duration(fmean(one.wall_seconds for one in courses))
    text = f", {wall} with {courses[0].at_once} at once"
    text += f", {fmean(one.worker_hours for one in courses):.2f} worker-hours"
    cost = mean_bill([one.bill for one in courses]).text
    return f"{text}, {cost}" if cost else text


def _expected(
    experiment: Experiment,
    ledger: Ledger,
    courses: Mapping[str, Course],
    worst: Plan,
    times: Times,
    at_once: int,
) -> str:
    """What is left as it is to be expected, over drawn courses of the seeds to come."""
    drawn: list[set[str]] = [set() for _ in range(DRAWS)]  # signatures that each course needs
    for part in experiment.parts or (experiment,):
        course = courses.get(part.name)
        cells = cells_of(left_at_worst(part, ledger))
        if course is None or course.over:
            for needed in drawn:
                needed |= {cell.signature for cell in cells}
            continue
        ends = foreseen(course)
        if ends is None:
            return "as expected: not known before the first look at every claim"
        for needed, own in zip(drawn, ends.tolist(), strict=True):
            reach = reach_of(part, own)
            for cell in cells:
                if cell.seed < reach.get(cell.variant, course.looks.seeds[0]):
                    needed |= {cell.signature, cell.start or cell.signature}
    left = worst.to_run
    whole = [
        times.forecast([cell for cell in left if cell.signature in needed], at_once)
        for needed in drawn
    ]
    few, many = np.quantile([one.cells for one in whole], (0.1, 0.9), method="nearest")
    mean = fmean(one.cells for one in whole)
    return (
        f"as expected, from the effects and spreads so far: {mean:.0f} cells in the mean, {few} to "
        f"{many} in 8 of 10 courses that are drawn from them{_hours(whole)}"
    )


def _of(part: Experiment, name: str, course: Course, evidence: Evidence) -> Iterator[Text]:
    looks, claims = course.looks, len(course.standings)
    yield Text(f"{name}{course.text}{', and no look is left' if course.over else ''}")
    if not claims:  # all of them wait for a search's winner
        return
    strict, loose = (design_of(looks).bounds(level / 2) for level in (LEVEL / claims, LEVEL))
    bounds = (
        f"{seeds} seeds {one:.2f}" + (f" to {other:.2f}" if claims > 1 else "")
        for seeds, other, one in zip(looks.seeds, strict, loose, strict=True)
    )
    of = f"; the higher ones hold for the first of {claims} claims" if claims > 1 else ""
    yield Text(
        f"{name}bounds of |t| (error {LEVEL:g}, spent {looks.spending}): {'; '.join(bounds)}{of}"
    )
    yield from (Text(f"{name}{line}", "yellow") for line, _ in _small_margins(part, course))
    yield from (Text(f"{name}{line}") for line in _soonest(part, course, evidence))


def _soonest(part: Experiment, course: Course, evidence: Evidence) -> Iterator[str]:
    """For each claim that was judged, the metrics by the seeds that they would take."""
    for standing in course.standings:
        if standing.look is None:
            continue
        own = evidence.first(course.looks.seeds[standing.look])
        found = rivals(standing.claim, own, part.method, len(course.standings))
        if len(found) > 1:
            shown = (f"{one.name} {one.shown} (spread {one.spread:.3g})" for one in found)
            yield (
                f"claim '{standing.claim.text}', for the next experiment: seeds of a fixed design "
                f"by metric, were effect and spread those seen: {', '.join(shown)}"
            )


def refuse_margins(experiment: Experiment, ledger: Ledger) -> None:
    """Raises InputError, at its claim, for a margin that makes "negligible" as good as impossible
    with the seeds that there can be and the spread that the finished ones have."""
    for part in experiment.parts or (experiment,):
        if part.looks is None or part.settings is None:
            continue
        for line, claim in _small_margins(part, course_of(part, ledger), hopeless=True):
            document = part.settings.document
            own = document.values.get("profiles", {}).get(part.profile) or {}
            place: Key = ("profiles", part.profile, "claims") if own.get("claims") else ("claims",)
            texts = own.get("claims") or document.values["claims"]
            raise document.error((*place, str(list(texts).index(claim.text))), line)


def _small_margins(
    part: Experiment, course: Course, hopeless: bool = False
) -> Iterator[tuple[str, Greater]]:
    """A line for each open claim that would probably not be found negligible, were there no effect;
    or, if ``hopeless``, almost certainly not."""
    looks, claims = course.looks, len(course.standings)
    for standing in course.standings:
        claim, case = standing.claim, standing.case
        if not standing.open or case is None or case.small is None or course.over:
            continue
        if not isinstance(claim, Greater) or claim.matters is None:
            continue
        std = case.small.upper.std
        ends = [Contrast(claim.matters, std, 1)] * 2
        needed = enough = seeds_needed(ends, LEVEL / claims)
        if hopeless:
            enough = seeds_needed(ends[:1], LEVEL / claims, HOPELESS)
        if enough is not None and enough <= looks.at_most:
            continue
        shown = f"more than {MOST:,}" if needed is None else f"about {needed}"
        yield (
            f"claim '{claim.text}': with the spread seen so far ({std:.3g}) it would take {shown} "
            f"seeds to show that a difference is smaller than {claim.matters:g}, and there are at "
            f"most {looks.at_most}; raise what matters, or the seeds",
            claim,
        )
