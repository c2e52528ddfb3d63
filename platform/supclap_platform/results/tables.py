"""The table of an experiment: what the ledger holds, as mean ± standard deviation over seeds.

Nothing is averaged over silently: an entry with fewer runs than declared says how many it has, and
a note says why. The same ledger content gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from supclap.errors import InputError
from supclap_platform.cells import INIT, Cell, cells_of, digest
from supclap_platform.columns import Column, in_group
from supclap_platform.experiment import Experiment
from supclap_platform.ledger import Ledger, Result, State
from supclap_platform.metrics import decimals, full_name, lower_is_better
from supclap_platform.results.published import PublishedTable, published_table, source
from supclap_platform.results.statistics import Summary, summarise


@dataclass(frozen=True)
class Run:
    """A run behind a row. ``state`` is the ledger's word for it."""

    seed: int
    signature: str
    state: State
    group: str | None = None


@dataclass(frozen=True)
class Entry:
    """One variant on one column."""

    values: tuple[tuple[int, float], ...]  # seed, value: of the runs that report one
    wanted: int  # runs that the experiment declares
    summary: Summary | None  # None where no run reports a value
    best: bool = False
    published: float | None = None

    @property
    def complete(self) -> bool:
        return len(self.values) == self.wanted


@dataclass(frozen=True)
class Row:
    variant: str
    entries: tuple[Entry, ...]
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Table:
    """What every format shows. ``notes`` are the lines of the caption after the title."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    with_published: tuple[bool, ...]  # for each column: whether any row has a published number
    experiment: str
    gaps: tuple[str, ...]  # of the notes, those on what is missing


def build_table(experiment: Experiment, ledger: Ledger, mixed: bool = False) -> Table:
    """The table of an experiment from what the ledger holds now.

    Raises:
        InputError: finished cells are of several code versions, or see different data under one
            data configuration, and ``mixed`` does not allow it.
    """
    cells = cells_of(experiment)
    signatures = [cell.signature for cell in cells]
    overview = ledger.overview(signatures)
    results = ledger.results(s for s in signatures if overview.of(s) is State.DONE)
    own = [cell for cell in cells if cell.variant != INIT]
    mixture = _mixture(cells, results)
    if mixture and not mixed:
        raise InputError(
            f"{experiment.path}: {'; '.join(mixture)}. Run the older cells anew "
            "(`supclap plan` shows them as stale), or allow the mixture with --mixed"
        )
    published = published_table(experiment.published.table) if experiment.published else None
    rows = []
    for name in experiment.rows:
        of_groups = [in_group(name, group) for group in experiment.groups or (None,)]
        mine = [cell for variant in of_groups for cell in own if cell.variant == variant]
        runs = tuple(Run(c.seed, c.signature, overview.of(c.signature), c.group) for c in mine)
        entries = [
            _entry(experiment, published, name, mine, results, column)
            for column in experiment.columns
        ]
        rows.append(Row(name, tuple(entries), runs))
    rows = _with_best(rows, experiment.columns)
    return Table(
        title=experiment.about or experiment.name,
        columns=experiment.columns,
        rows=tuple(rows),
        notes=tuple(_notes(experiment, own, rows, results, mixture, published)),
        with_published=tuple(
            any(row.entries[i].published is not None for row in rows)
            for i in range(len(experiment.columns))
        ),
        experiment=experiment.name,
        gaps=tuple(_gaps(rows, experiment.columns)),
    )


def value_of(result: Result, column: str) -> float | None:
    """What a run reports under a column's name, or None."""
    name = full_name(column)
    if name in result.metrics:
        return result.metrics[name]
    whole = {
        "seconds": result.seconds,
        "seconds_per_epoch": result.seconds / result.epochs,
        "peak_MB": result.peak_MB,
        "best_epoch": float(result.best_epoch),
        "steps": float(result.step),
    }
    return whole.get(name)


def shown(entry: Entry, column: Column) -> str:
    """An entry as text: ``41.20 ± 0.50 (2/3)``; an en dash where no run reports a value."""
    if entry.summary is None:
        return f"– (0/{entry.wanted})"
    digits = decimals(column.metric)
    text = f"{entry.summary.mean:.{digits}f}"
    if entry.summary.std is not None:
        text += f" ± {entry.summary.std:.{digits}f}"
    return text if entry.complete else f"{text} ({len(entry.values)}/{entry.wanted})"


def _entry(
    experiment: Experiment,
    published: PublishedTable | None,
    variant: str,
    cells: Sequence[Cell],
    results: dict[str, Result],
    column: Column,
) -> Entry:
    cells = [cell for cell in cells if cell.group == column.group]
    values = []
    for cell in cells:
        result = results.get(cell.signature)
        value = None if result is None else value_of(result, column.metric)
        if value is not None:
            values.append((cell.seed, value))
    theirs = None
    section = experiment.published
    if published is not None and section is not None:
        row, name = (
            section.rows.get(variant, variant),
            section.columns.get(column.name, column.name),
        )
        theirs = published.value(row, name)
    summary = summarise([value for _, value in values]) if values else None
    return Entry(tuple(values), len(cells), summary, published=theirs)


