"""Cells: one training run for each variant and seed, named by its signature (`identity`)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property

from supclap.errors import InputError, SettingError
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.identity import Contents, digest
from supclap_platform.experiment.method import Configuration, Method
from supclap_platform.experiment.rows import RESERVED
from supclap_platform.experiment.schema import Resources
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.experiment.variants import Stage, Variant

INIT = RESERVED  # the variant name of cells that only train the stage of `init`


@dataclass(frozen=True)
class Cell:
    """One training run. Cells with equal signatures are the same run, whatever their variant."""

    variant: str
    seed: int
    config: Configuration
    signature: str
    resources: Resources
    start: str | None = None  # signature of the cell whose model it starts from
    group: str | None = None  # of its variant, whose name ends with it
    method: Method = SUPCLAP  # what trains it

    @property
    def label(self) -> str:
        return f"{self.variant}, seed {self.seed}"

    @property
    def data(self) -> str:
        """Equal for cells that are trained on the same data."""
        return json.dumps(self.method.same_data(self.config), sort_keys=True, default=str)

    @cached_property
    def shape(self) -> str:
        """What decides how long it takes, hashed."""
        given = self.resources
        return digest(
            {
                "run": self.method.shape(self.config),
                "workers": [given.workers, given.cpu, given.gpu],
            }
        )


def cells_of(experiment: Experiment, content: Contents | None = None) -> list[Cell]:
    """All cells: those of the stage first, then variant by variant, seed by seed.

    Of a file that includes others: those of its parts, a run that several share once, under the
    first of them (``"part: variant"``).

    Raises:
        InputError: a folder that the configuration names cannot be read, or two variants are the
            same run because two folders have the same content.
    """
    content = content or Contents()
    if experiment.parts:
        return _of_parts(experiment, content)
    stages = _stages(experiment, content)
    cells = list(stages.values()) if experiment.stage and not experiment.stage.variant else []
    for variant in experiment.variants:
        for seed in experiment.seeds_of(variant.name):
            stage = None
            if variant.from_stage and experiment.stage is not None:
                stage = stages[seed if experiment.stage.per_seed else None]
            cells.append(_cell(experiment, variant, seed, stage, content))
    _refuse_twins(experiment, cells)
    return cells


def _of_parts(experiment: Experiment, content: Contents) -> list[Cell]:
    found: dict[str, Cell] = {}
    for part in experiment.parts:
        for cell in cells_of(part, content):
            named = replace(cell, variant=f"{part.name}: {cell.variant}")
            found.setdefault(cell.signature, named)
    return list(found.values())


def _refuse_twins(experiment: Experiment, cells: list[Cell]) -> None:
    seen: dict[tuple[str, str | None], str] = {}
    free = experiment.search.rows if experiment.search else ()  # may be one of the variants
    for cell in cells:
        if cell.variant in free:
            continue
        key = (cell.signature, cell.group)  # one run in two groups: a group that changes nothing
        other = seen.setdefault(key, cell.variant)
        if cell.variant not in (other, INIT) and other != INIT:
            raise InputError(
                f"{experiment.path}: the variants '{other}' and '{cell.variant}' are the same run: "
                "their folders have the same content"
            )
        seen[key] = cell.variant


def _stages(experiment: Experiment, content: Contents) -> dict[int | None, Cell]:
    """The stage's cells by seed, or the only one under None where all seeds share it."""
    stage = experiment.stage
    if stage is None:
        return {}
    if stage.variant is not None:
        own = experiment.variant(stage.variant)
    else:
        own = Variant(INIT, stage.config, stage.resources, {}, places=stage.places)
    if stage.per_seed:
        seeds = _stage_seeds(experiment)
        return {seed: _cell(experiment, own, seed, None, content) for seed in seeds}
    return {None: _cell(experiment, own, _shared_seed(stage, experiment), None, content)}


def _stage_seeds(experiment: Experiment) -> tuple[int, ...]:
    """Those of the variants that start from it: the others have no use for a stage."""
    if experiment.looks is None:
        return experiment.seeds
    names = [variant.name for variant in experiment.variants if variant.from_stage]
    return max((experiment.seeds_of(name) for name in names), key=len, default=())


def _shared_seed(stage: Stage, experiment: Experiment) -> int:
    """Its own stage keeps seed 0 when the seeds are edited; a variant's must be among them."""
    return experiment.seeds[0] if stage.variant is not None else 0


def _cell(
    experiment: Experiment, variant: Variant, seed: int, stage: Cell | None, content: Contents
) -> Cell:
    method = experiment.method
    config = variant.config.model_copy(update={"seed": seed})
    for word in experiment.vary:
        config = method.varied(config, word, seed)
    if stage is not None:
        config = method.starting_from(config, stage.signature)
    try:
        named = method.signature(config, variant.resources.workers, content)
    except SettingError as error:
        if experiment.settings is None:
            raise
        fault = f"{variant.name}: {error}"
        raise experiment.settings.error(variant.places, error.key, fault) from None
    return Cell(
        variant.name,
        seed,
        config,
        named,
        variant.resources,
        stage.signature if stage else None,
        variant.group,
        method,
    )
