"""What `supclap plan` says of the stages and worlds that seeds have of their own."""

from __future__ import annotations

from collections.abc import Iterator

from supclap.wording import counted
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.method import STAGE


def own_of_seeds(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """For each part in which seeds have something of their own: its name, empty where there are no
    parts, and how many of what its cells need."""
    for part in experiment.parts or (experiment,):
        counts = []
        own_stage = part.stage is not None and part.stage.per_seed
        cells = cells_of(part) if own_stage or part.vary else []
        if own_stage:
            counts.append(counted(len({cell.start for cell in cells if cell.start}), STAGE))
        for word in part.vary:
            made = {cell.method.made_of(cell.config, word) for cell in cells}
            counts.append(counted(len(made), word))
        if counts:
            yield part.name if experiment.parts else "", " and ".join(counts)
