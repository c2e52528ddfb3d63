"""What a plan knows of runs of which no step can be timed here: their steps, what they take in any
case, and what stays open until something that is missing is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from supclap.wording import counted
from supclap_platform.commands.only import Only
from supclap_platform.commands.options import Asked
from supclap_platform.commands.plan_missing import command_of
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.identity import NamesOfContents
from supclap_platform.experiment.method import Preview
from supclap_platform.ledger.forecast import Estimates
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan, make_plan
from supclap_platform.running.machine import demand, machine, short_of

MOST_KINDS = 4  # of runs that have a line of their own
MILLION = 1e6


def plan_without(experiment: Experiment, ledger: Ledger, only: Only) -> Plan:
    """The plan of an experiment whose data or weights are not here: of all its runs, as it is not
    known which of them have finished."""
    content = NamesOfContents()
    only.check(experiment)
    whole = make_plan(experiment, ledger, cells=cells_of(experiment, content))
    return only.of(whole, content=content)


def count_line(plan: Plan) -> str:
    """How many runs there are at most."""
    experiment = plan.experiment
    text = counted(len(plan.statuses), "run")
    if experiment.parts:
        text += f" in {counted(len(experiment.parts), 'experiment')}"
    if experiment.sequential:
        from supclap_platform.results.looks import at_worst

        most = cells_of(at_worst(experiment), NamesOfContents())
        worst = len({cell.signature for cell in most})
        text += f" for the first look at the claims, {worst:,} if none is decided before the last"
    return f"runs: {text}; which of them have finished is known once data and weights are here"


def run_lines(plan: Plan, first: Estimates | None) -> Iterator[str]:
    """The runs that could not be timed, by what their steps are; what stands in for what is not
    here, for these and for those that were timed; and of those whose batch does not fit here."""
    known = first.previews if first else {}
    kinds: Counter[str] = Counter()
    for cell in plan.to_run:
        found = known.get(cell.shape)
        if found is not None and (found.steps is not None or found.parameters):
            kinds[_steps(cell, found)] += 1
    for words, number in kinds.most_common(MOST_KINDS):
        yield f"{counted(number, 'run')}: {words}{' each' if number > 1 else ''}"
    left = kinds.total() - sum(number for _, number in kinds.most_common(MOST_KINDS))
    if left:
        yield f"{counted(left, 'more run')} of {len(kinds) - MOST_KINDS} other kinds"
    assumed = dict.fromkeys(words for one in known.values() for words in one.assumed)
    assumed |= dict.fromkeys(first.assumed if first else ())
    if assumed:
        yield f"taken for what is not here: {'; '.join(assumed)}"
    yield from first.short if first else ()


def open_lines(plan: Plan, first: Estimates | None, asked: Asked) -> Iterator[str]:
    """What is not known, and what would make it known."""
    if first is None or not first.previews:
        return
    left = {cell.shape: cell for cell in plan.to_run}
    waiting = [left[form] for form in first.previews if form in left]
    if not waiting:
        return
    found = dict.fromkeys(words for one in first.previews.values() for words in one.unknown)
    hours = "hours and money" if _priced(plan.experiment) else "hours"
    parts = [hours, "what a step takes of memory", *found]
    yield f"not known: {'; '.join(parts)}. {_remedy(waiting, asked)}"


def _remedy(waiting: list[Cell], asked: Asked) -> str:
    command = f"`{command_of('plan', asked)}`"
    lacking = [cell for cell in waiting if _no_device(cell)]
    if lacking:
        most = max(demand(cell.resources)["GPU"] for cell in lacking)
        return f"On a machine with {most:g} GPU {command} times a step and says it"
    return f"Once what is missing is here, {command} times a step and says it; so does a first run"


def _no_device(cell: Cell) -> bool:
    return any("GPU" in words for words in short_of(cell.resources, machine([cell])))


def _priced(experiment: Experiment) -> bool:
    return any(part.prices is not None for part in experiment.parts or (experiment,))


def _steps(cell: Cell, found: Preview) -> str:
    epochs = counted(cell.config.epochs, "epoch")
    if found.steps is None:
        text = f"{epochs}, of an unknown number of steps"
    else:
        text = f"{epochs} of {counted(found.steps, 'step')}"
    if found.batch:
        text += f" with {found.batch} pairs"
    if found.parameters:
        text += f", {found.parameters / MILLION:,.1f} M parameters"
        if found.learned < found.parameters:
            text += f" of which {found.learned / MILLION:,.1f} M are learned"
    return text
