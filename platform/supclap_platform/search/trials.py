"""The cells of a setting: the same training runs, in the same ledger, as a grid's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from supclap.overrides import flat
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.identity import Contents
from supclap_platform.experiment.search import Objective, Search
from supclap_platform.experiment.variants import Variant
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import TRIAL
from supclap_platform.ledger.records import Result, State


@dataclass(frozen=True)
class Trial:
    """A setting as cells, one for each of the search's seeds, and the stages they start from."""

    number: int
    params: Mapping[str, Any]
    cells: tuple[Cell, ...]
    stages: tuple[Cell, ...]

    @property
    def signatures(self) -> tuple[str, ...]:
        return tuple(cell.signature for cell in self.cells)


class Trials:
    """Makes cells of settings, each folder's content being read once."""

    def __init__(self, experiment: Experiment) -> None:
        assert experiment.search is not None
        self.experiment = experiment
        self.search: Search = experiment.search
        self._contents = Contents()

    def of(self, number: int, params: Mapping[str, Any]) -> Trial:
        """The trial of a setting."""
        return self.with_seeds(number, params, self.search.seeds)

    def probe(self) -> Trial:
        """A trial of some setting, to see what all trials need."""
        return self.of(0, next(self.search.space.probes())[1])

    def with_seeds(self, number: int, params: Mapping[str, Any], seeds: Sequence[int]) -> Trial:
        """The same on other seeds."""
        label = f"{TRIAL}{number}"
        own = variant_of(self.experiment, label, params)
        stage = self.experiment.stage
        others = () if stage is None or stage.variant is None else (stage.variant,)
        asked = replace(
            self.experiment,
            variants=(*(self.experiment.variant(name) for name in others), own),
            seeds=tuple(seeds),
            looks=None,
            search=None,
        )
        cells = cells_of(asked, self._contents)
        mine = tuple(cell for cell in cells if cell.variant == label)
        needed = {cell.start for cell in mine}
        stages = tuple(cell for cell in cells if cell.signature in needed)
        return Trial(number, params, mine, stages)

    def values(self, trial: Trial, results: Mapping[str, Result]) -> list[float] | None:
        """What a trial is worth, objective by objective: means over its seeds.

        None where a seed is not finished, or reports no finite number of an objective.
        """
        found = [results.get(signature) for signature in trial.signatures]
        return mean_values([r for r in found if r], self.search.objectives, len(found))


def mean_values(
    results: Sequence[Result], objectives: Sequence[Objective], wanted: int
) -> list[float] | None:
    """The means over results, objective by objective; None where any is missing."""
    if len(results) < wanted or not results:
        return None
    means = []
    for objective in objectives:
        values = [result.value(objective.metric) for result in results]
        if any(value is None or value != value for value in values):
            return None
        means.append(sum(v for v in values if v is not None) / len(values))
    return means


def variant_of(
    experiment: Experiment, name: str, params: Mapping[str, Any], control: str | None = None
) -> Variant:
    """A setting, or a control of it, as a row of the experiment."""
    search = experiment.search
    assert search is not None
    config, resources = search.build(name, params, control)
    changes = flat(dict(search.base)) | dict(params)
    changes |= flat(search.controls[control]) if control else {}
    from_stage = experiment.stage is not None and "model.start" not in changes
    return Variant(name, config, resources, changes, from_stage)


def all_done(trial: Trial, ledger: Ledger) -> bool:
    """Whether the ledger has every cell of a trial."""
    return all(ledger.state(signature) is State.DONE for signature in trial.signatures)
