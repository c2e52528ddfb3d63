"""A table as every format shows it: rows, entries and the runs behind them."""

from __future__ import annotations

from dataclasses import dataclass

from supclap_platform.experiment.columns import Column
from supclap_platform.ledger.means import SeedSummary
from supclap_platform.ledger.records import State
from supclap_platform.ledger.staleness import Stale


@dataclass(frozen=True)
class Run:
    """A run behind a row. ``state`` is the ledger's word for it."""

    seed: int
    signature: str
    state: State
    group: str | None = None


@dataclass(frozen=True)
class Difference:
    """How far an entry lies from the baseline's in its column."""

    baseline: str
    ours: float | None  # mean over ``seeds`` of the differences seed by seed; None: no such seed
    seeds: tuple[int, ...]  # those of which both have a run that reports a value
    published: float | None  # of the paper's numbers


@dataclass(frozen=True)
class Entry:
    """One variant on one column."""

    values: tuple[tuple[int, float], ...]  # seed, value: of the runs that report one
    wanted: int  # runs that the experiment declares
    summary: SeedSummary | None  # None where no run reports a value
    best: bool = False
    published: float | None = None
    difference: Difference | None = None  # None: its row is compared with no other

    @property
    def complete(self) -> bool:
        return len(self.values) == self.wanted


@dataclass(frozen=True)
class Row:
    variant: str
    entries: tuple[Entry, ...]
    runs: tuple[Run, ...]
    label: str = ""  # what stands in its name's place
    counted: bool = False  # its number of seeds stands behind its name: rows have unequally many

    @property
    def name(self) -> str:
        """What stands for it where a table is read by people."""
        name = self.label or self.variant
        counts = dict.fromkeys(len(runs) for _, runs in self.runs_of_groups())
        return f"{name} (n = {', '.join(map(str, counts))})" if self.counted else name

    def runs_of_groups(self) -> list[tuple[str | None, list[Run]]]:
        """Its runs, group by group; all of them under None where the file has no groups."""
        groups = dict.fromkeys(run.group for run in self.runs)
        return [(group, [run for run in self.runs if run.group == group]) for group in groups]


@dataclass(frozen=True)
class Table:
    """What every format shows. ``notes`` are the lines of the caption after the title."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    experiment: str
    gaps: tuple[str, ...]  # of the notes, those on what is missing
    stale: tuple[Stale, ...] = ()  # what it holds of other code than would run today
    made_with: str = ""  # of the notes, that on code and data, which no paper's caption bears
    label: str = ""  # what LaTeX's \ref finds it by
