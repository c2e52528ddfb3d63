"""What each row and each verdict of an experiment has cost, by the runs behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from supclap_platform.experiment.cells import INIT, Cell
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.bill import Bill, Costs
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import TRIAL, profile_key
from supclap_platform.ledger.records import Result
from supclap_platform.results.conclusion import Conclusion
from supclap_platform.results.text import NONE


@dataclass(frozen=True)
class CostLine:
    """What something has cost: a row, the stage, or a verdict with its outcome."""

    what: str
    outcome: str
    runs: int  # finished
    hours: float  # of workers, with what comes before the first step
    cost: str


@dataclass(frozen=True)
class CostTables:
    """Of one experiment: a line for each row, and for each verdict.

    A run that several rows or verdicts share stands in each of them whole; the sum of all is
    elsewhere.
    """

    name: str
    rows: tuple[CostLine, ...]
    verdicts: tuple[CostLine, ...]


def costs_of(one: Conclusion) -> Iterator[CostTables]:
    """The tables, where the experiment has prices."""
    costs = Costs(one.experiment)
    if not costs:
        return
    cells, results = one.evidence.cells, one.evidence.all_results
    rows: dict[str, list[Cell]] = {}
    names = {variant.name: variant.row for variant in one.experiment.variants}
    for cell in cells:
        name = "the stage of init" if cell.variant == INIT else names[cell.variant]
        rows.setdefault(name, []).append(cell)
    yield CostTables(
        one.name,
        tuple(_line(name, "", some, results, costs) for name, some in rows.items()),
        tuple(
            _line(
                verdict.claim.text,
                str(verdict.outcome),
                _behind(cells, {run.signature for _, run in verdict.runs}),
                results,
                costs,
            )
            for verdict in one.verdicts
        ),
    )


def trials_cost(experiment: Experiment, ledger: Ledger) -> tuple[int, str]:
    """How many runs of a search's trials have finished, and what they cost. What a trial that was
    stopped early took is in the search's own line alone."""
    assert experiment.search is not None
    _, resources = experiment.search.build("search", {})
    known = ledger.known(experiment.name, profile_key(experiment))
    trials = [cell.signature for cell in known if cell.variant.startswith(TRIAL)]
    results = ledger.results(trials)
    bill = Bill()
    for result in results.values():
        bill.add_result(experiment.prices, resources, result)
    return len(results), bill.text or NONE


def _behind(cells: Iterable[Cell], runs: set[str]) -> list[Cell]:
    """The cells of some runs, and the stages that they start from."""
    chosen = [cell for cell in cells if cell.signature in runs]
    stages = {cell.start for cell in chosen}
    return [*chosen, *(cell for cell in cells if cell.signature in stages)]


def _line(
    what: str, outcome: str, cells: list[Cell], results: dict[str, Result], costs: Costs
) -> CostLine:
    signatures = {cell.signature for cell in cells}
    done = [results[signature] for signature in sorted(signatures & results.keys())]
    seconds = sum((r.setup_seconds + r.seconds) * r.workers for r in done)
    text = costs.bill(cells, results).text or NONE
    return CostLine(what, outcome, len(done), seconds / 3600, text)
