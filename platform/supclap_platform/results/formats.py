"""A table in each of its formats: as text, Markdown and CSV here, LaTeX and HTML beside."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from supclap.csv_text import csv_text
from supclap_platform.experiment.columns import in_group
from supclap_platform.results.fragment import as_html
from supclap_platform.results.latex import as_latex
from supclap_platform.results.slots import Slot, parted, slots_of
from supclap_platform.results.table import Entry, Table
from supclap_platform.results.text import aligned, escaped, pipes, runs_line, width_of

WIDTH = 100  # of the notes below a text table
WIDEST = 120  # of a text table: what is wider is cut into blocks, one below the other
_COLUMNS = (  # of CSV
    *("experiment", "variant", "column", "metric", "mean", "std", "runs", "runs_wanted", "best"),
    *("baseline", "difference", "difference_seeds", "published", "published_difference"),
    *("values", "signatures", "states"),
)


def as_text(table: Table) -> str:
    """Aligned columns for a terminal; ``*`` marks the best."""
    body = "\n\n".join("\n".join(aligned(grid)) for grid in _grids(table))
    notes = [line for note in table.notes for line in textwrap.wrap(note, WIDTH)]
    return "\n".join([table.title, "", body, "", *notes]) + "\n"


def as_markdown(table: Table) -> str:
    """A Markdown table, the notes, and the runs behind each row."""
    lines = [
        f"**{escaped(table.title)}**",
        "",
        *markdown_grid(table),
        "",
        *(f"- {escaped(note)}" for note in table.notes),
        "",
        "Runs (seed: signature):",
        "",
    ]
    for row in table.rows:
        for group, runs in row.runs_of_groups():
            listed = runs_line([f"{run.seed}: `{run.signature}` {run.state}" for run in runs])
            lines.append(f"- {escaped(in_group(row.name, group))}: {listed}")
    return "\n".join(lines) + "\n"


def markdown_grid(table: Table) -> list[str]:
    """The lines of the Markdown table alone: heads, rule, rows."""
    slots = [slot for column in slots_of(table) for slot in column]
    heads = ["", *(escaped(slot.head) for slot in slots)]
    lines = [pipes(heads), pipes(["---", *["--:"] * len(slots)])]
    for row in table.rows:
        texts = (f"**{s.text(row)}**" if s.best(row) else s.text(row) for s in slots)
        lines.append(pipes([escaped(row.name), *texts]))
    return lines


def as_csv(table: Table) -> str:
    """One line for each row and column, at full precision, with the runs behind it."""
    rows: list[Sequence[object]] = [_COLUMNS]
    for row in table.rows:
        groups = dict(row.runs_of_groups())
        for column, entry in zip(table.columns, row.entries, strict=True):
            runs = groups[column.group]
            rows.append(
                [
                    table.experiment,
                    row.variant,
                    column.name,
                    column.measure.name,
                    *_figures(entry),
                    " ".join(f"{seed}:{value!r}" for seed, value in entry.values),
                    " ".join(f"{run.seed}:{run.signature}" for run in runs),
                    " ".join(f"{run.seed}:{run.state}".replace("to run", "to_run") for run in runs),
                ]
            )
    return csv_text(rows)


FORMATS: dict[str, Callable[[Table], str]] = {
    "txt": as_text,
    "md": as_markdown,
    "csv": as_csv,
    "tex": as_latex,
    "html": as_html,
}


def rendered(table: Table) -> dict[str, bytes]:
    """A table as files, one for each format, by name."""
    return {f"table.{ending}": render(table).encode() for ending, render in FORMATS.items()}


def _grids(table: Table) -> list[list[list[str]]]:
    """The lines of the table, or of the pieces that it is cut into where it is too wide."""
    pieces = parted(slots_of(table), lambda columns: _width(_grid(table, columns)) <= WIDEST)
    return [_grid(table, piece) for piece in pieces]


def _grid(table: Table, columns: Sequence[Sequence[Slot]]) -> list[list[str]]:
    slots = [slot for column in columns for slot in column]
    lines = [
        [row.name, *(f"{s.text(row)} *" if s.best(row) else s.text(row) for s in slots)]
        for row in table.rows
    ]
    return [["", *(slot.head for slot in slots)], *lines]


def _width(grid: Sequence[Sequence[str]]) -> int:
    return max(width_of(line) for line in aligned(grid))


def _figures(entry: Entry) -> list[object]:
    summary = entry.summary
    figures: list[object] = [
        _exact(None if summary is None else summary.mean),
        _exact(None if summary is None else summary.std),
        len(entry.values),
        entry.wanted,
        "yes" if entry.best else "no",
    ]
    difference = entry.difference
    if difference is None:
        return [*figures, "", "", "", _exact(entry.published), ""]
    published = difference.published  # of two decimal numbers: the digits of binary ones are cut
    return [
        *figures,
        difference.baseline,
        _exact(difference.ours),
        len(difference.seeds),
        _exact(entry.published),
        "" if published is None else f"{published:.10g}",
    ]


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)
