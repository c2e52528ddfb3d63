"""Variants: what the rows of an experiment resolve to, and the stage that they start from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from supclap.document import Key
from supclap_platform.experiment.columns import AT
from supclap_platform.experiment.method import Configuration
from supclap_platform.experiment.schema import Resources


@dataclass(frozen=True)
class Variant:
    """A row of the table (in one group): one configuration, to be trained once for each seed."""

    name: str  # in a file with groups "ROW @ GROUP"
    config: Configuration  # with seed 0; a start from the init stage is filled in for each cell
    resources: Resources
    changes: dict[str, Any]  # dotted key -> value: what it overrides of the base
    from_stage: bool = False  # starts from the stage that `init` declares
    group: str | None = None
    places: tuple[Key, ...] = field(default=(), compare=False)  # where in the file it is written

    @property
    def row(self) -> str:
        """The name of its row in the table."""
        return self.name if self.group is None else self.name.removesuffix(f"{AT}{self.group}")


@dataclass(frozen=True)
class Stage:
    """The stage that the cells start from: a configuration of its own, or a variant's cells."""

    config: Configuration
    resources: Resources
    per_seed: bool
    variant: str | None
    places: tuple[Key, ...] = field(default=(), compare=False)
