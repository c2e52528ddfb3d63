"""The caption of a table: what the numbers are, what is missing and why, where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from supclap.run_files import RESULT
from supclap.stored import AGAIN
from supclap.wording import SINGLY, counted, numbers, seed_list
from supclap_platform.experiment.cells import Cell
from supclap_platform.experiment.columns import Column, in_group
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.published import PublishedTable, source
from supclap_platform.ledger.names import CELLS
from supclap_platform.ledger.records import Result, State
from supclap_platform.ledger.staleness import Stale, code_of_today
from supclap_platform.results.scope import scope_of
from supclap_platform.results.table import Row

NAMED = 4  # hashes of data in a line


def notes_of(
    experiment: Experiment,
    cells: Sequence[Cell],
    rows: Sequence[Row],
    results: dict[str, Result],
    stale: Sequence[Stale],
    mixed_up: Sequence[str],
    published: PublishedTable | None,
) -> Iterable[str]:
    """The lines of the caption after the title."""
    seeds = len(experiment.seeds)
    over = f"Mean ± sample standard deviation over {seeds} seeds" if seeds > 1 else "One seed, no ±"
    changes = ", ".join(f"{key}={value}" for key, value in sorted(experiment.changes.items()))
    scale = f"Profile {experiment.profile}{f', with {changes}' if changes else ''}."
    if experiment.looks is None:
        yield f"{over} ({numbers(experiment.seeds)}). {scale}"
    else:
        yield f"Mean ± sample standard deviation over seeds, counted from 0. {scale}"
        yield (
            f"Seeds were added to a row until the claims on it were decided, at most "
            f"{experiment.looks.at_most}: {'; '.join(_counts(rows))}."
        )
        yield scope_of(experiment)
        if any(unequal_seeds(rows, place) for place in range(len(experiment.columns))):
            yield (
                "Where the rows of a column have unequal seeds their means are not to be compared, "
                "and no best is marked; differences are, which are taken seed by seed."
            )
    yield from sorted({cell.method.selection(cell.config) for cell in cells})
    yield from gaps_of(rows, experiment.columns)
    if any(not entry.complete for row in rows for entry in row.entries):
        yield "An entry with (k/n) rests on k of n runs; the best is marked among complete ones."
    yield from _on_differences(experiment, rows)
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
    yield from (f"MIXED: {what}." for what in mixed_up)
    yield from (_stale(one, len(results)) for one in stale)


def unequal_seeds(rows: Sequence[Row], place: int) -> bool:
    """Whether the complete entries of a column rest on unequal seeds."""
    entries = [row.entries[place] for row in rows]
    return len({tuple(s for s, _ in e.values) for e in entries if e.values and e.complete}) > 1


def _counts(rows: Sequence[Row]) -> Iterable[str]:
    """How many seeds each row has, those alike together."""
    found: dict[int, list[str]] = {}
    for row in rows:
        for group, runs in row.runs_of_groups():
            found.setdefault(len(runs), []).append(in_group(row.variant, group))
    for seeds, names in sorted(found.items(), reverse=True):
        yield f"{seeds} of {', '.join(names)}"


def versions_of(cells: Sequence[Cell], results: dict[str, Result], stale: Sequence[Stale]) -> str:
    """The last line: the code and the data that have made the numbers; empty without any."""
    data = sorted({result.data for result in results.values()})
    finished = [cell for cell in cells if cell.signature in results]
    return f"Code {_code(finished, stale)}; data {few_of(data)}." if data else ""


def few_of(hashes: Sequence[str]) -> str:
    """Hashes of data; where each seed has its own they are many, and most are counted."""
    if len(hashes) <= NAMED:
        return ", ".join(hashes)
    return f"{', '.join(hashes[:NAMED])} and {len(hashes) - NAMED} more"


def _stale(one: Stale, finished: int) -> str:
    """What an old number must not be taken for."""
    rows = ", ".join(dict.fromkeys(cell.variant for cell in one.cells))
    return (
        f"STALE: {len(one.cells)} of {finished} runs are of code {one.code}, not of today's "
        f"({one.why}): {rows}. `supclap run FILE --rerun-stale` trains them anew."
    )


def _code(cells: Sequence[Cell], stale: Sequence[Stale]) -> str:
    """The versions of the code that have finished the cells."""
    old = {cell.signature for one in stale for cell in one.cells}
    current = [cell for cell in cells if cell.signature not in old]
    today = [code_of_today(current)] if current else []
    return ", ".join([*today, *(f"{one.code} (stale)" for one in stale)])


def _on_differences(experiment: Experiment, rows: Sequence[Row]) -> Iterable[str]:
    """What the differences are to, and which of them rest on fewer seeds than their row has."""
    compared = [row for row in rows if any(entry.difference for entry in row.entries)]
    if not compared:
        return
    of: dict[str, list[str]] = {}
    for row in compared:
        of.setdefault(experiment.baselines[row.variant], []).append(row.variant)
    to = "; ".join(f"{name} (of {', '.join(mine)})" for name, mine in of.items())
    yield (
        f"Δ: difference to {to if len(of) > 1 else next(iter(of))}; ours is the mean over seeds of "
        "the differences seed by seed."
    )
    for row in compared:
        few: dict[tuple[str | None, tuple[int, ...]], list[str]] = {}
        for column, entry in zip(experiment.columns, row.entries, strict=True):
            difference = entry.difference
            if difference is not None and 0 < len(difference.seeds) < entry.wanted:
                few.setdefault((column.group, difference.seeds), []).append(column.metric)
        for (group, seeds), metrics in few.items():
            all_ = len(metrics) == sum(column.group == group for column in experiment.columns)
            share = "" if all_ else f" on {', '.join(metrics)}"
            yield f"{in_group(row.variant, group)}: Δ{share} rests on {seed_list(seeds)}."


def gaps_of(rows: Sequence[Row], columns: Sequence[Column]) -> Iterable[str]:
    """What is missing, and why: runs that failed or are not finished, metrics not reported."""
    for row in rows:
        for group, runs in row.runs_of_groups():
            name = in_group(row.variant, group)
            failed = [run.seed for run in runs if run.state is State.FAILED]
            damaged = [run for run in runs if run.state is State.DAMAGED]
            over = (State.FAILED, State.DONE, State.DAMAGED)
            open_ = [run.seed for run in runs if run.state not in over]
            if failed:
                yield f"{name}: failed for {seed_list(failed)}."
            for run in damaged[:SINGLY]:
                place = f"{CELLS}/{run.signature}/{RESULT}"
                yield f"{name}: damaged for {seed_list([run.seed])}: {place}; {AGAIN}."
            if more := [run.seed for run in damaged[SINGLY:]]:
                yield f"{name}: damaged also for {seed_list(more)}; table.csv has their signatures."
            if open_:
                yield f"{name}: not finished for {seed_list(open_)}."
            done = len(runs) - len(failed) - len(damaged) - len(open_)
            for column, entry in zip(columns, row.entries, strict=True):
                if column.group == group and len(entry.values) < done:
                    yield f"{name}: {_lacking(done - len(entry.values))} {column}."


def _lacking(runs: int) -> str:
    return f"{counted(runs, 'finished run')} {'lacks' if runs == 1 else 'lack'}"
