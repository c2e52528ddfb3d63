"""Variants: what the rows of an experiment resolve to, and the stage that they start from."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from supclap.document import Document, Key
from supclap.overrides import flat
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


def changes_of(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What layers of overrides change in the end: dotted key -> value, the last word on each."""
    changes: dict[str, Any] = {}
    for layer in layers:
        for key, value in flat(layer).items():
            changes = {k: v for k, v in changes.items() if not _undone(k, v, key, value)}
            changes[key] = value
    return changes


def _undone(key: str, value: Any, later: str, by: Any) -> bool:
    """Whether a later word takes a part away that an earlier one was about, or brings it back."""
    gone = by is None and key.startswith(f"{later}.")
    return gone or (value is None and later.startswith(f"{key}."))


def refuse_duplicates(
    document: Document, variants: Iterable[Variant], no_part: Collection[str]
) -> None:
    """Refuses rows that are one run. In two groups they may be: one that changes nothing.

    Args:
        no_part: keys of a configuration that are no part of a result.

    Raises InputError.
    """
    seen: dict[str, str] = {}
    for variant in variants:
        config = variant.config.model_dump(mode="json", exclude=set(no_part))
        what = [config, variant.resources.workers, variant.from_stage, variant.group]
        content = json.dumps(what, sort_keys=True)
        if content in seen:
            raise document.error(
                variant.places[-1],
                f"the variants '{seen[content]}' and '{variant.name}' are the same run: "
                "their configurations do not differ",
            )
        seen[content] = variant.name
