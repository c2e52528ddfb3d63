"""Which finished cells keep their models (`keep.models` of the experiment file); the others go."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from supclap.wording import counted
from supclap_platform.experiment.cells import INIT, Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.keep import ALL, BASELINE, NONE, frees_models
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import TRIAL, profile_key
from supclap_platform.ledger.records import Result
from supclap_platform.ledger.results import READERS

PAUSE = 60.0  # seconds between two looks of a driver


@dataclass(frozen=True)
class Freed:
    """What was removed. ``shared``: models that stay, as other experiments have these cells."""

    models: int = 0
    bytes: int = 0
    shared: int = 0

    @property
    def line(self) -> str:
        """In words; "" where there is nothing to say."""
        if not self.models and not self.shared:
            return ""
        stay = f"; {self.shared} stay, as other experiments have these runs" if self.shared else ""
        return (
            f"keep.models: {counted(self.models, 'model')} removed, {self.bytes / 1e9:.2f} GB{stay}"
        )


def free_models(experiment: Experiment, ledger: Ledger) -> Freed:
    """Removes the models that the experiment does not keep, of cells that are finished.

    Never those of cells that another experiment in the storage, or another profile, has asked for,
    and never those that a run starts from.
    """
    parts = experiment.parts or (experiment,)
    if not frees_models(part.keep for part in parts):
        return Freed()
    wanted: set[str] = set()
    asked: dict[str, None] = {}
    for part in parts:
        cells = cells_of(part)
        results = ledger.results(cell.signature for cell in cells)
        asked |= dict.fromkeys(results)
        wanted |= _wanted(part, cells, results)
        if part.search is not None and part.keep.models != ALL:
            known = ledger.known(experiment.name, profile_key(experiment))
            names = (cell for cell in known if cell.variant.rpartition(": ")[2].startswith(TRIAL))
            asked |= dict.fromkeys(ledger.results(cell.signature for cell in names))
    unwanted = [signature for signature in asked if signature not in wanted]
    elsewhere = _elsewhere(experiment, ledger)
    with ThreadPoolExecutor(READERS) as workers:
        sizes = dict(zip(unwanted, workers.map(ledger.model_size, unwanted), strict=True))
        there = [signature for signature in unwanted if sizes[signature] is not None]
        gone = [signature for signature in there if signature not in elsewhere]
        for _ in workers.map(ledger.drop_model, gone):
            pass
    return Freed(len(gone), sum(sizes[one] or 0 for one in gone), len(there) - len(gone))


class Freeing:
    """Removes models beside a running experiment, so that the disk holds few at any moment."""

    def __init__(self, experiment: Experiment, ledger: Ledger) -> None:
        self._experiment, self._ledger = experiment, ledger
        self._at_work = frees_models(p.keep for p in experiment.parts or (experiment,))
        self._last = time.monotonic()
        self._owed = False

    def step(self, more: bool) -> None:
        """``more``: whether cells have ended since."""
        self._owed |= more
        if self._at_work and self._owed and time.monotonic() - self._last >= PAUSE:
            free_models(self._experiment, self._ledger)
            self._owed, self._last = False, time.monotonic()


def _wanted(part: Experiment, cells: Sequence[Cell], results: Mapping[str, Result]) -> set[str]:
    policy = part.keep.models
    if policy == ALL:
        return {cell.signature for cell in cells}
    stages = {cell.start for cell in cells if cell.start}
    stages |= {cell.signature for cell in cells if cell.variant == INIT}
    if policy == NONE:
        return stages
    rows = {variant.name: variant.row for variant in part.variants}
    compared = set(part.baselines.values())
    by_row: dict[str, list[Cell]] = {}
    for cell in cells:
        row = rows.get(cell.variant, cell.variant)
        if cell.signature in results and (policy != BASELINE or row in compared):
            by_row.setdefault(cell.variant, []).append(cell)
    best = (signature for own in by_row.values() for signature in _best(own, results))
    return stages.union(best)


def _best(cells: Sequence[Cell], results: Mapping[str, Result]) -> Iterable[str]:
    """The best seed of a row, on what chose its epochs; all, where nothing did."""
    metric = cells[0].method.watched(cells[0].config)
    if metric is None:
        return [cell.signature for cell in cells]
    best = cells[0]
    for cell in cells[1:]:
        value, other = (results[one.signature].value(metric) for one in (cell, best))
        if value is not None and (other is None or cell.method.better(cell.config, value, other)):
            best = cell
    return [best.signature]


def _elsewhere(experiment: Experiment, ledger: Ledger) -> set[str]:
    """The cells that any other experiment or profile in the storage has asked for."""
    histories = Histories(ledger)
    own = (experiment.name, profile_key(experiment))
    return {
        cell.signature
        for history in histories.all()
        if (history.experiment, history.profile) != own
        for cell in histories.cells(history)
    }
