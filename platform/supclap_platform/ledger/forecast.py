"""How long the rest of a plan takes: from finished cells of its shapes, else from timed steps."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean as mean

from supclap.errors import InputError
from supclap.events import EpochEnded
from supclap.progress import activity
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.identity import digest
from supclap_platform.experiment.method import Footprint, Preview, Timing
from supclap_platform.ledger.bill import Bill, Costs
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import Plan, Status
from supclap_platform.ledger.records import Result

TIMING = 10.0  # seconds that timing steps may take in all


@dataclass(frozen=True)
class Forecast:
    """How long the rest takes: from finished cells of the same shape, else from timed steps."""

    cells: int  # still to run
    unknown: int  # of them without any basis
    basis: int  # finished cells that it rests on
    worker_hours: float
    wall_seconds: float
    at_once: int  # cells side by side
    estimated: int = 0  # cells that rest on timed steps, not on finished cells
    first: Estimates | None = None
    once: float = 0.0  # seconds for what is made once, and rests on timed steps
    bill: Bill = field(default_factory=Bill)  # of the rest; empty where nothing has a price


@dataclass(frozen=True)
class Estimates:
    """What timed steps say, by shape: seconds of a cell.

    once: by shape, seconds for data that are made, and outputs of frozen encoders that are
        computed, once; shapes that share these have the same name of them in ``of``.
    scaled: shapes that were not timed themselves, but taken from the others by epochs and clips.
    reasons: why shapes could not be timed, each once.
    footprints: what the shapes that were timed take of memory and disk.
    previews: what is known of those that could not be timed.
    assumed: what stood in, where steps were timed, for weights and data that are not here.
    short: of shapes whose batch does not fit into memory here: what does, and what would help.
    """

    seconds: Mapping[str, float]
    steps: int
    once: Mapping[str, float] = field(default_factory=dict)
    of: Mapping[str, str] = field(default_factory=dict)
    scaled: frozenset[str] = frozenset()
    reasons: tuple[str, ...] = ()
    footprints: Mapping[str, Footprint] = field(default_factory=dict)
    previews: Mapping[str, Preview] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    short: tuple[str, ...] = ()


def forecast(
    plan: Plan, ledger: Ledger, at_once: int = 1, first: Estimates | None = None
) -> Forecast:
    """How long the rest of a plan takes with ``at_once`` cells side by side.

    A shape is a configuration without its loss and seed, on the same workers: what decides how long
    a run takes. Finished cells of other experiments in the ledger serve too. A resumable cell
    counts for the epochs that it still lacks.

    Args:
        first: for shapes of which no cell has finished (`time_shapes`).
    """
    return Times.of(plan, ledger, first).forecast(plan.to_run, at_once)


@dataclass(frozen=True)
class Times:
    """How long the cells take that a plan has left, each by itself.

    seconds: by signature; a cell without any basis is absent.
    estimated: those that rest on timed steps.
    """

    seconds: Mapping[str, float]
    estimated: frozenset[str]
    basis: int  # finished cells that they rest on
    first: Estimates | None
    costs: Costs

    @classmethod
    def of(cls, plan: Plan, ledger: Ledger, first: Estimates | None = None) -> Times:
        """Those of a plan; ``first`` as `forecast` takes it."""
        left = plan.to_run
        finished = _known(plan, ledger, {cell.shape for cell in left})
        guessed = dict(first.seconds) if first else {}
        seconds: dict[str, float] = {}
        estimated: set[str] = set()
        for cell in left:
            form = cell.shape
            known = finished.get(form)
            if not known and form in guessed:
                known = [guessed[form]]
                estimated.add(cell.signature)
            if known:
                seconds[cell.signature] = mean(known) * remaining(plan, cell, ledger)
        basis = sum(len(each) for each in finished.values())
        return cls(seconds, frozenset(estimated), basis, first, Costs(plan.experiment))

    def forecast(self, left: Sequence[Cell], at_once: int) -> Forecast:
        """How long some of the cells take together."""
        times = [(c, self.seconds[c.signature]) for c in left if c.signature in self.seconds]
        bill = Bill()
        for cell, seconds in times if self.costs else ():
            bill.add(self.costs.of(cell), cell.resources, seconds)
        estimated = [cell for cell in left if cell.signature in self.estimated]
        once = _once(left, self.first) if self.first and estimated else 0.0
        return Forecast(
            cells=len(left),
            unknown=len(left) - len(times),
            basis=self.basis,
            worker_hours=sum(time * cell.resources.workers for cell, time in times) / 3600,
            wall_seconds=once + _wall(times, at_once),
            at_once=at_once,
            estimated=len(estimated),
            first=self.first,
            once=once,
            bill=bill,
        )


def _once(cells: Sequence[Cell], first: Estimates) -> float:
    """Seconds for what is made once, as often as the cells have it in another form: each of them
    may have a world of its own."""
    kinds: dict[str, set[str]] = {}
    for cell in cells:
        form = cell.shape
        if form in first.once:
            seen = digest(cell.method.same_data(cell.config))
            kinds.setdefault(form, set()).add(seen)
    most: dict[str, float] = {}  # by what it is made for
    for form, several in kinds.items():
        name = first.of[form]
        most[name] = max(most.get(name, 0.0), len(several) * first.once[form])
    return sum(most.values())


def time_shapes(plan: Plan, ledger: Ledger, budget: float = TIMING) -> Estimates | None:
    """Times some steps of each shape that is to run and of which no cell has finished; None where
    there is none.

    Those with the most cells come first; what does not fit the ``budget`` in seconds is taken from
    the mean of those that did.
    """
    left = plan.to_run
    cells = {cell.shape: cell for cell in reversed(left)}
    counts = Counter(cell.shape for cell in left)
    missing = cells.keys() - _known(plan, ledger, set(cells)).keys()
    if not missing:
        return None
    found: dict[str, Timing] = {}
    reasons: dict[str, None] = {}
    previews: dict[str, Preview] = {}
    late: list[str] = []
    until = time.monotonic() + budget
    order = sorted(missing, key=lambda form: -counts[form])
    with activity("timing some steps", len(order), "shapes") as done:
        for number, form in enumerate(order):
            done(number)
            cell = cells[form]
            if found and time.monotonic() > until:
                late.append(form)
                continue
            given = cell.resources
            threads = max(1, int(given.cpu))
            try:
                found[form] = cell.method.time(
                    cell.config, given.workers, threads, given.devices > 0
                )
            except InputError as error:
                reasons[str(error)] = None
                previews[form] = cell.method.preview(cell.config)
    seconds = {form: each.whole for form, each in found.items()}
    if found:
        per = [each.whole / _work(cells[form]) for form, each in found.items()]
        seconds |= {form: sum(per) / len(per) * _work(cells[form]) for form in late}
    steps = sum(each.steps for each in found.values())
    once = {form: each.once for form, each in found.items()}
    of = {form: each.of for form, each in found.items()}
    sizes = {form: each.footprint for form, each in found.items() if each.footprint}
    assumed = tuple(dict.fromkeys(words for each in found.values() for words in each.assumed))
    short = tuple(dict.fromkeys(each.short for each in found.values() if each.short))
    return Estimates(
        seconds, steps, once, of, frozenset(late), tuple(reasons), sizes, previews, assumed, short
    )


def _work(cell: Cell) -> float:
    """What a cell's time grows with, roughly."""
    return cell.method.work(cell.config)


