"""The winner of an experiment as one run: chosen on what its epochs were chosen by, not on test."""

from __future__ import annotations

from dataclasses import dataclass

from supclap.errors import InputError, nearest
from supclap_platform.experiment.cells import INIT, Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.means import summarise
from supclap_platform.ledger.records import Result


@dataclass(frozen=True)
class BestCell:
    """``why``: by what it was chosen, in words."""

    cell: Cell
    why: str


def winner_of(experiment: Experiment, ledger: Ledger, row: str | None = None) -> BestCell:
    """The best seed of the best row: rows by the mean over their seeds of the metric that chose
    their epoch (of the validation split, unless the file says otherwise), seeds by the same.

    Where the file has a search, the row is that of the search's winner.

    Args:
        experiment: as it is by now, with its search's winner.
        row: another row, by its name (with groups "ROW @ GROUP").

    Raises:
        InputError: nothing that could win is finished, rows cannot be compared, or no such row.
    """
    cells = [cell for one in experiment.parts or (experiment,) for cell in cells_of(one)]
    by_row: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.variant != INIT:
            by_row.setdefault(cell.variant, []).append(cell)
    if row is None and experiment.search is not None:
        row = experiment.search.winner
        if row not in by_row:
            raise InputError(f"{experiment.path}: its search has no winner yet; run it first")
    if row is not None and row not in by_row:
        raise InputError(f"--row '{row}': no such row{nearest(row, by_row)}")
    results = ledger.results(cell.signature for cell in cells)
    wanted = by_row if row is None else {row: by_row[row]}
    whole = {name: own for name, own in wanted.items() if all(c.signature in results for c in own)}
    if not whole:
        which = "no row is" if row is None else f"the row '{row}' is not"
        raise InputError(
            f"{experiment.path}: {which} finished with all its seeds; run it first: "
            f"supclap run {experiment.path}"
        )
    watched = {c.method.watched(c.config) for own in whole.values() for c in own}
    metric = next(iter(watched)) if len(watched) == 1 else None
    if metric is None and (row is None or len(whole[row]) > 1):
        raise InputError(
            f"{experiment.path}: its rows choose no epoch by one and the same metric, so none is "
            "the best on it: name a row of one seed with --row"
        )
    if metric is None:
        assert row is not None
        return BestCell(whole[row][0], "its row's only seed")
    values = {
        name: [_value(results[c.signature], metric) for c in own] for name, own in whole.items()
    }
    method, config = cells[0].method, cells[0].config
    best = next(iter(whole))
    for name in whole:
        means = summarise(values[name]).mean, summarise(values[best]).mean
        if method.better(config, *means):
            best = name
    place = 0
    for at, value in enumerate(values[best]):
        if method.better(config, value, values[best][place]):
            place = at
    mean = summarise(values[best]).mean
    seeds = len(values[best])
    return BestCell(
        whole[best][place], f"{metric} {values[best][place]:.4g}; its row {mean:.4g} over {seeds}"
    )


def _value(result: Result, metric: str) -> float:
    value = result.value(metric)
    return float("nan") if value is None else value
