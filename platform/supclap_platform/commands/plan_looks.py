"""What `supclap plan` says of an experiment that adds seeds until its claims are decided."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from supclap.wording import counted, duration
from supclap_platform.experiment.claims import Greater
from supclap_platform.experiment.reader import Experiment
from supclap_platform.ledger.forecast import Forecast
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan
from supclap_platform.results.inference import LEVEL
from supclap_platform.results.looks import Course, course_of
from supclap_platform.results.power import MOST, Contrast, seeds_needed
from supclap_platform.results.sequential import design_of


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


def _of(part: Experiment, name: str, course: Course) -> Iterator[Text]:
    looks, claims = course.looks, len(course.standings)
    yield Text(f"{name}{course.text}{', and no look is left' if course.over else ''}")
    strict, loose = (design_of(looks).bounds(level / 2) for level in (LEVEL / claims, LEVEL))
    bounds = (
        f"{seeds} seeds {one:.2f}" + (f" to {other:.2f}" if claims > 1 else "")
        for seeds, other, one in zip(looks.seeds, strict, loose, strict=True)
    )
    of = f"; the higher ones hold for the first of {claims} claims" if claims > 1 else ""
    yield Text(
        f"{name}bounds of |t| (error {LEVEL:g}, spent {looks.spending}): {'; '.join(bounds)}{of}"
    )
    for standing in course.standings:
        claim, case = standing.claim, standing.case
        if not standing.open or case is None or case.test is None or course.over:
            continue
        if not isinstance(claim, Greater) or claim.matters is None or case.small is None:
            continue
        std = case.small.upper.std
        ends = [Contrast(claim.matters, std, 1), Contrast(claim.matters, std, 1)]
        needed = seeds_needed(ends, LEVEL / claims)
        if needed is None or needed > looks.at_most:
            shown = f"more than {MOST:,}" if needed is None else f"about {needed}"
            yield Text(
                f"{name}'{claim.text}': with the spread seen so far ({std:.3g}) it would take "
                f"{shown} seeds to show that a difference is smaller than {claim.matters:g}, and "
                f"there are at most {looks.at_most}: 'matters' is too small, or 'at_most' is",
                style="yellow",
            )