def _known(plan: Plan, ledger: Ledger, shapes: set[str]) -> dict[str, list[float]]:
    """Seconds of the finished cells of each shape: of the plan, else of other experiments."""
    seconds: dict[str, list[float]] = {}
    for cell in plan.cells:
        if cell.signature in plan.results and cell.shape in shapes:
            seconds.setdefault(cell.shape, []).append(_whole(plan.results[cell.signature]))
    for form, results in _elsewhere(ledger, shapes - set(seconds)).items():
        seconds[form] = [_whole(result) for result in results]
    return seconds


def _whole(result: Result) -> float:
    return result.setup_seconds + result.seconds


def _elsewhere(ledger: Ledger, shapes: set[str]) -> dict[str, list[Result]]:
    if not shapes:
        return {}
    found = {form: s for form, s in ledger.shapes().items() if form in shapes}
    results = {form: list(ledger.results(sorted(s)).values()) for form, s in found.items()}
    return {form: some for form, some in results.items() if some}


def remaining(plan: Plan, cell: Cell, ledger: Ledger) -> float:
    """The share of a cell's epochs that it still lacks, 0 to 1."""
    if plan.status(cell) is not Status.RESUMABLE:
        return 1.0
    events = ledger.spared(lambda: ledger.events(cell.signature)) or []
    ended = [event.epoch for event in events if isinstance(event, EpochEnded)]
    return 1.0 - min(max(ended, default=0), cell.config.epochs) / cell.config.epochs


def _wall(times: list[tuple[Cell, float]], at_once: int) -> float:
    """Cells start in the plan's order as places fall free; a cell waits for its stage."""
    free = [0.0] * max(1, at_once)
    ended: dict[str, float] = {}
    for cell, seconds in times:
        begin = max(heapq.heappop(free), ended.get(cell.start or "", 0.0))
        ended[cell.signature] = begin + seconds
        heapq.heappush(free, begin + seconds)
    return max(free)
