"""What the finished runs of an experiment say, seed by seed: for claims and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

from supclap.events import EpochEnded
from supclap_platform.experiment.cells import INIT, Cell, cells_of
from supclap_platform.experiment.claims import Greater, Within
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import Result, State
from supclap_platform.ledger.staleness import Stale, mixture, stale_cells
from supclap_platform.results.table import Run

if TYPE_CHECKING:
    import numpy as np


class Reports(Protocol):
    """What finished runs say of variants, seed by seed: all that a case is built from."""

    own_data: bool  # each seed has data of its own

    def runs(self, variant: str) -> list[Run]: ...

    def results(self, variant: str) -> Mapping[int, Result]: ...

    def values(self, variant: str, metric: str) -> dict[int, float | None]: ...

    def asked(self, claim: Greater | Within, variant: str) -> dict[int, float | None]: ...

    def curves(self, variant: str, metric: str) -> dict[int, dict[int, float]]: ...

    def ranks(self, variant: str) -> dict[int, Mapping[str, Any]]: ...


class Evidence:
    """The finished cells of an experiment as the ledger holds them now.

    Cells that are not finished are never read: what they have so far is not their result. Of a
    finished one whose events or ranks are damaged these are absent, and `Ledger.damage` names them.
    ``cells``: all that the experiment declares, the stage of ``init`` included.
    """

    def __init__(
        self, experiment: Experiment, ledger: Ledger, cells: Sequence[Cell] | None = None
    ) -> None:
        self._ledger = ledger
        self.cells = cells_of(experiment) if cells is None else cells
        self.own_data = bool(experiment.vary)  # each seed has data of its own
        self._cells: dict[str, list[Cell]] = {}
        for cell in (cell for cell in self.cells if cell.variant != INIT):
            self._cells.setdefault(cell.variant, []).append(cell)
        signatures = [cell.signature for cell in self.cells]
        overview, self._results = ledger.examine(signatures)
        self._states = {signature: overview.of(signature) for signature in signatures}
        self._finished: dict[str, dict[int, Result]] = {}
        self._events: dict[str, list[EpochEnded] | None] = {}
        self._ranks: dict[str, dict[str, Any] | None] = {}

    def runs(self, variant: str) -> list[Run]:
        """The runs that the experiment declares of a variant, in the order of its seeds."""
        return [Run(c.seed, c.signature, self._states[c.signature]) for c in self._of(variant)]

    @property
    def all_results(self) -> dict[str, Result]:
        """signature -> result of its runs that are done, the stage's included."""
        return self._results

    @property
    def finished(self) -> frozenset[str]:
        """The signatures of its runs that are done."""
        return frozenset(self._results)

    def first(self, seeds: int) -> Evidence:
        """The same of the first so many seeds of each variant."""
        part = copy(self)
        part._cells = {variant: cells[:seeds] for variant, cells in self._cells.items()}
        part._finished = {}
        return part

    def hopeless(self, variants: Iterable[str]) -> bool:
        """Whether a run of some variants has failed or is damaged, or the stage that it starts
        from: none of them is made anew by waiting."""
        over = (State.FAILED, State.DAMAGED)
        states = self._states
        return any(
            states[cell.signature] in over or states.get(cell.start or "") in over
            for variant in variants
            for cell in self._of(variant)
        )

    @cached_property
    def of_other_code(self) -> tuple[Stale, ...]:
        """Its finished runs of other code than would run them today, by that code."""
        return stale_cells(self.cells, self._results, self._ledger)

    @cached_property
    def stale(self) -> frozenset[str]:
        """The signatures of its runs that other code has finished than would run them today."""
        return frozenset(cell.signature for one in self.of_other_code for cell in one.cells)

    @cached_property
    def mixture(self) -> str | None:
        """What of different code the finished runs mix, in words."""
        return mixture(self.cells, self._results, self._ledger)

    def places(self, variant: str) -> dict[int, str]:
        """seed -> where the files of its finished run lie."""
        results = self.results(variant).items()
        return {seed: self._ledger.folder(result.signature).uri for seed, result in results}

    def results(self, variant: str) -> dict[int, Result]:
        """seed -> result of its finished runs."""
        if variant not in self._finished:
            found = ((cell.seed, self._results.get(cell.signature)) for cell in self._of(variant))
            self._finished[variant] = {seed: one for seed, one in found if one is not None}
        return self._finished[variant]

    def values(self, variant: str, metric: str) -> dict[int, float | None]:
        """seed -> what each finished run reports of a metric; None where it does not."""
        return {seed: result.value(metric) for seed, result in self.results(variant).items()}

    def asked(self, claim: Greater | Within, variant: str) -> dict[int, float | None]:
        """seed -> what each finished run of a variant says of a claim's number; None: nothing."""
        if claim.epoch is None:
            return self.values(variant, claim.metric)
        curves, epoch = self.curves(variant, claim.metric), claim.epoch
        return {seed: curves.get(seed, {}).get(epoch) for seed in self.results(variant)}

    def curves(self, variant: str, metric: str) -> dict[int, dict[int, float]]:
        """seed -> epoch -> value, of the finished runs; an epoch without the metric is left out."""
        found = ((seed, self._epochs(result)) for seed, result in self.results(variant).items())
        return {
            seed: {e.epoch: e.metrics[metric] for e in epochs if metric in e.metrics}
            for seed, epochs in found
            if epochs is not None
        }

    def ranks(self, variant: str) -> dict[int, Mapping[str, Any]]:
        """seed -> the arrays of ranks of its finished runs."""
        found: dict[int, Mapping[str, Any]] = {}
        for seed, result in self.results(variant).items():
            if result.signature not in self._ranks:
                self._ranks[result.signature] = self.arrays(result.signature)
            kept = self._ranks[result.signature]
            if kept is not None:
                found[seed] = kept
        return found

    def arrays(self, signature: str) -> dict[str, Any] | None:
        """The arrays of ranks of one of its runs, read and not kept; None where it is not finished,
        or they are damaged."""
        if signature in self._ranks:
            return self._ranks[signature]
        result = self._results.get(signature)
        if result is None:
            return None
        return self._ledger.spared(partial(self._ledger.ranks, result))

    def kept(self, variant: str, name: str) -> dict[int, np.ndarray]:
        """seed -> one array that its finished runs keep beside their ranks; absent where not."""
        found = (
            (seed, self._ledger.spared(partial(self._ledger.ranks, result, only=name)))
            for seed, result in self.results(variant).items()
        )
        return {seed: arrays[name] for seed, arrays in found if arrays and name in arrays}

    def result(self, signature: str) -> Result | None:
        """The result of one of its runs; None where it is not finished."""
        return self._results.get(signature)

    def state(self, signature: str) -> State:
        """The ledger's word for one of its runs."""
        return self._states[signature]

    def epochs(self, signature: str) -> Sequence[EpochEnded]:
        """The epochs that one of its runs has ended, each once, whatever its state; none where they
        are damaged. A curve is of finished runs alone: see `curves`."""
        return self._ended(signature, self._results.get(signature)) or ()

    def _of(self, variant: str) -> list[Cell]:
        return self._cells.get(variant, [])

    def _epochs(self, result: Result) -> Sequence[EpochEnded] | None:
        return self._ended(result.signature, result)

    def _ended(self, signature: str, result: Result | None) -> Sequence[EpochEnded] | None:
        if signature not in self._events:
            events = self._ledger.spared(lambda: self._ledger.events(signature, result))
            ended = [e for e in events or () if isinstance(e, EpochEnded)]
            once = None if events is None else list({e.epoch: e for e in ended}.values())
            self._events[signature] = once
        return self._events[signature]
