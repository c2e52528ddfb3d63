"""How tables and figures are laid out for print: chosen rows, their labels, sizes, LaTeX's label.

Nothing of it changes a run, a number or a claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from supclap.document import Document, Key
from supclap.errors import nearest
from supclap_platform.experiment.method import Method
from supclap_platform.experiment.schema import FIGURES, FigureSection, TableSection


@dataclass(frozen=True)
class FigureLayout:
    """One figure: its rows (none: all), and its size in inches (None: as is usual)."""

    rows: tuple[str, ...] = ()
    width: float | None = None
    height: float | None = None


@dataclass(frozen=True)
class Layout:
    """How an experiment's table and figures are laid out.

    rows: of the table, in its order; none: all, in the file's order.
    labels: row -> what stands for it in tables and legends.
    label: what LaTeX's ``\\ref`` finds the table by.
    """

    rows: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    figures: Mapping[str, FigureLayout] = field(default_factory=dict)

    def shown(self, row: str) -> str:
        """What stands for a row."""
        return self.labels.get(row, row)

    def of_figure(self, name: str) -> FigureLayout:
        """The layout of a figure."""
        return self.figures.get(name, FigureLayout())


def check_layout(
    document: Document,
    table_place: Key,
    table: TableSection,
    figures: Sequence[FigureSection],
    rows: Iterable[str],
    method: Method,
) -> Layout:
    """The layout that a file asks for. Raises InputError for a row or figure that is not there, or
    stands twice, and for two rows of one label."""
    known = list(rows)
    chosen: list[str] = []
    labels: dict[str, str] = {}
    for place, entry in enumerate(table.rows or ()):
        key: Key = (*table_place, "rows", str(place))
        _check(document, key, entry.row, known, chosen)
        chosen.append(entry.row)
        if entry.label:
            labels[entry.row] = entry.label
    names = {row: labels.get(row, row) for row in chosen or known}
    shown: dict[str, str] = {}
    for row, name in names.items():
        other = shown.setdefault(name, row)
        if other != row:
            raise document.error((*table_place, "rows"), f"'{other}' and '{row}' are both '{name}'")
    drawn: dict[str, FigureLayout] = {}
    for place, figure in enumerate(figures):
        key = ("figures", str(place))
        if figure.figure not in method.figures:
            valid = f"{nearest(figure.figure, method.figures)} (valid: {', '.join(method.figures)})"
            whose = f"the method {method.name} has " if figure.figure in FIGURES else ""
            raise document.error(key, f"{whose}no figure '{figure.figure}'{valid}")
        before: list[str] = []
        for row in figure.rows or ():
            _check(document, key, row, known, before)
            before.append(row)
        drawn[figure.figure] = FigureLayout(tuple(before), figure.width, figure.height)
    return Layout(tuple(chosen), labels, table.label, drawn)


def _check(
    document: Document, key: Key, row: str, known: Sequence[str], before: Sequence[str]
) -> None:
    if row not in known:
        raise document.error(
            key, f"no variant '{row}'{nearest(row, known)} (valid: {', '.join(known)})"
        )
    if row in before:
        raise document.error(key, f"the row '{row}' stands twice")