def _with_best(rows: list[Row], columns: Sequence[Column]) -> list[Row]:
    """Marks the best of each column, ties included, among the rows with all their runs.

    Two means tie where they are shown alike: a table must not mark what a reader cannot see.
    """
    marks: set[tuple[int, int]] = set()
    for place, column in enumerate(columns):
        means = {}
        for at, row in enumerate(rows):
            entry = row.entries[place]
            if entry.complete and entry.summary and entry.summary.mean == entry.summary.mean:
                means[at] = round(entry.summary.mean, decimals(column.metric))
        if len(means) > 1:
            best = (min if lower_is_better(column.metric) else max)(means.values())
            marks |= {(at, place) for at, mean in means.items() if mean == best}
    return [
        Row(
            row.variant,
            tuple(
                Entry(e.values, e.wanted, e.summary, (at, place) in marks, e.published)
                for place, e in enumerate(row.entries)
            ),
            row.runs,
        )
        for at, row in enumerate(rows)
    ]


def _mixture(cells: Sequence[Cell], results: dict[str, Result]) -> list[str]:
    """What the finished cells mix that a table must not mix unasked."""
    codes = sorted({result.code for result in results.values()})
    found = []
    if len(codes) > 1:
        found.append(f"finished cells are of {len(codes)} code versions ({', '.join(codes)})")
    hashes: dict[str, set[str]] = {}
    for cell in cells:
        if cell.signature in results:
            seen = digest(cell.config.data.model_dump(mode="json"))
            hashes.setdefault(seen, set()).add(results[cell.signature].data)
    for several in hashes.values():
        if len(several) > 1:
            found.append(f"finished cells saw different data ({', '.join(sorted(several))})")
    return found


def _notes(
    experiment: Experiment,
    cells: Sequence[Cell],
    rows: Sequence[Row],
    results: dict[str, Result],
    mixture: Sequence[str],
    published: PublishedTable | None,
) -> Iterable[str]:
    seeds = len(experiment.seeds)
    over = f"Mean ± sample standard deviation over {seeds} seeds" if seeds > 1 else "One seed, no ±"
    changes = ", ".join(f"{key}={value}" for key, value in sorted(experiment.changes.items()))
    scale = f"Profile {experiment.profile}{f', with {changes}' if changes else ''}."
    yield f"{over} ({_listed(experiment.seeds)}). {scale}"
    yield from sorted({_selection(cell) for cell in cells})
    yield from _gaps(rows, experiment.columns)
    if any(not entry.complete for row in rows for entry in row.entries):
        yield "An entry with (k/n) rests on k of n runs; the best is marked among complete ones."
    if published is not None and experiment.published is not None:
        yield f"Published numbers: {published.about}; {source()}."
        matched = {experiment.published.rows.get(row.variant, row.variant) for row in rows}
        spare = [name for name in published.rows if name not in matched]
        if spare:
            yield f"Published rows without a counterpart here: {', '.join(spare)}."
        lacking = [
            row.variant
            for row in rows
            if experiment.published.rows.get(row.variant, row.variant) not in published.rows
        ]
        if lacking:
            yield f"Rows without a published number: {', '.join(lacking)}."
    yield from (f"MIXED: {what}." for what in mixture)
    codes = sorted({result.code for result in results.values()})
    data = sorted({result.data for result in results.values()})
    if codes:
        yield f"Code {', '.join(codes)}; data {', '.join(data)}."


def _selection(cell: Cell) -> str:
    select = cell.config.select
    if select.split == "last":
        return "Measured after the last epoch."
    if select.split == "test":
        return (
            f"Epoch chosen by {select.metric} on the TEST split: the paper's protocol, a leak that "
            "flatters every row."
        )
    return f"Epoch chosen by {select.metric} on the validation split."


def _gaps(rows: Sequence[Row], columns: Sequence[Column]) -> Iterable[str]:
    """What is missing, and why: runs that failed or are not finished, metrics not reported."""
    for row in rows:
        for group in dict.fromkeys(run.group for run in row.runs):
            name, runs = in_group(row.variant, group), [r for r in row.runs if r.group == group]
            failed = [run.seed for run in runs if run.state is State.FAILED]
            open_ = [run.seed for run in runs if run.state not in (State.FAILED, State.DONE)]
            if failed:
                yield f"{name}: failed for {_seeds(failed)}."
            if open_:
                yield f"{name}: not finished for {_seeds(open_)}."
            done = len(runs) - len(failed) - len(open_)
            for column, entry in zip(columns, row.entries, strict=True):
                if column.group == group and len(entry.values) < done:
                    yield f"{name}: {done - len(entry.values)} finished run(s) lack {column}."


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {_listed(seeds)}"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(str(seed) for seed in seeds)
