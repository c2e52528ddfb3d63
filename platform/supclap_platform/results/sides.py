"""A side of a comparison: the rows of an experiment, with what their finished runs say.

All that needs the user's code is read while it is loaded (`side_of`): the other side may name files
of the same names, with other parts in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from supclap.errors import InputError
from supclap_platform.experiment.columns import Column, in_group, split_group
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.ledger.earlier import BEFORE, Earlier
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.cases import unfinished
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.table import Run


@dataclass(frozen=True)
class SideRow:
    """A row: under which variants its runs are found, and in which columns it is compared."""

    row: str
    columns: dict[str, Column]  # by name
    evidence: Evidence

    def variant(self, column: Column) -> str:
        """The variant that stands for the row in a column."""
        return in_group(self.row, column.group)


@dataclass(frozen=True)
class Side:
    """One of the two that are compared. ``notes``: what a reader must know of it."""

    name: str  # "A" or "B"
    title: str  # as it was asked for
    rows: dict[str, SideRow]
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns of all its rows, in their order."""
        return list(dict.fromkeys(name for row in self.rows.values() for name in row.columns))


def side_of(
    name: str, title: str, experiment: Experiment, ledger: Ledger, asked: Sequence[str] = ()
) -> Side:
    """The side that an experiment is, as a ledger shows it; rows of a file that includes others are
    called ``part: row``.

    Args:
        asked: the columns to compare; by default those of the experiment's table.

    Raises:
        InputError: a column that no run reports, or no finished run at all.
    """
    rows: dict[str, SideRow] = {}
    notes: list[str] = []
    finished = False
    for part in experiment.parts or (experiment,):
        above = f"{part.name}: " if experiment.parts else ""
        evidence = Evidence(part, ledger)
        finished = finished or bool(evidence.finished)
        columns = _columns(part, asked)
        for row in part.rows:
            rows[f"{above}{row}"] = SideRow(row, {c.name: c for c in columns}, evidence)
        notes += (f"{name}: {above}{note}" for note in _notes(part, evidence, ledger))
    if not finished:
        by = f" by code {ledger.code}" if isinstance(ledger, Earlier) else ""
        raise InputError(f"{name} ({title}): no run of it has finished in {ledger.storage.uri}{by}")
    return Side(name, title, rows, tuple(notes))


def _columns(experiment: Experiment, asked: Sequence[str]) -> tuple[Column, ...]:
    if not asked:
        return experiment.columns
    found: dict[str, Column] = {}
    for text in asked:
        try:
            own, metric = split_group(text, experiment.groups, experiment.method)
            measure = experiment.method.measure(metric)
        except InputError as error:
            raise InputError(f"--column {text}: {error}") from None
        for group in experiment.groups or (None,):
            if own is None or own == group:
                name = metric if group is None else f"{group}.{metric}"
                found[name] = Column(name, metric, measure, group)
    return tuple(found.values())


def _notes(experiment: Experiment, evidence: Evidence, ledger: Ledger) -> list[str]:
    """What must be known of the finished runs as a whole, and which runs have not finished."""
    runs = {v.name: evidence.runs(v.name) for v in experiment.variants}
    notes = []
    if isinstance(ledger, Earlier):
        notes += _of_then(runs, ledger)
    else:
        old = {name for name, some in runs.items() if _signatures(some) & evidence.stale}
        count = len(evidence.stale)
        if old:
            notes.append(
                f"{count} finished {'run is' if count == 1 else 'runs are'} of earlier code than "
                f"would run today (stale): {', '.join(old)}"
            )
    if evidence.mixture is not None:
        notes.append(f"finished runs are of {evidence.mixture}")
    if experiment.looks is not None:
        notes.append(
            "seeds were added until claims were decided: which seeds there are depends on what the "
            "first of them showed"
        )
    for name, some in runs.items():
        notes += unfinished(name, some)
    return notes


def _of_then(runs: dict[str, list[Run]], ledger: Earlier) -> list[str]:
    """How many runs are shown as they were, and how many as they are."""
    every = {run.signature for some in runs.values() for run in some}
    kept = sum(ledger.kept(signature) for signature in every)
    if ledger.code != BEFORE:
        return [f"runs by code {ledger.code}, {kept} of them kept from before a rerun"]
    return [
        f"{kept} of {len(every)} runs as they were before they were trained anew; the others were "
        "not trained anew and are as they are now"
    ]


def _signatures(runs: list[Run]) -> set[str]:
    return {run.signature for run in runs}
