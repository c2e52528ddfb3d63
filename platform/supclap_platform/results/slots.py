"""Slots: what stands under a column of a table, alike in every format that is laid out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from supclap_platform.experiment.columns import Column
from supclap_platform.results.table import Entry, Row, Table
from supclap_platform.results.tables import shown, shown_difference


class Kind(StrEnum):
    """What a slot shows. Its value heads it below the column's name."""

    OURS = "ours"
    DIFFERENCE = "Δ"
    PAPER = "paper"
    PAPER_DIFFERENCE = "Δ paper"


@dataclass(frozen=True)
class Slot:
    """One column of figures below a column of the table."""

    kind: Kind
    column: Column
    place: int  # of the column among the table's

    @property
    def head(self) -> str:
        """Its heading where the headings are of one line."""
        return self.column.head if self.kind is Kind.OURS else str(self.kind)

    def text(self, row: Row) -> str:
        """What it shows of a row: empty where there can be nothing."""
        entry = self.entry(row)
        if self.kind is Kind.OURS:
            return shown(entry, self.column)
        if self.kind is Kind.PAPER:
            digits = self.column.measure.decimals
            return "–" if entry.published is None else f"{entry.published:.{digits}f}"
        return "" if entry.difference is None else shown_difference(self.value(row), self.column)

    def value(self, row: Row) -> float | None:
        """The number behind its text, not rounded; None where there is none."""
        entry = self.entry(row)
        if self.kind is Kind.OURS:
            return None if entry.summary is None else entry.summary.mean
        if self.kind is Kind.PAPER:
            return entry.published
        if entry.difference is None:
            return None
        ours = self.kind is Kind.DIFFERENCE
        return entry.difference.ours if ours else entry.difference.published

    def entry(self, row: Row) -> Entry:
        """The entry that it is about."""
        return row.entries[self.place]

    def best(self, row: Row) -> bool:
        """Whether it is to be marked."""
        return self.kind is Kind.OURS and self.entry(row).best


def slots_of(table: Table) -> list[list[Slot]]:
    """The slots of each column: ours, and where some row has them differences and the paper's."""
    found = []
    for place, column in enumerate(table.columns):
        entries = [row.entries[place] for row in table.rows]
        differences = [e.difference for e in entries if e.difference is not None]
        kinds = [Kind.OURS]
        kinds += [Kind.DIFFERENCE] if differences else []
        kinds += [Kind.PAPER] if any(e.published is not None for e in entries) else []
        kinds += (
            [Kind.PAPER_DIFFERENCE] if any(d.published is not None for d in differences) else []
        )
        found.append([Slot(kind, column, place) for kind in kinds])
    return found


def blocks_of(columns: list[list[Slot]]) -> list[tuple[str | None, list[list[Slot]]]]:
    """The columns of each group together; the only block has no name where there are none."""
    names = dict.fromkeys(column[0].column.group for column in columns)
    return [(name, [c for c in columns if c[0].column.group == name]) for name in names]


def parted(
    columns: list[list[Slot]], fits: Callable[[list[list[Slot]]], bool]
) -> list[list[list[Slot]]]:
    """The whole table where it fits; else pieces of whole columns that do, each of one group."""
    if fits(columns):
        return [columns]
    pieces = []
    for _, block in blocks_of(columns):
        piece: list[list[Slot]] = []
        for column in block:
            if piece and not fits([*piece, column]):
                pieces.append(piece)
                piece = []
            piece.append(column)
        pieces.append(piece)
    return pieces
