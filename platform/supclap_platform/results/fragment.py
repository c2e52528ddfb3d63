"""A table as a fragment of an HTML page: classes and no style of its own, every number a link."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape

from supclap_platform.experiment.columns import in_group
from supclap_platform.results.slots import Kind, Slot, blocks_of, parted, slots_of
from supclap_platform.results.table import Row, Run, Table


def as_html(
    table: Table,
    href: Callable[[Run], str | None] | None = None,
    sheet: int | None = None,
) -> str:
    """A ``<section class="result">``: the table, its notes, and the runs behind each row.

    Every number of ours links to the list of its runs, which opens.

    Args:
        href: where a run is shown in more detail; its signature links there.
        sheet: columns of figures that fit a sheet of paper. A wider table stands there a second
            time in pieces that fit, of the class "sheet", and the whole one is of the class "wide":
            a style shows the one or the other.
    """
    columns = slots_of(table)
    pieces = [columns]
    if sheet is not None:
        pieces = parted(columns, lambda some: sum(map(len, some)) <= sheet)
    lines = ['<section class="result">', *_whole(table, columns, "wide" if pieces[1:] else "")]
    if pieces[1:]:
        for piece in pieces:
            lines += _whole(table, piece, "sheet")
    lines += ['<ul class="notes">']
    lines += [f"<li>{escape(note)}</li>" for note in table.notes]
    lines += ["</ul>", '<div class="runs">']
    for place, row in enumerate(table.rows):
        lines += _runs(table, place, row, href)
    return "\n".join([*lines, "</div>", "</section>"]) + "\n"


def _whole(table: Table, columns: list[list[Slot]], kind: str) -> list[str]:
    """A table of some columns; ``kind``: a class of its frame."""
    slots = [slot for column in columns for slot in column]
    lines = [
        f'<div class="scroll{f" {kind}" if kind else ""}">',
        '<table class="table">',
        f"<caption>{escape(table.title)}</caption>",
        "<thead>",
        *_heads(columns),
        "</thead>",
        "<tbody>",
    ]
    for place, row in enumerate(table.rows):
        cells = "".join(_cell(table, place, row, slot) for slot in slots)
        long = ' class="long"' if len(row.name) > ONE_LINE else ""
        lines.append(f'<tr><th{long} scope="row">{escape(row.name)}</th>{cells}</tr>')
    return [*lines, "</tbody>", "</table>", "</div>"]


def _heads(columns: list[list[Slot]]) -> list[str]:
    blocks = blocks_of(columns)
    rows = []
    if blocks[0][0] is not None:
        rows.append([(str(name), sum(map(len, block)), "group") for name, block in blocks])
    rows.append([(column[0].column.heading, len(column), "metric") for column in columns])
    if any(len(column) > 1 for column in columns):
        kinds = [slot.kind for column in columns for slot in column]
        rows.append([("Δ" if k is Kind.PAPER_DIFFERENCE else str(k), 1, "kind") for k in kinds])
    lines = []
    for place, row in enumerate(rows):
        corner = f'<td rowspan="{len(rows)}"></td>' if place == 0 else ""
        cells = "".join(_head(*cell) for cell in row)
        lines.append(f"<tr>{corner}{cells}</tr>")
    return lines


def _head(name: str, span: int, kind: str) -> str:
    scope = f'scope="colgroup" colspan="{span}"' if span > 1 else 'scope="col"'
    return f'<th class="{kind}" {scope}>{escape(name)}</th>'


ONE_LINE = 40  # signs of a row's name that stay on one line of a wide screen

_CLASSES = {
    Kind.OURS: "ours",
    Kind.DIFFERENCE: "difference",
    Kind.PAPER: "paper",
    Kind.PAPER_DIFFERENCE: "paper difference",
}


def _cell(table: Table, place: int, row: Row, slot: Slot) -> str:
    text = escape(slot.text(row))
    classes = _CLASSES[slot.kind] + (" best" if slot.best(row) else "")
    if slot.kind in (Kind.OURS, Kind.DIFFERENCE) and text:
        text = f'<a href="#{_anchor(table, place, row, slot.column.group)}">{text}</a>'
    value = slot.value(row)
    number = "" if value is None else f' data-value="{json.dumps(value)}"'  # Infinity, NaN as in JS
    return f'<td class="{classes}"{number}>{text}</td>'


def _runs(
    table: Table, place: int, row: Row, href: Callable[[Run], str | None] | None
) -> list[str]:
    lines = []
    for group, runs in row.runs_of_groups():
        name = escape(in_group(row.name, group))
        lines += [f"<details><summary>Runs of {name}</summary>"]
        lines += [f'<ul id="{_anchor(table, place, row, group)}">']
        for run in runs:
            shown = f"<code>{escape(run.signature)}</code>"
            link = href(run) if href is not None else None
            if link is not None:
                shown = f'<a href="{escape(link)}">{shown}</a>'
            lines.append(f"<li>seed {run.seed}: {shown} {escape(str(run.state))}</li>")
        lines += ["</ul></details>"]
    return lines


def _anchor(table: Table, place: int, row: Row, group: str | None) -> str:
    """The name of a list of runs, one for each row and group; no other table's on the page."""
    groups = [name for name, _ in row.runs_of_groups()]
    return f"runs-{table.experiment}-{place + 1}-{groups.index(group) + 1}"
