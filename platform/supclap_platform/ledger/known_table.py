"""The table that an experiment asks for, as the ledger keeps it: columns, rows and their cells.

With it and the results alone the table's numbers can be made, without the experiment file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from supclap.overrides import flat
from supclap_platform.experiment.cells import Cell, cells_of
from supclap_platform.experiment.claims import Trend
from supclap_platform.experiment.columns import AT
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.means import summarise
from supclap_platform.ledger.records import Known, Result

SEED, GROUP = "seed", "group"  # what tells the cells of a row from each other


@dataclass(frozen=True)
class KnownColumn:
    """A column of the table, or a metric that a claim is on."""

    name: str  # as the table has it, without the split that it means anyway
    metric: str  # what a run reports
    group: str | None = None
    low: bool = False  # whether low is good
    ranked: bool = True  # whether high or low is good at all


@dataclass(frozen=True)
class Behind:
    """A cell behind a row."""

    seed: int
    signature: str
    group: str | None = None


@dataclass(frozen=True)
class KnownRow:
    """A row. ``params``: what its configuration has of the keys that tell the rows apart."""

    name: str  # of a file that includes others "PART: ROW"
    baseline: str | None
    cells: tuple[Behind, ...]
    params: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Numbers:
    """One row on one column, over its seeds. What cannot be computed is None."""

    mean: float
    std: float | None
    n: int
    difference: float | None


@dataclass(frozen=True)
class KnownTable:
    """One table: of the experiment, or of a part that it includes."""

    part: str | None
    columns: tuple[KnownColumn, ...]
    rows: tuple[KnownRow, ...]

    @cached_property
    def _by_name(self) -> dict[str, KnownRow]:
        return {row.name: row for row in reversed(self.rows)}

    def numbers(
        self, row: KnownRow, results: Mapping[str, Result]
    ) -> Iterator[tuple[KnownColumn, Numbers]]:
        """The row on each column that a finished run of it reports.

        Args:
            results: of the finished cells, by signature.
        """
        other = self._by_name.get(row.baseline or "")
        for column in self.columns:
            own = _values(row, column, results)
            if not own:
                continue
            theirs = {} if other is None else _values(other, column, results)
            pairs = [own[seed] - theirs[seed] for seed in own if seed in theirs]
            found = summarise(list(own.values()))
            difference = summarise(pairs).mean if pairs else None
            yield column, Numbers(found.mean, found.std, found.n, difference)


def known_tables(experiment: Experiment, cells: Sequence[Cell]) -> tuple[KnownTable, ...]:
    """The tables that a run asks for.

    Args:
        cells: those of the run; while a search goes on, the rows have none yet.
    """
    if experiment.parts:
        return tuple(_table(part, cells_of(part), f"{part.name}: ") for part in experiment.parts)
    return (_table(experiment, cells, ""),)


def row_of(cell: Known) -> str:
    """The name of the row that a cell belongs to."""
    return cell.variant if cell.group is None else cell.variant.removesuffix(f"{AT}{cell.group}")


def in_text(config: Mapping[str, Any]) -> dict[str, str]:
    """A configuration with dotted keys; values as JSON, strings as they are."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in flat(config).items()
        if value != {}
    }


def telling(config: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """What a configuration has at dotted keys, below them, or above them where it ends sooner."""
    keys = tuple(keys)

    def named(key: str) -> bool:
        return any(
            key == one or key.startswith(f"{one}.") or one.startswith(f"{key}.") for one in keys
        )

    return {key: value for key, value in in_text(config).items() if named(key)}


def _table(experiment: Experiment, cells: Sequence[Cell], above: str) -> KnownTable:
    by_variant: dict[str, list[Cell]] = {}
    for cell in cells:
        by_variant.setdefault(cell.variant, []).append(cell)
    by_row: dict[str, list[Cell]] = {}
    for variant in experiment.variants:
        by_row.setdefault(variant.row, []).extend(by_variant.get(variant.name, ()))
    changes = (flat(variant.changes) for variant in experiment.variants)
    keys = tuple(dict.fromkeys(key for one in changes for key in one))  # rows change the same few
    rows = []
    for name in experiment.rows:
        mine = by_row.get(name, [])
        baseline = experiment.baselines.get(name)
        rows.append(
            KnownRow(
                f"{above}{name}",
                f"{above}{baseline}" if baseline is not None else None,
                tuple(Behind(cell.seed, cell.signature, cell.group) for cell in mine),
                _common(mine, keys) if mine else {},
            )
        )
    return KnownTable(experiment.name if above else None, _columns(experiment), tuple(rows))


def _columns(experiment: Experiment) -> tuple[KnownColumn, ...]:
    """The table's columns, then the metrics of claims that are none of them."""
    found = [
        KnownColumn(c.short_name, c.measure.name, c.group, c.measure.low, c.measure.ranked)
        for c in experiment.columns
    ]
    groups = {variant.name: variant.group for variant in experiment.variants}
    for claim in experiment.claims:
        if isinstance(claim, Trend):
            continue  # of epochs: a run ends with no such figure
        measure = claim.measure
        for group in dict.fromkeys(groups[name] for name in claim.variants if name in groups):
            if all((c.metric, c.group) != (measure.name, group) for c in found):
                name = measure.name.removeprefix("test.")
                name = name if group is None else f"{group}.{name}"
                found.append(KnownColumn(name, measure.name, group, measure.low, measure.ranked))
    return tuple(found)


def _common(cells: Sequence[Cell], keys: Sequence[str]) -> dict[str, str]:
    """What the cells of a row have in common at the keys, one cell of each group being asked."""
    firsts = {cell.group: cell for cell in reversed(cells)}
    every = [telling(cell.method.stored(cell.config), keys) for cell in firsts.values()]
    return {
        key: value
        for key, value in every[0].items()
        if key != SEED and all(other.get(key) == value for other in every[1:])
    }


def _values(row: KnownRow, column: KnownColumn, results: Mapping[str, Result]) -> dict[int, float]:
    """seed -> value, of the row's finished cells in the column's group that report it."""
    found = {}
    for cell in row.cells:
        if cell.group == column.group and cell.signature in results:
            value = results[cell.signature].value(column.metric)
            if value is not None:
                found[cell.seed] = value
    return found
