"""The table of an experiment: what the ledger holds, as mean ± standard deviation over seeds.

Nothing is averaged over silently: an entry with fewer runs than declared says how many it has, and
a note says why. The same ledger content gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from supclap.errors import InputError
from supclap_platform.experiment.cells import INIT, Cell, cells_of
from supclap_platform.experiment.columns import Column, in_group
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.identity import digest
from supclap_platform.experiment.published import PublishedTable, published_table
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.means import summarise
from supclap_platform.ledger.records import Result
from supclap_platform.ledger.staleness import mixture, stale_cells
from supclap_platform.results.caption import gaps_of, notes_of, unequal_seeds, versions_of
from supclap_platform.results.table import Difference, Entry, Row, Run, Table


def build_table(
    experiment: Experiment,
    ledger: Ledger,
    mixed: bool = False,
    cells: Sequence[Cell] | None = None,
) -> Table:
    """The table of an experiment from what the ledger holds now.

    Raises:
        InputError: finished cells are of several code versions, or see different data under one
            data configuration, and ``mixed`` does not allow it.
    """
    cells = cells_of(experiment) if cells is None else cells
    signatures = [cell.signature for cell in cells]
    overview, results = ledger.examine(signatures)
    own = [cell for cell in cells if cell.variant != INIT]
    by_variant: dict[str, list[Cell]] = {}
    for cell in own:
        by_variant.setdefault(cell.variant, []).append(cell)
    stale = stale_cells(cells, results, ledger)
    mixed_up = _mixture(cells, results, ledger)
    if mixed_up and not mixed:
        raise InputError(
            f"{experiment.path}: {'; '.join(mixed_up)}. Run the older cells anew "
            "(`supclap plan` shows them as stale), or allow the mixture with --mixed"
        )
    published = published_table(experiment.published.table) if experiment.published else None
    rows = []
    for name in experiment.rows:
        of_groups = [in_group(name, group) for group in experiment.groups or (None,)]
        mine = [cell for variant in of_groups for cell in by_variant.get(variant, [])]
        runs = tuple(Run(c.seed, c.signature, overview.of(c.signature), c.group) for c in mine)
        entries = [
            _entry(experiment, published, name, mine, results, column)
            for column in experiment.columns
        ]
        label = experiment.layout.labels.get(name, "")
        rows.append(Row(name, tuple(entries), runs, label, experiment.looks is not None))
    rows = _with_differences(rows, experiment.baselines)  # to a row that may not be shown itself
    if experiment.layout.rows:
        order = {name: place for place, name in enumerate(experiment.layout.rows)}
        rows = sorted((r for r in rows if r.variant in order), key=lambda r: order[r.variant])
    rows = _with_best(rows, experiment.columns)
    notes = tuple(notes_of(experiment, own, rows, results, stale, mixed_up, published))
    made_with = versions_of(own, results, stale)
    return Table(
        title=experiment.about or experiment.name,
        columns=experiment.columns,
        rows=tuple(rows),
        notes=(*notes, made_with) if made_with else notes,
        experiment=experiment.name,
        gaps=tuple(gaps_of(rows, experiment.columns)),
        stale=stale,
        made_with=made_with,
        label=experiment.layout.label,
    )


def shown(entry: Entry, column: Column) -> str:
    """An entry as text: ``41.20 ± 0.50 (2/3)``; an en dash where no run reports a value."""
    if entry.summary is None:
        return f"– (0/{entry.wanted})"
    digits = column.measure.decimals
    text = f"{entry.summary.mean:.{digits}f}"
    if entry.summary.std is not None:
        text += f" ± {entry.summary.std:.{digits}f}"
    return text if entry.complete else f"{text} ({len(entry.values)}/{entry.wanted})"


def shown_difference(value: float | None, column: Column) -> str:
    """A difference as text, always with its sign: ``+0.42``; an en dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:+.{column.measure.decimals}f}"
    return text.replace("-", "−") if float(text) else text[1:]


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
        value = None if result is None else result.value(column.measure.name)
        if value is not None:
            values.append((cell.seed, value))
    theirs = None
    section = experiment.published
    if published is not None and section is not None:
        short = column.short_name
        theirs = published.value(
            section.rows.get(variant, variant),
            section.columns.get(column.name, section.columns.get(short, short)),
        )
    summary = summarise([value for _, value in values]) if values else None
    return Entry(tuple(values), len(cells), summary, published=theirs)


def _with_best(rows: list[Row], columns: Sequence[Column]) -> list[Row]:
    """Marks the best of each column, ties included, among the rows with all their runs.

    Two means tie where they are shown alike: a table must not mark what a reader cannot see. Means
    over unequal seeds are not compared: which of them is the best may be the seeds' doing.
    """
    marks: set[tuple[int, int]] = set()
    for place, column in enumerate(columns):
        if unequal_seeds(rows, place):
            continue
        means = {}
        for at, row in enumerate(rows):
            entry = row.entries[place]
            if entry.complete and entry.summary and entry.summary.mean == entry.summary.mean:
                means[at] = round(entry.summary.mean, column.measure.decimals)
        if len(means) > 1 and column.measure.ranked:
            best = (min if column.measure.low else max)(means.values())
            marks |= {(at, place) for at, mean in means.items() if mean == best}
    return [
        replace(
            row,
            entries=tuple(
                replace(entry, best=(at, place) in marks) for place, entry in enumerate(row.entries)
            ),
        )
        for at, row in enumerate(rows)
    ]


def _with_differences(rows: Sequence[Row], baselines: Mapping[str, str]) -> list[Row]:
    by_name = {row.variant: row for row in rows}
    found = []
    for row in rows:
        baseline = by_name.get(baselines.get(row.variant, ""))
        if baseline is not None:
            pairs = zip(row.entries, baseline.entries, strict=True)
            entries = tuple(
                replace(own, difference=_difference(own, other, baseline.variant))
                for own, other in pairs
            )
            row = replace(row, entries=entries)
        found.append(row)
    return found


def _difference(own: Entry, other: Entry, baseline: str) -> Difference:
    ours, theirs = dict(own.values), dict(other.values)
    seeds = tuple(seed for seed in ours if seed in theirs)
    each = [ours[seed] - theirs[seed] for seed in seeds]
    published = None
    if own.published is not None and other.published is not None:
        published = own.published - other.published
    return Difference(baseline, summarise(each).mean if each else None, seeds, published)


def _mixture(cells: Sequence[Cell], results: dict[str, Result], ledger: Ledger) -> list[str]:
    """What the finished cells mix that a table must not mix unasked."""
    code = mixture(cells, results, ledger)
    found = [] if code is None else [f"finished cells are of {code}"]
    hashes: dict[str, set[str]] = {}
    several_seen = len({result.data for result in results.values()}) > 1
    for cell in cells if several_seen else ():
        if cell.signature in results:
            seen = digest(cell.method.same_data(cell.config))
            hashes.setdefault(seen, set()).add(results[cell.signature].data)
    for several in hashes.values():
        if len(several) > 1:
            found.append(f"finished cells saw different data ({', '.join(sorted(several))})")
    return found
