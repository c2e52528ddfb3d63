"""What `supclap plan` says of an experiment that adds seeds until its claims are decided."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from supclap.wording import counted, duration
from supclap_platform.commands.plan_own import own_of_seeds
from supclap_platform.experiment.claims import Greater
from supclap_platform.experiment.reader import Experiment
from supclap_platform.ledger.forecast import Forecast
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan
from supclap_platform.results.inference import LEVEL
from supclap_platform.results.looks import Course, at_worst, course_of
from supclap_platform.results.power import MOST, Contrast, seeds_needed
from supclap_platform.results.sequential import design_of

HOPELESS = 0.05  # chance of one of the two tests: where it is no more, a margin is out of reach


def describe_looks(
    experiment: Experiment, ledger: Ledger, worst: Plan, whole: Forecast
) -> Iterator[Text]:
    """Looks, bounds and where the claims stand; what is left if nothing is decided any more.

    Args:
        worst: the plan of all cells that can come to be needed.
        whole: the forecast of that.
    """
    for part in experiment.parts or (experiment,):
        if part.looks is not None:
            name = f"{part.name}: " if experiment.parts else ""
            yield from _of(part, name, course_of(part, ledger))
    left = whole.cells
    hours = ""
    if left > whole.unknown:
        hours = f", {duration(whole.wall_seconds)} with {whole.at_once} at once"
        hours += f", {whole.worker_hours:.2f} worker-hours"
    yield Text(
        f"at worst, if nothing more is decided before the last look: {counted(left, 'cell')} left "
        f"of {len(worst.statuses)}{hours}"
    )
    for name, counts in own_of_seeds(at_worst(experiment)):
        yield Text(f"{name}{': ' if name else ''}each seed's own, at worst: {counts}")


def _of(part: Experiment, name: str, course: Course) -> Iterator[Text]:
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


def refuse_margins(experiment: Experiment, ledger: Ledger) -> None:
    """Raises InputError, at its claim, for a margin that makes "negligible" as good as impossible
    with the seeds that there can be and the spread that the finished ones have."""
    for part in experiment.parts or (experiment,):
        if part.looks is None or part.settings is None:
            continue
        for line, claim in _small_margins(part, course_of(part, ledger), hopeless=True):
            place = part.claims.index(claim)
            raise part.settings.document.error(("claims", str(place)), line)


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
