"""Early stopping, decided by what the study holds and by nothing else.

Ray's schedulers keep what they have seen in memory, so that a search that goes on would judge its
trials by another measure than before. A pruner of the study judges by the values in its storage.
"""

from __future__ import annotations

from typing import Any

from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.study import StudyDirection

from supclap_platform.experiment.search_section import PrunerSection


class Asha(BasePruner):
    """Asynchronous successive halving (Li et al., 2020): one trial in ``factor`` passes a rung.

    Rungs stand at ``grace`` epochs and at each ``factor``-fold of it, while ``last`` is not
    reached: at the last epoch nothing is left to save. A trial is compared with all that have come
    to its rung before; the first ``startup`` of them pass, as they have nothing to be compared to.
    Nothing is remembered, so the same values give the same decision whenever it is asked for.
    """

    def __init__(self, grace: int, factor: int, startup: int, last: int) -> None:
        self.rungs = []
        while grace < last:
            self.rungs.append(grace)
            grace *= factor
        self._factor = factor
        self._startup = startup

    def prune(self, study: Any, trial: Any) -> bool:
        step = trial.last_step
        if step not in self.rungs:
            return False
        here = trial.intermediate_values[step]
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and step in other.intermediate_values
        ]
        if len(others) < self._startup:
            return False
        if here != here:
            return True
        if study.direction is StudyDirection.MAXIMIZE:
            better = sum(other >= here for other in others)
        else:
            better = sum(other <= here for other in others)
        return better >= max(1, (len(others) + 1) // self._factor)


def build_pruner(section: PrunerSection, last: int) -> BasePruner:
    """The pruner of a search whose trials report ``last`` epochs, all seeds together."""
    if section.name == "none":
        return NopPruner()
    if section.name == "median":
        return MedianPruner(n_startup_trials=section.startup, n_warmup_steps=section.grace)
    return Asha(section.grace, section.factor, section.startup, last)
