"""What runs have cost, or will: hours at the prices of the experiment that asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from supclap.wording import counted
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.prices import Prices
from supclap_platform.experiment.schema import Resources
from supclap_platform.ledger.records import Result


class Bill:
    """A sum of costs. Runs without a price are counted by device, and not taken to be free."""

    def __init__(self) -> None:
        self.amounts: dict[str, float] = {}  # by currency
        self.prices: dict[str, Prices] = {}
        self.unpriced: dict[str, int] = {}

    def add(
        self,
        prices: Prices | None,
        given: Resources,
        seconds: float,
        workers: int | None = None,
        device: str | None = None,
    ) -> None:
        """Adds so many seconds of a cell with these resources.

        Args:
            workers: that it had; by default as many as it is to have.
            device: it ran on, as its result names it; None: not known.
        """
        number = given.workers if workers is None else workers
        hour = None if prices is None else prices.hour(given, number, device)
        if hour is None or prices is None:
            name = device or ("a GPU" if given.devices else "CPU")
            self.unpriced[name] = self.unpriced.get(name, 0) + 1
            return
        self.prices[prices.currency] = prices
        before = self.amounts.get(prices.currency, 0.0)
        self.amounts[prices.currency] = before + seconds / 3600 * hour

    def add_result(self, prices: Prices | None, given: Resources, result: Result) -> None:
        """Adds a finished run: its training, and what came before its first step."""
        seconds = result.setup_seconds + result.seconds
        if given.auto:  # it may have had a part of a device
            given = given.model_copy(update={"gpu": result.share})
        self.add(prices, given, seconds, result.workers, result.made_with.get("device"))

    @property
    def text(self) -> str:
        """The sum in words, and how many runs have no price; empty where nothing was added."""
        parts = [self.prices[sign].text(amount) for sign, amount in self.amounts.items()]
        for name, count in self.unpriced.items():
            parts.append(f"{counted(count, 'run')} on {name} without a price")
        return " and ".join(parts)


def mean_bill(bills: Sequence[Bill]) -> Bill:
    """The mean of what several courses cost; what has no price in any is counted as in the most."""
    found = Bill()
    for bill in bills:
        for sign, amount in bill.amounts.items():
            found.amounts[sign] = found.amounts.get(sign, 0.0) + amount / len(bills)
        found.prices |= bill.prices
        for name, count in bill.unpriced.items():
            found.unpriced[name] = max(count, found.unpriced.get(name, 0))
    return found


class Costs:
    """The prices of each cell of an experiment; of one that includes others, its part's."""

    def __init__(self, experiment: Experiment) -> None:
        self._own = experiment.prices
        self._of_parts = {part.name: part.prices for part in experiment.parts}

    def __bool__(self) -> bool:
        """Whether anything has a price."""
        return any(p is not None for p in (self._own, *self._of_parts.values()))

    def of(self, cell: Cell) -> Prices | None:
        """What counts for a cell."""
        if not self._of_parts:
            return self._own
        return self._of_parts.get(cell.variant.partition(": ")[0])

    def bill(self, cells: Iterable[Cell], results: Mapping[str, Result]) -> Bill:
        """What the finished ones among some cells have cost, each run once."""
        bill = Bill()
        for cell in {cell.signature: cell for cell in cells}.values():
            if cell.signature in results:
                bill.add_result(self.of(cell), cell.resources, results[cell.signature])
        return bill
